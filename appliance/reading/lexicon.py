"""The four tables made ready for looking up: phrases by their first word, the variants that people type, languages.

Compiled once, at first use; importing this compiles nothing. Every look-up is bounded by the longest phrase.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, Generic, TypeVar

from appliance.reading.text import ELIDED, Folded, Token, tokens
from appliance.reading.words.de import GERMAN
from appliance.reading.words.en import ENGLISH
from appliance.reading.words.fr import FRENCH
from appliance.reading.words.lb import LUXEMBOURGISH
from appliance.reading.words.model import Language, Words

LANGUAGES: Final[tuple[Language, ...]] = ("en", "fr", "de", "lb")
_TABLES: Final[tuple[Words, ...]] = (ENGLISH, FRENCH, GERMAN, LUXEMBOURGISH)
_UMLAUTS: Final = {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"}
_KEEPS_ACCENTS: Final = frozenset(("en", "de"))

T = TypeVar("T")


class Phrases(Generic[T]):
    """Phrases of one or more words, each with a value; the longest wins."""

    def __init__(self, entries: Iterable[tuple[tuple[str, ...], T]]) -> None:
        self._by_first: dict[str, list[tuple[tuple[str, ...], T]]] = {}
        seen: set[tuple[str, ...]] = set()
        for words, value in entries:
            if words and words not in seen:
                seen.add(words)
                self._by_first.setdefault(words[0], []).append((words, value))
        for found in self._by_first.values():
            found.sort(key=lambda entry: -len(entry[0]))

    def at(self, items: tuple[Token, ...], index: int) -> tuple[int, T] | None:
        """(number of tokens, value) of the longest phrase that begins at ``index``."""
        if index >= len(items):
            return None
        for words, value in self._by_first.get(items[index].text, ()):
            stop = index + len(words)
            if stop <= len(items) and all(items[index + k].text == word for k, word in enumerate(words)):
                return len(words), value
        return None

    def ending(self, items: tuple[Token, ...], stop: int) -> tuple[int, T] | None:
        """(number of tokens, value) of the longest phrase whose last token is the one before ``stop``."""
        for start in range(max(0, stop - _LONGEST), stop):
            found = self.at(items, start)
            if found is not None and start + found[0] == stop:
                return found
        return None

    def knows(self, word: str) -> bool:
        """Whether the single word is a phrase by itself."""
        return any(len(words) == 1 for words, _ in self._by_first.get(word, ()))


_LONGEST: Final = 6


@dataclass(frozen=True, slots=True)
class Kind:
    """What a category phrase names; ``category`` is None for a phrase that names nothing of ours."""

    category: str | None
    plural: bool
    singular: bool = False
    """Whether the form is a singular that has a plural of its own."""
    only_here: bool = False
    doubtful: bool = False


@dataclass(frozen=True, slots=True)
class Lexicon:
    """One language, compiled. The fields are those of `Words`."""

    words: Words
    function: frozenset[str]
    kinds: Phrases[Kind]
    heads: tuple[tuple[str, Kind], ...]
    numbers: Phrases[int]
    number_words: Mapping[str, int]
    hundred: frozenset[str]
    thousand: frozenset[str]
    quantities: Phrases[tuple[int, float]]
    multipliers: Phrases[int]
    units_m: Phrases[float]
    units_s: Phrases[int]
    compass: Phrases[float]
    moments: Phrases[int]
    lists: Mapping[str, Phrases[bool]]

    def has(self, name: str, items: tuple[Token, ...], index: int) -> int:
        """How many tokens of the list ``name`` stand at ``index``; 0 for none."""
        found = self.lists[name].at(items, index)
        return found[0] if found else 0

    def ends(self, name: str, items: tuple[Token, ...], stop: int) -> int:
        """How many tokens of the list ``name`` end just before ``stop``; 0 for none."""
        found = self.lists[name].ending(items, stop)
        return found[0] if found else 0


_TELLING: Final = (
    "function",
    "nothing",
    "no_noun",
    "no_verb",
    "seen",
    "conditional",
    "breaks",
    "indefinite",
    "definite",
    "blockers",
)
"""The lists whose single words tell the language."""
_LISTS: Final = [
    "number_joiner",
    "approximate",
    "at_most",
    "indefinite",
    "definite",
    "blockers",
    "joiners",
    "breaks",
    "no_noun",
    "no_verb",
    "nobody",
    "nothing",
    "seen",
    "not_negation",
    "asked",
    "wanted",
    "conditional",
    "hedges",
    "half",
    "to_the",
    "of",
    "here",
    "at",
    "near",
    "off",
    "towards",
    "bearing",
    "distance",
    "day_before",
    "clock",
    "afternoon",
    "not_yet",
    "local_time",
    "called",
]


@lru_cache(maxsize=1)
def lexicons() -> Mapping[Language, Lexicon]:
    """The four languages, compiled at the first call."""
    return {words.language: _compile(words) for words in _TABLES}


def split_phrase(phrase: str) -> tuple[str, ...]:
    """The words of a phrase, cut as a report's text is cut."""
    low = unicodedata.normalize("NFC", phrase).lower()
    return tuple(word for piece in low.split() for word in _pieces(piece))


