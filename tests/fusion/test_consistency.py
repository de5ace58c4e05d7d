"""Errors are as large as fusion says, for each kind of measurement; ``python -m benchmarks.consistency`` runs more."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.consistency import KINDS, POSE_OFF, Kind, one_run, within

RUNS = 25


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_squared_errors_in_units_of_the_told_covariance_lie_where_they_belong(kind: Kind) -> None:
    rng = np.random.default_rng(19)
    runs = [one_run(kind, rng) for _ in range(RUNS)]
    freedom = runs[0][2][0][1]
    for values, degrees in (
        ([run[0] for run in runs], 2),
        ([run[1] for run in runs], 2),
        ([value for run in runs for value, _ in run[2]], freedom),
    ):
        mean, low, high = within(values, degrees, 0.999)
        assert low < mean < high, (kind.name, mean, low, high)


@pytest.mark.parametrize("kind", POSE_OFF, ids=lambda kind: kind.name)
def test_a_camera_whose_pose_is_off_is_told_no_surer_than_it_is(kind: Kind) -> None:
    rng = np.random.default_rng(19)
    runs = [one_run(kind, rng) for _ in range(2 * RUNS)]
    place, low, high = within([run[0] for run in runs], 2, 0.999)
    assert low < place < high
    assert within([run[1] for run in runs], 2, 0.999)[0] < high


def test_a_filter_that_is_too_sure_of_itself_is_found_out() -> None:
    rng = np.random.default_rng(19)
    sure = [4.0 * one_run(KINDS[0], rng)[0] for _ in range(RUNS)]  # as if every told sigma were half of what it is
    mean, _, high = within(sure, 2, 0.999)
    assert mean > high
