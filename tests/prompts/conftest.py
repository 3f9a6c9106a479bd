"""Tokenizers of the prompt tests: GPT-2's (skipped where its files are absent) and a small trained one."""

from pathlib import Path

import pytest

from mvplm.prompts import PromptTokenizer, train_scenes_tokenizer


@pytest.fixture(scope="session")
def gpt2(shared_data: Path) -> PromptTokenizer:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    folder = shared_data / "gpt2_bpe"
    if not (folder / "vocab.json").is_file():
        pytest.skip(f"no GPT-2 vocabulary: {folder} is absent")
    backend = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PromptTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>"))


SCENE_TEXTS = [
    f"a {colour} {shape} left of the {other} on green grass"
    for colour in ("red", "blue", "striped")
    for shape in ("star", "circle")
    for other in ("square", "cross")
]


@pytest.fixture(scope="session")
def small() -> PromptTokenizer:
    return train_scenes_tokenizer(SCENE_TEXTS, vocab_size=700)
