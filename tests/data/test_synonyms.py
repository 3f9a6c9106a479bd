"""Which names stand for a class, and that none stands for two."""

import json

import pytest

from mvplm.data.datasets.category_tables import table_vocabulary
from mvplm.data.synonyms import expand, read_synonyms
from mvplm.data.views import first_synonyms
from mvplm.structures import Vocabulary

WHOLE = Vocabulary(
    ("road, route, path", "screen, silver screen", "screen, CRT screen", "sky"), (False, True, True, False)
)


def test_parts_become_names_and_what_two_classes_share_is_left_out():
    found = expand(WHOLE, first_synonyms(WHOLE))
    assert dict(found.classes) == {
        "road": "road",
        "route": "road",
        "path": "road",
        "silver screen": "screen, silver screen",
        "CRT screen": "screen, CRT screen",
        "sky": "sky",
    }
    assert found.asked.names == tuple(found.classes)
    assert found.asked.isthing == (False, False, False, True, True, False)


def test_further_names_and_names_of_others():
    short = Vocabulary(("car", "truck"))
    found = expand(short, short, more={"Car": ["van", "VAN", " sports  car "], "truck": ["car", "lorry"]})
    assert dict(found.classes) == {
        "car": "car",
        "van": "car",
        "sports car": "car",
        "truck": "truck",
        "lorry": "truck",
    }


def test_names_that_are_not_asked_for(caplog):
    short = Vocabulary(("car",))
    expand(short, short, more={"car": [], "boat": ["ship"]})
    assert "boat" in caplog.text
    with pytest.raises(ValueError, match="none of the classes"):
        expand(short, short, more={"boat": ["ship"]})


@pytest.mark.parametrize("name", ["cityscapes", "pascal_context_59", "pascal_voc_20"])
def test_builtin_lists_name_known_classes_and_lose_nothing(name):
    table = {"cityscapes": "cityscapes_19"}.get(name, name)
    vocabulary = table_vocabulary(table, clean_names=True)
    listed = read_synonyms(f"builtin:{name}")
    assert set(listed) <= set(vocabulary.names)
    found = expand(vocabulary, vocabulary, more=listed)
    assert len(found.asked) == len(vocabulary) + sum(map(len, listed.values()))


@pytest.mark.parametrize("content", ["[1]", '{"a": "b"}', '{"a": [""]}', "{"])
def test_files_of_another_form_are_refused(tmp_path, content):
    (tmp_path / "s.json").write_text(content)
    with pytest.raises(ValueError, match="synonym_file"):
        read_synonyms(tmp_path / "s.json")


def test_a_file_and_a_list_that_is_not_there(tmp_path):
    (tmp_path / "s.json").write_text(json.dumps({"car": ["van"]}))
    assert read_synonyms(tmp_path / "s.json") == {"car": ["van"]}
    with pytest.raises(ValueError, match="choices: cityscapes"):
        read_synonyms("builtin:citscapes")
