"""A report cut into sentences, clauses and segments, and the language of each sentence.

Rules: a sentence ends at ``. ! ? ;`` and at a line end, unless the line goes on in lower case. Within it a clause
ends at *but* and its like. Within a clause a segment ends at a comma, and at *and* where a new noun phrase follows.
What was read before (a coordinate, a time, a number of a ship) stands in as one mark and never breaks a sentence.

Languages: every sentence counts the words of each language (a word that several share counts less) and leans on the
report's own count where it says little. Mixed reports are read sentence by sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from appliance.reading.lexicon import LANGUAGES, Lexicon, lexicons
from appliance.reading.text import Folded, Token
from appliance.reading.words.model import Language

_ENDS: Final = frozenset(".!?;")
_ABBREVIATIONS: Final = frozenset(
    (
        *(
            "ca",
            "approx",
            "pos",
            "st",
            "no",
            "nr",
            "lat",
            "long",
            "lon",
            "brg",
            "rng",
            "env",
            "evtl",
            "bzw",
            "ung",
            "ungef",
            "dist",
        ),
        *(
            "min",
            "std",
            "sek",
            "tel",
            "capt",
            "sgt",
            "lt",
            "mr",
            "mrs",
            "dr",
            "vs",
            "resp",
            "max",
            "inkl",
            "z",
            "b",
            "e",
            "g",
            "i",
        ),
        *("n", "s", "w", "m", "v", "p"),
    )
)
_SHARE: Final = 2
"""How much of a sentence's language the whole report decides: as much as two words at most."""
_WORD_WEIGHT: Final = 12
"""Of a word of one language; a word of two counts half. Twelve divides by 1, 2, 3 and 4."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of the plain text that was read before the words; its mark is ``<kind>``."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True, slots=True)
class Layout:
    """The tokens and, for each, the numbers of its sentence, clause and segment; the language of each sentence."""

    items: tuple[Token, ...]
    sentence: tuple[int, ...]
    clause: tuple[int, ...]
    segment: tuple[int, ...]
    languages: tuple[Language, ...]
    questions: frozenset[int]

    def lexicon(self, index: int) -> Lexicon:
        """The lexicon of the language of the sentence in which a token stands."""
        return lexicons()[self.languages[self.sentence[index]]]

    def extent(self, index: int, numbers: tuple[int, ...]) -> tuple[int, int]:
        """The first and one past the last token with the same number as ``index``, e.g. in ``self.clause``."""
        start = stop = index
        while start > 0 and numbers[start - 1] == numbers[index]:
            start -= 1
        while stop < len(numbers) and numbers[stop] == numbers[index]:
            stop += 1
        return start, stop


def mask(items: tuple[Token, ...], spans: Iterable[Span]) -> tuple[Token, ...]:
    """The tokens with each span put in as one mark, ``<place>`` and so on; spans must not overlap."""
    ordered = sorted(spans, key=lambda span: span.start)
    found: list[Token] = []
    waiting = iter([*ordered, None])
    span = next(waiting)
    for token in items:
        while span is not None and token.start >= span.end:
            found.append(Token(f"<{span.kind}>", span.start, span.end, "mark"))
            span = next(waiting)
        if span is None or token.end <= span.start:
            found.append(token)
    if span is not None:
        found.append(Token(f"<{span.kind}>", span.start, span.end, "mark"))
    return tuple(found)


def lay_out(text: Folded, items: tuple[Token, ...]) -> Layout:
    """Sentences, clauses and segments of the tokens."""
    sentence = _number(items, lambda i: _ends_sentence(text, items, i))
    languages = _languages(items, sentence)
    tables = lexicons()

    def clause_at(i: int) -> bool:
        return sentence[i] != sentence[i - 1] or tables[languages[sentence[i]]].has("breaks", items, i) > 0

    def segment_at(i: int) -> bool:
        return clause_at(i) or items[i - 1].text in {",", ":"} or _new_phrase(items, i, tables[languages[sentence[i]]])

    questions = frozenset(sentence[i] for i, token in enumerate(items) if token.text == "?")
    clause, segment = _number(items, clause_at), _number(items, segment_at)
    return Layout(items, sentence, clause, segment, languages, questions)


def _number(items: tuple[Token, ...], starts: Callable[[int], bool]) -> tuple[int, ...]:
    numbers: list[int] = []
    current = 0
    for index in range(len(items)):
        current += 1 if index > 0 and starts(index) else 0
        numbers.append(current)
    return tuple(numbers)


def _ends_sentence(text: Folded, items: tuple[Token, ...], index: int) -> bool:
    """Whether a sentence begins at the token ``index``, by what stands before it."""
    before = items[index - 1]
    if before.kind == "line":
        first = text.plain[items[index].start]
        return not (first.islower() and index > 1 and items[index - 2].kind == "word")
    if before.text not in _ENDS or before.kind != "mark":
        return False
    if before.text != ".":
        return True
    return index < 2 or items[index - 2].text not in _ABBREVIATIONS


def _new_phrase(items: tuple[Token, ...], index: int, lexicon: Lexicon) -> bool:
    """Whether ``and`` stands at ``index`` and a new noun phrase after it."""
    if not lexicon.has("joiners", items, index) or index + 1 >= len(items):
        return False
    after = index + 1
    if lexicon.words.language == "lb" and items[index].text == "a":
        return False
    return (
        items[after].kind == "number"
        or lexicon.numbers.at(items, after) is not None
        or lexicon.quantities.at(items, after) is not None
        or any(lexicon.has(name, items, after) for name in ("indefinite", "definite", "no_noun"))
    )


def _languages(items: tuple[Token, ...], sentence: tuple[int, ...]) -> tuple[Language, ...]:
    count = sentence[-1] + 1 if sentence else 1
    scores = [dict.fromkeys(LANGUAGES, 0) for _ in range(count)]
    total = dict.fromkeys(LANGUAGES, 0)
    for index, token in enumerate(items):
        if token.kind != "word":
            continue
        speakers = _speakers(token.text)
        for language in speakers:
            scores[sentence[index]][language] += _WORD_WEIGHT // len(speakers)
            total[language] += _WORD_WEIGHT // len(speakers)
    whole = sum(total.values()) or 1

    def rank(score: dict[Language, int], language: Language) -> float:
        return score[language] + _SHARE * _WORD_WEIGHT * total[language] / whole

    return tuple(max(LANGUAGES, key=lambda language: rank(score, language)) for score in scores)


def _speakers(word: str) -> tuple[Language, ...]:
    """The languages that know a word, as a function word, a number or a category."""
    return tuple(
        language
        for language, lexicon in lexicons().items()
        if word in lexicon.function
        or word in lexicon.number_words
        or lexicon.kinds.knows(word)
        or (len(word) > 6 and any(word.endswith(head) for head, _ in lexicon.heads))
    )
