"""When a report says that it happened, reckoned from when it was received.

Understood: DTG ``211435ZNOV26`` and ``211435Z`` · ``14:35Z`` · ``1435Z`` · ``1435 hrs`` · ``14:35 CET`` · ``2:35
pm`` · ``à 14 h 35`` · ``um 14:35 Uhr`` · ``um 14 Auer 35`` · ``um vierzehn Uhr`` · ISO 8601 · *yesterday at …* ·
*ten minutes ago*, *il y a dix minutes*, *vor zehn Minuten*, *virun zéng Minutten*.

Rules:
- A time without a zone is UTC. A time that the author calls local is refused: the zone is not known.
- An hour without a date is the last one that has been: of today, or of yesterday if that is less than twelve hours
  ago. Anything later than the report (two minutes of clock error allowed) is a plan or a slip, and is ignored.
- After *ETA*, *until*, *expected* and their like a time is a plan, and is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from appliance.reading.clauses import Layout
from appliance.reading.lexicon import Lexicon
from appliance.reading.numbers import number_at
from appliance.reading.text import Folded, Token

SECOND_NS: Final = 1_000_000_000
DAY_S: Final = 86_400
CLOCK_ERROR_S: Final = 120
"""How far an author's clock may run ahead of ours."""
LONGEST_YESTERDAY_S: Final = DAY_S // 2
"""An hour of the clock that lies further back than this without a date is taken for one that is still to come."""
LONGEST_AGO_S: Final = 31 * DAY_S
_EDGE: Final = r"(?<![\w\ufffd])(?<![\d\ufffd][.,:])"
_ZONES_S: Final = {
    "z": 0, "utc": 0, "gmt": 0, "zulu": 0, "tu": 0, "cet": 3600, "mez": 3600, "hec": 3600, "cest": 7200, "mesz": 7200,
    "bst": 3600, "wet": 0, "west": 3600, "eet": 7200, "eest": 10800,
}  # fmt: skip
_LETTERS: Final = "abcdefghiklm"
_MONTHS: Final = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DTG: Final = re.compile(
    _EDGE + r"(?P<day>[0-3][0-9])(?P<hour>[0-2][0-9])(?P<minute>[0-5][0-9])\s?(?P<zone>[a-z])"
    r"(?:\s?(?P<month>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)\s?(?P<year>[0-9]{2}(?:[0-9]{2})?)?)?(?![\w\ufffd])"
)
_ISO: Final = re.compile(
    _EDGE + r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[t ](?P<hour>[0-2][0-9]):(?P<minute>[0-5][0-9])"
    r"(?::(?P<second>[0-5][0-9]))?(?:\.[0-9]{1,9})?"
    r"\s?(?P<zone>z|utc|[+-][0-9]{2}:?[0-9]{2})?(?![\w\ufffd])"
)
_ZONE: Final = (
    r"(?:\s?(?P<zone>z|utc|gmt|zulu|tu|cet|mez|cest|mesz|bst)(?:\s?(?P<shift>[+-][0-9]{1,2}))?(?![\w\ufffd])"
    r"|\s?(?P<local>(?:heures?\s)?locales?|local(?:\stime)?|lt|ortszeit|lokalzeit|lokalzäit|uertszäit)(?![\w\ufffd]))"
)
_AFTERNOON: Final = (
    r"(?:\s?(?P<half>a\.?m\.?|p\.?m\.?|in the (?:afternoon|evening)|de l'après-midi|du soir|nachmittags|abends|"
    r"nomëttes|owes)(?![\w\ufffd]))"
)
_CLOCKS: Final = tuple(
    re.compile(_EDGE + form + rf"{_AFTERNOON}?(?:{_ZONE})?(?![\w\ufffd]|[:.][0-9])")
    for form in (
        r"(?P<hour>[0-2]?[0-9]):(?P<minute>[0-5][0-9])(?::(?P<second>[0-5][0-9]))?(?:\s?(?:uhr|auer|hrs|hours|h)(?!\w))?",
        r"(?P<hour>[0-2]?[0-9])\s?(?:heures?|uhr|auer|h)\s?(?P<minute>[0-5][0-9])?(?!\w)(?!\s?[.,]?[0-9])",
        r"(?P<hour>[0-2]?[0-9])\.(?P<minute>[0-5][0-9])\s?(?:uhr|auer)(?!\w)",
        r"(?P<hour>[0-2][0-9])(?P<minute>[0-5][0-9])(?=\s?(?:z|utc|gmt|zulu|hrs|hours|h|cet|cest|local|lt)(?!\w))"
        r"(?:\s?(?:hrs|hours|h)(?!\w))?",
        r"(?P<hour>[01]?[0-9])(?=\s?[ap]\.?m(?!\w))",
    )
)
_PREPOSED: Final = re.compile(
    r"(?:\bat|\bum|\bà|\bgegen|\bgéint|\bvers|\baround|\babout|\btime|\bheure|\bzeit|\bzäit|\bdtg|\bof)\s?:?\s{0,2}$"
)
_NOT_A_CLOCK: Final = re.compile(
    r"(?:\bfor|\bpendant|\bdurant|\bseit|\bzanter|\bzënter|\bdepuis|\bsince|\bil y a|\bvor|"
    r"\bvirun|\bviru|\bwithin|\bdans|\bsous|\bin|"
    r"\btous les|\balle|\bwährend)\s(?:environ\s|about\s|etwa\s)?$"
)
_LOOK_BEHIND: Final = 24
_SINCE: Final = frozenset(("since", "depuis", "seit", "zënter", "zanter", "zenter", "until", "bis"))
_BEFORE_AN_HOUR: Final = frozenset(("um", "à", "a", "vers", "gegen", "géint", "ëm"))


