"""Named behaviours: conventions of a network and its surroundings as a set of values, each of which can be overridden.

"paper" is what every default says. "released" is the public MVP-LM checkpoints': at inference the same weights give the
same outputs. Of its training it keeps what can be kept; what only breaks runs there is not repeated. A frozen encoder
stays in evaluation mode, so its stochastic depth acts only when it is trained; the data mix is a matter of the file.
"""

from typing import Any

_RELEASED: dict[str, Any] = {
    "image": {"pad_value": "128"},
    "boxes": {"frame": "padded"},
    "model": {
        "encoder": {"train_droppath": 0.3},
        "connector": {"conv2_repeats": 2, "norm": "batch_per_process"},
        "llm": {"lm_head_bias": False, "embedding_rows": 50297},
        "text": {"hidden": "layer_mean", "pool_suffix": True, "proj": "linear", "no_object": "background_name"},
        "select": {"score": "bare"},
        "query": {"base": "none", "fusion": "visual_only"},
        "stuff": {"detach": True},
        "decoder": {
            "mask_padding": False,
            "level_order": "coarse_to_fine",
            "anchor_scale": "coarse_small",
            "double_norm": True,
            "loop_box_input": "raw",
        },
        "dn": {"overflow": "skip"},
    },
    "prompt": {"style": "released"},
    "response": {"kind": "trailing", "token": "<seg>"},
    "names": {"synonyms": "joined"},
    "match": {"split": "cost_1e4", "sentence_cost": False},
    "loss": {"sentence_scale": 0.1},
    "post": {"box_score": "class_times_mask", "gres_fallback_top1": True, "things_before_top_k": False},
    "eval": {"res_protocol": "merged"},
    "infer": {"mode": "skip"},
    "data": {"exclude_eval_images": False},
    "optim": {"weight_decay": 0.0},
}

BEHAVIOURS: dict[str, dict[str, Any]] = {"paper": {}, "released": _RELEASED}
"""Configuration trees by behaviour: what differs from the defaults."""
