from __future__ import annotations

import subprocess
import sys

SCRIPT = """
from pathlib import Path
from appliance.host.memory import give_back

def held():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) << 10

blocks = [bytes([k % 256]) * 50_000 for k in range(1_000)]
full = held()
del blocks[1::2], blocks[:-1]  # the last one stays, at the heap's end: free() alone cannot shorten the heap
before = held()
assert give_back()
print(full - before, before - held())
"""


def test_what_is_free_in_the_middle_of_the_heap_goes_back() -> None:
    said = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60).stdout
    by_itself, given_back = map(int, said.split())
    assert by_itself < 1_000_000
    assert given_back > 45_000_000
