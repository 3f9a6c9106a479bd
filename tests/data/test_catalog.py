"""Names of datasets, and options that do not exist."""

import pytest

from mvplm.data import catalog
from mvplm.data.catalog import datasets_root, get_dataset, list_datasets, register_dataset, unregister_dataset


def test_built_in_names():
    assert {"coco_folder", "coco_mini/val", "scenes/train", "scenes/heldout"} <= set(list_datasets())


def test_unknown_name_lists_near_matches_first():
    with pytest.raises(ValueError, match=r"'coco_mini/vall'; did you mean 'coco_mini/val'\?.*scenes/train"):
        get_dataset("coco_mini/vall")


def test_unknown_option_lists_the_choices():
    with pytest.raises(ValueError, match=r"no option 'rol'; did you mean 'role'\? .*clean_names"):
        get_dataset("coco_mini/val", rol="panoptic")
    with pytest.raises(ValueError, match="no option 'number'"):
        get_dataset("scenes/val", number=3)


def test_missing_folder_says_where_it_looked(tmp_path):
    with pytest.raises(FileNotFoundError, match="coco_mini.*MVPLM_DATASETS"):
        get_dataset("coco_mini/val", root=tmp_path)


def test_register(small_record):
    register_dataset("mine/train", lambda root, *, number=1: [small_record(i) for i in range(number)])
    try:
        assert len(get_dataset("mine/train", number=4)) == 4
        with pytest.raises(ValueError, match="registered already"):
            register_dataset("mine/train", list)
    finally:
        unregister_dataset("mine/train")
    assert "mine/train" not in list_datasets()


def test_root_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv(catalog.ROOT_VARIABLE, str(tmp_path))
    assert datasets_root() == tmp_path and str(datasets_root("given")) == "given"
    monkeypatch.delenv(catalog.ROOT_VARIABLE)
    assert str(datasets_root()) == "datasets"


def test_scenes_need_no_files():
    records = get_dataset("scenes/val", num=2, role="panoptic", seed=5)
    assert len(records) == 2 and records[0].annotations and not records[0].expressions
