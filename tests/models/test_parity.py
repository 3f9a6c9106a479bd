"""Parts of the network against transformers with the same random weights: values and gradients."""

import pytest
import torch
from oracles.conversion import close, fill, randomise, shapes
from torch import Tensor, nn

from mvplm.models.convert import PHI, Options, convert
from mvplm.models.convert.phi import split_fused
from mvplm.models.language import LanguageModel
from mvplm.models.ops.deform_attn import MultiScaleDeformableAttention
from mvplm.models.position import map_position_embedding

SHAPES = [(6, 8), (3, 4), (2, 2)]
WIDTH, HEADS = 16, 4
PHI_SIZES = {
    "vocab_size": 40,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}


def attention_pair(levels: int) -> tuple[nn.Module, MultiScaleDeformableAttention]:
    from transformers.models.mask2former import modeling_mask2former as theirs

    reference = theirs.Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention(WIDTH, HEADS, levels, 4)
    randomise(reference)
    own = MultiScaleDeformableAttention(WIDTH, levels=levels, heads=HEADS, points=4)
    own.load_state_dict(reference.state_dict())
    return reference, own


@pytest.mark.parametrize("coordinates", [2, 4])
@pytest.mark.parametrize("padded", [False, True])
def test_deformable_attention_has_their_values_and_gradients(coordinates: int, padded: bool) -> None:
    torch.manual_seed(0)
    reference, own = attention_pair(len(SHAPES))
    tokens = sum(h * w for h, w in SHAPES)
    places = torch.rand(2, 7, len(SHAPES), coordinates)
    padding = torch.rand(2, tokens) < 0.3 if padded else None
    query, memory = torch.randn(2, 7, WIDTH), torch.randn(2, tokens, WIDTH)
    weights = torch.randn(2, 7, WIDTH)
    results = []
    for module in (reference, own):
        inputs = [query.clone().requires_grad_(), memory.clone().requires_grad_(), places.clone().requires_grad_()]
        if module is own:
            output = own(inputs[0], inputs[1], spatial_shapes=SHAPES, references=inputs[2], padding=padding)
        else:
            output, _ = reference(
                inputs[0],
                attention_mask=padding,
                encoder_hidden_states=inputs[1],
                reference_points=inputs[2],
                spatial_shapes_list=SHAPES,
            )
        wanted = [*inputs, *(module.get_parameter(name) for name, _ in own.named_parameters())]
        results.append([output, *torch.autograd.grad((output * weights).sum(), wanted)])
    for theirs, ours in zip(*results, strict=True):
        assert close(ours, theirs)


@pytest.mark.parametrize("shape", [(4, 8), (5, 3)])
def test_sine_embedding_equals_theirs_with_and_without_padding(shape: tuple[int, int]) -> None:
    from transformers.models.mask2former.modeling_mask2former import Mask2FormerSinePositionEmbedding

    reference = Mask2FormerSinePositionEmbedding(num_position_features=16, normalize=True)
    height, width = shape
    for rows, columns in (shape, (height - 1, width - 2)):
        valid = torch.zeros(1, height, width, dtype=torch.bool)
        valid[:, :rows, :columns] = True
        given = torch.Size((1, 1, height, width))
        theirs = reference(given, "cpu", torch.float32, mask=valid)[0].flatten(1).T
        own = map_position_embedding(torch.tensor([rows]), torch.tensor([columns]), shape=shape, width=32)[0]
        kept = valid.flatten()
        assert close(own[kept], theirs[kept])


def phi() -> nn.Module:
    from transformers import PhiConfig, PhiForCausalLM

    torch.manual_seed(0)
    return randomise(PhiForCausalLM(PhiConfig(**PHI_SIZES, bos_token_id=None, eos_token_id=None)), scale=0.2)


def fused(tensors: dict[str, Tensor], heads: int) -> dict[str, Tensor]:
    """The older layout: per head, the rows of query, key and value."""
    named = {}
    for name, tensor in tensors.items():
        if ".k_proj." in name or ".v_proj." in name:
            continue
        if ".q_proj." in name:
            parts = [tensors[name.replace("q_proj", f"{part}_proj")].chunk(heads) for part in "qkv"]
            tensor = torch.cat([rows[head] for head in range(heads) for rows in parts])
            name = name.replace("q_proj", "query_key_value")
        named[name] = tensor
    return named


@pytest.mark.parametrize("layout", ["wrapped", "separate", "fused"])
def test_phi_has_their_hidden_states_logits_and_cache(layout: str) -> None:
    causal = phi()
    if layout == "wrapped":
        language = LanguageModel(causal)
    else:
        language = LanguageModel.from_phi(**PHI_SIZES).eval()
        tensors = causal.state_dict() if layout == "separate" else fused(causal.state_dict(), 4)
        done = convert(tensors, PHI, expected=shapes(language, "llm."), options=Options(text_heads=4))
        fill(language, done.tensors, "llm.")
    ids = torch.randint(0, 40, (2, 11))
    valid = torch.ones(2, 11, dtype=torch.bool)
    with torch.no_grad():
        theirs = causal.base_model(input_ids=ids).last_hidden_state
        hidden = language(language.embed(ids), valid)
        first = language.prefill(language.embed(ids[:, :6]), valid[:, :6])
        pieces = [first.hidden]
        state = first.state
        for place in range(6, 11):
            step = language.extend(state, language.embed(ids[:, place : place + 1]), valid=valid[:, :1])
            pieces.append(step.hidden)
            state = step.state
        assert close(hidden, theirs)
        assert close(torch.cat(pieces, dim=1), theirs)
        assert close(language.logits(hidden), causal(input_ids=ids).logits)


def test_the_fused_layout_is_per_head() -> None:
    rows = torch.arange(12.0)
    query, key, value = split_fused(rows, heads=2)
    assert [query.tolist(), key.tolist(), value.tolist()] == [[0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11]]
    with pytest.raises(ValueError, match="12 rows cannot hold 5 heads"):
        split_fused(rows, heads=5)


def test_a_missing_attention_weight_is_an_error() -> None:
    language = LanguageModel.from_phi(**PHI_SIZES)
    tensors = {name: t for name, t in phi().state_dict().items() if "layers.1.self_attn.k_proj.weight" not in name}
    with pytest.raises(ValueError, match=r"1 missing: llm\.model\.layers\.1\.self_attn\.k_proj\.weight"):
        convert(tensors, PHI, expected=shapes(language, "llm."), options=Options(text_heads=4))
