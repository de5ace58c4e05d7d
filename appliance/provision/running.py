"""A broker that runs: is it ours, reload its revocation list, command its access list.

Only the plugin itself may write its file while the broker runs, so a running broker is told over ``$CONTROL``, by the
administrator, whose key is of this machine alone.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from appliance.bus.endpoint import TlsFiles, endpoint
from appliance.bus.mqtt import Connection, Dialer, Wake
from appliance.errors import BusUnavailable
from appliance.provision.access import CONTROL_TOPIC, RESPONSE_TOPIC, Access, commands, read_access
from appliance.provision.authority import ADMIN

ANSWER_S: Final = 10.0
ATTEMPTS_S: Final = 5.0
_STEP_S: Final = 0.1
_AWAY_S: Final = 0.2
_MAX_PID_DIGITS: Final = 10


def running(pid_file: Path, configuration: Path) -> int | None:
    """The process of the broker that was started with ``configuration``; None where it does not run."""
    try:
        text = pid_file.read_text("ascii")[: _MAX_PID_DIGITS + 1].strip()
        words = Path(f"/proc/{int(text)}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):  # ended, never started, or a number of nobody
        return None
    ours = bool(words) and words[0].endswith(b"mosquitto") and os.fsencode(configuration) in words
    return int(text) if ours else None


def reload(pid: int) -> None:
    """Have the broker read its certificates and revocation list again: they count for connections from now on."""
    try:
        os.kill(pid, signal.SIGHUP)
    except ProcessLookupError:
        return  # it ended, and reads them when it starts
    except PermissionError as e:
        raise BusUnavailable(f"the broker (process {pid}) cannot be signalled: {e.strerror}") from e


def bring_to(wanted: Access, url: str, tls: TlsFiles) -> bool:
    """Command a running broker until it allows ``wanted``; whether anything changed. Raises BusUnavailable.

    A user who is deleted loses its session at once.
    """
    wake = Wake()
    try:
        connection = _dial(Dialer(endpoint(url, tls), ADMIN), wake)
        try:
            connection.subscribe((RESPONSE_TOPIC,))
            _wait(connection, wake, connection.subscribed)
            todo = commands(_current(connection, wake), wanted)
            if todo:
                _ask(connection, wake, todo)
            connection.close(farewell=True)
        finally:
            connection.close(farewell=False)
    finally:
        wake.close()
    return bool(todo)


def _dial(dialer: Dialer, wake: Wake) -> Connection:
    deadline = time.monotonic() + ATTEMPTS_S
    while True:  # a broker that has just been started may not listen yet
        try:
            return dialer.dial(wake, lambda: False)
        except BusUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(_AWAY_S)


def _current(connection: Connection, wake: Wake) -> Access:
    lists = [{"command": f"list{what}", "verbose": True, "count": -1} for what in ("Clients", "Roles", "Groups")]
    answers = _ask(connection, wake, [*lists, {"command": "getDefaultACLAccess"}])
    clients, roles, groups, defaults = (answer["data"] for answer in answers)
    allowed = {acl["acltype"]: acl["allow"] for acl in defaults["acls"]}
    return read_access(clients["clients"], roles["roles"], allowed, groups["groups"])


def _ask(connection: Connection, wake: Wake, todo: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The plugin's answers, one for each command. Raises BusUnavailable where it refused one."""
    connection.publish(CONTROL_TOPIC, msgspec.json.encode({"commands": todo}), retain=False)
    answers: list[dict[str, Any]] = []

    def complete() -> bool:
        for refused in (a.refused for a in connection.answers() if a.refused is not None):
            raise BusUnavailable(f"the broker does not take commands from {ADMIN}: {refused}")
        for message in connection.messages():
            if message.topic == RESPONSE_TOPIC:
                answers.extend(msgspec.json.decode(message.payload)["responses"])
            if message.qos:
                connection.acknowledge(message)
        return len(answers) >= len(todo)

    _wait(connection, wake, complete)
    for answer in answers:
        if "error" in answer:
            raise BusUnavailable(f"the broker's access list refused {answer.get('command')}: {answer['error']}")
    return answers


def _wait(connection: Connection, wake: Wake, done: Any) -> None:
    deadline = time.monotonic() + ANSWER_S
    while not done():
        if time.monotonic() > deadline:
            raise BusUnavailable(f"the broker's access list has not answered within {ANSWER_S:.0f} s")
        connection.step(_STEP_S, wake)
