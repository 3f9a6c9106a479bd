"""The printed view of training samples."""

import io

import pytest
import torch
from rich.console import Console

from mvplm.data.show import show_tokens
from mvplm.data.unify import UnifySettings, unify
from mvplm.prompts import render, train_scenes_tokenizer
from mvplm.structures import Annotation, Record, Sample, Vocabulary


def test_samples_are_printed_from_start_to_the_end_of_the_dataset():
    import random

    tokenizer = train_scenes_tokenizer(["a star"], vocab_size=500)
    vocabulary = Vocabulary(("star", "moon"))
    dataset = [
        Record(f"picture{i}", "none.jpg", (8, 8), vocabulary=vocabulary, annotations=(Annotation((0, 0, 2, 2), 0),))
        for i in range(3)
    ]

    def mapper(record, *, epoch, index):
        rng = random.Random(f"{epoch}-{index}")
        unified = unify(record, task="detection", rng=rng, settings=UnifySettings(), training=True)
        prompt = render(unified.conversation, tokenizer, num_image_tokens=4)
        image = torch.zeros(3, 8, 8, dtype=torch.uint8)
        return Sample(
            image, record.size, record.image_id, "detection", "word", False, prompt, unified.names, unified.isthing
        )

    console = Console(file=io.StringIO(), width=100)
    show_tokens(dataset, mapper, tokenizer=tokenizer, number=5, start=1, console=console)
    text = console.file.getvalue()
    assert "picture0" not in text and "picture1" in text and "picture2" in text
    assert text.count("[image x 4]") == 2 and text.count("<PER>") == 2 and "no target" in text
    with pytest.raises(ValueError, match="start must be in 0..2, got 3"):
        show_tokens(dataset, mapper, tokenizer=tokenizer, start=3)
