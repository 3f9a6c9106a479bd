"""Entry by entry through JSON: the same values as the standard parser, at the right bytes, in any chunking."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvplm.data.index import stream
from mvplm.data.index.stream import stream_items

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
FILES = st.dictionaries(st.text(max_size=5), st.lists(VALUES, max_size=4) | VALUES, max_size=4) | st.lists(VALUES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("json")


def expected(content) -> list[tuple]:
    if isinstance(content, list):
        return [(None, value) for value in content]
    return [(key, value) for key, values in content.items() if isinstance(values, list) for value in values]


@settings(max_examples=30)
@given(content=FILES, chunk=st.integers(1, 40), indent=st.sampled_from([None, 1]), ascii_only=st.booleans())
def test_the_same_as_reading_it_whole(folder, content, chunk, indent, ascii_only):
    file = folder / "file.json"
    data = json.dumps(content, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    file.write_bytes(data)
    found = list(stream_items(file, chunk=chunk))
    assert [(item.key, item.value) for item in found] == expected(content)
    assert [json.loads(data[item.start : item.end]) for item in found] == [item.value for item in found]


@pytest.mark.parametrize("chunk", range(1, 8))
def test_numbers_are_not_cut_between_chunks(tmp_path: Path, chunk: int):
    file = tmp_path / "file.json"
    file.write_text("[1e+20,-0.5,1E5,12345.678e-9,0,-7, 1.0]")
    assert [item.value for item in stream_items(file, chunk=chunk)] == [1e20, -0.5, 1e5, 12345.678e-9, 0, -7, 1.0]


def test_a_byte_order_mark_and_blanks_are_passed_over(tmp_path: Path):
    file = tmp_path / "file.json"
    file.write_bytes('\ufeff \n[1, {"é": 12}]\n\n'.encode())
    assert [(item.value, item.start) for item in stream_items(file, chunk=1)] == [(1, 6), ({"é": 12}, 9)]


def test_progress_ends_at_the_end(tmp_path: Path):
    file = tmp_path / "file.json"
    file.write_text(json.dumps({"a": list(range(100))}))
    seen: list[int] = []
    assert len(list(stream_items(file, progress=seen.append, chunk=64))) == 100
    assert seen == sorted(seen) and seen[-1] == file.stat().st_size and len(seen) > 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a list or an object"),
        ("3", "expected a list or an object"),
        ("[1, 2", "expected a comma or ']'"),
        ("[1 2]", "expected a comma or ']'"),
        ("[1, ]", "near byte 4"),
        ('{"a": [1}', "expected a comma or ']'"),
        ('{"a": [1], 3: 4}', "expected a name and a colon"),
        ('{"a" [1]}', "expected a name and a colon"),
        ('{"a": [{"b": 1]}', "near byte 7"),
        ("[1] 2", "something follows the end"),
        ('["\xff"]', "not UTF-8"),
    ],
)
def test_broken_files_are_named_with_the_place(tmp_path: Path, text: str, message: str):
    file = tmp_path / "broken.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"broken\.json is not valid JSON near byte \d+: .*") as caught:
        list(stream_items(file, chunk=2))
    assert message in str(caught.value)


def test_a_file_without_end_does_not_fill_the_memory(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(stream, "LONGEST_ENTRY", 1 << 10)
    file = tmp_path / "long.json"
    file.write_text('["' + "x" * 100_000 + '"]')
    with pytest.raises(ValueError, match="one entry has more than"):
        list(stream_items(file, chunk=100))
