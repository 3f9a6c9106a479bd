"""Query decoder: level order, box refinement, norms, attention mask, padding."""

import pytest
import torch
from torch import Tensor, nn

from mvplm.models.decoder import Decoder, DecoderStates
from mvplm.models.decoder_layer import DecoderLayer
from mvplm.models.geometry import LevelGeometry
from mvplm.models.heads import Heads
from mvplm.models.pixel_decoder import PixelMemory

WIDTH = 16
SHAPES = [(8, 8), (4, 4), (2, 2), (1, 1)]


def _pixel(*sizes: tuple[int, int], seed: int = 0) -> PixelMemory:
    torch.manual_seed(seed)
    geometry = LevelGeometry(SHAPES, [8, 16, 32, 64], (64, 64), list(sizes) or [(64, 64)] * 2)
    batch = len(geometry.valid_sizes)
    return PixelMemory(
        memory=torch.randn(batch, geometry.num_tokens, WIDTH),
        shapes=SHAPES,
        padding=~geometry.valid_cells("cpu"),
        valid_ratios=geometry.valid_ratios("cpu"),
        mask_features=torch.randn(batch, 8, 16, 16),
        geometry=geometry,
    )


def _decoder(**settings: object) -> Decoder:
    torch.manual_seed(1)
    decoder = Decoder(WIDTH, layers=3, heads=2, points=2, ffn=24, **settings)
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, std=0.3)
    return decoder


def _box_head() -> Heads:
    torch.manual_seed(2)
    heads = Heads(WIDTH, mask_width=8, text_width=8)
    nn.init.normal_(heads.box.layers[-1].weight, std=0.2)
    return heads.box


def _queries(count: int = 5, batch: int = 2) -> tuple[Tensor, Tensor]:
    torch.manual_seed(3)
    return torch.randn(batch, count, WIDTH), torch.randn(batch, count, 4)


def _run(decoder: Decoder, pixel: PixelMemory | None = None, **settings: object) -> DecoderStates:
    content, references = settings.pop("queries", None) or _queries()
    settings.setdefault("box_head", _box_head())
    return decoder(content, references, pixel=pixel or _pixel(), **settings)


def _flip_levels(state: dict[str, Tensor], heads: int, points: int) -> dict[str, Tensor]:
    def flip(tensor: Tensor, last: int) -> Tensor:
        return tensor.view(heads, 4, points * last, -1).flip(1).reshape(tensor.shape)

    sizes = {"sampling_offsets": 2, "attention_weights": 1}
    return {k: flip(v, sizes[k.split(".")[-2]]) if k.split(".")[-2] in sizes else v for k, v in state.items()}


# Golden G1.
def test_parameter_counts_of_the_published_sizes() -> None:
    with torch.device("meta"):
        layer = DecoderLayer(256, heads=8, points=4, levels=4, ffn=2048)
        parts = [Decoder(256), Heads(256, mask_width=256, text_width=256), nn.Linear(256, 256), nn.LayerNorm(256)]
    assert sum(p.numel() for p in layer.parameters()) == 1_545_856
    # Decoder, heads and the projection and norm of the selection.
    assert sum(p.numel() for part in parts for p in part.parameters()) == 14_769_796


def test_names_of_parameters() -> None:
    names = {name for name, _ in _decoder().named_parameters()}
    assert {"ref_point_head.layers.0.weight", "ref_point_head.layers.1.bias", "norm.weight"} <= names
    inner = {name.removeprefix("layers.2.") for name in names if name.startswith("layers.2.")}
    assert {"self_attn.in_proj_weight", "self_attn.out_proj.bias", "cross_attn.value_proj.weight"} <= inner
    assert {name.split(".")[0] for name in inner} == {
        *("self_attn", "cross_attn", "linear1", "linear2"),
        *("norm1", "norm2", "norm3"),
    }


# Golden G14.
@pytest.mark.parametrize("sizes", [((64, 64), (64, 64)), ((40, 64), (64, 24))])
def test_level_reversal(sizes: tuple[tuple[int, int], ...]) -> None:
    forward, backward = _decoder(), _decoder(level_order="coarse_to_fine")
    backward.load_state_dict(_flip_levels(forward.state_dict(), heads=2, points=2))
    pixel = _pixel(*sizes)
    one, two = _run(forward, pixel), _run(backward, pixel)
    torch.testing.assert_close(one.hidden, two.hidden, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one.boxes, two.boxes, rtol=1e-4, atol=1e-5)
    backward.load_state_dict(forward.state_dict())
    assert (_run(backward, pixel).hidden - one.hidden).abs().max() > 1e-2


# Golden G15.
def test_zero_box_head_reports_the_references() -> None:
    content, references = _queries()
    states = _run(_decoder(), box_head=Heads(WIDTH, mask_width=8, text_width=8).box)
    assert states.boxes.shape == (4, 2, 5, 4)
    torch.testing.assert_close(states.boxes, references.sigmoid().expand(4, -1, -1, -1), rtol=0, atol=1e-5)


def _fed(decoder: Decoder) -> list[Tensor]:
    """References that arrive at each layer, filled by the next call."""
    fed: list[Tensor] = []
    for layer in decoder.layers:
        layer.register_forward_pre_hook(lambda _, __, kw: fed.append(kw["references"][:, :, 0]), with_kwargs=True)
    return fed


# Golden G16.
def test_normed_loop_feeds_the_reported_boxes() -> None:
    decoder = _decoder()
    fed = _fed(decoder)
    states = _run(decoder)
    for layer in range(3):
        torch.testing.assert_close(fed[layer], states.boxes[layer], rtol=0, atol=1e-5)
    assert (states.boxes[1] - states.boxes[0]).abs().max() > 1e-2


