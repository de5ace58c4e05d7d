"""The numbers of a golden page as arrays, and how far an answer is from what was expected.

Values in, values out: the rim maps ``golden.bin`` and runs the network. A fault in the data is ``BundleRefused``,
reason ``golden``; an answer that differs is a ``Worst`` that is not ``ok``, and what follows is the caller's.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from appliance.bundles.golden import GOLDEN_DATA_FILE, GOLDEN_FILE, Case, Golden, Tensor, refused

Array = npt.NDArray[Any]
Runs = Literal["runtime", "engine"]
"""What gave an answer: ONNX Runtime, which made the golden outputs too, or an engine compiled on the device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worst:
    """The output that came nearest to failing, or failed, of all cases that were compared.

    ``times_tolerance`` is the error of its worst element as a multiple of what is allowed there (outliers aside, 1 is
    the limit), ``error`` that error in the output's own unit, ``wrong`` the share of elements beyond the limit. ``why``
    says what else was wrong: a missing output, another shape, a number that is none.
    """

    case: str
    output: str
    error: float
    times_tolerance: float
    wrong: float
    ok: bool
    why: str = ""

    def __str__(self) -> str:
        if self.why:
            return f"case {self.case}, output {self.output}: {self.why}"
        return (
            f"case {self.case}, output {self.output}: off by {self.error:.4g}, "
            f"{self.times_tolerance:.3g} × its tolerance, {100 * self.wrong:.3g} % of its elements beyond"
        )


def check_data(golden: Golden, data: memoryview) -> None:
    """Whether ``data`` is the ``golden.bin`` that the page speaks of, and every expected number is finite.

    Raises: BundleRefused ("golden").
    """
    if len(data) != golden.data_bytes or hashlib.sha384(data).hexdigest() != golden.data_sha384:
        raise refused(f"{GOLDEN_DATA_FILE} is not the data that {GOLDEN_FILE} speaks of")
    for case in golden.cases:
        for tensor in case.outputs:
            if not np.isfinite(array_of(tensor, data)).all():
                raise refused(f"case {case.name}, output {tensor.name}: a golden number is not finite")


def array_of(tensor: Tensor, data: memoryview) -> Array:
    """The tensor as a read-only array over ``data``; nothing is copied."""
    flat = np.frombuffer(
        data, np.dtype(tensor.dtype).newbyteorder("<"), count=math.prod(tensor.shape), offset=tensor.offset
    )
    array = flat.reshape(tensor.shape)
    array.flags.writeable = False
    return array


def inputs_of(case: Case, data: memoryview) -> dict[str, Array]:
    """What the network is fed in one case, by input name."""
    return {tensor.name: array_of(tensor, data) for tensor in case.inputs}


def compare(golden: Golden, case: Case, answer: Mapping[str, Array], data: memoryview, *, runs: Runs) -> Worst:
    """Holds the named outputs of one run against one case; returns the worst of them.

    ``runs`` picks the tolerance. A missing output, another shape or type and a number that is none are wrong whatever
    the tolerance; an engine may give float32 where the network says float16 and the other way round.
    """
    return worst_of(_held(golden, case, tensor, answer.get(tensor.name), data, runs) for tensor in case.outputs)


def worst_of(found: Iterable[Worst]) -> Worst:
    """The first that is not ok, else the one that came nearest to its limit. Expects at least one."""
    return max(found, key=lambda worst: (not worst.ok, worst.times_tolerance))


def _held(golden: Golden, case: Case, tensor: Tensor, answer: Array | None, data: memoryview, runs: Runs) -> Worst:
    expected = array_of(tensor, data)
    why = _unlike(expected, answer)
    if why or answer is None:
        return Worst(
            case=case.name, output=tensor.name, error=math.inf, times_tolerance=math.inf, wrong=1.0, ok=False, why=why
        )
    both = golden.tolerances[tensor.name]
    tolerance = both.tolerance if runs == "runtime" else both.engine_tolerance
    wanted = expected.astype(np.float64)
    error = np.abs(answer.astype(np.float64) - wanted)
    allowed = tolerance.absolute + tolerance.relative * np.abs(wanted)
    beyond = error > allowed
    with np.errstate(divide="ignore", invalid="ignore"):
        times = np.where(error == 0, 0.0, error / allowed)
    place = int(np.argmax(times))
    wrong = float(np.count_nonzero(beyond)) / beyond.size
    return Worst(
        case=case.name,
        output=tensor.name,
        error=float(error.flat[place]),
        times_tolerance=float(times.flat[place]),
        wrong=wrong,
        ok=wrong <= tolerance.outliers,
    )


def _unlike(expected: Array, answer: Array | None) -> str:
    """Why an answer cannot even be compared; empty where it can."""
    if answer is None:
        return "the network did not give it"
    if answer.shape != expected.shape:
        return f"expected shape {expected.shape}; found {answer.shape}"
    if np.issubdtype(expected.dtype, np.floating) != np.issubdtype(answer.dtype, np.floating):
        return f"expected {expected.dtype}; found {answer.dtype}"
    if not np.isfinite(answer).all():
        return "a number in it is not finite"
    return ""
