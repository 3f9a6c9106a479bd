"""Captioners: how they are named, callables, and tiny models of transformers with random weights."""

import numpy as np
import pytest
from PIL import Image

from mvplm.label.captioners import CaptionerSettings, Draw, parse_captioner


def pictures(count):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (40 + 8 * i, 50, 3), np.uint8)) for i in range(count)]


@pytest.mark.parametrize(
    ("text", "name", "source"),
    [
        ("pkg.mod:function", "pkg.mod:function", "pkg.mod:function"),
        ("mine=pkg.mod:function", "mine", "pkg.mod:function"),
        ("OpenGVLab/InternVL2-8B", "InternVL2-8B", "OpenGVLab/InternVL2-8B"),
        ("big=OpenGVLab/InternVL2-26B", "big", "OpenGVLab/InternVL2-26B"),
        ("weights/qwen/", "qwen", "weights/qwen/"),
    ],
)
def test_specs(text, name, source):
    spec = parse_captioner(text)
    assert (spec.name, spec.source, spec.is_callable) == (name, source, ":" in source)


def test_wrong_specs_are_explained(tmp_path):
    with pytest.raises(ValueError, match="SPEC or NAME=SPEC"):
        parse_captioner("  ")
    with pytest.raises(ValueError, match="no module 'no_such_module'"):
        parse_captioner("no_such_module:x").describe()
    with pytest.raises(ValueError, match="no function 'cornre'.*corner"):
        parse_captioner("captioning:cornre").describe()
    with pytest.raises(ValueError, match="no config.json"):
        parse_captioner(str(tmp_path)).describe()
    with pytest.raises(ValueError, match="prompt must not be empty"):
        CaptionerSettings(prompt=" ")
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        CaptionerSettings(samples=0)
    for wrong in ({"temperature": 0.0}, {"top_p": 0.0}, {"top_p": 1.5}):
        with pytest.raises(ValueError, match="temperature must be positive and top_p in"):
            CaptionerSettings(**wrong)


def test_a_model_that_is_not_here_is_not_downloaded(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match="neither a directory nor on this machine; downloads are off"):
        parse_captioner("nobody/no-such-model").describe()


def test_a_function_and_a_class():
    function, built = parse_captioner("captioning:size"), parse_captioner("captioning:Loaded")
    assert function.load("cpu").caption(pictures(1)) == ["The picture has 50 columns and a height of 40 rows."]
    assert built.load("cpu").caption(pictures(2)) == ["It is one of the pictures."] * 2
    assert built.describe().prompt == "What is it?" and built.describe().revision.startswith("source-")
    assert function.describe().version != built.describe().version


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<bos>", "<eos>", "<unk>", "<image>", "USER", "ASSISTANT", *(f"w{i}" for i in range(57))]
    base = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    base.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {name: f"<{name.split('_')[0]}>" for name in ("pad_token", "bos_token", "eos_token", "unk_token")}
    return PreTrainedTokenizerFast(tokenizer_object=base, additional_special_tokens=["<image>"], **special)


