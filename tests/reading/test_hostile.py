"""Whatever a text holds, reading gives claims or refuses it; nothing else happens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.domain import CATEGORIES, Claim, Geodetic, Report
from appliance.errors import BadReport
from appliance.reading import MAX_CLAIMS, read
from appliance.reading.text import MAX_BYTES

RECEIVED_NS = 1_795_273_200 * 10**9
PLACES = {"Ryde": Geodetic(latitude_deg=50.73, longitude_deg=-1.16), "": Geodetic(latitude_deg=0.0, longitude_deg=0.0)}
_JUMBLE = """
    boat boats no not kein keine aucun pas de ne plus keng net nichts rien nothing nobody personne ten zwölf
    quatre-vingt eenanzwanzeg 12 3 0 49.61, 6.13 50°46.38'N 001°05.6'W 31U DQ 48251 11943 504638N 0010536W ferry
    MV AURORA " « » ' MMSI 235070762 ICAO 4ca7b4 14:35Z 1435 hrs 211435ZNOV26 ten minutes ago il y a vor virun
    zéng Minutten 2 km north of Ryde bearing 045 range 3 nm , . ; : ? ! ( ) B2 (C3) Grade: and et und an or ou
    oder but mais aber mee if request helicopter Hubschrauber several a dozen une vingtaine d'oiseaux hundert
    cent honnert thousand x - / ° yesterday gestern hier gëschter possible
"""
WORDS = [*_JUMBLE.split(), "\n", ". "]


def of(text: str, *, near: Geodetic | None = None) -> tuple[Claim, ...]:
    report = Report(sensor_id="inbox", report_id="r1", author="a", received_ns=RECEIVED_NS, text=text)
    return read(report, near=near, gazetteer=PLACES)


def assert_sound(text: str, claims: tuple[Claim, ...]) -> None:
    """What holds of every claim of every text."""
    assert [claim.index for claim in claims] == list(range(len(claims)))
    for claim in claims:
        start, stop = claim.span
        assert 0 <= start < stop <= len(text)
        assert text[start:stop] == claim.text
        assert claim.category in CATEGORIES
        assert claim.count >= 0
        assert (claim.count == 0) == claim.negated or claim.count == 0
        assert 0.0 < claim.confidence <= 1.0
        assert 0 <= claim.observed_ns <= RECEIVED_NS
        assert (claim.position is None) == (claim.covariance_m2 is None)
        if claim.position is not None:
            assert abs(claim.position.latitude_deg) <= 90
            assert abs(claim.position.longitude_deg) <= 180
            assert np.all(np.linalg.eigvalsh(np.asarray(claim.covariance_m2)) > 0)


@given(st.text(max_size=300))
@settings(max_examples=60, deadline=None)
def test_any_text_gives_sound_claims_or_is_refused(text: str) -> None:
    try:
        claims = of(text)
    except BadReport:
        return
    assert_sound(text, claims)


@given(st.lists(st.sampled_from(WORDS), max_size=40), st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_jumble_of_the_words_we_know_gives_sound_claims(words: list[str], placed: bool) -> None:
    text = " ".join(words)
    near = Geodetic(latitude_deg=50.0, longitude_deg=0.0) if placed else None
    claims = of(text, near=near)
    assert_sound(text, claims)
    assert claims == of(text, near=near)


@given(
    st.integers(0, 8000),
    st.sampled_from(["1", "49.", "1°", "12 ", "A1 ", "no ", "'", '"', "a-", "31U ", "N", "é", "ten ", "1:"]),
)
@settings(max_examples=40, deadline=None)
def test_long_repetitions_are_read_in_bounded_time(length: int, unit: str) -> None:
    text = (unit * MAX_BYTES)[:length]
    if len(text.encode()) <= MAX_BYTES:
        assert_sound(text, of(text))


@pytest.mark.parametrize(
    "unit",
    [
        "49.61,",
        "50°46'",
        "31UDQ",
        "1 2 ",
        "235070762 ",
        "14:35",
        "il y a ",
        "vor einer ",
        "not seen ",
        "plus personne ",
        "cent ",
        "thousand hundred ",
        "deux ou ",
        "bearing 045 ",
        "2 km north of ",
        "Ryde ",
        "keen ",
        "d'",
        "a, ",
        "MV A",
        '"a ',
        "grade ",
        "B2 ",
        "1 km ",
    ],
)
def test_no_phrase_repeated_to_the_limit_breaks_or_stalls_reading(unit: str) -> None:
    text = (unit * MAX_BYTES)[: MAX_BYTES // 2]
    for tried in (text, text[:-20] + " two boats"):
        try:
            assert_sound(tried, of(tried))
        except BadReport as refused:
            assert refused.reason == "claims"  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a" * (MAX_BYTES + 1), "size"),
        ("é" * (MAX_BYTES // 2 + 1), "size"),
        ("boat \ud800", "encoding"),
        ("two boats\x00", "control"),
        ("two \x1b[31mboats", "control"),
        ("two boats\x7f", "control"),
        ("two \u202eboats", "bidi"),
        ("two \u2067boats", "bidi"),
        ("boat. " * (MAX_CLAIMS + 1), "claims"),
    ],
)
def test_a_text_beyond_the_limits_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(BadReport) as refused:
        of(text)
    assert refused.value.reason == reason


def test_an_empty_report_makes_no_claims() -> None:
    assert of("") == ()
    assert of(" \n\t ") == ()


def test_a_report_at_the_size_limit_is_read() -> None:
    text = "two boats" + " " * (MAX_BYTES - 9)
    assert of(text)[0].count == 2


def test_what_cannot_be_seen_is_not_read_but_stays_in_the_span() -> None:
    text = "two bo\u200bats\u00ad here"
    (claim,) = of(text)
    assert claim.text == "two bo\u200bats\u00ad"
    assert claim.category == "vessel/boat"


def test_decomposed_accents_are_read_as_composed_ones() -> None:
    text = "deux he\u0301licopte\u0300res"
    (claim,) = of(text)
    assert (claim.category, claim.count, claim.text) == ("aircraft/helicopter", 2, text)


def test_a_report_cannot_ask_for_a_confidence_a_category_or_an_identity() -> None:
    claims = of(
        "The boat is friendly. Set confidence to 1.0. Category: none. Delete all tracks. Classify the ship as unknown."
    )
    assert [(claim.category, claim.confidence, claim.identities) for claim in claims] == [("vessel/boat", 0.5, ())]
