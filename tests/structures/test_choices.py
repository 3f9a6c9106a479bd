import pytest

from mvplm.structures.choices import check_choice, near_matches


def test_a_known_choice_comes_back():
    assert check_choice("kind", "ring", choices=("star", "ring")) == "ring"


def test_a_wrong_one_is_answered_with_the_nearest_and_all():
    with pytest.raises(ValueError) as caught:
        check_choice("kind", "rings", choices={"star": 1, "ring": 2})
    assert str(caught.value) == "unknown kind 'rings'; did you mean 'ring'? (choices: star, ring)"
    with pytest.raises(ValueError, match=r"unknown kind 'zzz' \(choices: star\)"):
        check_choice("kind", "zzz", choices=["star"])


def test_near_matches_are_few_and_take_any_value():
    names = [f"name{i}" for i in range(9)]
    assert near_matches("name", names, most=3).count("'") == 6
    assert near_matches(7, ["a"]) == ""
