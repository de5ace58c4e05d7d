"""Finds every fault of a table at once, where a plain decoder stops at the first.

What this is: a walk over typed structs beside the raw TOML, one key at a time. What it is not: it knows nothing of
missions. A key is converted on its own, so that one wrong value hides no other.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from appliance.errors import Fault

MAX_SHOWN = 60
_LOGIN: Final = re.compile(r"//\S*@")


def faults_of(struct: type[msgspec.Struct], raw: object, *, file: str, at: str = "") -> list[Fault]:
    """Every fault of ``raw`` against ``struct``; an empty list means that ``msgspec.convert`` will take it."""
    if not isinstance(raw, Mapping):
        return [Fault(file=file, key=at or "(file)", found=shown(raw), expected="a table")]
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    found = [
        Fault(file=file, key=join(at, key), found="an unknown key", expected=nearest(key, tuple(fields)))
        for key in raw
        if key not in fields
    ]
    for name, field in fields.items():
        if name not in raw:
            if field.required:
                expected = expectation(field.type)
                found.append(Fault(file=file, key=join(at, name), found="nothing", expected=expected))
            continue
        found.extend(_value_faults(field.type, raw[name], file=file, at=join(at, name)))
    return found


def _value_faults(kind: Any, value: object, *, file: str, at: str) -> list[Fault]:
    inner = _bare(kind)
    struct = _struct_of(inner)
    if struct is not None:
        return faults_of(struct, value, file=file, at=at)
    element = _element_struct(inner)
    if element is not None and isinstance(value, list | Mapping):
        found = _size_fault(kind, value, file=file, at=at)
        pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
        for index, item in pairs:
            place = f"{at}.{index}" if isinstance(value, Mapping) else f"{at}[{index}]"
            found.extend(faults_of(element, item, file=file, at=place))
        return found
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return [Fault(file=file, key=at, found=shown(value), expected=expectation(kind))]
    return []


def _size_fault(kind: Any, value: typing.Sized, *, file: str, at: str) -> list[Fault]:
    for meta in _metas(kind):
        if len(value) < (meta.min_length or 0) or len(value) > (meta.max_length or len(value)):
            return [Fault(file=file, key=at, found=f"{len(value)}", expected=expectation(kind))]
    return []


def _metas(kind: Any) -> list[msgspec.Meta]:
    return [meta for meta in getattr(kind, "__metadata__", ()) if isinstance(meta, msgspec.Meta)]


def _bare(kind: Any) -> Any:
    return kind.__origin__ if typing.get_origin(kind) is typing.Annotated else kind


def _struct_of(kind: Any) -> type[msgspec.Struct] | None:
    """The struct in ``Struct`` or ``Struct | None``."""
    options = typing.get_args(kind) if typing.get_origin(kind) in {types.UnionType, typing.Union} else (kind,)
    for option in options:
        if isinstance(option, type) and issubclass(option, msgspec.Struct):
            return option
    return None


def _element_struct(kind: Any) -> type[msgspec.Struct] | None:
    """The struct in ``tuple[Struct, ...]`` or ``dict[str, Struct]``."""
    if typing.get_origin(kind) not in {tuple, dict}:
        return None
    return next((found for option in typing.get_args(kind) if (found := _struct_of(option)) is not None), None)


def expectation(kind: Any) -> str:
    """What a person should write, from the description beside the type."""
    for meta in _metas(kind):
        if meta.description:
            return meta.description
    bare = _bare(kind)
    if typing.get_origin(bare) in {types.UnionType, typing.Union}:
        return " or ".join(expectation(option) for option in typing.get_args(bare) if option is not type(None))
    if isinstance(bare, type) and issubclass(bare, msgspec.Struct):
        keys = ", ".join(field.encode_name for field in msgspec.structs.fields(bare) if field.required)
        return f"a table with {keys}" if keys else "a table"
    return {str: "a string", float: "a number", int: "a whole number", bool: "true or false"}.get(bare, str(bare))


def nearest(key: str, known: tuple[str, ...]) -> str:
    """The known key that a misspelt one most resembles, else all of them."""
    close = difflib.get_close_matches(key, known, n=1)
    return f"'{close[0]}'" if close else "one of " + ", ".join(known)


def shown(value: object) -> str:
    """A value as a person wrote it, cut to a readable length."""
    text = without_login(repr(value))
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def without_login(text: str) -> str:
    """A text without the user and password of a URL; what is said of a mission goes to logs."""
    return _LOGIN.sub("//…@", text)


def join(at: str, key: str) -> str:
    """A dotted key path."""
    return f"{at}.{key}" if at else key