def test_raw_loop_feeds_boxes_of_the_raw_states() -> None:
    decoder, head = _decoder(loop_box_input="raw"), _box_head()
    fed, raw = _fed(decoder), []
    for layer in decoder.layers:
        layer.register_forward_hook(lambda _, __, out: raw.append(out))
    states = _run(decoder, box_head=head)
    for layer in range(2):
        expected = (torch.logit(fed[layer], eps=1e-5) + head(raw[layer])).sigmoid()
        torch.testing.assert_close(fed[layer + 1], expected, rtol=0, atol=1e-5)
        reported = (torch.logit(fed[layer], eps=1e-5) + head(decoder.norm(raw[layer]))).sigmoid()
        torch.testing.assert_close(states.boxes[layer + 1], reported, rtol=0, atol=1e-5)


def test_references_live_in_the_valid_frame() -> None:
    decoder = _decoder()
    fed = _fed(decoder)
    _, references = _queries()
    _run(decoder, _pixel((64, 32), (48, 64)))
    ratios = torch.tensor([[0.5, 1, 0.5, 1], [1, 0.75, 1, 0.75]])
    torch.testing.assert_close(fed[0], references.sigmoid() * ratios[:, None])


def test_boxes_keep_the_gradient_of_one_layer_before() -> None:
    changes = [torch.zeros(2, 5, 4, requires_grad=True) for _ in range(3)]
    calls = iter(changes)
    content, references = _queries()
    references.requires_grad_()
    states = _run(_decoder(), box_head=lambda _: next(calls), queries=(content, references))
    first, second, third = torch.autograd.grad(states.boxes[3].sum(), changes, retain_graph=True)
    assert not first.any() and second.all() and third.all()
    assert torch.autograd.grad(states.boxes[1].sum(), references)[0].all()


# Golden G17.
def test_double_norm() -> None:
    plain, double = _decoder(), _decoder(double_norm=True)
    torch.manual_seed(4)
    cases = [(torch.ones(WIDTH), torch.zeros(WIDTH), True), (torch.rand(WIDTH) + 0.5, torch.randn(WIDTH), False)]
    for gamma, beta, equal in cases:
        for norm in (norm for decoder in (plain, double) for norm in (decoder.norm, decoder.layers[-1].norm3)):
            norm.load_state_dict({"weight": gamma, "bias": beta})
        one, two = _run(plain), _run(double)
        torch.testing.assert_close(one.boxes, two.boxes)
        torch.testing.assert_close(one.hidden[0], two.hidden[0])
        assert torch.allclose(one.hidden[-1], two.hidden[-1], rtol=1e-5, atol=1e-5) is equal


def test_last_layer_alone() -> None:
    decoder = _decoder()
    every, last = _run(decoder), _run(decoder, all_layers=False)
    assert every.hidden.shape == (4, 2, 5, WIDTH) and last.hidden.shape == (1, 2, 5, WIDTH)
    assert torch.equal(every.hidden[-1:], last.hidden) and torch.equal(every.boxes[-1:], last.boxes)
    content, _ = _queries()
    torch.testing.assert_close(every.hidden[0], decoder.norm(content))


def test_blocked_queries_do_not_matter() -> None:
    content, references = _queries(6)
    blocked = torch.zeros(6, 6, dtype=torch.bool)
    blocked[2:, :2] = True
    decoder = _decoder()
    masked = _run(decoder, queries=(content, references), attention_mask=blocked)
    alone = _run(decoder, queries=(content[:, 2:], references[:, 2:]))
    torch.testing.assert_close(masked.hidden[:, :, 2:], alone.hidden, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(masked.boxes[:, :, 2:], alone.boxes, rtol=1e-4, atol=1e-5)
    free = _run(decoder, queries=(content, references))
    assert (free.hidden[-1, :, 2:] - alone.hidden[-1]).abs().max() > 1e-2


def test_padding_is_invisible() -> None:
    decoder, pixel = _decoder(), _pixel((40, 64), (64, 24))
    noisy = _pixel((40, 64), (64, 24))
    noisy.memory = torch.where(noisy.padding[..., None], 1e3, noisy.memory)
    one, two = _run(decoder, pixel), _run(decoder, noisy)
    torch.testing.assert_close(one.hidden, two.hidden)
    torch.testing.assert_close(one.boxes, two.boxes)


def test_batch_equals_single() -> None:
    decoder, pixel = _decoder(), _pixel((40, 64), (64, 64))
    content, references = _queries()
    both = _run(decoder, pixel)
    for row in range(2):
        one = _run(decoder, pixel.select([row]), queries=(content[row : row + 1], references[row : row + 1]))
        torch.testing.assert_close(one.boxes[:, 0], both.boxes[:, row], rtol=1e-4, atol=1e-5)


def test_boxes_are_float32_and_close_under_autocast() -> None:
    decoder = _decoder()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = _run(decoder)
    plain = _run(decoder)
    assert mixed.boxes.dtype == mixed.hidden.dtype == torch.float32
    assert (mixed.boxes - plain.boxes).abs().mean() < 0.02
    (mixed.boxes.sum() + mixed.hidden.square().sum()).backward()
    assert all(p.grad.isfinite().all() for p in decoder.parameters())


def test_unknown_choices() -> None:
    with pytest.raises(ValueError, match="did you mean 'normed'"):
        Decoder(WIDTH, heads=2, loop_box_input="norm")
    with pytest.raises(ValueError, match="unknown level_order 'random' .choices: fine_to_coarse"):
        Decoder(WIDTH, heads=2, level_order="random")
