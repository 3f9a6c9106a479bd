import pytest

from mvplm.data.options import parse_options


def test_options_are_yaml():
    assert parse_options(["num=3", "role=all", "flag=true", "x=a=b"]) == {
        "num": 3,
        "role": "all",
        "flag": True,
        "x": "a=b",
    }
    with pytest.raises(ValueError, match="form key=value"):
        parse_options(["num"])
    with pytest.raises(ValueError, match="not valid YAML"):
        parse_options(["num=["])
