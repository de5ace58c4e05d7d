"""A heavy function → an object file, by numba; loaded only where nothing that fits is kept.

numba compiles for calls from its own run time. Here it compiles an entry that reads its arguments from memory and
writes its results there, and the two functions of that run time which such code calls (make an array, drop it) are
given to it in LLVM's words, so that the code needs neither numba nor Python.

Not here: where code is kept, how it is called (``compiled.py``).

Sources: numba's *Notes on the Numba Runtime* and ``numba/core/runtime/nrt.cpp`` for what an array's owner looks like
in memory; *Notes on Target Extensions*, "intrinsic".
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
from collections.abc import Callable
from typing import Any, Final, Protocol

import numba
import numba.core.cgutils
import numba.extending
import numba.np.arrayobj
import numpy as np

from appliance.estimation.native import ARGUMENTS_AT, RESULTS_AT, Built, llvm, machine

#: numba's own parts are hardly typed.
njit: Any = numba.njit
types: Any = numba.types
typeof: Any = numba.typeof
extending: Any = numba.extending
cgutils: Any = numba.core.cgutils
populate_array: Any = numba.np.arrayobj.populate_array

_MEMORY: Final = types.CPointer(types.int64)
_LETTERS: Final = {types.float64: "d", types.int64: "q", types.boolean: "?"}
#: An owner is (references, destructor, its argument, data, size), all of 8 bytes; it lies before the data.
_RUN_TIME: Final = """
declare ptr @malloc(i64)
declare void @free(ptr)

define ptr @NRT_MemInfo_alloc_aligned(i64 %size, i32 %align32) {
  %align = zext i32 %align32 to i64
  %with_owner = add i64 %size, 40
  %room = add i64 %with_owner, %align
  %small = icmp ult i64 %room, %size
  br i1 %small, label %none, label %ask
ask:
  %owner = call ptr @malloc(i64 %room)
  %refused = icmp eq ptr %owner, null
  br i1 %refused, label %none, label %fill
fill:
  %start = ptrtoint ptr %owner to i64
  %after = add i64 %start, 40
  %past = urem i64 %after, %align
  %gap = sub i64 %align, %past
  %data_at = add i64 %after, %gap
  %data = inttoptr i64 %data_at to ptr
  store i64 1, ptr %owner
  %destructor = getelementptr i64, ptr %owner, i64 1
  store ptr null, ptr %destructor
  %argument = getelementptr i64, ptr %owner, i64 2
  store ptr null, ptr %argument
  %data_of = getelementptr i64, ptr %owner, i64 3
  store ptr %data, ptr %data_of
  %size_of = getelementptr i64, ptr %owner, i64 4
  store i64 %size, ptr %size_of
  ret ptr %owner
none:
  ret ptr null
}

define void @NRT_MemInfo_call_dtor(ptr %owner) {
  call void @free(ptr %owner)
  ret void
}
"""


#: numba's functions return a status; what they return and raise they write to where they are told.
_WAY_IN: Final = """
declare i32 @"{entry}"(ptr, ptr, ptr)

define i32 @"{symbol}"(ptr %memory) {{
  %raised = getelementptr i64, ptr %memory, i64 1
  %status = call i32 @"{entry}"(ptr %memory, ptr %raised, ptr %memory)
  ret i32 %status
}}
"""


class Function(Protocol):
    """A function to compile, which may be a global of another one."""

    name: str
    function: Callable[..., Any]
    options: dict[str, bool]

    def __call__(self, *args: Any) -> Any:
        """Runs it."""


@functools.cache
def _make_known(kind: type) -> None:
    """Inside compiled code, a compiled function is numba's own."""
    extending.typeof_impl.register(kind)(lambda value, _context: types.Dispatcher(_dispatcher(value)))


@functools.cache
def _dispatcher(function: Function) -> Any:
    return njit(error_model="numpy", **function.options)(function.function)


def build(function: Function, args: tuple[Any, ...]) -> Built:
    """Machine code of ``function`` for arguments like these.

    Raises: TypeError where it returns what is not a number, or calls what is in no library of C; numba's errors where
    it is not what numba compiles.
    """
    _make_known(type(function))
    returned: list[str] = []
    take, give = _taken(types.Tuple([_type_of(value) for value in args])), _given(returned)

    def entry(memory: Any) -> None:
        give(memory, function(*take(memory)))

    options = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    dispatcher = njit((_MEMORY,), **options)(entry)
    (text,) = dispatcher.inspect_llvm().values()
    module = llvm().parse_assembly(text)
    module.link_in(llvm().parse_assembly(_RUN_TIME))
    symbol = f"{function.name}.{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    _hide_all_behind(symbol, module, function.name)
    return Built(symbol, returned[0], machine().emit_object(module))


