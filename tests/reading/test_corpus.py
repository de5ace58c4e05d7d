"""The corpus: reports in four languages with what they must be read as.

A file holds reports, ``> text`` with ``\\n`` for a line end, and under each its claims in order, one a line:

    [no] CATEGORY [xCOUNT] [SPAN TEXT] [@LAT,LON] [-AGEs] [cCONFIDENCE] [name=A_NAME] [mmsi=…] [icao=…]

What is left out is asserted to be absent: no place, the time of receipt, confidence 0.5 (F6). Every report was
received at 2026-11-21 15:00Z by an appliance at 50° N 0° E that knows the places in ``GAZETTEER``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from appliance.domain import Claim, Geodetic, Identity, Report
from appliance.geodesy import bearing_range
from appliance.reading import read

RECEIVED_NS = 1_795_273_200 * 10**9
NEAR = Geodetic(latitude_deg=50.0, longitude_deg=0.0)
GAZETTEER = {
    "Ryde": Geodetic(latitude_deg=50.73, longitude_deg=-1.16),
    "Portsmouth": Geodetic(latitude_deg=50.80, longitude_deg=-1.10),
    "Remich": Geodetic(latitude_deg=49.545, longitude_deg=6.367),
    "Esch-sur-Alzette": Geodetic(latitude_deg=49.4958, longitude_deg=5.9806),
}
TOLERANCE_M = 60.0
"""A place that was told by a distance is written in the corpus to five digits at most."""
CORPUS = Path(__file__).parent / "corpus"
_EXPECTED = re.compile(
    r"(?P<negated>no )?(?P<category>[a-z/]+)(?: x(?P<count>\d+))? \[(?P<text>.*)\]"
    r"(?P<rest>(?: (?:@|-|c|name=|mmsi=|icao=)\S+)*)"
)


@dataclass(frozen=True)
class Case:
    """One report of the corpus and the lines that say what it holds."""

    name: str
    text: str
    claims: tuple[str, ...]
    known_miss: bool = False
    """A line "! text": what is expected is right, and is not read so; `docs/reading.md` says why."""


def load(path: Path) -> list[Case]:
    cases: list[Case] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.startswith(("> ", "! ")):
            cases.append(Case(f"{path.stem}:{number}", line[2:].replace("\\n", "\n"), (), line[0] == "!"))
        elif line and not line.startswith("#"):
            cases[-1] = replace(cases[-1], claims=(*cases[-1].claims, line))
    return cases


HELD_OUT = [case for path in sorted((CORPUS.parent / "heldout").glob("*.txt")) for case in load(path)]
CASES = [case for path in sorted(CORPUS.glob("*.txt")) for case in load(path)]


def claims_of(text: str) -> tuple[Claim, ...]:
    report = Report(sensor_id="inbox", report_id="r1", author="a", received_ns=RECEIVED_NS, text=text)
    return read(report, near=NEAR, gazetteer=GAZETTEER)


def assert_claim(claim: Claim, expected: str, text: str, *, wording: bool = True) -> None:
    wanted = _EXPECTED.fullmatch(expected)
    assert wanted is not None, f"the corpus line is malformed: {expected}"
    rest = wanted["rest"].split()
    if wording:
        assert claim.text == wanted["text"]
        confidence = next((float(item[1:]) for item in rest if item[0] == "c"), 0.5)
        assert claim.confidence == pytest.approx(confidence, abs=1e-3)
    assert text[claim.span[0] : claim.span[1]] == claim.text
    assert claim.category == wanted["category"]
    assert claim.negated == bool(wanted["negated"])
    assert claim.count == int(wanted["count"] or 0)
    age_s = next((int(item[1:-1]) for item in rest if item.startswith("-")), 0)
    assert claim.observed_ns == RECEIVED_NS - age_s * 10**9
    identities = [item.split("=") for item in rest if "=" in item]
    assert set(claim.identities) == {Identity(kind=kind, value=value.replace("_", " ")) for kind, value in identities}
    assert_place(claim, next((item[1:] for item in rest if item[0] == "@"), None))


def assert_place(claim: Claim, wanted: str | None) -> None:
    if wanted is None:
        assert claim.position is None
        assert claim.covariance_m2 is None
        return
    assert claim.position is not None
    latitude, longitude = (float(part) for part in wanted.split(","))
    _, away_m = bearing_range(claim.position, Geodetic(latitude_deg=latitude, longitude_deg=longitude))
    assert away_m < TOLERANCE_M


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_report_of_the_corpus_is_read_as_its_author_meant_it(case: Case) -> None:
    claims = claims_of(case.text)
    assert [claim.text for claim in claims] == [re.search(r"\[(.*)\]", line)[1] for line in case.claims]
    for claim, expected in zip(claims, case.claims, strict=True):
        assert_claim(claim, expected, case.text)


@pytest.mark.parametrize("case", HELD_OUT, ids=lambda case: case.name)
def test_a_held_out_report_is_read_right_but_for_the_known_misses(case: Case, request: pytest.FixtureRequest) -> None:
    """Category, count, denial, place, time and identities; not the wording of spans, nor the confidence."""
    if case.known_miss:
        request.applymarker(pytest.mark.xfail(reason="a known miss", strict=True))
    claims = claims_of(case.text)
    assert len(claims) == len(case.claims)
    for claim, expected in zip(claims, case.claims, strict=True):
        assert_claim(claim, expected, case.text, wording=False)


def test_the_corpus_is_as_large_as_it_claims_to_be() -> None:
    per_file = {path.stem: len(load(path)) for path in CORPUS.glob("*.txt")}
    assert sum(per_file.values()) >= 120
    assert min(per_file[language] for language in ("en", "fr", "de", "lb")) >= 25
