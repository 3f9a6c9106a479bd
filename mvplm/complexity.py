"""How much a network computes: multiply-adds of each part for one picture and one question, nothing allocated.

Counted operator by operator while the network runs on tensors that have shapes and no values. fvcore's own counter
traces a network with real values, which the large ones have no room for; where it can run, both agree (a test says so).
Elementwise work, norms and softmaxes are not counted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from mvplm.models.mvplm import MVPLM
from mvplm.models.ops.deform_attn import MultiScaleDeformableAttention
from mvplm.structures import Batch

PROMPT_TOKENS, NAMES, IMAGE_START = 391, 133, 50
"""Text tokens and names of the question that is counted: the names of COCO panoptic, no caption."""
REST = "heads"
_CORNERS = 4


@dataclass(frozen=True)
class Question:
    """What is counted: one picture of (size, size) pixels and a list of names."""

    size: int
    names: int = NAMES
    text_tokens: int = PROMPT_TOKENS


def count_parameters(module: nn.Module, *, trained: bool = False) -> int:
    """Values in the parameters of a module, shared ones once; with ``trained`` only those that get a gradient."""
    from fvcore.nn import parameter_count

    if not trained:
        return int(parameter_count(module)[""])
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def count_multiply_adds(build: Callable[[], MVPLM], question: Question) -> dict[str, int]:
    """Multiply-adds by part of the network, the mask and similarity products under "heads".

    Args:
        build: makes the network; called where tensors have no values.
        question: what the network is asked.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    sampling: dict[Any, Any] = {torch.ops.aten.grid_sampler_2d: _sampling_flops}
    with FakeTensorMode(), torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        model = build().eval()
        use_reference_attention(model)
        batch = _batch(model, question)
        with FlopCounterMode(display=False, custom_mapping=sampling) as counter:
            output = model(batch)
            if output.mask_embeddings is not None and output.mask_features is not None:
                torch.matmul(output.mask_embeddings[-1], output.mask_features.flatten(2))
    counted = {name: sum(kinds.values()) // 2 for name, kinds in counter.get_flop_counts().items()}
    root = type(model).__name__
    parts = {name: _total(counted, f"{root}.{name}", module=module) for name, module in model.named_children()}
    if "names_reader" in parts:  # it calls the language model, which is charged for it
        parts["names_reader"] = 0
    # Heads are also called by the selection, which is charged for it.
    parts[REST] = counted["Global"] - sum(count for name, count in parts.items() if name != REST)
    return parts


def use_reference_attention(model: nn.Module) -> None:
    """Let deformable attention run as plain operators, which can be counted."""
    for module in model.modules():
        if isinstance(module, MultiScaleDeformableAttention):
            module.backend = "reference"


def _total(counted: dict[str, int], name: str, *, module: nn.Module) -> int:
    """Count of a module, or of its children where it is never called as a whole, as a language model that is read."""
    if name in counted:
        return counted[name]
    return sum(_total(counted, f"{name}.{child}", module=part) for child, part in module.named_children())


def _sampling_flops(*_: Any, out_shape: Any = None, **__: Any) -> int:
    """A bilinear sample is a weighted sum of four neighbours."""
    return 2 * _CORNERS * prod(out_shape)


def _batch(model: MVPLM, question: Question) -> Batch:
    """A batch of one question without values."""
    size, names = question.size, question.names
    visual = model.connector.num_tokens(size, size)
    length = visual + question.text_tokens

    def ids(*shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
        return torch.zeros(shape, dtype=dtype)

    return Batch(
        images=torch.zeros(1, 3, size, size),
        valid=ids(1, size, size, dtype=torch.bool),
        valid_sizes=[(size, size)],
        original_sizes=[(size, size)],
        image_ids=[0],
        task="panoptic",
        family="word",
        use_stuff=model.stuff is not None,
        input_ids=ids(1, length),
        labels=ids(1, length),
        attention_mask=ids(1, length, dtype=torch.bool),
        image_starts=[IMAGE_START],
        num_image_tokens=visual,
        name_spans=ids(1, names, 2),
        name_mask=ids(1, names, dtype=torch.bool),
        isthing=ids(1, names, dtype=torch.bool),
        summary_index=ids(1),
        supervised=ids(0),
        supervised_labels=ids(0),
        names=[tuple(str(i) for i in range(names))],
    )
