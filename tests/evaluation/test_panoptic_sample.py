"""The panoptic sample that the reference implementation ships, read from its files."""

import json

import numpy as np
from PIL import Image

from mvplm.evaluation import PanopticQuality
from mvplm.evaluation.panoptic import Segment


def test_reference_sample_against_itself(shared_data):
    folder = shared_data / "evaluator_parity" / "panopticapi_sample"
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*.json"))
    truth = next(
        content
        for name in names
        if isinstance(content := json.loads((folder / name).read_text()), dict)
        and content.get("annotations")
        and "segments_info" in content["annotations"][0]
    )
    categories = {c["id"]: i for i, c in enumerate(truth["categories"])}
    metric = PanopticQuality([bool(c["isthing"]) for c in truth["categories"]])
    for annotation in truth["annotations"]:
        path = next(p for p in folder.rglob(annotation["file_name"]) if _holds(p, annotation))
        segments = [
            Segment(s["id"], categories[s["category_id"]], bool(s["iscrowd"])) for s in annotation["segments_info"]
        ]
        values = _read(path)
        guess = [Segment(s.id, s.class_index) for s in segments if not s.iscrowd]
        kept = np.where(np.isin(values, [s.id for s in guess]), values, 0)
        metric.update(kept, guess, true_map=values, true=segments)
    assert metric.compute()["PQ"] == 100.0


def _read(path):
    pixels = np.asarray(Image.open(path).convert("RGB"), np.int64)
    return pixels[..., 0] + 256 * pixels[..., 1] + 65536 * pixels[..., 2]


def _holds(path, annotation):
    return path.suffix == ".png" and set(np.unique(_read(path))) - {0} == {s["id"] for s in annotation["segments_info"]}