def _pieces(piece: str) -> tuple[str, ...]:
    """One blank-separated piece, cut; ``d'`` at the end of a phrase is the word that it is before a noun."""
    if piece.endswith("'") and piece[:-1] in ELIDED:
        return (piece,)
    offsets = tuple(range(len(piece)))
    return tuple(token.text for token in tokens(Folded(piece, piece, offsets, tuple(o + 1 for o in offsets))))


def _variants(phrase: str, language: Language) -> Iterable[tuple[str, ...]]:
    """The phrase and the spellings that people type: without accents, with ae for ä."""
    text = " ".join(phrase.split())
    yield split_phrase(text)
    if any(letter in text for letter in _UMLAUTS):
        yield split_phrase("".join(_UMLAUTS.get(letter, letter) for letter in text))
        yield split_phrase(text.replace("ß", "ss"))
    if language not in _KEEPS_ACCENTS:
        yield split_phrase(_bare(text))
    if "œ" in text:
        yield split_phrase(text.replace("œ", "oe"))


def _bare(text: str) -> str:
    return "".join(letter for letter in unicodedata.normalize("NFD", text) if not unicodedata.combining(letter))


def _entries(table: Mapping[str, T], language: Language) -> Phrases[T]:
    return Phrases((words, value) for phrase, value in table.items() for words in _variants(phrase, language))


def _list(text: str, language: Language) -> Phrases[bool]:
    return Phrases((words, True) for phrase in text.split(",") for words in _variants(phrase, language))


def _set(text: str, language: Language) -> frozenset[str]:
    return frozenset(words[0] for phrase in text.split(",") for words in _variants(phrase, language) if len(words) == 1)


def _forms(text: str) -> Iterable[tuple[str, Kind]]:
    """(form, its number) of ``boat/boats,/people,sheep``; the category is filled in by the caller."""
    for entry in text.split(","):
        singular, _, plural = entry.partition("/")
        if singular.strip():
            yield singular, Kind(None, False, singular=bool(plural.strip()))
        if plural.strip():
            yield plural, Kind(None, True)


def _kinds(words: Words) -> Iterable[tuple[tuple[str, ...], Kind]]:
    here = _set(words.only_here, words.language)
    for phrase in words.stops.split(","):
        for form in _variants(phrase, words.language):
            yield form, Kind(None, False)
    for category, text in words.categories.items():
        for phrase, kind in _forms(text):
            for form in _variants(phrase, words.language):
                yield form, replace(kind, category=category, only_here=len(form) == 1 and form[0] in here)
    for phrase in words.doubtful.split(","):
        for form in _variants(phrase, words.language):
            yield form, Kind("fire", False, doubtful=True)


def _heads(words: Words) -> Iterable[tuple[str, Kind]]:
    for category, text in words.heads.items():
        for phrase, kind in _forms(text):
            for form in _variants(phrase, words.language):
                yield form[0], replace(kind, category=category)


def _compile(words: Words) -> Lexicon:
    language = words.language
    numbers = {form: value for phrase, value in words.numbers.items() for form in _variants(phrase, language)}
    return Lexicon(
        words=words,
        function=frozenset().union(*(_set(getattr(words, name), language) for name in _TELLING)),
        kinds=Phrases(_kinds(words)),
        heads=tuple(sorted(_heads(words), key=lambda head: -len(head[0]))),
        numbers=Phrases(numbers.items()),
        number_words={form[0]: value for form, value in numbers.items() if len(form) == 1},
        hundred=_set(words.hundred, language),
        thousand=_set(words.thousand, language),
        quantities=_entries(words.quantities, language),
        multipliers=_entries(words.multipliers, language),
        units_m=_entries(words.units_m, language),
        units_s=_entries(words.units_s, language),
        compass=_entries(words.compass, language),
        moments=_entries(words.moments, language),
        lists={name: _list(getattr(words, name), language) for name in _LISTS},
    )
