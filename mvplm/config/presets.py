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

PRESETS: dict[str, dict[str, Any]] = {"mvplm-tiny": _TINY, "mvplm-swin-b-phi-1.5": {}}
"""Configuration trees by architecture name."""


def preset_tree(name: str) -> dict[str, Any]:
    """The configuration tree of an architecture.

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}{near(name, list(PRESETS))}; known: {', '.join(sorted(PRESETS))}")
    return PRESETS[name]
