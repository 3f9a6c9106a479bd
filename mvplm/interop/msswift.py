"""Question-and-answer records in the format of ms-swift, with the file of new tokens and a command to start from.

Boxes stay in the answer's own text: ms-swift's ``objects`` field would rewrite them into the base model's format.
"""

from collections.abc import Mapping
from typing import Any

TOKENS_WARNING = (
    "ms-swift adds new tokens as special ones: decode answers by id, or with skip_special_tokens=False; otherwise the "
    "masks vanish from the text."
)


def to_msswift(record: Mapping[str, Any]) -> dict[str, Any]:
    """One line of a ms-swift data set: messages with the placeholder of the picture, and its file."""
    asked, told = record["messages"]
    messages = [{"role": "user", "content": f"<image>{asked['content']}"}, dict(told)]
    return {"messages": messages, "images": [record["image"]]}


def launch_command(data: str, tokens: str | None, *, base: str, steps: int = 50000) -> str:
    """A shell command with the settings of Text4Seg++ (alpha and dropout are ours).

    Args:
        data: file of lines. tokens: file of new tokens; None for answers in plain text. base: the model to train.
        steps: optimiser steps at 128 samples each.
    """
    options = [
        f"--model {base}",
        f"--dataset {data}",
        "--train_type lora --lora_rank 128 --lora_alpha 256 --lora_dropout 0.05 --target_modules all-linear",
        "--freeze_vit true --freeze_aligner true",
        "--learning_rate 2e-4 --lr_scheduler_type linear --warmup_ratio 0.03 --weight_decay 0 --max_grad_norm 1.0",
        f"--max_length 4096 --max_steps {steps} --per_device_train_batch_size 1 --gradient_accumulation_steps 16",
    ]
    if tokens is not None:
        options.append(f"--new_special_tokens {tokens} --modules_to_save embed_tokens lm_head")
    return "#!/bin/sh\n# 8 GPUs x 1 x 16 = 128 samples a step.\nswift sft \\\n  " + " \\\n  ".join(options) + "\n"
