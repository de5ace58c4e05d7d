"""How heavy functions become machine code: compiled once by numba, kept as object files, run without numba.

A first call compiles (seconds), so whoever must not wait calls once ahead of the first frame. What was compiled lies in
``NUMBA_CACHE_DIR``, else beside the source, else in the user's cache; a later process loads it with LLVM's loader alone
(milliseconds), for importing numba takes longer than all else that a start does. With no folder to write to, each
process compiles for itself. Nothing is compiled or loaded at import.

Not here: numba (``compiler.py``), LLVM's loader (``native.py``).

Rules: a kept file is believed only whole (SHA-256), and only for these sources, this layout of arguments and this
processor (``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES`` name another). Arguments are numbers, writable C-contiguous
arrays, and tuples of these; results are numbers. An argument of another kind is a `TypeError` before anything runs.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import json
import os
import re
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numpy as np

from appliance.estimation.native import ARGUMENTS_AT, RESULTS_AT, Built, cpu, features, linked

F = TypeVar("F", bound=Callable[..., Any])

EDITION: Final = b"2"
"""What the files are; another number makes all of them stale."""
_KINDS: Final = {np.dtype(np.float64): "d", np.dtype(np.int64): "q", np.dtype(np.bool_): "?"}
_ARRAY_OR_NUMBER: Final = re.compile(r"\(\w+:|[dq?](\d+)|([fio])")
_DIGITS: Final = tuple(map(str, range(65)))
_LOCK: Final = threading.RLock()
_Array: Final = np.ndarray
_Held = tuple[tuple[Any, ...], str, list[Any]]
"""A tuple, its layout and its words."""
_at, _address_of = ctypes.c_char.from_buffer, ctypes.addressof


def compiled(function: F) -> F:
    """``function`` compiled on first use. It may use numbers, arrays, and other compiled functions only."""
    return cast(F, Compiled(function, {}))


def leaf(function: F) -> F:
    """`compiled`, for what makes no arrays: it counts no references, which may cost more than the work itself.

    numba refuses to compile a leaf that would make an array.
    """
    return cast(F, Compiled(function, {"_nrt": False}))


def inlined(function: F) -> F:
    """A `leaf` that is put whole into its callers, where only handing it a look or a bank costs more than its work."""
    return cast(F, Compiled(function, {"_nrt": False, "forceinline": True}))


class Compiled:
    """A function that runs as machine code, one variant for each layout of arguments that it was called with."""

    def __init__(self, function: Callable[..., Any], options: dict[str, bool]) -> None:
        functools.update_wrapper(self, function)
        self.function, self.options = function, options
        self.name = f"{function.__module__}.{function.__qualname__}"
        self._defaults: tuple[Any, ...] = getattr(function, "__defaults__", None) or ()
        self._count: int = function.__code__.co_argcount
        self._variants: dict[str, Callable[[list[Any]], Any]] = {}
        self._held: dict[int, _Held] = {}

    @property
    def layouts(self) -> tuple[str, ...]:
        """Of the variants in memory."""
        return tuple(self._variants)

    def __call__(self, *args: Any) -> Any:
        if len(args) < self._count:
            args += self._defaults[len(args) - self._count :]
        marks: list[str] = []
        words: list[Any] = []
        _take(args, marks, words, self._held)
        layout = "".join(marks)
        variant = self._variants.get(layout) or self._load(layout, args)
        return variant(words)

    def _load(self, layout: str, args: tuple[Any, ...]) -> Callable[[list[Any]], Any]:
        with _LOCK:
            if layout not in self._variants:
                kept = _Kept(self, layout)
                built = kept.read() or kept.write(_build(self, args))
                self._variants[layout] = _variant(built, layout)
            return self._variants[layout]


def _build(function: Compiled, args: tuple[Any, ...]) -> Built:
    from appliance.estimation.compiler import build  # noqa: PLC0415 numba takes longer to import than all else

    return build(function, args)


def _take(values: tuple[Any, ...], marks: list[str], words: list[Any], held: dict[int, _Held]) -> None:
    """Add the layout of arguments, and the words that stand for them in memory. Every call of compiled code waits here.

    ``held`` is what was said of tuples at the last call.
    """
    for k, value in enumerate(values):
        kind = type(value)
        if kind is _Array:
            try:
                marks.append(_KINDS[value.dtype] + _DIGITS[value.ndim])
                words.append(_address_of(_at(value)) if value.size else 0)
            except (KeyError, TypeError, ValueError) as fault:
                raise TypeError(_wanted(value)) from fault
            words += value.shape
        elif kind is float:
            marks.append("f")
            words.append(value)
        elif kind is int or kind is bool:
            marks.append("i" if kind is int else "o")
            words.append(value)
        elif isinstance(value, tuple):
            known = held.get(k)
            if known is None or known[0] is not value:
                known = held[k] = _tuple(value)
            marks.append(known[1])
            words += known[2]
        elif isinstance(value, np.generic):
            _take((value.item(),), marks, words, {})
        else:
            raise TypeError(f"expected numbers, arrays and tuples of these; found {kind.__name__}")


def _tuple(value: tuple[Any, ...]) -> _Held:
    """A bank comes again and again: what it is made of cannot change while it is the same tuple."""
    marks: list[str] = []
    words: list[Any] = []
    _take(value, marks, words, {})
    return value, f"({type(value).__name__}:{''.join(marks)})", words


def _wanted(array: Any) -> str:
    if array.dtype not in _KINDS:
        return f"expected arrays of float64, int64 or bool; found {array.dtype}"
    return f"expected writable arrays in C order; found {array.flags}"


def _variant(built: Built, layout: str) -> Callable[[list[Any]], Any]:
    """One variant, loaded. It holds the interpreter's lock while it runs, as what it writes to is the caller's."""
    run = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(linked(built))
    arguments = struct.Struct("".join(_words(layout)))
    memory_of_a_call = ctypes.c_int64 * (ARGUMENTS_AT + arguments.size // 8)
    pack, result, at = arguments.pack_into, _result(built.returns), 8 * ARGUMENTS_AT

    def call(words: list[Any]) -> Any:
        memory = memory_of_a_call()
        try:
            pack(memory, at, *words)
        except struct.error as fault:
            raise OverflowError("expected whole numbers of 64 bits") from fault
        if status := run(_address_of(memory)):
            raise RuntimeError(f"compiled code ended with status {status}: out of memory, or a fault of its own")
        return None if result is None else result(memory)

    return call


def _result(letters: str) -> Callable[[Any], Any] | None:
    """How results are read from the memory of a call; None where there are none."""
    if not letters:
        return None
    unpack, kinds = struct.Struct(letters.strip("()").replace("?", "q")).unpack_from, letters.strip("()")
    if letters.startswith("("):
        return lambda memory: tuple(
            one != 0 if kind == "?" else one for one, kind in zip(unpack(memory, 8 * RESULTS_AT), kinds, strict=True)
        )
    if letters == "?":
        return lambda memory: unpack(memory, 8 * RESULTS_AT)[0] != 0
    return lambda memory: unpack(memory, 8 * RESULTS_AT)[0]


def _words(layout: str) -> Iterator[str]:
    """What `struct` calls the words of a layout."""
    for dimensions, number in _ARRAY_OR_NUMBER.findall(layout):
        if dimensions:
            yield "q" * (1 + int(dimensions))
        elif number:
            yield "d" if number == "f" else "q"


class _Kept:
    """The file of one variant: a digest of the rest, a line about it, the object file."""

    def __init__(self, function: Compiled, layout: str) -> None:
        source = Path(function.function.__code__.co_filename)
        name = function.name
        processor = f"{cpu()} {features()}"
        self._of = _digest(EDITION, name.encode(), layout.encode(), processor.encode(), _sources(), _read(source))
        self._name = f"{name}-{_digest(layout.encode(), processor.encode())[:16]}.code"
        self._source = source

    def read(self) -> Built | None:
        """What is kept, if it is whole and of these sources."""
        for folder in self._folders():
            with suppress(OSError, ValueError):
                digest, _, rest = (folder / self._name).read_bytes().partition(b"\n")
                about, _, code = rest.partition(b"\n")
                if digest.decode() == _digest(rest) and (said := json.loads(about))["of"] == self._of:
                    return Built(said["symbol"], said["returns"], code)
        return None

    def write(self, built: Built) -> Built:
        """Keep it in the first folder that can be written, if there is one: the whole file or none."""
        about = json.dumps({"of": self._of, "symbol": built.symbol, "returns": built.returns}).encode()
        rest = about + b"\n" + built.code
        for folder in self._folders():
            with suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
                    try:
                        file.write(_digest(rest).encode() + b"\n" + rest)
                        file.flush()
                        os.fchmod(file.fileno(), 0o644)  # whoever installs it is not who runs it
                        os.fsync(file.fileno())
                        Path(file.name).replace(folder / self._name)
                    except OSError:
                        Path(file.name).unlink(missing_ok=True)
                        raise
                break
        return built

    def _folders(self) -> Iterator[Path]:
        if told := os.environ.get("NUMBA_CACHE_DIR"):
            yield Path(told)
            return
        yield self._source.parent / "__pycache__"
        with suppress(RuntimeError):  # nobody's home
            yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-appliance"


def _digest(*parts: bytes) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@functools.cache
def _sources() -> bytes:
    """All functions of this package may be put into each other's code."""
    return _digest(*(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))).encode()
