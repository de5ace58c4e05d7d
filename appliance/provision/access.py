"""Who may do what on the broker, as the dynamic-security plugin of Mosquitto keeps it. Pure: documents and commands.

An access-list file would grant a subscription to ``#`` and only filter what is delivered; this plugin refuses it.
Roles, and nothing beside them, for everything is denied by default:

- ``unit`` publishes below ``edge/v1/<unit>/``, and reads nothing;
- ``recipient`` subscribes to and receives what stands there, and publishes nothing;
- ``admin`` commands this plugin over ``$CONTROL/dynamic-security/``, and neither publishes nor reads results.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from appliance.errors import IdentityRefused

Role = Literal["unit", "recipient", "admin"]
Acl = tuple[str, str]
"""Kind and topic filter of one permission."""

MAX_DOCUMENT_BYTES: Final = 16 * 1024 * 1024
CONTROL_TOPIC: Final = "$CONTROL/dynamic-security/v1"
RESPONSE_TOPIC: Final = "$CONTROL/dynamic-security/v1/response"
DEFAULTS: Final[Mapping[str, bool]] = {
    "publishClientSend": False,
    "publishClientReceive": False,
    "subscribe": False,
    "unsubscribe": True,
}


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Roles with their permissions, users with their roles, and what is allowed where no role says anything."""

    roles: Mapping[str, frozenset[Acl]]
    users: Mapping[str, frozenset[str]]
    defaults: Mapping[str, bool]


def desired(unit: str, members: Mapping[str, Role]) -> Access:
    """What this unit's broker shall allow."""
    results, control = f"edge/v1/{unit}/#", "$CONTROL/dynamic-security/#"
    roles: dict[str, frozenset[Acl]] = {
        "unit": frozenset({("publishClientSend", results)}),
        "recipient": frozenset({("subscribePattern", results), ("publishClientReceive", results)}),
        "admin": frozenset(
            {("publishClientSend", control), ("subscribePattern", control), ("publishClientReceive", control)}
        ),
    }
    users = {name: frozenset({role}) for name, role in members.items()}
    return Access(roles=roles, users=users, defaults=DEFAULTS)


def document(access: Access) -> bytes:
    """The plugin's file."""
    whole = {
        "defaultACLAccess": dict(access.defaults),
        "clients": [{"username": name, "roles": _role_list(roles)} for name, roles in sorted(access.users.items())],
        "groups": [],
        "roles": [{"rolename": name, "acls": _acl_list(acls)} for name, acls in sorted(access.roles.items())],
    }
    return msgspec.json.format(msgspec.json.encode(whole), indent=2) + b"\n"


def read_document(content: bytes) -> Access:
    """What a file of the plugin allows. Raises IdentityRefused (``access``) where it is none."""
    if len(content) > MAX_DOCUMENT_BYTES:
        raise IdentityRefused("access", f"expected at most {MAX_DOCUMENT_BYTES} bytes")
    try:
        whole = msgspec.json.decode(content)
        return read_access(whole["clients"], whole["roles"], whole["defaultACLAccess"], whole.get("groups", []))
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as e:
        raise IdentityRefused("access", f"expected a file of the dynamic-security plugin; {e}") from e


def read_access(clients: Any, roles: Any, defaults: Any, groups: Any) -> Access:
    """The plugin's own lists as a value; whatever is not ours (passwords, groups, denials) makes it another value."""
    users = {
        str(client["username"]): frozenset(
            [str(role["rolename"]) for role in client.get("roles", [])]
            + [f"<{key}>" for key in ("password", "clientid", "disabled") if client.get(key)]
        )
        for client in clients
    }
    users |= {f"<group {group['groupname']}>": frozenset() for group in groups}
    permissions = {
        str(role["rolename"]): frozenset(
            (str(acl["acltype"]) if acl["allow"] else f"<deny {acl['acltype']}>", str(acl["topic"]))
            for acl in role.get("acls", [])
        )
        for role in roles
    }
    return Access(roles=permissions, users=users, defaults={str(k): bool(v) for k, v in dict(defaults).items()})


def commands(now: Access, wanted: Access) -> list[dict[str, Any]]:
    """What to tell a running plugin so that it allows what is wanted; nothing where it does already."""
    out: list[dict[str, Any]] = []
    # First who must go: a user who is deleted is disconnected by the plugin.
    out += [{"command": "deleteClient", "username": name} for name in sorted(now.users) if name not in wanted.users]
    if now.defaults != wanted.defaults:
        acls = [{"acltype": kind, "allow": allow} for kind, allow in wanted.defaults.items()]
        out.append({"command": "setDefaultACLAccess", "acls": acls})
    for name, permissions in sorted(wanted.roles.items()):
        if now.roles.get(name) != permissions:
            verb = "modifyRole" if name in now.roles else "createRole"
            out.append({"command": verb, "rolename": name, "acls": _acl_list(permissions)})
    out += [{"command": "deleteRole", "rolename": name} for name in sorted(now.roles) if name not in wanted.roles]
    for name, roles in sorted(wanted.users.items()):
        if now.users.get(name) == roles:
            continue
        if name in now.users:  # made anew: nothing that was set on it by hand stays
            out.append({"command": "deleteClient", "username": name})
        out.append({"command": "createClient", "username": name, "roles": _role_list(roles)})
    return out


def _role_list(roles: frozenset[str]) -> list[dict[str, str]]:
    return [{"rolename": role} for role in sorted(roles)]


def _acl_list(acls: frozenset[Acl]) -> list[dict[str, Any]]:
    return [{"acltype": kind, "topic": topic, "priority": 0, "allow": True} for kind, topic in sorted(acls)]
