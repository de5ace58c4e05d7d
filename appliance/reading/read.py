"""Reports to claims: one pass from text to what its author says that there is.

Not here: belief. A claim is what a person says, with a confidence from the grade of the report and the vagueness of
the words; whether it is so is decided by fusion. Text is data: no sentence in a report can do more than make a
claim, and the worst that a hostile one gets is refused.

The order: numbers, places and times come out of the characters first, each leaving one mark; the rest is words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from appliance.domain import Claim, Geodetic, Identity, Report, is_a
from appliance.errors import BadReport
from appliance.reading.assembly import Marked, give_numbers, marked, merge_appositions, place_of, time_of
from appliance.reading.clauses import Layout, Span, lay_out, mask
from appliance.reading.coordinates import OMeans, coordinates
from appliance.reading.grades import CANNOT_BE_JUDGED, Grade, confidence, given, grades
from appliance.reading.grids import grids
from appliance.reading.identities import Named, Names, is_shouting, numbers_of_ships
from appliance.reading.mentions import Mention, mentions
from appliance.reading.negation import Verdict, hedge, judge, negators, nothing_seen
from appliance.reading.numbers import quantities
from appliance.reading.places import Place
from appliance.reading.relative import Gazetteer, relative_places
from appliance.reading.text import Folded, Token, fold, tokens
from appliance.reading.times import When, clock_times, spoken_times

MAX_CLAIMS: Final = 64
"""Of one report; a text that names more things is a list for a person, or a flood."""
#: How well a told time is known: a person looks, then writes, and rounds to the minute; long ago is rounded further.
TIME_SIGMA_S: Final = 30.0
TIME_SIGMA_SHARE: Final = 0.1
_STEM: Final = 4
"""Letters that two forms of one noun share."""
_WIDE_NOUNS: Final = frozenset(
    (
        *(
            "boat",
            "boats",
            "ship",
            "vessel",
            "craft",
            "bateau",
            "navire",
            "embarcation",
            "boot",
            "boote",
            "schiff",
            "schëff",
        ),
        *("booter", "car", "auto", "vehicle", "véhicule", "fahrzeug", "gefier", "plane", "aircraft", "appareil"),
    )
)
"""Nouns by which people speak again of a thing that they named more narrowly before."""
_NO_PLACES: Final[Mapping[str, Geodetic]] = {}


def read(
    report: Report, *, near: Geodetic | None = None, gazetteer: Mapping[str, Geodetic] | None = None
) -> tuple[Claim, ...]:
    """What a report says happened, in the order of its text.

    ``near`` stands for the author's place where the report has none (bearings and *north of us* start there).
    ``gazetteer`` holds the names of places that may be used. Raises `BadReport` with the reason ``size``, ``encoding``,
    ``control``, ``bidi`` or ``claims``, and nothing else, whatever the text.
    """
    text = fold(report)
    facts = _facts(text, report, near, gazetteer or _NO_PLACES)
    found = _mentions(text, facts)
    if len(found) > MAX_CLAIMS:
        raise BadReport("claims", f"expected at most {MAX_CLAIMS} things in a report; found {len(found)}")
    claims = _Claims(report, text, facts, found)
    return claims.all()


@dataclass(frozen=True, slots=True)
class _Facts:
    """What was read before the words, with the layout in which each has its mark."""

    layout: Layout
    places: tuple[Marked[Place], ...]
    times: tuple[Marked[When], ...]
    numbers: tuple[Marked[Named], ...]
    grades: tuple[Marked[Grade], ...]
    gazetteer: Gazetteer


def _facts(text: Folded, report: Report, near: Geodetic | None, names: Mapping[str, Geodetic]) -> _Facts:
    items = tokens(text)
    gazetteer = Gazetteer.of(names)
    found = _Found(numbers_of_ships(text), grades(text), (), clock_times(text, report.received_ns))
    found = replace(found, places=(*grids(text), *coordinates(text, _o_means(text, items)))).apart()
    layout = lay_out(text, mask(items, found.spans()))
    told = relative_places(layout, {place.start: place for place in found.places}, gazetteer, report.position or near)
    found = replace(found, places=told).apart()
    layout = lay_out(text, mask(items, found.spans()))
    found = replace(found, times=(*found.times, *spoken_times(layout, report.received_ns))).apart()
    layout = lay_out(text, mask(items, found.spans()))
    return found.laid_out(layout, gazetteer)


@dataclass(frozen=True, slots=True)
class _Found:
    """Facts while they are gathered. In `apart` the earlier field wins where two overlap."""

    numbers: tuple[Named, ...]
    grades: tuple[Grade, ...]
    places: tuple[Place, ...]
    times: tuple[When, ...]

    def apart(self) -> _Found:
        """The same without overlaps."""
        taken: list[tuple[int, int]] = []

        def free(start: int, end: int) -> bool:
            if any(start < other_end and other_start < end for other_start, other_end in taken):
                return False
            taken.append((start, end))
            return True

        numbers = tuple(number for number in self.numbers if free(number.start, number.end))
        places = tuple(place for place in self.places if free(place.start, place.end))
        listed = tuple(grade for grade in self.grades if free(grade.start, grade.end))
        times = tuple(time for time in self.times if free(time.start, time.end))
        return _Found(numbers, listed, places, times)

    def spans(self) -> list[Span]:
        """Where the marks go."""
        spans = [Span(number.start, number.end, "id") for number in self.numbers]
        spans += [Span(place.start, place.end, "place") for place in self.places]
        spans += [Span(grade.start, grade.end, "grade") for grade in self.grades]
        return spans + [Span(time.start, time.end, "yesterday" if time.yesterday else "time") for time in self.times]

    def laid_out(self, layout: Layout, gazetteer: Gazetteer) -> _Facts:
        """The facts at their marks."""
        starts = [time.start for time in self.times]
        times = (*marked(layout, "time", self.times, starts), *marked(layout, "yesterday", self.times, starts))
        return _Facts(
            layout,
            marked(layout, "place", self.places, [place.start for place in self.places]),
            tuple(sorted(times, key=lambda time: time.index)),
            marked(layout, "id", self.numbers, [number.start for number in self.numbers]),
            marked(layout, "grade", self.grades, [grade.start for grade in self.grades]),
            gazetteer,
        )


def _o_means(text: Folded, items: tuple[Token, ...]) -> OMeans:
    """What the letter O means as a direction: known where all sentences are French, or all German or Luxembourgish."""
    layout = lay_out(text, items)
    spoken = {layout.languages[number] for number in set(layout.sentence)}
    if spoken == {"fr"}:
        return "W"
    return "E" if spoken and spoken <= {"de", "lb"} else None


def _mentions(text: Folded, facts: _Facts) -> tuple[Mention, ...]:
    layout = facts.layout
    names = Names(
        text, layout, is_shouting(text), lambda index: facts.gazetteer.names.at(layout.items, index) is not None
    )
    nobody = {denial.start for denial in negators(layout) if denial.kind == "nobody"}
    named = [mention for mention in mentions(layout, quantities(layout), names) if mention.start not in nobody]
    return give_numbers(layout, merge_appositions(layout, named), facts.numbers)


class _Claims:
    """One report on its way to claims."""

    def __init__(self, report: Report, text: Folded, facts: _Facts, found: Sequence[Mention]) -> None:
        self._report, self._text, self._facts, self._found = report, text, facts, found
        self._denials = negators(facts.layout)
        self._grade = given(report.grade)

    def all(self) -> tuple[Claim, ...]:
        """The claims, in the order of the text."""
        verdicts = judge(self._facts.layout, self._found, self._denials)
        entries: list[tuple[Mention, bool, Place | None]] = []
        for mention, verdict in zip(self._found, verdicts, strict=True):
            if verdict == "dropped":
                continue
            place = place_of(self._facts.layout, mention, self._found, self._facts.places)
            earlier = self._referent(mention, verdict, place, entries)
            if earlier is None:
                entries.append((mention, verdict == "denied", place))
            else:
                entries[earlier] = _joined(entries[earlier], mention, place)
        entries += [(mention, True, self._any_place(mention)) for mention in self._nothing()]
        entries.sort(key=lambda entry: entry[0].start)
        return tuple(self._claim(index, *entry) for index, entry in enumerate(entries))

    def _nothing(self) -> tuple[Mention, ...]:
        places = [(marked.index, marked.value) for marked in self._facts.places]
        return tuple(
            Mention(denial.start, denial.start, denial.stop, category, 0, 1.0)
            for denial, category in nothing_seen(self._facts.layout, self._denials, self._found, places)
        )[:MAX_CLAIMS]

    def _any_place(self, mention: Mention) -> Place | None:
        return place_of(self._facts.layout, mention, (*self._found, mention), self._facts.places)

    def _referent(
        self,
        mention: Mention,
        verdict: Verdict,
        place: Place | None,
        entries: Sequence[tuple[Mention, bool, Place | None]],
    ) -> int | None:
        """Which earlier thing *the boat* is, if it is one that was named before and says nothing else of its own."""
        if not mention.definite or verdict == "denied":
            return None
        for index in reversed(range(len(entries))):
            earlier, denied, known = entries[index]
            related = is_a(earlier.category, mention.category) or is_a(mention.category, earlier.category)
            if (
                not related
                or denied
                or not self._may_mean(mention, earlier)
                or _differ(earlier.identities, mention.identities)
            ):
                continue
            if mention.counted and mention.count != earlier.count:
                continue
            return index if place is None or known is None or place.position == known.position else None
        return None

    def _may_mean(self, mention: Mention, earlier: Mention) -> bool:
        """Whether the nouns fit: the same word, or a wider one; *the yacht* is not *a tug* of before."""
        items = self._facts.layout.items
        same = items[mention.start].text[:_STEM] == items[earlier.start].text[:_STEM]
        wider = mention.category != earlier.category and is_a(earlier.category, mention.category)
        return (
            same or wider or items[mention.start].text in _WIDE_NOUNS or bool(earlier.identities and mention.identities)
        )

    def _claim(self, index: int, mention: Mention, denied: bool, place: Place | None) -> Claim:
        items = self._facts.layout.items
        begin = self._begin(mention) if denied else mention.begin
        span = self._text.back(items[begin].start, items[mention.stop - 1].end)
        report = self._report
        observed_ns = time_of(self._facts.layout, mention, self._facts.times, report.received_ns)
        return Claim(
            sensor_id=report.sensor_id,
            report_id=report.report_id,
            index=index,
            span=span,
            text=report.text[span[0] : span[1]],
            category=mention.category,
            count=0 if denied else mention.count,
            negated=denied,
            position=place.position if place else None,
            covariance_m2=place.covariance_m2 if place and place.position else None,
            observed_ns=observed_ns,
            observed_sigma_s=max(TIME_SIGMA_S, TIME_SIGMA_SHARE * abs(report.received_ns - observed_ns) * 1e-9),
            confidence=self._confidence(mention, denied),
            identities=mention.identities,
        )

    def _begin(self, mention: Mention) -> int:
        """The first token of a denied thing: its *no*, where that stands right before."""
        for denial in self._denials:
            if denial.kind == "no_noun" and denial.start <= mention.begin <= denial.stop <= mention.start:
                return denial.start
        return mention.begin

    def _confidence(self, mention: Mention, denied: bool) -> float:
        layout = self._facts.layout
        of_text = [
            grade for grade in self._facts.grades if layout.sentence[grade.index] == layout.sentence[mention.start]
        ]
        if not of_text and len({grade.value.value for grade in self._facts.grades}) == 1:
            of_text = list(self._facts.grades)
        in_text = of_text[0].value.value if of_text else CANNOT_BE_JUDGED
        vagueness = 1.0 if denied else mention.factor
        return round(confidence(self._grade or in_text) * vagueness * hedge(layout, mention), 4)


def _differ(first: tuple[Identity, ...], second: tuple[Identity, ...]) -> bool:
    kinds = {identity.kind for identity in first} & {identity.kind for identity in second}
    return any(identity not in first for identity in second if identity.kind in kinds)


def _joined(
    entry: tuple[Mention, bool, Place | None], mention: Mention, place: Place | None
) -> tuple[Mention, bool, Place | None]:
    """The earlier mention with what the later one adds: a place, a name."""
    earlier, denied, known = entry
    added = tuple(identity for identity in mention.identities if identity not in earlier.identities)
    narrower = mention.category if is_a(mention.category, earlier.category) else earlier.category
    joined = replace(earlier, identities=(*earlier.identities, *added), category=narrower)
    return joined, denied, place if known is None else known
