"""Numbers, grades, denials and names, word by word."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from appliance.domain import CATEGORIES, Claim, Identity
from appliance.reading.grades import CONFIDENCE, confidence
from appliance.reading.lexicon import LANGUAGES, lexicons

Reading = Callable[..., tuple[Claim, ...]]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_counts_from_one_to_ninety_nine(reading: Reading, language: str) -> None:
    noun = {"en": "boats were seen", "fr": "navires sont en vue", "de": "Boote sind da", "lb": "Schëffer sinn do"}[
        language
    ]
    spoken = lexicons()[language].words.numbers  # type: ignore[index]
    known = {value: word for word, value in spoken.items()}
    for value in range(2, 100):
        (claim,) = reading(f"{known[value]} {noun}")
        assert claim.count == value, known[value]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("twenty-one boats", 21),
        ("two dozen boats", 24),
        ("a hundred and five people", 105),
        ("three hundred people", 300),
        ("two thousand five hundred birds", 2500),
        ("1,200 people", 1200),
        ("1 200 personnes à bord", 1200),
        ("1.200 Menschen am Ufer", 1200),
        ("soixante et onze personnes", 71),
        ("quatre-vingt-dix-neuf personnes", 99),
        ("quatre-vingts personnes", 80),
        ("deux cent trois personnes", 203),
        ("mille personnes", 1000),
        ("einundzwanzig Personen", 21),
        ("dreihundertfünfundvierzig Personen", 345),
        ("eenanzwanzeg Persounen", 21),
        ("fënnefafofzeg Leit um Schëff", 55),
        ("zweehonnert Leit um Schëff", 200),
        ("3 x boats", 3),
        ("boats (3)", 3),
        ("boats: 3", 3),
        ("one of the boats", 1),
        ("crew of twelve abandoning ship", 12),
        ("équipage de 12", 12),
        ("eine Besatzung von vierzehn", 14),
        ("2 boat", 2),
        ("a boat", 1),
    ],
)
def test_a_count_is_read(reading: Reading, text: str, count: int) -> None:
    assert reading(text)[0].count == count


@pytest.mark.parametrize(
    "text",
    [
        "30 m boat",
        "a 12-person boat",
        "boat 45",
        "a boat at 12 knots",
        "300-tonne boat",
        "007 boat",
        "1.5 boat",
        "F-16 jet",
    ],
)
def test_a_measure_is_no_count(reading: Reading, text: str) -> None:
    assert reading(text)[0].count == 1


@pytest.mark.parametrize(
    ("text", "count", "share"),
    [
        ("three boats", 3, 1.0),
        ("about three boats", 3, 0.9),
        ("up to three boats", 3, 0.7),
        ("three or four boats", 3, 0.8),
        ("a couple of boats", 2, 0.8),
        ("several boats", 3, 0.6),
        ("boats", 2, 0.6),
        ("plusieurs navires sont là", 3, 0.6),
        ("mehrere Schiffe sind da", 3, 0.6),
        ("e puer Schëffer sinn do", 3, 0.6),
        ("possibly three boats", 3, 0.7),
    ],
)
def test_vague_words_lower_the_confidence(reading: Reading, text: str, count: int, share: float) -> None:
    (claim,) = reading(text)
    assert claim.count == count
    assert claim.confidence == pytest.approx(0.5 * share)


@pytest.mark.parametrize(
    "text",
    [
        "A boat. Grade: B2",
        "A boat (B2)",
        "A boat. B2",
        "A boat, graded B2",
        "A boat [B-2]",
        "A boat, reliability B, credibility 2",
    ],
)
def test_a_grade_in_the_text_is_found(reading: Reading, text: str) -> None:
    assert reading(text)[0].confidence == confidence("B2")


@pytest.mark.parametrize(
    "text", ["A boat near the B2", "A car on motorway (A6)", "A boat, bearing B2x", "A boat. G2", "A boat (B7)"]
)
def test_a_road_is_no_grade(reading: Reading, text: str) -> None:
    assert reading(text)[0].confidence == confidence("F6")


def test_the_grade_that_came_with_the_report_wins(reading: Reading) -> None:
    assert reading("A boat (A1)", grade="D4")[0].confidence == confidence("D4")
    assert reading("A boat", grade=" b2 ")[0].confidence == confidence("B2")
    assert reading("A boat", grade="Z9")[0].confidence == confidence("F6")
    assert reading("A boat", grade="B" * 1000)[0].confidence == confidence("F6")


def test_each_sentence_may_have_its_grade(reading: Reading) -> None:
    first, second = reading("A boat at the pier (A1). A car in town (D4).")
    assert (first.confidence, second.confidence) == (confidence("A1"), confidence("D4"))


def test_the_table_of_grades_falls_with_doubt() -> None:
    for row in CONFIDENCE.values():
        assert all(a > b for a, b in pairwise(row[:5]))
    for column in range(6):
        told = [CONFIDENCE[source][column] for source in "ABCDE"]
        assert all(a >= b for a, b in pairwise(told))
    assert confidence("F6") == 0.5


@pytest.mark.parametrize(
    "text",
    [
        "No boats",
        "No boat in sight",
        "There are no boats",
        "We did not see any boats",
        "The boat was not seen",
        "The boat is no longer there",
        "We couldn't see the boat",
        "Nobody saw a boat",
        "Zero boats",
        "Without a boat",
        "No sign of the boat",
        "Aucun bateau",
        "Pas de bateau en vue",
        "Il n'y a pas de bateau",
        "Il n'y a plus de bateaux",
        "Nous ne voyons aucun bateau",
        "Le bateau n'a pas été vu",
        "Le bateau n'est plus là",
        "Personne n'a vu de bateau",
        "Sans bateau",
        "Kein Boot zu sehen",
        "Wir sehen keine Boote",
        "Das Boot wurde nicht gesehen",
        "Das Boot ist nicht mehr da",
        "Niemand hat ein Boot gesehen",
        "Es gibt keine Boote",
        "Keng Booter gesinn",
        "Kee Boot ze gesinn",
        "D'Boot gouf net gesinn",
        "D'Boot ass net méi do",
        "Et ass kee Boot hei",
    ],
)
def test_a_denial_is_read_as_one(reading: Reading, text: str) -> None:
    (claim,) = reading(text)
    assert claim.negated
    assert claim.count == 0


@pytest.mark.parametrize(
    "text",
    [
        "No doubt a boat",
        "Not only a boat",
        "The boat is not moving",
        "The boat does not answer",
        "No fewer than two boats",
        "Nothing but a boat",
        "A boat, no lights",
        "A boat without lights",
        "Sans doute un bateau",
        "Le bateau ne répond pas",
        "Plus de dix bateaux",
        "Un bateau sans feux",
        "Rien qu'un bateau",
        "Ohne Zweifel ein Boot",
        "Das Boot antwortet nicht",
        "Nicht nur ein Boot",
        "Ein Boot ohne Licht",
        "Ouni Zweiwel e Boot",
        "D'Boot äntwert net",
        "Net nëmmen e Boot",
    ],
)
def test_what_sounds_like_a_denial_and_is_none_stays_a_claim(reading: Reading, text: str) -> None:
    (claim,) = reading(text)
    assert not claim.negated
    assert claim.count >= 1


@pytest.mark.parametrize(
    "text",
    [
        "Send a boat",
        "We need a helicopter",
        "Helicopter requested",
        "If a boat comes, call",
        "Have you seen the boat?",
        "Searching for a boat",
        "Envoyez un bateau",
        "Avez-vous vu le bateau ?",
        "Si un bateau arrive, appelez",
        "Bitte ein Boot schicken",
        "Habt ihr das Boot gesehen?",
        "Falls ein Boot kommt, anrufen",
        "Mir brauchen e Boot",
        "Hutt Dir d'Boot gesinn?",
        "I do not deny that no boats were not seen",
    ],
)
def test_what_is_asked_for_supposed_or_denied_twice_is_no_claim(reading: Reading, text: str) -> None:
    assert reading(text) == ()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("MV Aurora at anchor", ["AURORA"]),
        ("M/V AURORA STAR at anchor", ["AURORA STAR"]),
        ('The ferry "Wight Light" at anchor', ["WIGHT LIGHT"]),
        ("Die Fähre „Wight Light“ liegt vor Anker", ["WIGHT LIGHT"]),
        ("Le ferry « Wight Light » est au mouillage", ["WIGHT LIGHT"]),
        ("The ferry Wight Light is at anchor", ["WIGHT LIGHT"]),
        ("Der Frachter NORDSTERN liegt vor Anker", ["NORDSTERN"]),
        ("HMS Bulwark 15 passed", ["BULWARK 15"]),
        ("yacht named Blue Moon", ["BLUE MOON"]),
        ("Das Boot Richtung Hafen", []),
        ("TWO BOATS SEEN AT THE PIER", []),
        ("The boat is At Anchor", []),
        ('The boat "is not what it seems to be" they said', []),
    ],
)
def test_names_are_found_where_they_are_marked(reading: Reading, text: str, names: list[str]) -> None:
    (claim,) = reading(text)
    assert claim.identities == tuple(Identity(kind="name", value=name) for name in names)


@pytest.mark.parametrize(
    ("text", "mmsi"),
    [
        ("Vessel MMSI 235070762", "235070762"),
        ("Vessel MMSI: 235 070 762", "235070762"),
        ("Vessel 235070762 at anchor", "235070762"),
        ("Vessel MMSI 970123456", "970123456"),
        ("Vessel 999070762", None),
        ("Vessel 135070762", None),
        ("Vessel 2350707621", None),
        ("Vessel, tel 235070762", None),
        ("Vessel, +235070762", None),
        ("Vessel 23507０762", None),
    ],
)
def test_an_mmsi_is_nine_digits_that_may_be_one(reading: Reading, text: str, mmsi: str | None) -> None:
    (claim,) = reading(text)
    assert [identity.value for identity in claim.identities if identity.kind == "mmsi"] == ([mmsi] if mmsi else [])


def test_every_category_word_names_a_category_of_the_tree() -> None:
    for lexicon in lexicons().values():
        assert set(lexicon.words.categories) <= set(CATEGORIES)
        assert set(lexicon.words.heads) <= set(CATEGORIES)
        assert set(CATEGORIES) == set(lexicon.words.categories), lexicon.words.language


def test_every_word_that_is_only_read_in_its_language_is_one_of_its_words() -> None:
    for lexicon in lexicons().values():
        known = {form for text in lexicon.words.categories.values() for form in text.replace("/", ",").split(",")}
        listed = {word.strip() for word in lexicon.words.only_here.split(",")}
        assert listed <= {" ".join(form.split()) for form in known}, lexicon.words.language


def test_the_same_thing_named_twice_is_one_claim(reading: Reading) -> None:
    (claim,) = reading("A fishing boat is in distress. The boat is at 50.10N 1.20W. The vessel has lost power.")
    assert claim.category == "vessel/boat"
    assert claim.position is not None


def test_a_thing_that_moved_makes_a_second_claim(reading: Reading) -> None:
    first, second = reading("A boat was at 50.10N 1.20W. The boat is now at 50.20N 1.20W.")
    assert first.position != second.position
