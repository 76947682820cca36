"""What counts as the same word, as a synonym and as a kind."""

import subprocess
import sys
from pathlib import Path

import pytest

from analysis.blind import wordnet
from analysis.blind.answers import Decision, answers_of
from analysis.blind.words import canonical, single_names

LABRADOR, CRANE, JELLYFISH = "n02099712", "n03126707", "n01910747"


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("  The JELLY-fishes ", "jellyfish"),
        ("a flamingo", "flamingo"),
        ("Potatoes", "potato"),
        ("foxes", "fox"),
        ("thrushes", "thrush"),
        ("cookies", "cookie"),
        ("cherries", "cherry"),
        ("wolves", "wolf"),
        ("firemen", "fireman"),
        ("walruses", "walrus"),
        ("houses", "house"),
        ("lenses", "lens"),
        ("grey whale", "gray whale"),
        ("theatre curtains", "theater curtain"),
        ("suit of armour", "suit of armor"),
        ("snowplough", "snowplow"),
        ("lady slipper", "lady's slipper"),
        ("St. Bernard", "st bernard"),
        ("café", "cafe"),
        ("axe", "ax"),
        ("mortar & pestle", "mortar and pestle"),
        ("hot_dog", "hotdog"),
    ],
)
def test_spelling_makes_no_difference(written: str, name: str) -> None:
    assert canonical(written) == canonical(name)


@pytest.mark.parametrize(
    ("one", "other"),
    [("cat", "car"), ("bus", "bush"), ("glass", "gas"), ("lion", "sea lion"), ("ass", "a"), ("pie", "pig")],
)
def test_different_words_stay_different(one: str, other: str) -> None:
    assert canonical(one) != canonical(other)


@pytest.mark.parametrize("text", ["", " ", "?", "-", "...", "'"])
def test_signs_alone_are_no_guess(text: str) -> None:
    assert canonical(text) == ""


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("tench, Tinca tinca", ["tench", "Tinca tinca"]),
        ("T-shirt/top", ["T-shirt/top", "T-shirt", "top"]),
        ("crane (bird)", ["crane (bird)", "crane"]),
        ("3", ["3"]),
        ("", []),
    ],
)
def test_a_class_name_may_hold_several_names(name: str, names: list[str]) -> None:
    assert single_names(name) == names


@pytest.mark.parametrize(
    ("class_name", "wnid", "guess", "verdict"),
    [
        ("jellyfish", JELLYFISH, "jellyfish", "right"),
        ("goldfish", "n01443537", "Carassius auratus", "right"),
        ("great white shark", "n01484850", "man-eating sharks", "right"),
        ("Labrador retriever", LABRADOR, "dog", "kind"),
        ("Labrador retriever", LABRADOR, "Labrador retriever dog", "right"),
        ("Labrador retriever", LABRADOR, "Labrador retriever (a dog)", "right"),
        ("Labrador retriever", LABRADOR, "guide dog", "wrong"),
        ("Labrador retriever", LABRADOR, "retriever", "kind"),
        ("Labrador retriever", LABRADOR, "carnivore", "wrong"),
        ("Labrador retriever", LABRADOR, "animal", "wrong"),
        ("Labrador retriever", LABRADOR, "golden retriever", "wrong"),
        ("crane", CRANE, "device", "wrong"),
        ("sea lion", "n02077923", "lion", "wrong"),
        ("hotdog", "n07697537", "dog", "wrong"),
        ("T-shirt/top", "", "t shirt", "right"),
        ("Ankle boot", "", "boot", "wrong"),
    ],
)
def test_a_guess_is_a_name_a_kind_or_neither(class_name: str, wnid: str, guess: str, verdict: str) -> None:
    assert answers_of(class_name, wnid).verdict(guess) == verdict


def test_a_user_decides_over_the_rule() -> None:
    said = [
        Decision(word="Boots", verdict="right"),
        Decision(word="shoe", verdict="kind"),
        Decision(word="sandal", verdict="wrong"),
    ]
    answers = answers_of("Ankle boot, sandal", "", said)
    verdicts = [answers.verdict(word) for word in ("boot", "shoes", "sandal", "ankle boot")]
    assert verdicts == ["right", "kind", "wrong", "right"]


@pytest.mark.parametrize(
    ("guess", "miss"),
    [
        ("flamigo", "spelled nearly flamingo"),
        ("pink flamingos on a lake", "holds flamingo"),
        ("pencil", ""),
    ],
)
def test_a_near_miss_is_told_but_does_not_count(guess: str, miss: str) -> None:
    answers = answers_of("flamingo", "")
    assert (answers.verdict(guess), answers.near_miss(guess)) == ("wrong", miss)


def test_a_part_of_a_name_is_a_near_miss() -> None:
    assert answers_of("Ankle boot", "").near_miss("boot") == "a part of Ankle boot"


def test_the_table_holds_the_classes_of_imagenet_and_no_loop() -> None:
    synsets = wordnet._synsets()
    classes = [wnid for wnid, synset in synsets.items() if synset.is_class]
    assert len(classes) == 1000
    assert {above for synset in synsets.values() for above in synset.above} <= set(synsets)
    counts = wordnet._num_classes()
    by_name = {synset.words[0]: counts[wnid] for wnid, synset in synsets.items()}
    assert (by_name["entity"], by_name["dog"], by_name["bird"], by_name["animal"]) == (1000, 118, 59, 398)
    assert not any(wnid in set(wordnet._all_above(wnid)) for wnid in synsets)


def test_the_table_and_timm_agree_on_the_words() -> None:
    words = wordnet.timm_words()
    assert len(words) > 20_000
    synsets = {wnid: each for wnid, each in wordnet._synsets().items() if each.is_class}
    assert {wnid: ", ".join(each.words) for wnid, each in synsets.items()} == {
        wnid: words[wnid] for wnid in synsets
    }


def test_other_wnids_have_the_words_of_timm_and_without_it_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert wordnet.synonyms("n00005787") == ("benthos",)
    assert wordnet.kinds("n00005787") == ()
    assert wordnet.unknown_wnids(["n00005787", "n99999999", "", JELLYFISH]) == ["n99999999"]
    monkeypatch.setattr(wordnet, "timm_words", dict)
    assert wordnet.unknown_wnids(["n00005787", JELLYFISH]) == ["n00005787"]


def test_synonyms_are_found_without_importing_timm() -> None:
    code = (
        "import sys; from analysis.blind.wordnet import synonyms; assert synonyms('n00005787');"
        "assert not {'timm', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=True)
