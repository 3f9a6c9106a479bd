"""Every Python block of docs/using_the_parts.md runs, and the examples of parts are short."""

import re
from pathlib import Path

import huggingface_hub
import pytest
import torch
from oracles.detectron2_double import Instances as Detected
from oracles.detectron2_double import install
from oracles.tiny import VOCABULARY, build_tiny, noise_picture, tiny_perceiver
from PIL import Image

import mvplm
from mvplm.interop.detectron2 import metadata_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "using_the_parts.md"
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S))
PARTS = {
    "The encoder and the pixel decoder as a feature pyramid",
    "The decoder with your own queries",
    "Matcher and criterion on the output of any DETR",
    "Deformable attention in your own layer",
}


def blocks(title: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", SECTIONS[title], flags=re.S)


def run(code: str, **given) -> dict:
    """The names a block leaves behind, run with nothing but what it is given."""
    names = dict(given)
    exec(compile(code, PAGE.name, "exec"), names)
    return names


def part(title: str) -> dict:
    (code,) = blocks(title)
    torch.manual_seed(0)
    return run(code)


@pytest.fixture
def no_downloads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The tiny model answers for the shipped one; files are written to a folder of the test."""
    monkeypatch.setattr(mvplm, "load", lambda name: tiny_perceiver())
    monkeypatch.chdir(tmp_path)
    Image.fromarray(noise_picture(47, 71, seed=1)).save("scene.png")
    return tmp_path


def test_every_block_belongs_to_a_test():
    assert {title: len(blocks(title)) for title in SECTIONS} == {
        "Results in the formats of other libraries": 1,
        "Inside detectron2": 2,
        "On the Hugging Face Hub": 1,
        **dict.fromkeys(PARTS, 1),
    }


@pytest.mark.parametrize("title", sorted(PARTS))
def test_an_example_has_ten_lines(title: str):
    lines = [line for line in blocks(title)[0].splitlines() if line.strip()]
    assert len(lines) <= 10 and max(map(len, lines)) <= 120


def test_feature_pyramid():
    done = part("The encoder and the pixel decoder as a feature pyramid")
    assert [tuple(level.shape) for level in done["pyramid"]] == [
        (2, 64, 16, 20),
        (2, 64, 8, 10),
        (2, 64, 4, 5),
        (2, 64, 2, 3),
    ]
    assert done["fine"].shape == (2, 256, 32, 40)
    tokens = torch.cat([level.flatten(2) for level in done["pyramid"]], 2).transpose(1, 2)
    assert torch.equal(tokens, done["pixel"].memory)
    padded = done["pixel_decoder"](done["encoder"](torch.rand(2, 3, 64, 64)), valid_sizes=[(64, 64), (40, 64)])
    assert padded.padding.any(1).tolist() == [False, True]


def test_own_queries():
    done = part("The decoder with your own queries")
    assert done["boxes"].shape == (2, 20, 4) and bool(((done["boxes"] > 0) & (done["boxes"] < 1)).all())
    assert done["states"].hidden.shape == (4, 2, 20, 64)
    (done["states"].hidden.sum() + done["boxes"].sum()).backward()
    assert float(done["queries"].grad.abs().sum()) > 0 and float(done["places"].grad.abs().sum()) > 0


def test_matcher_and_criterion():
    done = part("Matcher and criterion on the output of any DETR")
    assert set(done["losses"]) == {"word", "box_l1", "box_giou"}
    assert bool(done["logits"].grad.isfinite().all()) and float(done["logits"].grad.abs().sum()) > 0


def test_deformable_attention():
    done = part("Deformable attention in your own layer")
    assert done["y"].shape == done["x"].shape
    # A fresh layer looks at fixed places around each token, so what it adds differs from token to token.
    assert bool(((done["y"] - done["x"]).std(dim=(2, 3)) > 0).all())


def test_foreign_formats(no_downloads: Path):
    done = run(*blocks("Results in the formats of other libraries"))
    count = len(done["out"].instances)
    assert count == len(done["entries"]) == len(done["detections"]) > 0
    assert {entry["category_id"] for entry in done["entries"]} <= {1, 2}


def test_detectron2(no_downloads: Path, monkeypatch: pytest.MonkeyPatch):
    stand_in = install(monkeypatch)
    stand_in.MetadataCatalog.get("my_dataset").set(**metadata_of(VOCABULARY))
    monkeypatch.setattr("mvplm.meta_arch.load", lambda name, device: tiny_perceiver())
    image = torch.from_numpy(noise_picture(47, 71)).permute(2, 0, 1)
    first, second = blocks("Inside detectron2")
    (result,) = run(first, image=image)["results"]
    assert result["sem_seg"].shape == (len(VOCABULARY), 480, 640) and result["instances"].image_size == (480, 640)
    truth = Detected((47, 71), gt_masks=torch.ones(1, 47, 71), gt_classes=torch.tensor([1]))
    class_map = torch.full((47, 71), 2)
    # A fresh one: a training pass moves the statistics of normalisation layers.
    done = run(second, perceiver=build_tiny(), image=image, class_map=class_map, instances=truth)
    assert set(done["results"][0]) == {"panoptic_seg", "sem_seg", "instances"}
    assert {"word", "mask_dice"} <= set(done["losses"])


def test_sharing(no_downloads: Path, monkeypatch: pytest.MonkeyPatch):
    pushed = []
    monkeypatch.setattr(mvplm.Perceiver, "push_to_hub", lambda self, name, **given: pushed.append((name, given)))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", None)
    done = run(*blocks("On the Hugging Face Hub"))
    assert done["again"].vocabulary == VOCABULARY and pushed == [("me/my_model", {"private": True})]
    written = {path.name for path in (no_downloads / "my_model").iterdir()}
    named = re.search(r"A directory holds (.*?)\.\n", SECTIONS["On the Hugging Face Hub"]).group(1)
    assert {name.strip("`/") for name in re.findall(r"`.+?`", named)} == written | {"provenance.json"}
