"""Settings of what goes in: images, prompts, responses, names, training sources and evaluation sets.

Source: MVP-LM, section 3.1 (unified data) and section 4 (datasets, ratios).
"""

from dataclasses import dataclass, field
from typing import Any

from mvplm.config.base import Section, setting
from mvplm.config.qwen3vl_seg import BOX_MASK_FORMS
from mvplm.config.text_mask import MASK_FORMS

TASKS = ("panoptic", "semantic", "instance", "detection", "grounding", "res", "gres", "rec", "caption")
"""Every task a sample can have."""

RES_PROTOCOLS = (
    "per_sentence",
    "merged",
    "release",
    "gres",
    "lisa",
    "rmsin",
    "segearth",
    "muse",
    "muse_per_question",
    "qwen_ors_matched",
    "qwen_ors",
    "qwen_ors_union",
)
RESPONSES = ("caption", "none", "existing_objects", "trailing")
"""What the assistant says before the summary token; "trailing" stands behind the released prompts' placeholder."""


@dataclass
class ImageConfig(Section):
    """The image pipeline: longer side to ``size``, normalise, pad right and bottom to a square.

    Attributes:
        size: side of the padded square in pixels.
        mean, std: of the three RGB channels on the 0-255 scale.
        pad_value: level of padded pixels: "mean", the mean colour, zero after normalisation; or "128".
    """

    size: int = setting(1024, low=32)
    mean: list[float] = setting([123.675, 116.28, 103.53], length=3)
    std: list[float] = setting([58.395, 57.12, 57.375], length=3, low=1e-6)
    pad_value: str = setting("mean", choices=("mean", "128"))


@dataclass
class BoxesConfig(Section):
    """``frame`` of boxes inside the network: fractions of the un-padded image ("valid") or of the padded one."""

    frame: str = setting("valid", choices=("valid", "padded"))


@dataclass
class PromptConfig(Section):
    """Prompts.

    Attributes:
        style: wording: "paper", or "released", that of the public checkpoints.
        order: "image_first", or "instruction_first": description and names (or the expression) before the image.
        max_length: longest prompt in tokens, visual tokens included; longer ones are an error.
        dedupe: let equal names share one span instead of refusing them.
    """

    style: str = setting("paper", choices=("paper", "released"))
    order: str = setting("image_first", choices=("image_first", "instruction_first"))
    max_length: int = setting(2048, low=16)
    dedupe: bool = False


@dataclass
class VocabConfig(Section):
    """Lists of names at inference that are too long for one prompt.

    Attributes:
        max_names: most names of one prompt.
        response_room: tokens kept free beside a list for the response.
        chunking: "shared_prefix": the parts share what stands before the list, and one selection, one decoder pass and
            one softmax run over all names; "per_chunk_queries": every part selects queries of its own.
    """

    max_names: int = setting(320, low=1)
    response_room: int = setting(192, low=0)
    chunking: str = setting("shared_prefix", choices=("shared_prefix", "per_chunk_queries"))


@dataclass
class ResponseConfig(Section):
    """The assistant's text before the summary token.

    Attributes:
        kind: default of all sources: "caption", "none" or "existing_objects"; with the released prompts "trailing" or
            "none".
        token: "<PER>", the learned summary token, or "<seg>", zero vectors whose state is never read.
        caption_dropout: probability of using "none" for a training sample.
    """

    kind: str = setting("caption", choices=RESPONSES)
    token: str = setting("<PER>", choices=("<PER>", "<seg>"))
    caption_dropout: float = setting(0.0, low=0, high=1)


@dataclass
class NamesConfig(Section):
    """Lists of names in training prompts.

    Attributes:
        full_limit: vocabularies up to this many names are "small".
        full_probability: probability of showing a small vocabulary completely; else negatives are drawn.
        sizes: [low, high] length of the list for large vocabularies.
        phrase_negatives: [low, high] phrases of other images added to a grounding list.
        shuffle: a fresh order of the names at each visit.
        max_tokens: budget of the list in tokens.
        synonyms: of names with commas, ask for the "first" part or for all of it ("joined"). "max" asks for every part
            as a name of its own in evaluations, and a class scores what the best of its names does; training takes the
            first.
        synonym_file: with "max", further names: JSON ``{name: [more names]}``, or "builtin:cityscapes",
            "builtin:pascal_context_59", "builtin:pascal_voc_20".
    """

    full_limit: int = setting(150, low=1)
    full_probability: float = setting(0.5, low=0, high=1)
    sizes: list[int] = setting([80, 120], length=2, low=0)
    phrase_negatives: list[int] = setting([0, 24], length=2, low=0)
    shuffle: bool = True
    max_tokens: int = setting(1024, low=1)
    synonyms: str = setting("first", choices=("first", "joined", "max"))
    synonym_file: str | None = None


