"""Admiralty grades and the confidence that we give them.

The Admiralty code (AJP-2.1, STANAG 2511) grades the source A–F and the information 1–6, each for itself, and gives
no numbers: the table below is ours, and `docs/reading.md` prints it. F and 6 mean *cannot be judged*, not *bad*.

Rules: the grade that came with the report wins over one in its text; a grade in the text counts for its own
sentence, and for the report where it is the only one. In text a grade needs a label, brackets, or a sentence of its
own: *B2* and *A6* are roads as well. None, or one that is malformed, is F6.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from appliance.reading.text import Folded

CANNOT_BE_JUDGED: Final = "F6"
CONFIDENCE: Final = {
    "A": (0.95, 0.85, 0.65, 0.35, 0.10, 0.70),
    "B": (0.90, 0.80, 0.60, 0.35, 0.10, 0.65),
    "C": (0.85, 0.70, 0.55, 0.30, 0.10, 0.60),
    "D": (0.75, 0.60, 0.50, 0.25, 0.10, 0.45),
    "E": (0.65, 0.50, 0.40, 0.20, 0.05, 0.30),
    "F": (0.80, 0.65, 0.50, 0.30, 0.10, 0.50),
}
"""Reliability of the source → confidence for credibility 1 to 6."""
_GRADE: Final = re.compile(r"\s{0,3}([A-Fa-f])\s?[-/]?\s?([1-6])\s{0,3}")
_LABELLED: Final = re.compile(
    r"\b(?:admiralty(?: code| grade)?|grade[d]?|grading|graded as|rated|rating|evaluation|évaluation|cotation|cotée?|"
    r"note|fiabilité|bewertung|bewertet|einstufung|quellenbewertung|bewäertung|bewäert|source rating|eval|"
    r"quelle|source|nato)"
    r"\s?(?:mat|mit|as|à|is|:|=|,)?\s{0,2}(?P<grade>[a-f]\s?[-/]?\s?[1-6])(?![\w\ufffd]|[.,][0-9])"
)
_SPELLED: Final = re.compile(
    r"\b(?:reliability|fiabilité|zuverlässigkeit|zouverlässegkeet)\s?:?\s?(?P<source>[a-f])[\s,;/]{1,3}"
    r"(?:and |et |und |an )?"
    r"(?:credibility|crédibilité|glaubwürdigkeit|glafwierdegkeet)\s?:?\s?(?P<fact>[1-6])(?![\w\ufffd])"
)
_BRACKETED: Final = re.compile(r"[(\[]\s?(?P<grade>[a-f]\s?[-/]?\s?[1-6])\s?[)\]]")
_ALONE: Final = re.compile(r"(?:^|[\n.;!?])[ ]{0,3}(?P<grade>[a-f][-/]?[1-6])[ ]{0,2}(?=[.;!]|\n|$)")
_ROAD: Final = re.compile(
    r"(?:motorway|autoroute|autobahn|road|route|strasse|straße|stroos|autobunn|highway|bundesstraße)\s?$"
)
_LOOK_BEHIND: Final = 16


@dataclass(frozen=True, slots=True)
class Grade:
    """A grade in the text, over ``start`` to ``end`` of the plain text."""

    start: int
    end: int
    value: str


def confidence(grade: str) -> float:
    """The confidence of a grade such as ``B2``."""
    return CONFIDENCE[grade[0]][int(grade[1]) - 1]


def given(grade: str | None) -> str | None:
    """The grade that came with the report, or None where there is none that can be read."""
    match = _GRADE.fullmatch(grade or "") if len(grade or "") < _LOOK_BEHIND else None
    return None if match is None else f"{match[1].upper()}{match[2]}"


def grades(text: Folded) -> tuple[Grade, ...]:
    """Every grade that the text gives, in order."""
    found: dict[int, Grade] = {}
    for pattern in (_LABELLED, _BRACKETED, _ALONE):
        for match in pattern.finditer(text.low):
            start = match.start("grade")
            if not _ROAD.search(text.low[max(0, match.start() - _LOOK_BEHIND) : match.start()]):
                value = match["grade"]
                found.setdefault(
                    start, Grade(match.start("grade"), match.end("grade"), f"{value[0].upper()}{value[-1]}")
                )
    for match in _SPELLED.finditer(text.low):
        found[match.start()] = Grade(match.start(), match.end(), f"{match['source'].upper()}{match['fact']}")
    return tuple(found[start] for start in sorted(found))
