"""Config: typed settings with choices and ranges, YAML files with bases, and dotted overrides."""

from mvplm.config.data import (
    RESPONSES,
    TASKS,
    BoxesConfig,
    DataConfig,
    EvalConfig,
    EvalSetConfig,
    ImageConfig,
    NamesConfig,
    PromptConfig,
    ResponseConfig,
    SourceConfig,
)
from mvplm.config.load import config_hash, load_config, to_yaml
from mvplm.config.model import (
    ClassifierConfig,
    ConnectorConfig,
    DecoderConfig,
    DenoisingConfig,
    EncoderConfig,
    LanguageConfig,
    ModelConfig,
    PixelDecoderConfig,
    QueryConfig,
    SelectConfig,
    StuffConfig,
    TextConfig,
)
from mvplm.config.presets import PRESETS, preset_tree
from mvplm.config.qwen3vl_seg import BoxDecoderConfig, BoxMaskConfig, BoxMaskLossConfig
from mvplm.config.schema import Config, cross_problems
from mvplm.config.text_mask import SmallVlmConfig, TextMaskConfig
from mvplm.config.training import InferConfig, LossConfig, MatchConfig, OptimConfig, PostConfig, TrainConfig

__all__ = [
    "PRESETS",
    "RESPONSES",
    "TASKS",
    "BoxDecoderConfig",
    "BoxMaskConfig",
    "BoxMaskLossConfig",
    "BoxesConfig",
    "ClassifierConfig",
    "Config",
    "ConnectorConfig",
    "DataConfig",
    "DecoderConfig",
    "DenoisingConfig",
    "EncoderConfig",
    "EvalConfig",
    "EvalSetConfig",
    "ImageConfig",
    "InferConfig",
    "LanguageConfig",
    "LossConfig",
    "MatchConfig",
    "ModelConfig",
    "NamesConfig",
    "OptimConfig",
    "PixelDecoderConfig",
    "PostConfig",
    "PromptConfig",
    "QueryConfig",
    "ResponseConfig",
    "SelectConfig",
    "SmallVlmConfig",
    "SourceConfig",
    "StuffConfig",
    "TextConfig",
    "TextMaskConfig",
    "TrainConfig",
    "config_hash",
    "cross_problems",
    "load_config",
    "preset_tree",
    "to_yaml",
]
