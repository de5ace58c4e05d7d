"""Plain lines of progress: each tenth once, with rate and remaining time."""

from __future__ import annotations

import itertools

import pytest

from export import progress


def test_a_line_for_each_tenth_with_rate_and_remaining_time() -> None:
    said: list[str] = []
    clock = itertools.count(0.0, 0.5)
    show = progress.plain("pictures", said.append, lambda: next(clock))
    for done in range(201):
        show("calibrating", done, 200)
    assert len(said) == 11
    assert said[0] == "calibrating: 0 of 200 pictures, 0 %"
    assert said[5].startswith("calibrating: 100 of 200 pictures, 50 %, ")
    assert said[5].endswith(" s left")
    assert said[-1].endswith(" 0 s left")


def test_two_tasks_are_counted_apart() -> None:
    said: list[str] = []
    show = progress.plain("steps", said.append)
    show("one", 10, 10)
    show("two", 10, 10)
    assert [line.split(":")[0] for line in said] == ["one", "two"]


def test_long_times_are_spelt_in_minutes_and_rates_in_three_digits() -> None:
    said: list[str] = []
    clock = iter([0.0, 10.0, 10.0])
    show = progress.plain("bytes", said.append, lambda: next(clock))
    show("reading", 25_000_000, 1_000_000_000)
    assert said == ["reading: 25000000 of 1000000000 bytes, 2 %, 2.5 M bytes/s, 6 min 30 s left"]


def test_nothing_is_shown_beside_json(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.shown("steps", quiet=True) as show:
        show("exporting", 1, 2)
    assert capsys.readouterr() == ("", "")


def test_without_a_terminal_lines_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.shown("steps") as show:
        show("exporting", 1, 2)
    out, err = capsys.readouterr()
    assert (out, err.startswith("exporting: 1 of 2 steps, 50 %")) == ("", True)
