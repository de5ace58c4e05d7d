"""What one language's table holds. Strings are comma-separated lists, so that a speaker can read and correct them.

Rules of writing: lower case, accents as the dictionary has them (the compiler adds the spellings that people type
without them), ``singular/plural`` where they differ, ``/plural`` where there is only a plural, no slash where one form
serves for both. A phrase is written with blanks, also where the language puts a hyphen or an apostrophe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Language = Literal["en", "fr", "de", "lb"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """One language. Every field is data for one rule; the rule's file says what it does with it."""

    language: Language
    function: str
    """Words by which the language is known; words of several languages do no harm."""
    categories: Mapping[str, str]
    stops: str
    """Phrases that hold a category word and speak of no such thing: ``fire station``."""
    only_here: str
    """Category words that mean something else in another of the four: read only where the sentence is in this one."""
    heads: Mapping[str, str] = field(default_factory=dict)
    """Category → last parts of compounds (German, Luxembourgish), ``singular/plural``."""
    doubtful: str = ""
    """Words that point to a category without naming it: ``smoke``."""
    numbers: Mapping[str, int]
    hundred: str
    thousand: str
    number_joiner: str
    quantities: Mapping[str, tuple[int, float]]
    """Phrase → (count, factor of confidence): ``several`` → (3, 0.6)."""
    multipliers: Mapping[str, int]
    approximate: str
    at_most: str
    indefinite: str
    definite: str
    blockers: str
    """Words that end a noun phrase: prepositions, verbs, pronouns."""
    joiners: str
    """Words that go on with a list: and, or, nor."""
    breaks: str
    """Words that begin a clause of its own: but, while."""
    no_noun: str
    """Negates the noun phrase that follows."""
    no_verb: str
    """Negates the clause, where the clause says that something is seen or there."""
    nobody: str
    nothing: str
    seen: str
    not_negation: str
    """Phrases that hold a negation and deny nothing: ``no doubt``, ``not only``."""
    asked: str
    """Words after which a thing is wanted, not seen: ``request``."""
    wanted: str
    """The same after the thing: ``helicopter requested``."""
    conditional: str
    hedges: str
    units_m: Mapping[str, float]
    half: str
    """Half of a unit: ``half a``."""
    compass: Mapping[str, float]
    """Word → degrees clockwise from north."""
    to_the: str
    of: str
    here: str
    at: str
    near: str
    off: str
    towards: str
    bearing: str
    distance: str
    units_s: Mapping[str, int]
    ago: tuple[str, str]
    """(before, after): ``vor … ``, ``… ago``; an empty string where there is none."""
    moments: Mapping[str, int]
    """Phrase → seconds before the report: ``an hour ago`` in one word, ``yesterday``, ``just now``."""
    day_before: str
    clock: str
    """Words that make a number an hour: ``h``, ``Uhr``."""
    afternoon: str
    not_yet: str
    """Words before a time that is a plan: ``ETA``."""
    local_time: str
    called: str
