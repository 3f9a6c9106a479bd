"""The whole configuration, and the rules that tie several of its settings together."""

from dataclasses import dataclass, field

from mvplm.config.base import Section, setting
from mvplm.config.behaviours import BEHAVIOURS
from mvplm.config.data import (
    BoxesConfig,
    DataConfig,
    EvalConfig,
    ImageConfig,
    NamesConfig,
    PromptConfig,
    ResponseConfig,
    VocabConfig,
)
from mvplm.config.model import ModelConfig
from mvplm.config.qwen3vl_seg import BOX_MASK_FORMS, BoxMaskConfig
from mvplm.config.text_mask import BOX_FORMS, MASK_FORMS, TextMaskConfig
from mvplm.config.training import InferConfig, LossConfig, MatchConfig, OptimConfig, PostConfig, TrainConfig


@dataclass
class Config(Section):
    """Everything a run needs. Every default is the published setting.

    Attributes:
        system: "mvplm", the network of ``model``; "text4seg", a language model that writes masks, ``text_mask``; or
            "qwen3vl_seg", one that writes boxes and decodes their masks, ``box_mask``.
        behaviour: set of conventions the network follows: "paper", or "released", that of the public checkpoints. It
            gives the settings it stands for their values when a file is loaded; every one can be overridden.
        text_mask, box_mask: what the other two systems are; of the rest they use data, eval, optim, train and infer.
        model, image, boxes, prompt, response, names, vocab: what the network is and sees.
        match, loss, optim, train, data: how it is trained.
        eval, post, infer: how it is measured and run.
    """

    system: str = setting("mvplm", choices=("mvplm", "text4seg", "qwen3vl_seg"))
    behaviour: str = setting("paper", choices=tuple(BEHAVIOURS))
    model: ModelConfig = field(default_factory=ModelConfig)
    image: ImageConfig = field(default_factory=ImageConfig)
    boxes: BoxesConfig = field(default_factory=BoxesConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    response: ResponseConfig = field(default_factory=ResponseConfig)
    names: NamesConfig = field(default_factory=NamesConfig)
    vocab: VocabConfig = field(default_factory=VocabConfig)
    match: MatchConfig = field(default_factory=MatchConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    data: DataConfig = field(default_factory=DataConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    post: PostConfig = field(default_factory=PostConfig)
    infer: InferConfig = field(default_factory=InferConfig)
    text_mask: TextMaskConfig = field(default_factory=TextMaskConfig)
    box_mask: BoxMaskConfig = field(default_factory=BoxMaskConfig)

    @property
    def num_image_tokens(self) -> int:
        """V, the visual tokens of one image."""
        return (self.image.size // self.model.connector.stride) ** 2

    @property
    def infer_mode(self) -> str:
        """ "caption" or "skip": ``infer.mode`` with "auto" resolved by the kind of response the model is trained on."""
        if self.infer.mode != "auto":
            return self.infer.mode
        return "skip" if self.response.kind == "none" or self.response.token == "<seg>" else "caption"


def cross_problems(config: Config) -> list[str]:
    """Sentences about settings that do not go together; empty when all is well."""
    found = _size_problems(config) + _released_problems(config) + _names_problems(config) + _windows_problems(config)
    found += _text_mask_problems(config)
    found += _form_problems(config) + _written_source_problems(config)
    if config.system == "qwen3vl_seg":
        found += config.box_mask.problems()
    found += _given_box_problems(config)
    query, select = config.model.query, config.model.select
    if select.enabled != (query.fusion != "base_only"):
        found.append(
            f"model.select.enabled is {select.enabled} but model.query.fusion is {query.fusion!r}: "
            "selection is off exactly with 'base_only'"
        )
    for key in ("sizes", "phrase_negatives"):
        low, high = getattr(config.names, key)
        if low > high:
            found.append(f"names.{key} must be [low, high], got [{low}, {high}]")
    if config.model.llm.kind == "auto" and config.model.llm.path is None:
        found.append("model.llm.kind is 'auto', so model.llm.path must name a directory or Hub id")
    if config.model.llm.kind == "phi" and config.model.llm.path is not None:
        found.append(
            "model.llm.kind is 'phi', which starts from random numbers or from model.llm.weights: leave model.llm.path "
            "out, or use 'auto'"
        )
    if config.model.llm.kind == "auto" and config.model.llm.weights is not None:
        found.append("model.llm.kind is 'auto', which loads model.llm.path: leave model.llm.weights out, or use 'phi'")
    if config.model.llm.lora.rank and not config.model.llm.train:
        found.append("model.llm.lora.rank is above 0, but model.llm.train is false, so its adapters would not learn")
    if config.model.encoder.kind == "timm" and config.model.encoder.name is None:
        found.append("model.encoder.kind is 'timm', so model.encoder.name must name a timm model")
    named = [(f"data.sources.{name}", source.dataset) for name, source in config.data.sources.items()]
    named += [(f"eval.sets.{name}", entry.dataset) for name, entry in config.eval.sets.items()]
    found += [f"{key}.dataset is missing" for key, dataset in named if not dataset]
    if config.eval.res_protocol == "release" and not config.post.gres_fallback_top1:
        found.append("eval.res_protocol 'release' never answers \"no target\", so post.gres_fallback_top1 must be true")
    if config.names.synonym_file is not None and config.names.synonyms != "max":
        found.append(f"names.synonym_file needs names.synonyms 'max', got {config.names.synonyms!r}")
    if config.data.sources and not any(source.ratio for source in config.data.sources.values()):
        found.append("data.sources: every ratio is 0, so there is nothing to train on")
    return found


def _released_problems(config: Config) -> list[str]:
    """Settings of the released conventions that only go together."""
    model, released = config.model, config.prompt.style == "released"
    found = []
    pairs = [
        ("prompt.style 'released'", released, "response.token '<seg>'", config.response.token == "<seg>"),
        (
            "response.token '<seg>'",
            config.response.token == "<seg>",
            "model.query.base 'none'",
            model.query.base == "none",
        ),
    ]
    found += [f"{first} and {second} go together" for first, given, second, other in pairs if given != other]
    if released and config.prompt.order != "image_first":
        found.append(f"prompt.style 'released' has the image first, prompt.order is {config.prompt.order!r}")
    if model.query.base == "none" and model.query.fusion != "visual_only":
        found.append(
            f"model.query.base is 'none', so model.query.fusion must be 'visual_only', not {model.query.fusion!r}"
        )
    kinds = {"response.kind": config.response.kind}
    kinds |= {
        f"data.sources.{name}.response": source.response or "none" for name, source in config.data.sources.items()
    }
    fitting = ("trailing", "none") if released else ("caption", "none", "existing_objects")
    found += [
        f"{key} {kind!r} does not go with prompt.style {config.prompt.style!r}"
        for key, kind in kinds.items()
        if kind not in fitting
    ]
    if config.infer.mode == "caption" and config.response.token == "<seg>":
        found.append("infer.mode 'caption' needs a summary token, response.token is '<seg>'")
    if not model.decoder.mask_padding and config.boxes.frame != "padded":
        found.append("model.decoder.mask_padding is false, so boxes.frame must be 'padded'")
    return found


def _names_problems(config: Config) -> list[str]:
    """Settings that a language model which reads names alone needs."""
    if config.model.llm.reads == "prompt":
        return []
    needed = {
        "prompt.order": (config.prompt.order, "instruction_first"),
        "model.query.fusion": (config.model.query.fusion, "visual_only"),
        "response.kind": (config.response.kind, "none"),
    }
    needed |= {
        f"data.sources.{name}.response": (source.response or "none", "none")
        for name, source in config.data.sources.items()
    }
    found = [
        f"model.llm.reads is 'names', so {key} must be {wanted!r}, not {given!r}"
        for key, (given, wanted) in needed.items()
        if given != wanted
    ]
    captions = [name for name, source in config.data.sources.items() if source.task == "caption" and source.ratio]
    found += [f"model.llm.reads is 'names', so data.sources.{name} cannot train on captions" for name in captions]
    return found


def _windows_problems(config: Config) -> list[str]:
    """Sources that mirror and crop pictures although their texts speak of left, right and the whole."""
    found = []
    for name, source in config.data.sources.items():
        spoken = source.task in ("res", "gres", "rec", "caption", "grounding")
        if source.windows > 1 and (spoken or (source.response or config.response.kind) != "none"):
            found.append(
                f"data.sources.{name}.windows is {source.windows}, which mirrors and crops pictures: that needs a task "
                "about names and the response 'none'"
            )
    return found


FORMS_OF_SYSTEM: dict[str, tuple[str, ...]] = {"mvplm": (), "text4seg": MASK_FORMS, "qwen3vl_seg": BOX_MASK_FORMS}
"""Kinds of questions that a system asks."""


def _form_problems(config: Config) -> list[str]:
    """Kinds of questions that the system does not ask."""
    found = []
    for name, source in config.data.sources.items():
        if source.form is not None and source.form not in FORMS_OF_SYSTEM[config.system]:
            fitting = [system for system, forms in FORMS_OF_SYSTEM.items() if source.form in forms]
            found.append(
                f"data.sources.{name}.form is {source.form!r}, which needs system {' or '.join(map(repr, fitting))}"
            )
    return found


def _written_source_problems(config: Config) -> list[str]:
    """Settings of sources that only go with a model that writes masks."""
    found = []
    for name, source in config.data.sources.items():
        given = {"pictures": not source.pictures, "max_length": source.max_length is not None}
        if config.system != "text4seg":
            found += [f"data.sources.{name}.{key} needs system 'text4seg'" for key, told in given.items() if told]
        elif given["pictures"] and source.ratio and config.text_mask.learns == "cells":
            found.append(f"data.sources.{name}.pictures: text_mask.learns 'cells' is about nothing else than pictures")
    return found


def _given_box_problems(config: Config) -> list[str]:
    """Evaluation sets that only models that write boxes answer."""
    found = []
    for name, entry in config.eval.sets.items():
        # Forms of models that write masks stand in files that are laid over any weights; others go by the task.
        asked = entry.form in set(BOX_MASK_FORMS) - set(MASK_FORMS) or entry.boxes != "predicted"
        if asked and config.system != "qwen3vl_seg":
            found.append(f"eval.sets.{name}: form and boxes need system 'qwen3vl_seg'")
        elif asked and entry.task not in ("res", "gres", "rec"):
            found.append(f"eval.sets.{name}: form and boxes go with the tasks res, gres and rec, not {entry.task!r}")
    return found


def _text_mask_problems(config: Config) -> list[str]:
    """Settings that only go with a language model that writes masks."""
    if config.system != "text4seg":
        return []
    found = []
    small, codec = config.text_mask.small, config.text_mask.codec
    for key, divisor in (("width", "heads"), ("vision_width", "vision_heads"), ("image", "patch")):
        if getattr(small, key) % getattr(small, divisor):
            found.append(f"text_mask.small.{key} must be a multiple of text_mask.small.{divisor}")
    boxes = [name for name, s in config.data.sources.items() if s.form in BOX_FORMS or (not s.form and s.task == "rec")]
    if codec.startswith("isd_"):
        found += [f"data.sources.{name} asks for boxes, which text_mask.codec {codec!r} cannot write" for name in boxes]
    if codec != "canvas" and config.text_mask.bins != TextMaskConfig().bins:
        found.append(f"text_mask.bins are steps of a canvas's box: text_mask.codec must be 'canvas', not {codec!r}")
    if codec.startswith("isd_") and config.text_mask.whole_numbers:
        found.append(f"text_mask.whole_numbers is about boxes, which text_mask.codec {codec!r} does not write")
    if config.text_mask.learns == "cells" and config.text_mask.lora.rank:
        found.append("text_mask.learns 'cells' trains a vision encoder: leave text_mask.lora.rank at 0")
    if config.text_mask.learns != "cells" and config.text_mask.lenders:
        found.append("text_mask.lenders is for pictures that are learned cell by cell: text_mask.learns 'cells'")
    if config.text_mask.learns == "cells" and config.text_mask.looking:
        found.append("text_mask.learns 'cells' reads no questions: leave text_mask.looking at 0")
    if config.text_mask.hints and config.text_mask.prompt_order != "text_first":
        key = "text_mask.looking" if config.text_mask.looking else "text_mask.learns 'asked'"
        found.append(f"{key} needs text_mask.prompt_order 'text_first': tokens in front see no question")
    if config.text_mask.box_hints and (not config.text_mask.looking or codec not in ("bsd_bricks", "canvas")):
        found.append("text_mask.box_hints needs text_mask.looking, and text_mask.codec 'bsd_bricks' or 'canvas'")
    boxes_first = config.text_mask.box_hints or config.text_mask.learns == "cells"
    if config.text_mask.mask_hints and (not boxes_first or codec != "canvas"):
        found.append("text_mask.mask_hints needs text_mask.box_hints, and text_mask.codec 'canvas'")
    if config.text_mask.word_hints and not config.text_mask.hints:
        found.append("text_mask.word_hints needs text_mask.looking")
    if config.text_mask.dtype == "bf16" and not config.text_mask.lora.rank:
        found.append("text_mask.dtype 'bf16' keeps too few digits to train all weights: set text_mask.lora.rank")
    return found


def _size_problems(config: Config) -> list[str]:
    model = config.model
    found = []
    pairs = [
        ("model.llm.hidden_size", model.llm.hidden_size, "model.llm.heads", model.llm.heads),
        (
            "model.pixel_decoder.width",
            model.pixel_decoder.width,
            "model.pixel_decoder.heads",
            model.pixel_decoder.heads,
        ),
        ("model.pixel_decoder.width", model.pixel_decoder.width, "model.decoder.heads", model.decoder.heads),
        ("image.size", config.image.size, "model.connector.stride", model.connector.stride),
    ]
    for name, value, divisor_name, divisor in pairs:
        if value % divisor:
            found.append(f"{name} ({value}) must be a multiple of {divisor_name} ({divisor})")
    if config.image.size % 32:
        found.append(f"image.size ({config.image.size}) must be a multiple of 32")
    if config.prompt.max_length > model.llm.context:
        found.append(
            f"prompt.max_length ({config.prompt.max_length}) is larger than model.llm.context ({model.llm.context})"
        )
    if config.num_image_tokens >= config.prompt.max_length:
        found.append(
            f"{config.num_image_tokens} visual tokens leave no room in prompt.max_length ({config.prompt.max_length})"
        )
    return found
