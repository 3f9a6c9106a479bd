"""Named architectures: only what differs from the published sizes."""

from typing import Any

from mvplm.config.base import near

_TINY: dict[str, Any] = {
    "model": {
        "encoder": {
            "kind": "timm",
            "name": "resnet18",
            "kwargs": {
                "channels": [48, 96, 128, 160],
                "layers": [1, 2, 2, 1],
                "stem_type": "deep",
                "stem_width": 16,
                "avg_down": True,
            },
            "train": True,
        },
        "connector": {"stride": 32, "width": 160},
        "llm": {
            "embedding_rows": 0,
            "hidden_size": 160,
            "layers": 4,
            "heads": 5,
            "ffn": 480,
            "context": 512,
            "attention": "eager",
        },
        "query": {"num": 40},
        "stuff": {"num": 12},
        "pixel_decoder": {"width": 128, "mask_width": 128, "layers": 2, "points": 2, "ffn": 384},
        "decoder": {"layers": 5, "ffn": 384},
        "dn": {"budget": 40},
    },
    "image": {"size": 192},
    "prompt": {"max_length": 512},
    "vocab": {"response_room": 48},
    "match": {"num_points": 512},
    "loss": {"num_points": 512},
}

_SWINS: dict[str, dict[str, Any]] = {
    "t": {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24], "window_size": 7},
    "b": {},
    "l": {"embed_dim": 192, "depths": [2, 2, 18, 2], "num_heads": [6, 12, 24, 48], "window_size": 12},
}
_PHIS: dict[str, dict[str, Any]] = {
    "1.5": {},
    "2": {"hidden_size": 2560, "layers": 32, "heads": 32, "ffn": 10240, "rope_fraction": 0.4},
}


def _full_size(swin: str, phi: str) -> dict[str, Any]:
    parts = {"encoder": {"kwargs": _SWINS[swin]} if _SWINS[swin] else {}, "llm": _PHIS[phi]}
    chosen = {part: settings for part, settings in parts.items() if settings}
    return {"model": chosen} if chosen else {}


# For small sets of photos on CPUs: what is frozen is computed once, and the memory has no fine level.
_PHOTOS: dict[str, Any] = {
    **_TINY,
    "model": {
        **_TINY["model"],
        "encoder": {"kind": "timm", "name": "tf_efficientnet_lite0", "train": False},
        "llm": {**_TINY["model"]["llm"], "reads": "names"},
        "classifier": {"word": "sigmoid_focal"},
        "query": {**_TINY["model"]["query"], "fusion": "visual_only"},
        "pixel_decoder": {**_TINY["model"]["pixel_decoder"], "finest": 16},
    },
    "image": {"size": 320, "mean": [127.0, 127.0, 127.0], "std": [128.0, 128.0, 128.0]},
    "prompt": {"max_length": 512, "order": "instruction_first"},
    "response": {"kind": "none"},
}

PRESETS: dict[str, dict[str, Any]] = {
    "mvplm-tiny": _TINY,
    "mvplm-tiny-photos": _PHOTOS,
    **{f"mvplm-swin-{swin}-phi-{phi}": _full_size(swin, phi) for phi in _PHIS for swin in _SWINS},
}
"""Configuration trees by architecture name."""


def preset_tree(name: str) -> dict[str, Any]:
    """The configuration tree of an architecture.

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}{near(name, list(PRESETS))}; known: {', '.join(sorted(PRESETS))}")
    return PRESETS[name]
