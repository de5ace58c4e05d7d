from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import ctypes
import numpy as np
from appliance.host.memory import keep_large_blocks_apart

class Info(ctypes.Structure):
    _fields_ = [("f" + str(k), ctypes.c_size_t) for k in range(10)]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
if {apart}:
    assert keep_large_blocks_apart()
np.ones(8 << 20, np.uint8)  # freed at once
before = libc.mallinfo2().f4  # hblkhd: bytes in mapped blocks
kept = [np.ones(300 << 10, np.uint8) for _ in range(20)]
print(libc.mallinfo2().f4 - before)
"""


@pytest.mark.parametrize(("apart", "least", "most"), [(True, 20 * 300 << 10, 20 * 310 << 10), (False, 0, 0)])
def test_arrays_lie_outside_the_heap_whatever_was_freed_before(*, apart: bool, least: int, most: int) -> None:
    words = [sys.executable, "-c", SCRIPT.format(apart=apart)]
    said = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    assert least <= int(said) <= most
