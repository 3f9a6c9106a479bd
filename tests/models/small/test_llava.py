"""The small LLaVA whose vision encoder begins with convolutions."""

import pytest
import torch
from oracles.small_vlms import picture

from mvplm.data.written import WrittenCollate
from mvplm.engine import OptimizerSettings, freeze, parameter_groups
from mvplm.engine.optim import keep_frozen_statistics
from mvplm.models.small import SmallSizes, small_model, small_processor, small_tokenizer
from mvplm.models.text_mask import TextMaskModel, add_mask_tokens
from mvplm.models.text_mask.cells import CellTeacher
from mvplm.prompts.chat import ChatFrame
from mvplm.prompts.plain import PlainTokenizer
from mvplm.structures.written import Turn, WrittenSample
from mvplm.textmask import get_codec

SIZES = SmallSizes(
    "llava", 32, 2, 2, 48, vision_width=32, vision_layers=1, vision_heads=2, vision_ffn=48, patch=16, merge=1, image=64
)


@pytest.fixture(scope="module")
def parts():
    torch.manual_seed(0)
    tokenizer = small_tokenizer(["foreground background start of end name box mask a red star"] * 50, vocab_size=400)
    model, processor = small_model(tokenizer, SIZES), small_processor(tokenizer, SIZES)
    add_mask_tokens(model, processor.tokenizer, codec=get_codec("bsd_bricks", grid=16))
    return model.eval(), processor


def test_pictures_of_any_shape_become_one_square_of_tokens(parts):
    model, processor = parts
    plain = PlainTokenizer(processor.tokenizer)
    collate = WrittenCollate(processor, plain, frame=ChatFrame.of(processor, plain))
    sizes = ((64, 64), (30, 100), (7, 3))
    samples = [
        WrittenSample(picture(*size, seed=i), i, "refer.general", (Turn("a star", (60, 61)),))
        for i, size in enumerate(sizes)
    ]
    batch = collate(samples)
    tokens = (batch.inputs["input_ids"] == model.config.image_token_id).sum(1).tolist()
    assert tokens == [16, 16, 16]
    text_mask = TextMaskModel(model, codec=get_codec("bsd_bricks", grid=16), tokenizer=plain, ends=[0])
    assert torch.isfinite(text_mask.caption_loss(batch))


def test_tokens_stand_in_rows_and_the_first_one_is_left_out(parts):
    """What is painted into one cell changes the features before the transformer there and nowhere far away."""
    model, _ = parts
    grey = torch.zeros(1, 3, 64, 64)
    painted = grey.clone()
    painted[..., 16:32, 48:64] = 1.0
    with torch.no_grad():
        embed = model.model.vision_tower.embeddings
        change = (embed(painted).last_hidden_states - embed(grey).last_hidden_states).abs().sum(2)[0]
        whole = model.model.get_image_features(pixel_values=grey).pooler_output
    assert torch.stack(list(whole)).shape == (1, 16, 32)
    row, column = divmod(int(change[1:].argmax()), 4)
    assert abs(row - 1) <= 1 and column >= 2 and float(change[0]) == 0


def test_places_of_tokens_differ_in_both_axes(parts):
    table = parts[0].model.vision_tower.embeddings.position_embeddings[0, 1:].detach().view(4, 4, 32)
    assert torch.equal(table[:, 0, :16], table[:, 3, :16]) and torch.equal(table[0, :, 16:], table[3, :, 16:])
    assert torch.pdist(table.flatten(0, 1)).min() > 0.3


def test_it_is_saved_and_read_like_any_other(parts, tmp_path):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model, processor = parts
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path, local_files_only=True).eval()
    assert AutoProcessor.from_pretrained(tmp_path, local_files_only=True).chat_template == processor.chat_template
    pixels = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        for before, after in zip(
            model.get_image_features(pixel_values=pixels).pooler_output,
            again.get_image_features(pixel_values=pixels).pooler_output,
            strict=True,
        ):
            torch.testing.assert_close(before, after, atol=1e-5, rtol=0)


def test_what_sees_includes_the_projector(parts):
    teacher = CellTeacher(small_model(parts[1].tokenizer, SIZES), steps=16)
    trained = {name for name, p in teacher.named_parameters() if p.requires_grad}
    assert any("multi_modal_projector" in name for name in trained) and any("vision_tower" in name for name in trained)
    assert not any("language_model.layers" in name for name in trained)
    assert teacher.steps.weight.shape[0] == 4 * 16


def test_frozen_batch_norms_keep_their_statistics(parts):
    model = small_model(parts[1].tokenizer, SIZES)
    freeze(model, ["model.vision_tower.embeddings.backbone.embedder"])
    keep_frozen_statistics(model.train())
    before = {name: value.clone() for name, value in model.named_buffers() if name.endswith("running_mean")}
    model.get_image_features(pixel_values=torch.rand(2, 3, 64, 64))
    after = dict(model.named_buffers())
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and moved == {name for name in before if ".embedder." not in name}


def test_kernels_that_read_features_may_follow_orthogonalised_momentum(parts):
    settings = OptimizerSettings(kind="muon", convolutions=True)
    chosen = {name for g in parameter_groups(parts[0], settings) if g.matrices for name in g.names}
    kernels = {name for name in chosen if "convolution" in name}
    assert "model.vision_tower.embeddings.projection.weight" in chosen and len(kernels) == 8
    assert not any("embedder" in name or "embed_tokens" in name for name in chosen)


@pytest.mark.parametrize("change", [{"patch": 8}, {"merge": 2}, {"image": 72}])
def test_sizes_that_convolutions_do_not_make_are_refused(parts, change):
    sizes = SmallSizes(**{**SIZES.__dict__, **change})
    with pytest.raises(ValueError, match="16 pixels a side"):
        small_model(parts[1].tokenizer, sizes)
