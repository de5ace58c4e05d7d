"""LLVM, and machine code as it lies in a file and in memory. The only file that imports ``llvmlite``.

Not here: what is called, with which arguments, and where it is kept (``compiled.py``); numba (``compiler.py``).
"""

from __future__ import annotations

import functools
import os
from typing import Any, Final, NamedTuple, cast

RESULTS_AT: Final = 2
ARGUMENTS_AT: Final = RESULTS_AT + 8
"""Words of 8 bytes in the memory of a call: what numba returns and raises by pointer, results, arguments."""


class Built(NamedTuple):
    """Machine code of one function for one layout of arguments."""

    symbol: str
    returns: str
    """One letter a number that it returns: d, q, ? (as in `struct`); in brackets where it returns a tuple."""
    code: bytes
    """An object file."""


@functools.cache
def llvm() -> Any:
    """LLVM, ready for this processor."""
    from llvmlite import binding  # noqa: PLC0415 a hundred megabytes

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    binding.load_library_permanently("libm.so.6")
    return binding


def machine() -> Any:
    """What code is made for, and loaded as. Relocation as LLVM's loader wants it on each architecture."""
    target = llvm().Target.from_triple(llvm().get_process_triple())
    reloc = "static" if target.name.startswith("x86") else "default"
    return target.create_target_machine(
        cpu=cpu(), features=features(), opt=3, reloc=reloc, codemodel="jitdefault", jit=True
    )


def cpu() -> str:
    """The processor that code is made for, as LLVM calls it."""
    return os.environ.get("NUMBA_CPU_NAME") or cast(str, llvm().get_host_cpu_name())


def features() -> str:
    """What it can do beyond its name."""
    told = os.environ.get("NUMBA_CPU_FEATURES")
    if told is not None or cpu() == "generic":
        return told or ""
    return cast(str, llvm().get_host_cpu_features().flatten())


@functools.cache
def _engine() -> Any:
    return llvm().create_mcjit_compiler(llvm().parse_assembly(""), machine())


def linked(built: Built) -> int:
    """The address of the code, which stays in memory for good."""
    engine = _engine()
    engine.add_object_file(llvm().ObjectFileRef.from_data(built.code))
    engine.finalize_object()
    address: int = engine.get_function_address(built.symbol)
    return address
