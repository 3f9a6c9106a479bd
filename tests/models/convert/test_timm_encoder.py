"""Files of whole classifiers give a timm encoder its weights, whatever they call them."""

import pytest
import timm
import torch
from oracles.conversion import randomise

from mvplm.models.convert import timm_encoder_tensors
from mvplm.models.vision import TimmEncoder

NAME = "tf_efficientnet_lite0"
# One block of EfficientNet-PyTorch, layer by layer, as that package writes it.
PLAIN = ("_depthwise_conv", "_bn1", "_project_conv", "_bn2")
EXPANDING = ("_expand_conv", "_bn0", *PLAIN)


@pytest.fixture(scope="module")
def classifier() -> torch.nn.Module:
    torch.manual_seed(0)
    return randomise(timm.create_model(NAME))


def efficientnet_pytorch_names(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The state of a timm classifier under the names of EfficientNet-PyTorch, derived from the order of its layers."""
    modules, renamed = [], {}
    for number, block in enumerate(block for stage in model.blocks for block in stage):
        layers = [m for m in block.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.BatchNorm2d))]
        names = PLAIN if len(layers) == 4 else EXPANDING
        modules += [(f"_blocks.{number}.{name}", layer) for name, layer in zip(names, layers, strict=True)]
    modules += [("_conv_stem", model.conv_stem), ("_bn0", model.bn1), ("_conv_head", model.conv_head)]
    modules += [("_bn1", model.bn2), ("_fc", model.classifier)]
    for name, module in modules:
        renamed |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
    assert len(renamed) == len(model.state_dict())
    return renamed


@pytest.mark.parametrize("dialect", ["timm", "efficientnet_pytorch", "own"])
def test_all_dialects_give_the_same_encoder(classifier: torch.nn.Module, dialect: str) -> None:
    encoder = TimmEncoder(NAME, frozen=True)
    given = classifier.state_dict() if dialect == "timm" else efficientnet_pytorch_names(classifier)
    if dialect == "own":
        given = {f"backbone.{name}": value for name, value in classifier.state_dict().items()}
    tensors = timm_encoder_tensors(given, encoder.state_dict())
    assert set(tensors) == set(encoder.state_dict())
    for name, tensor in tensors.items():
        assert torch.equal(tensor, classifier.state_dict()[name.removeprefix("backbone.")]), name


def test_names_nobody_knows_are_left_for_the_strict_load(classifier: torch.nn.Module) -> None:
    own = TimmEncoder(NAME).state_dict()
    tensors = timm_encoder_tensors({**classifier.state_dict(), "surprise.weight": torch.zeros(1)}, own)
    assert set(tensors) - set(own) == {"backbone.surprise.weight"}


def test_another_number_of_blocks_is_refused(classifier: torch.nn.Module) -> None:
    given = {k: v for k, v in efficientnet_pytorch_names(classifier).items() if not k.startswith("_blocks.15.")}
    with pytest.raises(ValueError, match="the file has 15 blocks, the encoder 16"):
        timm_encoder_tensors(given, TimmEncoder(NAME).state_dict())
