"""The panoptic sample that the reference implementation ships, read from its files."""

import numpy as np

from mvplm.data.datasets.coco_files import read_json
from mvplm.data.panoptic_png import read_panoptic
from mvplm.evaluation import PanopticQuality


def test_reference_sample_against_itself(shared_data):
    folder = shared_data / "evaluator_parity" / "panopticapi_sample"
    truth = read_json(folder / "panoptic_examples.json")
    metric = PanopticQuality(read_json(folder / "panoptic_coco_categories.json"))
    for annotation in truth["annotations"]:
        values, segments = (
            read_panoptic(folder / "panoptic_examples" / annotation["file_name"]),
            annotation["segments_info"],
        )
        guess = [segment for segment in segments if not segment["iscrowd"]]
        kept = np.where(np.isin(values, [segment["id"] for segment in guess]), values, 0)
        metric.update(kept, guess, values, segments)
    assert metric.compute()["panoptic/PQ"] == 100.0
