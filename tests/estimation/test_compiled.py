"""Compiled functions against the same functions in Python; what they refuse; what is kept of them and believed."""

from __future__ import annotations

import resource
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.estimation.compiled import Compiled, compiled, leaf
from appliance.estimation.gaussian import move, steps, update_pair, update_single, wrap
from appliance.estimation.measure import polar_to_local

FLOATS = st.floats(-1e6, 1e6)


class Pair(NamedTuple):
    values: np.ndarray
    scale: float


@leaf
def total(pair: Pair, first: int, whole: bool) -> float:
    value = 0.0
    for k in range(first, pair.values.shape[0]):
        value += pair.values[k] * pair.scale
    return value if whole else -value


@compiled
def with_scratch(size: int, room: int) -> int:
    scratch = np.zeros(room)
    for k in range(size):
        scratch[k] = 1.0
    return int(scratch.sum())


@compiled
def many(x: float, n: int, yes: bool) -> tuple[float, int, bool]:
    return x + 0.5, n + 1, not yes


@compiled
def sorts(values: np.ndarray) -> int:
    return int(np.argsort(values)[0])


@compiled
def hands_out(values: np.ndarray) -> np.ndarray:
    return values * 2.0


@compiled
def one_more(values: np.ndarray) -> None:
    for k in range(values.shape[0]):
        values[k] += 1.0


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "kept"))
    return tmp_path / "kept"


def fresh(function: object) -> Compiled:
    """The same function in a process that has not loaded it."""
    assert isinstance(function, Compiled)
    return Compiled(function.function, function.options)


# -- results ------------------------------------------------------------------------------------------------------


@settings(deadline=None)  # the first compiles
@given(st.lists(FLOATS, max_size=9), FLOATS, st.integers(0, 9), st.booleans())
def test_arrays_tuples_and_numbers_arrive(values: list[float], scale: float, first: int, whole: bool) -> None:
    pair = Pair(np.array(values, dtype=np.float64), scale)
    assert total(pair, first, whole) == total.function(pair, first, whole)  # type: ignore[attr-defined]


@settings(deadline=None)  # the first compiles
@given(FLOATS, st.integers(-(2**63), 2**63 - 2), st.booleans())
def test_several_results_come_back_as_their_own_kinds(x: float, n: int, yes: bool) -> None:
    found = many(x, n, yes)
    assert found == (x + 0.5, n + 1, not yes)
    assert [type(one) for one in found] == [float, int, bool]


def test_numbers_of_numpy_are_numbers() -> None:
    assert many(np.float64(1.0), np.int64(2), np.bool_(True)) == (1.5, 3, False)
    assert many.layouts == ("fio",)  # type: ignore[attr-defined]


@settings(deadline=None)  # the first compiles
@given(st.floats(0.0, 1e5), st.floats(-10.0, 10.0), st.floats(0.1, 1e4), st.floats(1e-8, 0.1))
def test_a_kernel_says_what_its_python_says(r: float, bearing: float, rr: float, bb: float) -> None:
    plain = polar_to_local.function  # type: ignore[attr-defined]
    assert polar_to_local(r, bearing, rr, 0.0, bb) == pytest.approx(plain(r, bearing, rr, 0.0, bb), rel=1e-12, abs=1e-9)
    assert wrap(bearing) == pytest.approx(wrap.function(bearing), abs=1e-12)  # type: ignore[attr-defined]


@settings(deadline=None)  # the first compiles
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 100.0), st.floats(0.0, 10.0), st.floats(-0.1, 0.1))
def test_predicting_and_updating_say_what_their_python_says(seed: int, dt: float, q: float, turn: float) -> None:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(4, 4))
    states = []
    for run in (lambda f: f, lambda f: f.function):
        x, p = np.arange(4.0), root @ root.T + np.eye(4)
        step, work = np.empty(7), np.zeros((3, 4, 2))
        run(steps)(dt, q, turn, step)
        run(move)(x, p, step)
        run(update_pair)(x, p, (1.0, 2.0), (1.0, dt), np.eye(2), work)
        run(update_single)(x, p, np.array([1.0, 0.0, 0.5, 0.0]), 0.3, 2.0)
        states.append((x, p))
    (x, p), (px, pp) = states
    np.testing.assert_allclose(x, px, rtol=1e-9, atol=1e-9 * np.abs(px).max())
    np.testing.assert_allclose(p, pp, rtol=1e-9, atol=1e-9 * np.abs(pp).max())


