"""A second copy of everything that fusion knows, so that one can go on while the other stays as it was.

Copied are arrays, containers and the objects of this room; shared is what never changes: plots, claims, identities,
settings, numbers, text and tuples of them. Two references to one thing are two references to one copy.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import numpy as np

from appliance.estimation.bank import Bank

T = TypeVar("T")
_ROOM: Final = __name__.rpartition(".")[0]
_Memo = dict[int, Any]


def snapshot(thing: T) -> T:
    """A copy of ``thing`` that shares nothing with it that can change."""
    copied: T = _copied(thing, {})
    return copied


def _copied(thing: Any, memo: _Memo) -> Any:
    how = _HOW.get(type(thing))
    if how is None:
        how = _HOW[type(thing)] = _how(type(thing))
    if how is _shared:
        return thing
    done = memo.get(id(thing))
    if done is None:
        done = how(thing, memo)
        memo[id(thing)] = done
    return done


def _how(kind: type) -> Callable[[Any, _Memo], Any]:
    frozen = getattr(getattr(kind, "__dataclass_params__", None), "frozen", False)
    if not kind.__module__.startswith(_ROOM) or frozen or issubclass(kind, tuple):
        return _shared
    return _mapping if issubclass(kind, dict) else _object


def _shared(thing: Any, _: _Memo) -> Any:
    return thing


def _array(thing: Any, _: _Memo) -> Any:
    return thing.copy()


def _bank(thing: Bank, _: _Memo) -> Bank:
    return Bank._make(array.copy() for array in thing)


def _all_shared(things: Iterable[Any]) -> bool:
    """Whether none of them can change: then a container is copied in one go."""
    return all(_HOW.get(kind) is _shared for kind in set(map(type, things)))


def _list(thing: list[Any], memo: _Memo) -> list[Any]:
    return thing.copy() if _all_shared(thing) else [_copied(x, memo) for x in thing]


def _set(thing: set[Any], _: _Memo) -> set[Any]:
    return set(thing)  # what can be hashed does not change


def _deque(thing: deque[Any], memo: _Memo) -> deque[Any]:
    return thing.copy() if _all_shared(thing) else deque([_copied(x, memo) for x in thing], thing.maxlen)


def _dict(thing: dict[Any, Any], memo: _Memo) -> dict[Any, Any]:
    return thing.copy() if _all_shared(thing.values()) else {key: _copied(x, memo) for key, x in thing.items()}


def _counter(thing: Counter[Any], _: _Memo) -> Counter[Any]:
    return Counter(thing)


def _mapping(thing: Any, memo: _Memo) -> Any:
    """A kind of dictionary with attributes of its own."""
    out = _object(thing, memo)
    out.update(_dict(thing, memo))
    return out


def _object(thing: Any, memo: _Memo) -> Any:
    kind: Any = type(thing)
    out = memo[id(thing)] = kind.__new__(kind)
    for name in _SLOTS[kind] if kind in _SLOTS else _SLOTS.setdefault(kind, tuple(_slots(kind))):
        value = getattr(thing, name)
        setattr(out, name, value if _HOW.get(type(value)) is _shared else _copied(value, memo))
    for name, value in getattr(thing, "__dict__", {}).items():
        out.__dict__[name] = _copied(value, memo)
    return out


def _slots(kind: type) -> list[str]:
    return [name for base in kind.__mro__ for name in base.__dict__.get("__slots__", ()) if not name.startswith("__")]


_SLOTS: Final[dict[type, tuple[str, ...]]] = {}
_HOW: Final[dict[type, Callable[[Any, _Memo], Any]]] = {
    np.ndarray: _array,
    Bank: _bank,
    list: _list,
    set: _set,
    deque: _deque,
    dict: _dict,
    Counter: _counter,
}
