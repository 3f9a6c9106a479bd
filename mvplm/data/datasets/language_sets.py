"""Names of the sets with boxes, phrases, expressions and captions, and how each is opened."""

from collections.abc import Callable, Sequence
from functools import partial

from mvplm.data.datasets import grefcoco, llava, reasonseg, refcoco
from mvplm.data.datasets.goldg import load_flickr30k, load_gqa
from mvplm.data.datasets.objects365 import load_objects365
from mvplm.structures import Record

LANGUAGE_SETS: dict[str, Callable[..., Sequence[Record]]] = {
    **{f"objects365_v2_{split}": partial(load_objects365, split=split) for split in ("train", "val")},
    **{f"flickr30k_goldg_{split}": partial(load_flickr30k, split=split) for split in ("train", "val", "test")},
    "gqa_goldg_train": load_gqa,
    **{
        f"{dataset}_{by}_{split}": partial(refcoco.load_refcoco, dataset=dataset, by=by, split=split)
        for (dataset, by), splits in refcoco.SPLITS.items()
        for split in splits
    },
    **{f"grefcoco_unc_{split}": partial(grefcoco.load_grefcoco, split=split) for split in grefcoco.SPLITS},
    **{name: partial(llava.load_llava, name=name) for name in llava.SETS},
    **{f"reasonseg_{split}": partial(reasonseg.load_reasonseg, split=split) for split in reasonseg.SPLITS},
}
"""Loader by name, called as ``loader(root, **options)``."""