@dataclass
class SourceConfig(Section):
    """One training source.

    Attributes:
        dataset: name in the catalog.
        options: arguments of the dataset.
        task: what it is used for.
        ratio: micro-batches of this source per cycle; 0 leaves it out.
        batch_size: records per micro-batch.
        questions: expressions asked about each record of a sentence task; the picture is encoded once for all.
        windows: different looks at each picture: 1 is the whole picture; with more it is also mirrored (2) and cropped
            (3 and up), one look per visit. Only for lists of names with the response "none".
        masks: learn masks where the data have them; False learns boxes alone, in half the time on CPUs.
        response: kind of response; None takes ``response.kind``.
        form: kind of question to a model that writes masks or boxes; None takes the usual one of ``task``.
        pictures: False leaves them out for models that write masks: questions and answers alone, of which a language
            model from scratch learns how they are spelled in a fraction of the time.
        max_length: most ids of questions and answers of a sample, for models that write masks; None takes
            ``text_mask.max_length``. Rows are padded to the longest of a batch, so that rare long ones are dear.
        nominal_records: number of records as published; only estimates of a run read it, where the data are not there.
    """

    dataset: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    task: str = setting("panoptic", choices=TASKS)
    ratio: int = setting(1, low=0)
    batch_size: int = setting(8, low=1)
    questions: int = setting(1, low=1)
    windows: int = setting(1, low=1)
    masks: bool = True
    response: str | None = setting(None, choices=RESPONSES)
    form: str | None = setting(None, choices=tuple(dict.fromkeys((*MASK_FORMS, *BOX_MASK_FORMS))))
    pictures: bool = True
    max_length: int | None = setting(None, low=32)
    nominal_records: int | None = setting(None, low=1)


@dataclass
class DataConfig(Section):
    """Training data.

    Attributes:
        sources: named sources; their names appear in logs and in overrides (``data.sources.refs.ratio=2``).
            A later file removes a source of its base with ``name: null``.
        num_workers: loader processes; results do not depend on it.
        remember: so many records of each source are made once and kept in memory, for data that are drawn; 0 makes
            a record anew every time.
        max_bad_share: largest share of samples that may be unreadable (another record stands in for each); a run that
            meets more ends. 0 ends it at the first.
        exclude_eval_images: train on no picture of the referring sets of ``eval.sets``, nor of the val and test splits
            of RefCOCO, RefCOCO+, RefCOCOg and gRefCOCO that are on disk; COCO's ids in file names tell pictures apart.
    """

    sources: dict[str, SourceConfig] = field(default_factory=dict)
    num_workers: int = setting(0, low=0)
    remember: int = setting(0, low=0)
    max_bad_share: float = setting(0.01, low=0, high=1)
    exclude_eval_images: bool = True


@dataclass
class EvalSetConfig(Section):
    """One evaluation.

    Attributes:
        dataset: name in the catalog.
        options: arguments of the dataset.
        task: what is asked and which metric answers.
        prefix: first part of the metric names; None takes the task's own ("panoptic", "referring" ...).
        limit: only the first so many records; 0 takes all.
        form: kind of question to a model that writes masks (``mvplm.prompts.mask_tasks``) or boxes
            (``mvplm.prompts.box_masks``, whose "category" asks for all names that a record's objects have, at once, and
            counts as an expression); None takes the usual one of ``task``.
        boxes: which boxes such a model gets masks for: those it writes ("predicted"), the true ones ("gt"), or true
            ones with edges moved by up to ``box_mask.jitter`` of the side ("jitter"), for tasks about expressions.
    """

    dataset: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    task: str = setting("panoptic", choices=tuple(task for task in TASKS if task != "caption"))
    prefix: str | None = None
    limit: int = setting(0, low=0)
    form: str | None = setting(None, choices=tuple(dict.fromkeys((*MASK_FORMS, *BOX_MASK_FORMS))))
    boxes: str = setting("predicted", choices=("predicted", "gt", "jitter"))


@dataclass
class EvalConfig(Section):
    """Evaluation.

    Attributes:
        sets: named evaluations; a later file removes one of its base with ``name: null``.
        batch_size: images per forward pass.
        res_protocol: how referring expressions are counted, a preset of ``mvplm.evaluation.protocols``. With "merged"
            and "release" all expressions for the same objects make one, in training too.
    """

    sets: dict[str, EvalSetConfig] = field(default_factory=dict)
    batch_size: int = setting(8, low=1)
    res_protocol: str = setting("per_sentence", choices=RES_PROTOCOLS)
