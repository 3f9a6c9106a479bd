"""Tags and the nouns of the package."""

import sys
from types import ModuleType

import pytest

from mvplm.data.ors.words import ROOTS, ListedHypernyms, Nouns, known_nouns, normalise_tag


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        *[("Dogs", "dog"), ("two  DOGS ", "two dog"), ("", ""), ("bus", "bus"), ("buses", "bus"), ("glass", "glass")],
        *[("boxes", "box"), ("benches", "bench"), ("dishes", "dish"), ("berries", "berry"), ("ties", "tie")],
        *[("knives", "knife"), ("women", "woman"), ("firemen", "fireman"), ("children", "child"), ("mice", "mouse")],
        *[
            ("sunglasses", "sunglasses"),
            ("tomatoes", "tomato"),
            ("horses", "horse"),
            ("french fries", "french fries"),
        ],
        *[("people", "person"), ("cactus", "cactus"), ("tennis", "tennis"), ("gas", "gas"), ("shoes", "shoe")],
    ],
)
def test_normal_forms(tag: str, expected: str):
    assert normalise_tag(tag) == expected


def test_normal_forms_stay_as_they_are_where_they_are_listed():
    source = known_nouns().source
    changed = {noun: normalise_tag(noun) for noun in source._parents if normalise_tag(noun) != noun}
    assert changed == {}


@pytest.mark.parametrize(
    ("noun", "reason"),
    [
        *[("dog", None), ("police officer", None), ("sofa", None), ("rock", None), ("animal", None), ("pizza", None)],
        *[("sky", "stop_list"), ("red", "stop_list"), ("wedding", "stop_list"), ("hand", "stop_list")],
        *[("zorgle", "unknown"), ("snowflake", "other_kind"), ("volcano", "other_kind")],
    ],
)
def test_which_nouns_are_kept(noun: str, reason: str | None):
    assert known_nouns().reason_against(noun) == reason


def test_the_list_is_sound():
    nouns = known_nouns()
    assert len(nouns.source._parents) > 800
    assert all(root in nouns.source._parents for root in ROOTS)
    assert nouns.is_above("animal", "puppy") and not nouns.is_above("puppy", "puppy")
    assert {"rodent", "device"} <= nouns.source.ancestors("mouse"), "two senses"
    assert known_nouns().identity == nouns.identity


def test_a_circle_is_refused():
    with pytest.raises(ValueError, match="'a' is a kind of itself"):
        ListedHypernyms({"a": ["b"], "b": ["a"]})


def test_other_sources(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match="unknown source of hypernyms 'wornet'"):
        known_nouns("wornet")
    monkeypatch.setitem(sys.modules, "nltk", None)
    with pytest.raises(ValueError, match=r"need NLTK and its files: pip install mvplm\[wordnet\]"):
        known_nouns("wordnet")


def test_wordnet(monkeypatch: pytest.MonkeyPatch):
    class Sense:
        def __init__(self, *names: str, above: "tuple[Sense, ...]" = ()) -> None:
            self.names, self.above = names, above

        def lemma_names(self) -> tuple[str, ...]:
            return self.names

        def hypernyms(self) -> "tuple[Sense, ...]":
            return self.above

        def closure(self, relation):
            for one in relation(self):
                yield one
                yield from one.closure(relation)

    animal = Sense("animal")
    senses = {"sea_dog": [Sense("sea_dog", above=(Sense("Canine_beast", above=(animal,)),)), Sense("sea_dog")]}
    wordnet = ModuleType("wordnet")
    wordnet.synsets, wordnet.get_version = lambda noun, pos: senses.get(noun, []), lambda: "3.0"
    corpus = ModuleType("nltk.corpus")
    corpus.wordnet = wordnet
    monkeypatch.setitem(sys.modules, "nltk", ModuleType("nltk"))
    monkeypatch.setitem(sys.modules, "nltk.corpus", corpus)
    nouns = known_nouns("wordnet")
    assert isinstance(nouns, Nouns) and nouns.identity.startswith("wordnet@")
    assert nouns.source.ancestors("sea dog") == {"canine beast", "animal"}
    assert nouns.reason_against("sea dog") is None and nouns.reason_against("nothing") == "unknown"