def test_threads_that_call_at_once_each_get_their_own() -> None:
    wrong: list[int] = []

    def call(n: int) -> None:
        wrong.extend(k for k in range(2000) if many(float(n), k, True) != (n + 0.5, k + 1, False))

    threads = [threading.Thread(target=call, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_is_made_inside_is_given_back() -> None:
    with_scratch(10, 1_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(100):
        assert with_scratch(1_000_000, 1_000_000) == 1_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # 800 MB were made


# -- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.zeros(4, np.float32), "float64, int64 or bool; found float32"),
        (np.zeros(4, ">f8"), "found >f8"),
        (np.zeros((4, 4))[:, 1], "in C order"),
        (np.asfortranarray(np.zeros((4, 4))), "in C order"),
        (np.frombuffer(bytes(32)), "writable"),
        ("text", "found str"),
        (None, "found NoneType"),
    ],
)
def test_what_is_no_argument_is_refused_before_anything_runs(value: object, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        one_more(value)


def test_a_whole_number_of_more_than_64_bits_is_refused() -> None:
    with pytest.raises(OverflowError, match="64 bits"):
        many(1.0, 2**63, True)


def test_memory_that_is_not_there_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        with_scratch(0, 2**59)


def test_what_needs_more_of_numba_is_refused_when_it_is_compiled(folder: Path) -> None:
    with pytest.raises(TypeError, match="sorts: expected calls of C's own functions only; found NRT_"):
        sorts(np.zeros(3))
    with pytest.raises(TypeError, match="returns at most eight numbers"):
        hands_out(np.zeros(3))
    assert not list(folder.glob("*"))


# -- what is kept -------------------------------------------------------------------------------------------------


def test_a_later_process_needs_no_numba(folder: Path, tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import sys
        from appliance.estimation.gaussian import wrap
        assert abs(wrap(7.0) - 0.7168146928204135) < 1e-15
        print("numba" in sys.modules)
        """
    )
    said = [
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.strip()
        for _ in range(2)
    ]
    assert said == ["True", "False"]


def _spoilt(kept: bytes) -> dict[str, bytes]:
    middle = len(kept) // 2
    return {
        "empty": b"",
        "cut off": kept[:middle],
        "a bit turned": kept[:middle] + bytes([kept[middle] ^ 1]) + kept[middle + 1 :],
        "zeros, as after a power cut": bytes(len(kept)),
        "another text": b"\xff\n{}\n",
    }


def test_who_did_not_compile_it_may_read_it(folder: Path) -> None:
    fresh(total)(Pair(np.arange(3.0), 2.0), 0, True)
    (file,) = folder.glob("*.code")
    assert file.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("how", ["empty", "cut off", "a bit turned", "zeros, as after a power cut", "another text"])
def test_a_spoilt_file_is_not_believed(folder: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(np.arange(3.0), 2.0)
    assert fresh(total)(pair, 0, True) == 6.0
    (file,) = folder.glob("*.code")
    whole = file.read_bytes()
    file.write_bytes(_spoilt(whole)[how])
    assert fresh(total)(pair, 0, True) == 6.0  # made anew, and kept
    monkeypatch.setattr("appliance.estimation.compiled._build", None)
    assert fresh(total)(pair, 0, True) == 6.0


def test_another_processor_gets_code_of_its_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(np.arange(3.0), 2.0)
    fresh(total)(pair, 0, True)
    monkeypatch.setenv("NUMBA_CPU_NAME", "generic")
    assert fresh(total)(pair, 0, True) == 6.0
    assert len(list(folder.glob("*.code"))) == 2


def test_other_sources_make_it_stale(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(np.arange(3.0), 2.0)
    fresh(total)(pair, 0, True)
    (file,) = folder.glob("*.code")
    before = file.read_bytes()
    monkeypatch.setattr("appliance.estimation.compiled._sources", lambda: b"edited")
    assert fresh(total)(pair, 0, True) == 6.0
    assert file.read_bytes() != before


def test_without_a_folder_it_is_compiled_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = tmp_path / "file"
    nowhere.write_bytes(b"")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(nowhere / "below"))
    assert fresh(total)(Pair(np.arange(3.0), 2.0), 0, True) == 6.0
    assert list(tmp_path.iterdir()) == [nowhere]


def test_a_full_disk_leaves_no_half_of_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("appliance.estimation.compiled.os.fsync", full)
    assert fresh(total)(Pair(np.arange(3.0), 2.0), 0, True) == 6.0
    assert not list(folder.iterdir())