@pytest.fixture(scope="session")
def llava(tmp_path_factory):
    """A directory with a LLaVA of two small layers, random weights and a tokenizer of 64 words."""
    import torch
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    folder = tmp_path_factory.mktemp("llava")
    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(image_size=32, patch_size=16, **small),
        text_config=LlamaConfig(vocab_size=64, num_key_value_heads=2, **small, **ends),
        image_token_index=4,
        **{key: value for key, value in ends.items() if key == "pad_token_id"},
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    images = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    template = (
        "{% for m in messages %}USER {% for c in m['content'] %}"
        "{% if c['type'] == 'image' %}<image> {% else %}{{ c['text'] }} {% endif %}{% endfor %}{% endfor %}ASSISTANT "
    )
    LlavaProcessor(
        images,
        tokenizer(),
        patch_size=16,
        vision_feature_select_strategy="default",
        chat_template=template,
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    return folder


def test_a_model_answers_each_picture_the_same_alone_and_in_a_batch(llava):
    settings = CaptionerSettings(prompt="w1 w2 w3", max_new_tokens=5)
    captioner = parse_captioner(f"tiny={llava}", settings).load("cpu")
    assert captioner.info.prompt == "w1 w2 w3" and captioner.info.revision.startswith("local-")
    assert captioner.info.decoding["max_new_tokens"] == 5
    images = pictures(3)
    together = captioner.caption(images)
    assert together == [captioner.caption([image])[0] for image in images]
    assert all(0 < len(text.split()) <= 5 and "ASSISTANT w" not in text and "<" not in text for text in together)


def test_drawn_captions_depend_on_picture_captioner_and_sample_alone(llava):
    settings = CaptionerSettings(prompt="w1 w2 w3", max_new_tokens=6, samples=3, temperature=1.0)
    captioner, other = (parse_captioner(f"{name}={llava}", settings).load("cpu") for name in ("tiny", "other"))
    images, ids = pictures(3), (7, "seven", 8)
    likeliest = captioner.caption(images, Draw(0, ids))
    assert likeliest == captioner.caption(images)
    drawn = {sample: captioner.caption(images, Draw(sample, ids)) for sample in (1, 2)}
    for sample, texts in drawn.items():
        alone = [captioner.caption([i], Draw(sample, (key,)))[0] for i, key in zip(images, ids, strict=True)]
        assert texts == alone == other_order(captioner, images, ids, sample)
    texts = [*likeliest, *drawn[1], *drawn[2], *other.caption(images, Draw(1, ids))]
    assert len(set(texts)) == 12
    assert captioner.info.decoding["drawn"] == {"temperature": 1.0, "top_p": 1.0}


def other_order(captioner, images, ids, sample):
    return captioner.caption(images[::-1], Draw(sample, ids[::-1]))[::-1]


def test_the_least_share_of_probability_draws_the_likeliest_text(llava):
    settings = CaptionerSettings(prompt="w1 w2 w3", max_new_tokens=5, samples=2, top_p=1e-6)
    captioner = parse_captioner(f"tiny={llava}", settings).load("cpu")
    assert captioner.caption(pictures(2), Draw(1, (1, 2))) == captioner.caption(pictures(2))


def test_seeded_noise_draws_from_the_softmax():
    import torch

    from mvplm.label.huggingface import _SeededNoise

    scores = torch.tensor([0.5, 0.3, 0.2]).log().expand(4000, 3)
    seeds = Draw(1, tuple(range(4000))).seeds("a")
    drawn = torch.bincount(_SeededNoise(seeds)(torch.zeros(4000, 1), scores).argmax(1)) / 4000
    torch.testing.assert_close(drawn, torch.tensor([0.5, 0.3, 0.2]), atol=0.03, rtol=0)


def test_other_weights_have_another_revision(llava, tmp_path):
    import shutil

    first = parse_captioner(str(llava)).describe().revision
    copy = shutil.copytree(llava, tmp_path / "copy")
    assert parse_captioner(str(copy)).describe().revision == first
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert parse_captioner(str(copy)).describe().revision != first


def test_a_model_that_takes_no_question(tmp_path):
    """BLIP's processor has neither a chat template nor an image token: it gets the pictures alone."""
    import torch
    from transformers import BlipConfig, BlipForConditionalGeneration, BlipImageProcessorPil, BlipProcessor

    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    words = {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "sep_token_id": 2, "eos_token_id": 2}
    torch.manual_seed(0)
    config = BlipConfig(
        text_config={**small, **words, "encoder_hidden_size": 32},
        vision_config={**small, "image_size": 32, "patch_size": 16},
    )
    BlipForConditionalGeneration(config).save_pretrained(tmp_path)
    BlipProcessor(BlipImageProcessorPil(size={"height": 32, "width": 32}), tokenizer()).save_pretrained(tmp_path)
    captioner = parse_captioner(f"blip={tmp_path}", CaptionerSettings(max_new_tokens=4)).load("cpu")
    assert captioner.info.prompt == ""
    images = pictures(2)
    assert captioner.caption(images) == [captioner.caption([image])[0] for image in images]
