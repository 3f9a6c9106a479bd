"""Who plays which role: the YAML file, word lists, and models of transformers with tiny random weights."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from mvplm.data.ors import read_callables
from mvplm.data.ors.callables import KINDS, ROLES, VERDICTS, check_callables
from mvplm.data.ors.chat import make_chat, read_verdict
from mvplm.data.ors.detectors import SamSegmenter, make_detector

IMAGE = np.random.default_rng(0).integers(0, 255, (40, 56, 3), np.uint8)


def test_a_file_names_roles(tmp_path: Path):
    path = tmp_path / "callables.yaml"
    path.write_text("tagger: {kind: words, words: [dog, cup]}\ngrounder: {kind: drawn, seed: 3}\n")
    found = read_callables(path)
    assert list(found) == ["tagger", "grounder"]
    assert found["tagger"](IMAGE) == [("dog", 1.0), ("cup", 1.0)] and found["grounder"].seed == 3
    check_callables(found)
    path.write_text("tagger: {kind: words, words: [dog]}\n")
    assert read_callables(path)["tagger"].version != found["tagger"].version
    path.write_text("\n".join(f"{role}: {{kind: drawn}}" for role in ROLES))
    check_callables(read_callables(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tager: {kind: words}", "unknown role 'tager'; did you mean 'tagger'"),
        ("tagger: {kind: sam, model: x}", "unknown kind of tagger 'sam' .choices: words, chat, drawn"),
        ("tagger: {kind: os.system}", "unknown kind of tagger 'os.system'"),
        ("tagger: {words: [dog]}", "unknown kind of tagger 'None'"),
        ("tagger: {kind: words, word: [dog]}", "callables.yaml, tagger: .*unexpected keyword argument 'word'"),
        ("tagger: {kind: words, words: []}", "words must be a list of texts"),
        ("tagger: dog", "must map roles to mappings with a kind"),
        ("tagger: {", "is not valid YAML"),
        ("tagger: !!python/object/apply:os.getcwd []", "is not valid YAML"),
        ("describer: {kind: chat, model: FOLDER, prompt: 'a {colour}'}", "slots label and count only"),
    ],
)
def test_wrong_files_are_explained(tmp_path: Path, text: str, message: str):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    path = tmp_path / "callables.yaml"
    path.write_text(text.replace("FOLDER", str(tmp_path / "model")))
    with pytest.raises(ValueError, match=message):
        read_callables(path)


def test_missing_files_are_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="file of callables not found"):
        read_callables(tmp_path / "x.yaml")
    with pytest.raises(FileNotFoundError, match="no model at .*models are read from local folders only"):
        SamSegmenter("facebook/sam-vit-base")
    assert {role for kind in KINDS.values() for role in kind.roles} == set(ROLES)


@pytest.fixture(scope="session")
def sam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SAM of one small layer each with random weights."""
    import torch
    from transformers import SamConfig, SamImageProcessorPil, SamModel, SamProcessor

    folder = tmp_path_factory.mktemp("sam")
    torch.manual_seed(0)
    config = SamConfig(
        vision_config={
            **{"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 64, "patch_size": 16},
            **{"output_channels": 16, "mlp_dim": 32, "num_pos_feats": 8, "window_size": 2, "global_attn_indexes": [0]},
        },
        prompt_encoder_config={"hidden_size": 16, "image_size": 64, "patch_size": 16, "mask_input_channels": 4},
        mask_decoder_config={
            **{"hidden_size": 16, "mlp_dim": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
            **{"iou_head_hidden_dim": 16, "iou_head_depth": 2},
        },
    )
    SamModel(config).save_pretrained(folder)
    images = SamImageProcessorPil(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64})
    SamProcessor(images).save_pretrained(folder)
    return folder


def test_sam_gives_a_mask_of_the_images_size(sam: Path):
    segmenter = SamSegmenter(str(sam))
    mask = segmenter(IMAGE, (4.0, 4.0, 30.0, 30.0))
    assert mask.shape == (40, 56) and mask.dtype == bool
    assert (segmenter(IMAGE, (4.0, 4.0, 30.0, 30.0)) == mask).all()
    sent = pickle.loads(pickle.dumps(segmenter))
    assert sent._loaded is None and sent.version == segmenter.version, "weights do not travel"
    assert (sent(IMAGE, (4.0, 4.0, 30.0, 30.0)) == mask).all()
    segmenter.unload()
    assert segmenter._loaded is None


@pytest.fixture(scope="session")
def owl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OWL-ViT of one small layer each with random weights and a tokenizer of a few words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        OwlViTConfig,
        OwlViTForObjectDetection,
        OwlViTImageProcessorPil,
        OwlViTProcessor,
        PreTrainedTokenizerFast,
    )

    folder = tmp_path_factory.mktemp("owl")
    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = OwlViTConfig(
        text_config={**small, "vocab_size": 16, "max_position_embeddings": 16, "eos_token_id": 2, "pad_token_id": 0},
        vision_config={**small, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    OwlViTForObjectDetection(config).save_pretrained(folder)
    words = ["<pad>", "<bos>", "<eos>", "<unk>", "dog", "cup"]
    base = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    base.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {f"{name}_token": f"<{name}>" for name in ("pad", "bos", "eos", "unk")}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=base, model_max_length=16, **special)
    images = OwlViTImageProcessorPil(size={"height": 32, "width": 32}, crop_size={"height": 32, "width": 32})
    OwlViTProcessor(images, tokenizer).save_pretrained(folder)
    return folder


def test_a_detector_plays_three_roles(owl: Path):
    grounder = make_detector("grounder", model=str(owl), threshold=0.0)
    found = grounder(IMAGE, "dog")
    assert len(found) == 16, "one box for each patch"
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    assert all(len(box) == 4 for box, _ in found)
    assert make_detector("boxer", model=str(owl), threshold=0.0)(IMAGE, "dog") == [box for box, _ in found]
    assert make_detector("regrounder", model=str(owl), threshold=0.0)(IMAGE, "dog") == found[0][0]
    strict = make_detector("regrounder", model=str(owl), threshold=1.0)
    assert strict(IMAGE, "dog") is None and strict.version != grounder.version
    with pytest.raises(ValueError, match="unknown role of a detector 'tagger'"):
        make_detector("tagger", model=str(owl))


@pytest.fixture(scope="session")
def dino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grounding DINO with few layers, random weights and a tokenizer of a few words."""
    import torch
    from transformers import (
        BertConfig,
        BertTokenizer,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessorPil,
        GroundingDinoProcessor,
        SwinConfig,
    )

    folder = tmp_path_factory.mktemp("dino")
    torch.manual_seed(0)
    swin = {"image_size": 64, "embed_dim": 8, "depths": [1] * 4, "num_heads": [1] * 4, "window_size": 2}
    bert = {"vocab_size": 8, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(**swin, out_features=["stage2", "stage3", "stage4"]),
        text_config=BertConfig(**bert, intermediate_size=16, max_position_embeddings=32),
        **{"num_queries": 6, "d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "max_text_len": 16},
        **{"encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "encoder_attention_heads": 2, "decoder_attention_heads": 2},
        **{"encoder_n_points": 2, "decoder_n_points": 2},
    )
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    words = folder / "vocab.txt"
    words.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", "dog", "cup"]), encoding="utf-8")
    images = GroundingDinoImageProcessorPil(size={"shortest_edge": 128, "longest_edge": 192})
    GroundingDinoProcessor(images, BertTokenizer(str(words))).save_pretrained(folder)
    return folder


def test_grounding_dino_is_a_detector(dino: Path):
    found = make_detector("grounder", model=str(dino), threshold=0.0)(IMAGE, "dog")
    assert len(found) == 6 and found[0][1] >= found[-1][1] and all(0 <= score <= 1 for _, score in found)
    high = make_detector("grounder", model=str(dino), threshold=found[2][1])(IMAGE, "dog")
    assert high == [one for one in found if one[1] > found[2][1]]


@pytest.fixture(scope="session")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaVA of two small layers with random weights and a tokenizer of 64 words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )

    folder = tmp_path_factory.mktemp("llava")
    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(image_size=32, patch_size=16, **small),
        text_config=LlamaConfig(vocab_size=64, num_key_value_heads=2, **small, **ends),
        image_token_index=4,
        pad_token_id=0,
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    words = ["<pad>", "<bos>", "<eos>", "<unk>", "<image>", *(f"w{i}" for i in range(59))]
    base = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    base.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {f"{name}_token": f"<{name}>" for name in ("pad", "bos", "eos", "unk")}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=base, additional_special_tokens=["<image>"], **special)
    template = (
        "{% for m in messages %}{% for c in m['content'] %}"
        "{% if c['type'] == 'image' %}<image> {% else %}{{ c['text'] }} {% endif %}{% endfor %}{% endfor %}"
    )
    LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        chat_template=template,
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    return folder


def test_an_image_text_model_plays_four_roles(llava: Path):
    settings = {"model": str(llava), "max_new_tokens": 6}
    tags = make_chat("tagger", **settings)(IMAGE)
    assert tags and all(score == 1.0 and tag for tag, score in tags)
    verdict = make_chat("verifier", **settings)(IMAGE, IMAGE, label="dog")
    assert [verdict[name] for name in VERDICTS] == [False] * 5, "random words are no verdict"
    describer = make_chat("describer", **settings)
    text = describer(IMAGE, IMAGE, box=(0.0, 0.0, 9.0, 9.0), label="dog")
    assert text and text == describer(IMAGE, IMAGE, box=(0.0, 0.0, 9.0, 9.0), label="dog")
    assert make_chat("captioner", **settings)(IMAGE, "dog", instances=[(0.0, 0.0, 9.0, 9.0)])
    assert describer.version != make_chat("describer", prompt="w1 {label}", **settings).version


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"category": true, "coverage": true, "purity": true, "unfragmented": true, "complete": true}', [True] * 5),
        ('Sure:\n```json\n{"category": true, "coverage": false}\n```', [True, False, False, False, False]),
        ('{"category": "true"}', [False] * 5),
        ("no idea", [False] * 5),
        ("{broken", [False] * 5),
        ("[1, 2]", [False] * 5),
    ],
)
def test_verdicts(text: str, said: list[bool]):
    assert [read_verdict(text)[name] for name in VERDICTS] == said
