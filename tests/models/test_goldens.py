"""Golden tests of the whole network: padding, anchors, unequal lists, gradient rules, what is read from the device."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from oracles.model_batches import Row, make_batch, small_model
from torch import Tensor

from mvplm.losses import Criterion, HungarianMatcher, LossWeights, points
from mvplm.models.geometry import LevelGeometry
from mvplm.models.mvplm import MVPLM
from mvplm.models.ops.backends import VARIABLE
from mvplm.structures import Batch, BoxFormat, PerceptionOutput

SIDES = torch.tensor([0.05, 0.1, 0.2, 0.4])


def rows() -> list[Row]:
    """A list of five names and one of three, on a padded image each."""
    return [
        Row([[20, 21], [22], [23], [24], [25]], (40, 64), [0, 1, 4], [30, 31], seed=1),
        Row([[26], [27, 28], [29]], (64, 24), [2, 0], [33], seed=2),
    ]


def level_of(index: Tensor) -> Tensor:
    """Level of memory tokens of a 64 pixel frame."""
    return torch.bucketize(index, torch.tensor([64, 80, 84]), right=True)


def padded_cells() -> list[Tensor]:
    """(B, 1, h, w) bool per level of the batch above, True on padding, whatever the model calls padding."""
    shapes = [(8, 8), (4, 4), (2, 2), (1, 1)]
    geometry = LevelGeometry(shapes, [8, 16, 32, 64], (64, 64), [row.size for row in rows()])
    parts = (~geometry.valid_cells("cpu")).split([h * w for h, w in shapes], dim=1)
    return [part.view(2, 1, *shape) for part, shape in zip(parts, shapes, strict=True)]


def looked(model: MVPLM, batch: Batch, *, noisy: bool) -> dict[str, Tensor]:
    """What a model says; ``noisy`` overwrites the projected tokens of padded cells before the encoder."""
    project = model.pixel_decoder.project

    def disturbed(features: dict[int, Tensor]) -> list[Tensor]:
        maps = project(features)
        generator = torch.Generator().manual_seed(9)
        cells = zip(maps, padded_cells(), strict=True)
        return [torch.where(pad, 10 * torch.randn(m.shape, generator=generator), m) for m, pad in cells]

    model.pixel_decoder.project = disturbed if noisy else project
    with torch.no_grad():
        visual = model.encode(batch.images, batch.valid_sizes)
        output = model(batch, visual=visual)
        chosen = model._select(batch, visual, text=output.text_embeddings)
    del model.pixel_decoder.project
    real = ~torch.cat([pad.flatten(1) for pad in padded_cells()], dim=1)
    return {
        "memory": visual.pixel.memory[real],
        "index": chosen.index.float(),
        "anchors": chosen.anchors,
        "boxes": output.boxes,
        "logits": output.logits.nan_to_num(neginf=0.0),
    }


@pytest.mark.parametrize("padding", ["ignored", "content"])
def test_g11_padding_is_invisible_unless_it_is_content(padding: str) -> None:
    model, batch = small_model().eval(), make_batch(rows())
    if padding == "content":
        model.pixel_decoder.mask_padding = False
        model.pixel_decoder.box_format = BoxFormat.CXCYWH_PADDED
    clean, noisy = looked(model, batch, noisy=False), looked(model, batch, noisy=True)
    for name, value in clean.items():
        if padding == "ignored":
            torch.testing.assert_close(noisy[name], value, rtol=1e-5, atol=1e-5, msg=name)
        else:
            assert (noisy[name] - value).abs().max() > 1e-3, name


@pytest.mark.parametrize(("scale", "sides"), [("fine_small", SIDES), ("coarse_small", SIDES.flip(0))])
def test_g15_without_box_changes_every_box_is_its_anchor(scale: str, sides: Tensor) -> None:
    model, batch = small_model().train(), make_batch(rows(), task="detection")
    model.anchor_scale, model.denoising = scale, None
    with torch.no_grad():
        model.heads.box.layers[-1].weight.zero_()
        model.heads.box.layers[-1].bias.zero_()
    output = model(batch)
    for boxes in output.boxes:
        torch.testing.assert_close(boxes, output.boxes[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(output.boxes[0], output.selection.boxes, rtol=0, atol=1e-6)
    visual = model.encode(batch.images, batch.valid_sizes)
    index = model._select(batch, visual, text=output.text_embeddings).index
    proposals = visual.pixel.geometry.proposals(scale, device="cpu")
    valid = proposals.valid.gather(1, index)
    expected = sides[level_of(index)][..., None].expand(-1, -1, 2)
    torch.testing.assert_close(output.selection.boxes[..., 2:][valid], expected[valid], rtol=0, atol=1e-5)
    assert valid.any()


def test_g24_lists_of_unequal_length() -> None:
    model = small_model().train()
    model.denoising = None
    for part in (model.encoder, model.connector):  # their statistics are those of the batch
        part.eval()
    together = model(make_batch(rows()))
    alone = model(make_batch(rows()[1:]))
    close = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(together.logits[:, 1, :, [0, 1, 2, -1]], alone.logits[:, 0], **close)
    assert together.logits.softmax(-1)[:, 1, :, 3:5].abs().max() == 0
    together.text_embeddings.retain_grad()
    losses = Criterion(matcher=HungarianMatcher(num_points=16), num_points=16)(together, make_batch(rows()))
    LossWeights().total(losses, zero=together.zero).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    assert not together.text_embeddings.grad[1, 3:].any() and together.text_embeddings.grad[1, :3].any()


def reached(output: PerceptionOutput, value: Tensor, parameter: Tensor) -> bool:
    (grad,) = torch.autograd.grad(value, parameter, retain_graph=True, allow_unused=True)
    return grad is not None and bool(grad.abs().max() > 0)


def test_g36_g59_released_detaches() -> None:
    """Selected and stuff queries reach the decoder without gradient; base_only selects nothing."""
    model, batch = small_model(fusion="visual_only", stuff_detach=True).train(), make_batch(rows())
    model.denoising = None
    output = model(batch)
    decoded = output.boxes.square().sum() + output.mask_embeddings.square().sum()
    selected = output.selection.boxes.square().sum() + output.selection.mask_embeddings.square().sum()
    for name in ("stuff.content", "stuff.boxes", "selector.proj.weight", "selector.norm.weight"):
        assert not reached(output, decoded, model.get_parameter(name)), name
        assert reached(output, selected, model.get_parameter(name)) == (name != "stuff.boxes"), name
    base_only = small_model(fusion="base_only")
    assert base_only.selector is None and not [n for n in base_only.state_dict() if n.startswith("selector.")]


def test_g36_paper_moves_stuff_and_summary() -> None:
    model, batch = small_model().train(), make_batch(rows())
    model.denoising = None
    output = model(batch)
    final = output.final.boxes.square().sum()
    assert reached(output, final, model.get_parameter("stuff.boxes"))
    assert reached(output, final, model.get_parameter("stuff.content"))
    assert reached(output, final, output.summary)
    assert not reached(output, final, model.get_parameter("selector.proj.weight"))
    similar = output.final.logits.nan_to_num(neginf=0.0).square().sum()
    assert reached(output, similar, model.get_parameter("llm.model.layers.0.mlp.fc1.weight"))


def step(model: MVPLM, batch: Batch, criterion: Criterion) -> None:
    output = model(batch)
    LossWeights().total({**criterion(output, batch)}, zero=output.zero).backward()


def test_g57_a_training_step_reads_the_costs_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every door through which Python can look at a tensor's values is watched during a step on the CPU."""
    # What is made for the CPU reads host memory, which is where the tensors are; other devices take other ways.
    monkeypatch.setenv(VARIABLE, "reference")
    monkeypatch.setattr(points, "_smallest", lambda values, count: values.topk(count, largest=False).indices)
    model, batch = small_model().train(), make_batch([replace(row, labels=[0, 1]) for row in rows()])
    criterion = Criterion(matcher=HungarianMatcher(num_points=16), num_points=16)
    seen: Counter[str] = Counter()

    def watch(owner: object, name: str) -> None:
        original = getattr(owner, name)

        def watched(*args: object, **kwargs: object) -> object:
            seen[name] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, watched)

    for name in ("item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__", "nonzero"):
        watch(torch.Tensor, name)
    watch(torch, "from_numpy")
    step(model, batch, criterion)
    assert seen == {"cpu": 1, "numpy": 1, "from_numpy": 1}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="transfers can only be counted on a CUDA device")
def test_g57_a_training_step_copies_one_thing_to_the_host() -> None:
    from torch.profiler import ProfilerActivity, profile

    model = small_model().train().cuda()
    batch = make_batch([replace(row, labels=[0, 1]) for row in rows()]).to("cuda")
    criterion = Criterion(matcher=HungarianMatcher(num_points=16), num_points=16)
    step(model, batch, criterion)
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
        step(model, batch, criterion)
        torch.cuda.synchronize()
    copies = [event.name for event in recorded.events() if "Memcpy DtoH" in event.name]
    assert len(copies) == 1, copies