@dataclass(frozen=True, slots=True)
class When:
    """A time over ``start`` to ``end`` of the plain text; ``observed_ns`` is None where it is refused or a plan."""

    start: int
    end: int
    observed_ns: int | None
    of_day_s: int | None = None
    """Seconds after midnight, UTC, where no date was given."""
    yesterday: bool = False
    vague: bool = False
    """Whether it is *yesterday* or *now*: an hour of the clock in the same sentence says it better."""


def clock_times(text: Folded, received_ns: int) -> tuple[When, ...]:
    """Every time of the clock or date-time group in digits, in order."""
    found: list[When] = []
    taken = bytearray(len(text.low))
    for pattern, read in _PATTERNS:
        for match in pattern.finditer(text.low):
            if any(taken[match.start() : match.end()]) or (read is _clock and not _is_clock(text.low, match)):
                continue
            taken[match.start() : match.end()] = b"\x01" * (match.end() - match.start())
            found.append(read(match, received_ns))
    return tuple(sorted(found, key=lambda when: when.start))


def _is_clock(low: str, match: re.Match[str]) -> bool:
    """Whether ``3 h`` is an hour of the clock: with minutes, or after *at*, and not after *for* or *since*."""
    before = low[max(0, match.start() - _LOOK_BEHIND) : match.start()]
    if _NOT_A_CLOCK.search(before):
        return False
    groups = match.groupdict()
    return (
        groups.get("minute") is not None
        or groups.get("half") is not None
        or _PREPOSED.search(before) is not None
        or "uhr" in match.group()
        or "auer" in match.group()
    )


def _nanoseconds(seconds: float | None, received_ns: int) -> int | None:
    """Nanoseconds of a time that has been; a little ahead of the report counts as its own time."""
    if seconds is None:
        return None
    ahead = seconds - received_ns / SECOND_NS
    if ahead > CLOCK_ERROR_S:
        return None
    return received_ns if ahead > 0 else max(0, int(seconds) * SECOND_NS)


def _dtg(match: re.Match[str], received_ns: int) -> When:
    return When(match.start(), match.end(), _nanoseconds(_dtg_s(match, received_ns / SECOND_NS), received_ns))


