"""What a report denies, asks for, or only supposes.

Rules:
- *No, kein, aucun, keen* deny the noun phrase right after them, and those joined to it by *or* and *nor* or in a list.
- *Not, nicht, ne … pas, net* deny a thing only where their segment says that it is seen or there: *the boat is not
  moving* is a boat. French *plus* and *personne* deny only with *ne*.
- *Nobody* before *saw* denies what was not seen; *nothing seen* denies everything, and is a claim of its own.
- Two negations of one thing are not reckoned out: such a mention is dropped.
- What is requested, expected, searched for, conditional or asked is not seen, and makes no claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from appliance.reading.clauses import Layout
from appliance.reading.lexicon import Lexicon
from appliance.reading.mentions import Mention
from appliance.reading.places import Place
from appliance.reading.text import Token

Verdict = Literal["said", "denied", "dropped"]
NegatorKind = Literal["no_noun", "no_verb", "nobody", "nothing"]
_KINDS: Final[tuple[NegatorKind, ...]] = ("nothing", "no_noun", "nobody", "no_verb")

_SEEN_REACH: Final = 6
"""Tokens between a *not* and the *seen* that it belongs to."""
_MOST_ADJECTIVES: Final = 3
_ASKED_REACH: Final = 3
_WANTED_REACH: Final = 3
_BRIEF: Final = 2
"""Words of a segment that says *nothing* and nothing else."""
_TO_A_PLACE: Final = frozenset(
    ("at", "the", "on", "by", "near", "in", "over", "around", "under", "a", "au", "aux", "à", "la", "le", "les", "l'",
     "sur", "sous", "près", "de", "du", "des", "dans", "an", "am", "der", "dem", "den", "auf", "bei", "beim", "unter",
     "im", "op", "um", "ënner", "un")
)  # fmt: skip
"""Words that lead to a place and say nothing themselves: *nothing at the bridge* is as brief as *nothing*."""
_HEDGED: Final = 0.7
"""*Possibly*, *vielleicht*: lowers the confidence of what the segment says."""
_NE: Final = frozenset(("ne", "n'"))
_NE_ONLY: Final = frozenset(("plus", "personne"))
_CORRELATIVES: Final = frozenset(("neither", "weder", "ni"))
"""*Neither the boat nor …* denies a known thing where the clause says that it was not found."""
_ABOARD: Final = frozenset(("aboard", "board", "bord", "uboard"))
_ALTERNATIVES: Final = frozenset(("nor", "or", "ni", "ou", "noch", "oder", "nach"))


@dataclass(frozen=True, slots=True)
class Negator:
    """A word or phrase that denies, over the tokens ``start`` to ``stop``."""

    start: int
    stop: int
    kind: NegatorKind


def negators(layout: Layout) -> tuple[Negator, ...]:
    """Every negator in the text; phrases that hold one and deny nothing are passed over."""
    found: list[Negator] = []
    index = 0
    while index < len(layout.items):
        lexicon = layout.lexicon(index)
        harmless = lexicon.has("not_negation", layout.items, index)
        negator = None if harmless else _negator(layout, lexicon, index)
        if negator is not None:
            found.append(negator)
        index = negator.stop if negator else index + max(harmless, 1)
    return tuple(found)


def _negator(layout: Layout, lexicon: Lexicon, index: int) -> Negator | None:
    items = layout.items
    lengths = [(lexicon.has(kind, items, index), kind) for kind in _KINDS]
    length, kind = max(lengths, key=lambda entry: entry[0])
    if not length and items[index].text.endswith("n't"):
        return Negator(index, index + 1, "no_verb")
    if not length or (
        _is_ne_only(items, index, length) and lexicon.words.language == "fr" and not _has_ne(layout, index)
    ):
        return None
    if kind == "no_noun" and lexicon.has("nobody", items, index) == length and _goes_on(items, index + length, lexicon):
        kind = "nobody"
    if items[index].text == "no" and index + 1 < len(items) and items[index + 1].kind != "word":
        return None
    return Negator(index, index + length, kind)


def _is_ne_only(items: tuple[Token, ...], index: int, length: int) -> bool:
    """French *plus* and *personne* deny only with *ne*, but *personne à bord* is nobody."""
    return items[index].text in _NE_ONLY and (length == 1 or items[index].text == "plus")


def _goes_on(items: tuple[Token, ...], index: int, lexicon: Lexicon) -> bool:
    """Whether a verb or preposition follows, and no noun: Luxembourgish *keen huet …* is nobody."""
    return index < len(items) and lexicon.has("blockers", items, index) > 0


def _has_ne(layout: Layout, index: int) -> bool:
    start, stop = layout.extent(index, layout.clause)
    items = layout.items
    spoken = items[max(start, index - 2) : index]
    said = [token.text for token in spoken]
    if said and said[-1] in {"la", "une", "cette", "chaque"}:
        return False
    return any(token.text in _NE for token in items[start:stop]) or said == ["y", "a"]


def judge(layout: Layout, found: Sequence[Mention], denials: Sequence[Negator]) -> tuple[Verdict, ...]:
    """For each mention whether it is said, denied, or is no observation at all."""
    verdicts: list[Verdict] = []
    for position, mention in enumerate(found):
        before = (found[position - 1], verdicts[position - 1]) if position else None
        if _is_unreal(layout, mention, found[position - 1] if position else None) or (
            before and before[1] == "dropped" and _listed(layout, before[0], mention)
        ):
            verdicts.append("dropped")
            continue
        direct = any(_denies_noun(layout, denial, mention) for denial in denials)
        listed = before is not None and before[1] == "denied" and _listed(layout, before[0], mention)
        indirect = sum(_denies_clause(layout, denial, mention, found) for denial in denials)
        count = (1 if direct or listed else 0) + indirect
        verdicts.append("said" if count == 0 else "denied" if count == 1 else "dropped")
    return tuple(verdicts)


def _denies_noun(layout: Layout, denial: Negator, mention: Mention) -> bool:
    """*No grey boats*: nothing but adjectives and an article stand between the two."""
    if (
        denial.kind not in {"no_noun", "nobody", "nothing"}
        or layout.clause[denial.start] != layout.clause[mention.start]
    ):
        return False
    if denial.start < mention.start < denial.stop:
        return True
    between = range(denial.stop, mention.start)
    if denial.kind != "no_noun" or denial.stop > mention.start or len(between) > _MOST_ADJECTIVES:
        return False
    lexicon = layout.lexicon(mention.start)
    if layout.items[denial.start].text in _CORRELATIVES and denial.stop == mention.begin:
        return not mention.definite or _says_seen(
            layout, denial, *layout.extent(denial.start, layout.clause), reach=None
        )
    return all(
        layout.items[i].kind == "word"
        and not lexicon.has("blockers", layout.items, i)
        and not lexicon.has("definite", layout.items, i)
        for i in between
    )


def _listed(layout: Layout, before: Mention, mention: Mention) -> bool:
    """Whether a mention goes on with the list of the one before: *no boats, ships or people*."""
    if layout.sentence[before.start] != layout.sentence[mention.start] or before.stop > mention.begin:
        return False
    lexicon = layout.lexicon(mention.start)
    between = layout.items[before.stop : mention.begin]
    if not between or len(between) > _MOST_ADJECTIVES:
        return False
    link = between[0].text
    if link in _ALTERNATIVES:
        return all(token.kind == "word" for token in between)
    if mention.counted or mention.definite or any(token.kind != "word" for token in between[1:]):
        return False
    if lexicon.has("joiners", layout.items, before.stop):
        return True
    after = mention.stop
    goes_on = after < len(layout.items) and (
        lexicon.has("joiners", layout.items, after) > 0 or layout.items[after].text == ","
    )
    return link == "," and (mention.plural or goes_on)


def _denies_clause(layout: Layout, denial: Negator, mention: Mention, found: Sequence[Mention]) -> bool:
    """*The boat was not seen*, *nobody saw a boat*, *the boat is not at …*."""
    if layout.clause[denial.start] != layout.clause[mention.start]:
        return False
    start, stop = layout.extent(denial.start, layout.segment)
    inside = start <= mention.start < stop
    alone = not any(start <= other.start < stop for other in found)
    if not inside and not (alone and denial.kind == "no_verb"):
        return False
    if denial.kind == "nobody":
        return denial.stop <= mention.start and _says_seen(layout, denial, denial.stop, stop)
    if denial.kind != "no_verb":
        return False
    return _says_seen(layout, denial, start, stop) or _says_elsewhere(layout, denial, stop)


def _says_seen(layout: Layout, denial: Negator, start: int, stop: int, reach: int | None = _SEEN_REACH) -> bool:
    lexicon = layout.lexicon(denial.start)
    far = len(layout.items) if reach is None else reach
    near = range(max(start, denial.start - far), min(stop, denial.stop + far))
    return any(lexicon.has("seen", layout.items, i) for i in near if not denial.start <= i < denial.stop)


def _says_elsewhere(layout: Layout, denial: Negator, stop: int) -> bool:
    """*Is not at* a place: no verb stands between the two."""
    lexicon, begin = layout.lexicon(denial.start), denial.stop
    if begin < stop:
        begin += max(lexicon.has("at", layout.items, begin), lexicon.has("near", layout.items, begin))
    return begin < stop and layout.items[begin].text == "<place>"


def _is_unreal(layout: Layout, mention: Mention, before: Mention | None) -> bool:
    """Whether the mention is asked for, conditional, or in a question."""
    if layout.sentence[mention.start] in layout.questions:
        return True
    items, lexicon = layout.items, layout.lexicon(mention.start)
    start, stop = layout.extent(mention.start, layout.clause)
    if any(lexicon.has("conditional", items, i) for i in range(start, mention.start)):
        return True
    floor = max(start, before.stop if before else 0)
    for end in range(max(floor + 1, mention.begin - _ASKED_REACH), mention.start + 1):
        between = items[end : mention.begin]
        if lexicon.ends("asked", items, end) and all(token.kind == "word" for token in between):
            return True
    after = range(mention.stop, min(stop, mention.stop + _WANTED_REACH))
    for i in after:
        if lexicon.has("wanted", items, i):
            return True
        if items[i].kind == "mark":
            break
    return False


def hedge(layout: Layout, mention: Mention) -> float:
    """The factor by which *possibly* and its like lower what a segment says; 1 where nothing does."""
    start, stop = layout.extent(mention.start, layout.segment)
    lexicon = layout.lexicon(mention.start)
    return _HEDGED if any(lexicon.has("hedges", layout.items, i) for i in range(start, stop)) else 1.0


def nothing_seen(
    layout: Layout, denials: Sequence[Negator], found: Sequence[Mention], places: Sequence[tuple[int, Place]]
) -> tuple[tuple[Negator, str], ...]:
    """(negator, category) where the report denies everything, or everybody aboard, without naming a thing."""
    taken: list[tuple[Negator, str]] = []
    for denial in denials:
        if denial.kind not in {"nothing", "nobody"} or layout.sentence[denial.start] in layout.questions:
            continue
        start, stop = layout.extent(denial.start, layout.segment)
        words = [i for i in range(start, stop) if layout.items[i].kind == "word"]
        if denial.kind == "nobody" and any(layout.items[i].text in _ABOARD for i in words):
            taken.append((denial, "person"))
            continue
        clause = layout.clause[denial.start]
        if any(layout.clause[mention.start] == clause and mention.begin >= denial.start for mention in found):
            continue
        brief = denial.kind == "nothing" and (
            denial.stop - denial.start > 1 or len(words) <= _BRIEF or _only_there(layout, denial, words, places)
        )
        if brief or _says_seen(layout, denial, start, stop):
            taken.append((denial, "unknown" if denial.kind == "nothing" else "person"))
    return tuple(taken)


def _only_there(layout: Layout, denial: Negator, words: Sequence[int], places: Sequence[tuple[int, Place]]) -> bool:
    """Whether a segment says *nothing*, a place, and no word more: *nothing new at the bridge* denies no thing."""
    start, stop = layout.extent(denial.start, layout.segment)
    there = any(start <= i < stop and place.position is not None and place.role == "at" for i, place in places)
    rest = set(words) - set(range(denial.start, denial.stop))
    return there and all(layout.items[i].text in _TO_A_PLACE for i in rest)