def _hide_all_behind(symbol: str, module: Any, name: str) -> None:
    """One way into the module, which takes the memory of a call. The module calls nothing but C."""
    libraries = ctypes.CDLL("libm.so.6"), ctypes.CDLL("libc.so.6")
    (entry,) = (one.name for one in module.functions if "build12_3clocals_3e5entry" in one.name)
    module.link_in(llvm().parse_assembly(_WAY_IN.format(symbol=symbol, entry=entry)))
    for one in module.functions:
        if not one.is_declaration:
            one.linkage = "external" if one.name == symbol else "internal"
        elif not one.name.startswith("llvm.") and not any(hasattr(library, one.name) for library in libraries):
            raise TypeError(f"{name}: expected calls of C's own functions only; found {one.name}")
    for one in module.global_variables:
        if not one.is_declaration:
            one.linkage = "internal"


def _type_of(value: Any) -> Any:
    """What numba calls an argument, by nothing but its layout in ``compiled.py``."""
    if isinstance(value, tuple):
        named = type(value) if hasattr(value, "_fields") else None
        return types.BaseTuple.from_types([_type_of(one) for one in value], named)
    if isinstance(value, np.ndarray):
        return types.Array(numba.from_dtype(value.dtype), value.ndim, "C")
    return typeof(value.item() if isinstance(value, np.generic) else value)


def _taken(kind: Any) -> Any:
    """An intrinsic that reads all arguments from memory."""

    def take(_typing: Any, memory: Any) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            return _Reader(context, builder, args[0]).value(kind)

        return kind(memory), generate

    return extending.intrinsic(take)


class _Reader:
    """Reads values word after word."""

    def __init__(self, context: Any, builder: Any, memory: Any) -> None:
        self._context, self._builder, self._memory, self._next = context, builder, memory, ARGUMENTS_AT

    def value(self, kind: Any) -> Any:
        context, builder = self._context, self._builder
        if isinstance(kind, types.BaseTuple):
            return context.make_tuple(builder, kind, [self.value(one) for one in kind.types])
        if isinstance(kind, types.Array):
            return self._array(kind)
        word = self._word()
        if kind == types.float64:
            return builder.bitcast(word, context.get_value_type(kind))
        if kind == types.boolean:
            return builder.trunc(word, context.get_value_type(kind))
        return word

    def _array(self, kind: Any) -> Any:
        context, builder = self._context, self._builder
        array = context.make_array(kind)(context, builder)
        data, shape = self._word(), [self._word() for _ in range(kind.ndim)]
        item = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
        strides: list[Any] = []
        stride = item
        for length in reversed(shape):
            strides.insert(0, stride)
            stride = builder.mul(stride, length)
        populate_array(
            array, builder.inttoptr(data, array.data.type), cgutils.pack_array(builder, shape),
            cgutils.pack_array(builder, strides), item, None,
        )  # fmt: skip
        return array._getvalue()

    def _word(self) -> Any:
        self._next += 1
        return self._builder.load(cgutils.gep(self._builder, self._memory, self._next - 1))


def _given(returned: list[str]) -> Any:
    """An intrinsic that writes results to memory; ``returned`` gets their letters."""

    def give(_typing: Any, memory: Any, value: Any) -> Any:
        numbers = _numbers(value)
        returned[:] = [_returns(value, numbers)]

        def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            for k, kind in enumerate(numbers):
                one = builder.extract_value(args[1], k) if isinstance(value, types.BaseTuple) else args[1]
                slot = cgutils.gep(builder, args[0], RESULTS_AT + k)
                one = builder.zext(one, slot.type.pointee) if kind == types.boolean else one
                builder.store(one, builder.bitcast(slot, one.type.as_pointer()))
            return context.get_dummy_value()

        return types.none(memory, value), generate

    return extending.intrinsic(give)


def _numbers(value: Any) -> tuple[Any, ...]:
    if isinstance(value, types.NoneType):
        return ()
    return tuple(value.types) if isinstance(value, types.BaseTuple) else (types.unliteral(value),)


def _returns(value: Any, numbers: tuple[Any, ...]) -> str:
    if not set(numbers) <= set(_LETTERS) or len(numbers) > ARGUMENTS_AT - RESULTS_AT:
        raise TypeError(f"expected a function that returns at most eight numbers; found {value}")
    letters = "".join(_LETTERS[one] for one in numbers)
    return f"({letters})" if isinstance(value, types.BaseTuple) else letters
