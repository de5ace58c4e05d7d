"""The record of a provisioned broker: what was asked for, and every certificate that was given out. One JSON file.

It is written before anything is done, so whatever a run did not get to, the next one sees and does.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from appliance.errors import ConfigError, Fault
from appliance.provision.access import Role
from appliance.provision.authority import MAX_CRL_NUMBER
from appliance.provision.configuration import BrokerSettings

MAX_RECORD_BYTES: Final = 16 * 1024 * 1024
Serial = Annotated[str, Meta(pattern=r"^[0-9a-f]{1,40}$(?!\n)")]


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One client. ``given`` is set once its files were made: they are its holder's then, and are never made again."""

    role: Role
    serial: Serial
    given: bool = False


class Revoked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A certificate that no longer counts."""

    name: str
    serial: Serial


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The desired state. ``list_number`` counts the revocation lists."""

    schema: Literal["edge-broker/1"] = "edge-broker/1"
    unit: str
    settings: BrokerSettings
    broker_serial: Serial
    members: dict[str, Member]
    revoked: tuple[Revoked, ...] = ()
    list_number: Annotated[int, Meta(ge=1, le=MAX_CRL_NUMBER)] = 1


def read_record(content: bytes, *, file: str) -> Record:
    """Raises ConfigError for anything that was not written here."""
    try:
        if len(content) > MAX_RECORD_BYTES:
            raise msgspec.ValidationError(f"more than {MAX_RECORD_BYTES} bytes")
        return msgspec.json.decode(content, type=Record)
    except msgspec.DecodeError as e:  # ValidationError is one
        fault = Fault(file=file, key="(record)", found=str(e), expected="a record of `appliance provision broker`")
        raise ConfigError((fault,)) from e


def write_record(record: Record) -> bytes:
    """The record as its file."""
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"
