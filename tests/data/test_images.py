"""Reading pictures of every kind."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from mvplm.data.images import image_size, load_image


def test_every_odd_file(shared_data):
    folder = shared_data / "coco_mini" / "odd"
    for entry in json.loads((folder / "odd.json").read_text())["files"]:
        path = folder / entry["file"]
        if entry["decodes"]:
            image = load_image(path)
            width, height = entry["upright_size_wh"]
            assert image.shape == (height, width, 3) and image.dtype == np.uint8, entry["file"]
            assert image_size(path) == (height, width)
        else:
            with pytest.raises(ValueError, match=entry["file"]):
                load_image(path)


def test_odd_files_show_the_source_photo(shared_data):
    folder = shared_data / "coco_mini"
    photo = Image.open(folder / "images" / "train" / "000000000089.jpg").convert("RGB")
    half = np.asarray(photo.resize((320, 240), Image.Resampling.BICUBIC)).astype(int)
    upright = load_image(folder / "odd" / "exif_orientation_6.jpg").astype(int)
    assert abs(upright - np.asarray(photo).astype(int)).mean() < 4
    for name in ("cmyk.jpg", "palette.png"):
        assert abs(load_image(folder / "odd" / name).astype(int) - half).mean() < 12, name
    gray = load_image(folder / "odd" / "gray_16bit.png").astype(int)
    assert (gray[..., 0] == gray[..., 2]).all() and abs(gray[..., 0] - half.mean(2)).mean() < 12
    clear = load_image(folder / "odd" / "rgba.png").astype(int)
    alpha = np.asarray(Image.open(folder / "odd" / "rgba.png"))[..., 3]
    assert (clear[alpha == 0] == 255).all() and abs(clear - half)[alpha == 255].mean() < 12


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.png"):
        load_image(tmp_path / "nowhere.png")


def test_sixteen_bits_scale_to_eight():
    values = np.array([[0, 257, 65535, 32768, 128, 129]], np.uint16)
    assert load_image(values)[0, :, 0].tolist() == [0, 1, 255, 128, 0, 1]
    file = io.BytesIO()
    Image.fromarray(values).save(file, format="PNG")
    assert load_image(file.getvalue())[0, :, 1].tolist() == [0, 1, 255, 128, 0, 1]


def test_transparency_lies_over_white():
    picture = np.zeros((1, 3, 4), np.uint8)
    picture[0, :, 3] = [0, 255, 51]
    assert load_image(picture)[0, :, 0].tolist() == [255, 0, 204]
    palette = Image.new("P", (1, 1))
    palette.putpalette([10, 20, 30])
    palette.info["transparency"] = 0
    assert load_image(palette)[0, 0].tolist() == [255, 255, 255]


def test_decompression_bombs_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "bomb.png"
    Image.new("L", (30, 30)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match="bomb.png.*decompression bomb"):
        load_image(path)


def test_arrays_and_tensors():
    array = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    loaded = load_image(array)
    assert (loaded == array).all() and not np.shares_memory(loaded, array)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    assert (load_image(tensor) == array).all()
    assert (load_image(tensor.float() / 255) == array).all()
    assert load_image(np.eye(2, dtype=bool))[..., 0].tolist() == [[255, 0], [0, 255]]
    assert (load_image(Image.fromarray(array)) == array).all()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((2, 2, 5), np.uint8), r"\(2, 2, 5\)"),
        (np.zeros((0, 2, 3), np.uint8), r"\(0, 2, 3\)"),
        (np.zeros((2, 2, 3)), "float64"),
        (torch.zeros(2, 2), r"\(2, 2\)"),
        (torch.full((3, 2, 2), 2.0), r"\[0, 1\]"),
        (torch.full((3, 2, 2), torch.nan), r"\[0, 1\]"),
        (b"no picture", "not an image file"),
        (7, "int"),
    ],
)
def test_wrong_sources_are_refused(source, message):
    with pytest.raises(ValueError, match=message):
        load_image(source)
