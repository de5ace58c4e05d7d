"""Blocks of ASTERIX records, read by libasterix. The only file that imports ``asterix``.

What it is not: it knows no item's meaning (``radar`` does), no framing and no stream.

libasterix defines every edition of every category in one module: nine thousand classes, of which the editions in use
need one in nine. All of them take 0.7 s of a desk's processor and 70 MB, during which frames wait. So the module's byte
code is run with a maker of classes that makes the needed ones and leaves the others out, and with a ``typing`` that
makes no types, for nobody here reads an annotation: 0.09 s and 30 MB.
"""

from __future__ import annotations

import builtins
import functools
import gc
from collections.abc import Collection, Iterator, Mapping
from importlib.util import find_spec
from types import CodeType, MappingProxyType, SimpleNamespace
from typing import Any, Final

#: What libasterix raises on noise beside the ``ValueError`` that it returns.
ASTERIX_FAULTS: Final = (ValueError, AssertionError, LookupError, TypeError, AttributeError, OverflowError)

Editions = Mapping[int, tuple[int, int]]
"""Category → its edition."""
#: A radar sends plots and service messages together; a tracker's category is another's.
RADAR: Final[Editions] = MappingProxyType({34: (1, 29), 48: (1, 32)})
TRACKER: Final[Editions] = MappingProxyType({62: (1, 21)})
_SOURCE: Final = "asterix.generated"
_SPECIFICATION: Final = "Asterix_"
"""How the generated classes of whole specifications are called."""


class _NoType:
    """In place of a generic of ``typing``, the making of which costs as much as a class."""

    def __getitem__(self, _: object) -> None:
        """Says nothing."""


_GENERICS: Final = ("Callable", "List", "Literal", "Optional", "Sequence", "Tuple", "Type", "Union")
_UNTYPED: Final[Mapping[str, Any]] = MappingProxyType(
    {**dict.fromkeys(_GENERICS, _NoType()), "overload": lambda function: function, "TypedDict": lambda *_, **__: None}
)


def load_radar() -> None:
    """What a radar's blocks need, before the first of them comes; without it, that one waits."""
    _record_types(tuple(RADAR.items()))


def parse_records(category: int, body: bytes) -> tuple[list[Any], bool]:
    """The records of one block up to the first broken one, and whether there was one. Foreign categories: none."""
    editions = next((these for these in (RADAR, TRACKER) if category in these), None)
    if editions is None:
        return [], False
    record_type = _record_types(tuple(editions.items()))[category]
    from asterix import base  # noqa: PLC0415 - loaded with the types

    records: list[Any] = []
    bits = base.Bits.from_bytes(body)
    while len(bits):
        try:
            result = record_type.parse(base.ParsingMode.StrictParsing, bits)
        except ASTERIX_FAULTS:
            return records, True
        if isinstance(result, ValueError) or result[0].is_empty():
            return records, True
        record, bits = result
        records.append(record)
    return records, False


@functools.cache
def _record_types(editions: tuple[tuple[int, tuple[int, int]], ...]) -> Mapping[int, Any]:
    """Category → type of its records; for good, and never looked through by the garbage collector."""
    collected = gc.isenabled()
    gc.disable()  # a third of the time, and a stop of every thread for each of some thousand classes' garbage
    try:
        made = _made(dict(editions))
    finally:
        if collected:
            gc.enable()
    gc.freeze()
    return made


def _made(editions: Editions) -> Mapping[int, Any]:
    code = _byte_code()
    bodies = {part.co_name: part for part in code.co_consts if isinstance(part, CodeType)}
    tops = {category: _top(bodies, category, edition) for category, edition in editions.items()}
    needed = _reached(bodies, tops.values())
    make, load = builtins.__build_class__, builtins.__import__

    def make_needed(body: Any, name: str, *bases: Any) -> Any:
        return make(body, name, *bases) if name in needed else None

    def load_untyped(name: str, *details: Any) -> Any:
        """``from asterix.base import *``, which brings all of ``typing``, is the only import there."""
        module = load(name, *details)
        return SimpleNamespace(**{**vars(module), **_UNTYPED})

    ours = {**vars(builtins), "__build_class__": make_needed, "__import__": load_untyped}
    names: dict[str, Any] = {"__name__": _SOURCE, "__builtins__": ours}
    exec(code, names)  # noqa: S102 - the very code that `import asterix.generated` runs
    return MappingProxyType({category: names[top].cv_record for category, top in tops.items()})


def _byte_code() -> CodeType:
    found = find_spec(_SOURCE)
    if found is None or found.loader is None:
        raise ImportError(f"expected {_SOURCE}, of libasterix")
    code: CodeType = found.loader.get_code(_SOURCE)  # type: ignore[attr-defined]
    return code


def _top(bodies: Mapping[str, CodeType], category: int, edition: tuple[int, int]) -> str:
    """The class of one specification, by the two constants that its body assigns."""
    for name, body in bodies.items():
        if name.startswith(_SPECIFICATION) and category in body.co_consts and edition in body.co_consts:
            return name
    raise ImportError(f"expected category {category:03}, edition {edition[0]}.{edition[1]}, in {_SOURCE}")


def _reached(bodies: Mapping[str, CodeType], tops: Collection[str]) -> frozenset[str]:
    """The classes that some classes speak of, at whatever depth."""
    reached: set[str] = set()
    waiting = list(tops)
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(other for other in _spoken_of(bodies[name]) if other in bodies)
    return frozenset(reached)


def _spoken_of(code: CodeType) -> Iterator[str]:
    """Every global name in a class's body and in its functions."""
    yield from code.co_names
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _spoken_of(part)
