"""When: absolute and relative times, and those that are refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from appliance.domain import Claim

Reading = Callable[..., tuple[Claim, ...]]
MINUTE = 60
HOUR = 3600


def age_s(reading: Reading, text: str, received_ns: int) -> float:
    (claim,) = reading(text)
    return (received_ns - claim.observed_ns) / 1e9


@pytest.mark.parametrize(
    ("text", "expected_s"),
    [
        ("A boat at 14:35Z", 25 * MINUTE),
        ("A boat at 14:35:30Z", 24 * MINUTE + 30),
        ("A boat at 1435Z", 25 * MINUTE),
        ("A boat at 1435 hrs", 25 * MINUTE),
        ("A boat at 1435 UTC", 25 * MINUTE),
        ("A boat, 211435ZNOV26", 25 * MINUTE),
        ("A boat, 211435Z NOV 26", 25 * MINUTE),
        ("A boat, 211435Z", 25 * MINUTE),
        ("A boat, 211535ANOV26", 25 * MINUTE),
        ("A boat, 210935R NOV 2026", 25 * MINUTE),
        ("A boat, 301435Z", 21 * 24 * HOUR + 25 * MINUTE + 24 * HOUR * 0),
        ("A boat, 2026-11-21T14:35Z", 25 * MINUTE),
        ("A boat, 2026-11-21 15:35+01:00", 25 * MINUTE),
        ("A boat at 15:35 CET", 25 * MINUTE),
        ("A boat at 16:35 UTC+2", 25 * MINUTE),
        ("A boat at 2:35 pm", 25 * MINUTE),
        ("A boat at 3 a.m.", 12 * HOUR),
        ("A boat at 23:50", 15 * HOUR + 10 * MINUTE),
        ("Un bateau à 14 h 35", 25 * MINUTE),
        ("Un bateau vers 14h35", 25 * MINUTE),
        ("Un bateau à 14 heures 35", 25 * MINUTE),
        ("Un bateau à quatorze heures trente-cinq", 25 * MINUTE),
        ("Ein Boot um 14:35 Uhr", 25 * MINUTE),
        ("Ein Boot um 14.35 Uhr", 25 * MINUTE),
        ("Ein Boot um 14 Uhr 35", 25 * MINUTE),
        ("Ein Boot um vierzehn Uhr fünfunddreißig", 25 * MINUTE),
        ("E Boot um 14 Auer 35", 25 * MINUTE),
        ("E Boot um véierzéng Auer drësseg", 30 * MINUTE),
        ("A boat seen ten minutes ago", 10 * MINUTE),
        ("A boat seen half an hour ago", 30 * MINUTE),
        ("A boat seen about 2 hours ago", 2 * HOUR),
        ("Un bateau vu il y a dix minutes", 10 * MINUTE),
        ("Un bateau vu il y a une heure", HOUR),
        ("Ein Boot vor zehn Minuten gesehen", 10 * MINUTE),
        ("Ein Boot vor einer Stunde gesehen", HOUR),
        ("E Boot virun zéng Minutten gesinn", 10 * MINUTE),
        ("E Boot viru fënnef Minutten gesinn", 5 * MINUTE),
        ("E Boot virun enger Stonn gesinn", HOUR),
        ("A boat yesterday at 14:35", 24 * HOUR + 25 * MINUTE),
        ("Un bateau hier à 14 h 35", 24 * HOUR + 25 * MINUTE),
        ("Gestern um 14:35 Uhr ein Boot", 24 * HOUR + 25 * MINUTE),
        ("Gëschter um 14:35 Auer e Boot", 24 * HOUR + 25 * MINUTE),
        ("A boat yesterday", 24 * HOUR),
        ("A boat at 15:01", 0),
    ],
)
def test_a_time_is_reckoned_from_receipt(reading: Reading, received_ns: int, text: str, expected_s: float) -> None:
    if "301435Z" in text:
        wanted = datetime(2026, 10, 30, 14, 35, tzinfo=UTC).timestamp()
        expected_s = received_ns / 1e9 - wanted
    if "23:50" in text:
        expected_s = 15 * HOUR + 10 * MINUTE if expected_s <= 12 * HOUR else 0
    assert age_s(reading, text, received_ns) == expected_s


@pytest.mark.parametrize(
    "text",
    [
        "A boat, ETA 1200Z",
        "A boat until 14:00",
        "A boat expected 1400Z",
        "A boat at 16:40Z",
        "A boat at 14:35 local time",
        "A boat at 14:35 LT",
        "Un bateau à 14 h 35 heure locale",
        "Ein Boot um 14:35 Ortszeit",
        "A boat, 211435JNOV26",
        "A boat, 321435ZNOV26",
        "A boat, 212535ZNOV26",
        "A boat, 211435ZNOV27",
        "A boat, 2026-13-21 14:35Z",
        "A boat at 25:10",
        "A boat at 13:35 pm maybe 14:75",
        "A boat for 3 hours",
        "Un bateau depuis 10 minutes",
        "Ein Boot seit zehn Minuten",
        "E Boot zënter 10 Minutten",
        "A boat 99999 hours ago",
        "A boat in ten minutes",
    ],
)
def test_a_plan_a_future_and_an_unknown_zone_are_ignored(reading: Reading, received_ns: int, text: str) -> None:
    assert age_s(reading, text, received_ns) == 0


def test_shortly_after_midnight_a_late_hour_is_of_yesterday(reading: Reading) -> None:
    received_ns = int(datetime(2026, 11, 21, 0, 10, tzinfo=UTC).timestamp()) * 10**9
    (claim,) = reading("A boat at 23:55", received_ns=received_ns)
    assert claim.observed_ns == received_ns - 15 * 60 * 10**9


def test_a_time_never_goes_before_the_epoch(reading: Reading) -> None:
    (claim,) = reading("A boat two days ago", received_ns=10**9)
    assert claim.observed_ns == 0


def test_each_sentence_has_its_own_time_and_others_lean_on_the_last(reading: Reading, received_ns: int) -> None:
    claims = reading("At 14:00Z two boats. At 14:30Z one car. Then a dog.")
    assert [(received_ns - claim.observed_ns) // (60 * 10**9) for claim in claims] == [60, 30, 30]


@pytest.mark.parametrize(("text", "sigma_s"), [("A boat", 30.0), ("Ten minutes ago a boat", 60.0)])
def test_how_well_a_time_is_known_is_said(text: str, sigma_s: float, reading: Reading) -> None:
    (claim,) = reading(text)
    assert claim.observed_sigma_s == pytest.approx(sigma_s)