def _dtg_s(match: re.Match[str], now: float) -> float | None:
    letter, month, year = match["zone"], match["month"], match["year"]
    shift = _letter_s(letter)
    if shift is None:
        return None
    moment = datetime.fromtimestamp(now, UTC)
    try:
        numbers = (int(match["day"]), int(match["hour"]), int(match["minute"]))
        if month is None:
            return _day_of_month(moment, numbers, shift)
        of_year = moment.year if year is None else int(year) + (2000 if len(year) == 2 else 0)
        written = datetime(of_year, _MONTHS.index(month) + 1, *numbers, tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return written.timestamp() - shift


def _day_of_month(moment: datetime, numbers: tuple[int, int, int], shift: int) -> float | None:
    """The day of this month, or of the last where that is still to come."""
    for back in range(2):
        month = moment.month - back
        year, month = (moment.year, month) if month else (moment.year - 1, 12)
        try:
            seconds = datetime(year, month, *numbers, tzinfo=UTC).timestamp() - shift
        except ValueError:
            continue
        if seconds <= moment.timestamp() + CLOCK_ERROR_S:
            return seconds
    return None


def _letter_s(letter: str) -> int | None:
    """Seconds that a military zone is ahead of UTC; J is the author's own and says nothing."""
    if letter == "z":
        return 0
    if letter in _LETTERS:
        return 3600 * (_LETTERS.index(letter) + 1)
    return -3600 * ("nopqrstuvwxy".index(letter) + 1) if letter in "nopqrstuvwxy" else None


def _iso(match: re.Match[str], received_ns: int) -> When:
    return When(match.start(), match.end(), _nanoseconds(_iso_s(match), received_ns))


def _iso_s(match: re.Match[str]) -> float | None:
    zone = match["zone"] or "z"
    try:
        year, month, day = (int(part) for part in match["date"].split("-"))
        written = datetime(
            year, month, day, int(match["hour"]), int(match["minute"]), int(match["second"] or 0), tzinfo=UTC
        )
    except (ValueError, OverflowError):
        return None
    sign = -1 if zone[0] == "-" else 1
    shift = 0 if zone[0] in "zu" else sign * (int(zone[1:3]) * 3600 + int(zone[-2:]) * 60)
    return written.timestamp() - shift


def _clock(match: re.Match[str], received_ns: int) -> When:
    of_day = _of_day_s(match.groupdict())
    if of_day is None:
        return When(match.start(), match.end(), None)
    return _on_the_clock(match.start(), match.end(), of_day, received_ns)


def _of_day_s(groups: dict[str, str | None]) -> int | None:
    """Seconds after midnight, UTC; None for an hour that cannot be, or in a zone that is not known."""
    hour, minute, second = (int(groups.get(name) or 0) for name in ("hour", "minute", "second"))
    half = (groups.get("half") or "").replace(".", "")
    if groups.get("local") or hour > 23 or (half in {"am", "pm"} and not 1 <= hour <= 12):
        return None
    if half and hour <= 12:
        hour = hour % 12 + (0 if half == "am" else 12)
    shift = _ZONES_S[groups["zone"] or "z"] if groups.get("zone") else 0
    shift += 3600 * int(groups.get("shift") or 0)
    return (hour * 3600 + minute * 60 + second - shift) % DAY_S


def _on_the_clock(start: int, end: int, of_day_s: int, received_ns: int) -> When:
    seconds = last_time_of_day(received_ns / SECOND_NS, of_day_s)
    return When(start, end, _nanoseconds(seconds, received_ns), of_day_s)


def last_time_of_day(now: float, second_of_day: int) -> float | None:
    """The last such time that has been, if it was not too long ago."""
    midnight = now - now % DAY_S
    seconds = midnight + second_of_day % DAY_S
    if seconds <= now + CLOCK_ERROR_S:
        return seconds
    return seconds - DAY_S if now - (seconds - DAY_S) <= LONGEST_YESTERDAY_S else None


_PATTERNS: Final[tuple[tuple[re.Pattern[str], Callable[[re.Match[str], int], When]], ...]] = (
    (_DTG, _dtg),
    (_ISO, _iso),
    *((clock, _clock) for clock in _CLOCKS),
)


def spoken_times(layout: Layout, received_ns: int) -> tuple[When, ...]:
    """Every time in words, in order: *ten minutes ago*, *yesterday*, *um vierzehn Uhr*."""
    found: list[When] = []
    index = 0
    while index < len(layout.items):
        when = None
        stop = index
        for rule in (_moment, _ago, _hour):
            stop, when = rule(layout, index, received_ns) or (index, None)
            if when is not None:
                found.append(when)
                break
        index = max(stop, index + 1)
    return tuple(found)


def _before(layout: Layout, index: int, stop: int, seconds: int, received_ns: int) -> tuple[int, When]:
    moment = received_ns - seconds * SECOND_NS if seconds <= LONGEST_AGO_S else None
    start, end = layout.items[index].start, layout.items[stop - 1].end
    return stop, When(start, end, None if moment is None else max(0, moment))


def _moment(layout: Layout, index: int, received_ns: int) -> tuple[int, When] | None:
    lexicon = layout.lexicon(index)
    found = lexicon.moments.at(layout.items, index)
    if found is None or (index and layout.items[index - 1].text in _SINCE):
        return None
    stop, when = _before(layout, index, index + found[0], found[1], received_ns)
    yesterday = lexicon.has("day_before", layout.items, index) > 0
    return stop, replace(when, yesterday=yesterday, vague=yesterday or found[1] == 0)


def _ago(layout: Layout, index: int, received_ns: int) -> tuple[int, When] | None:
    """*Vor zehn Minuten*, *ten minutes ago*."""
    items, lexicon = layout.items, layout.lexicon(index)
    before, after = lexicon.words.ago
    start = index
    if before:
        start += next((len(words) for words in _alternatives(before) if _stands(items, index, words)), 0)
        if start == index:
            return None
    start += lexicon.has("approximate", items, start) if start < len(items) else 0
    number = number_at(items, start, lexicon)
    if number is None or (start + number[1] < len(items) and not lexicon.units_s.at(items, start + number[1])):
        number = _loose(items, start, lexicon) or number or _single(items, start, lexicon)
    stop = start + (number[1] if number else 0)
    unit = lexicon.units_s.at(items, stop) if number and stop < len(items) else None
    if number is None or unit is None:
        return None
    stop += unit[0]
    if after and (stop >= len(items) or items[stop].text not in after.split(",")):
        return None
    return _before(layout, index, stop + (1 if after else 0), number[0] * unit[1], received_ns)


def _loose(items: tuple[Token, ...], index: int, lexicon: Lexicon) -> tuple[int, int] | None:
    """*Une vingtaine de* minutes."""
    found = lexicon.quantities.at(items, index)
    return None if found is None else (found[1][0], found[0])


def _single(items: tuple[Token, ...], index: int, lexicon: Lexicon) -> tuple[int, int] | None:
    length = lexicon.has("indefinite", items, index) if index < len(items) else 0
    return (1, length) if length else None


def _alternatives(text: str) -> Iterable[tuple[str, ...]]:
    return (tuple(phrase.split()) for phrase in text.split(","))


def _stands(items: tuple[Token, ...], index: int, words: tuple[str, ...]) -> bool:
    return tuple(token.text for token in items[index : index + len(words)]) == words


def _hour(layout: Layout, index: int, received_ns: int) -> tuple[int, When] | None:
    """*À quatorze heures trente*, *um vierzehn Uhr*; English has no such words."""
    items, lexicon = layout.items, layout.lexicon(index)
    if items[index].kind != "word" or lexicon.words.language == "en" or not index:
        return None
    hour = number_at(items, index, lexicon)
    stop = index + (hour[1] if hour else 0)
    if hour is None or hour[0] > 23 or stop >= len(items) or not lexicon.has("clock", items, stop):
        return None
    if items[index - 1].text not in _BEFORE_AN_HOUR:
        return None
    stop, minutes = _minutes(items, stop + 1, lexicon)
    later = lexicon.has("afternoon", items, stop) if stop < len(items) else 0
    hours = hour[0] + (12 if later and hour[0] < 12 else 0)
    stop += later
    of_day = hours * 3600 + minutes * 60
    return stop, _on_the_clock(items[index].start, items[stop - 1].end, of_day, received_ns)


def _minutes(items: tuple[Token, ...], index: int, lexicon: Lexicon) -> tuple[int, int]:
    """(token after them, minutes) that follow an hour in words."""
    found = number_at(items, index, lexicon) if index < len(items) and items[index].kind == "word" else None
    if found is None or not 1 < found[0] < 60:
        return index, 0
    return index + found[1], found[0]


def day_before(when: When, received_ns: int) -> int | None:
    """The time of the clock on the day before the report, where no date was given; else the time itself."""
    if when.of_day_s is None:
        return when.observed_ns
    midnight_s = received_ns // SECOND_NS // DAY_S * DAY_S
    return max(0, midnight_s - DAY_S + when.of_day_s) * SECOND_NS
