"""Settings of the network: which parts it has and how large they are. Defaults are the published sizes.

Source: MVP-LM, section 3 (architecture) and its ablations (choices of queries, responses and selection).
"""

from dataclasses import dataclass, field
from typing import Any

from mvplm.config.base import Section, setting


@dataclass
class EncoderConfig(Section):
    """The vision encoder.

    Attributes:
        kind: "swin" (transformers' Swin, by default of the published size) or "timm" (any with ``features_only``).
        name: timm model name; not used by Swin.
        kwargs: arguments of the encoder: for Swin embed_dim, depths, num_heads, window_size where they differ from the
            published ones; for timm those of ``timm.create_model``.
        weights: file, directory or Hub id in the local cache to start from: the encoder's parameters under its own
            names, or for a Swin those of transformers, timm, detectron2 or a Mask2Former, and for other timm encoders
            those of timm or EfficientNet-PyTorch. It must fit exactly. None starts from random numbers.
        train: update the encoder. A frozen encoder runs in evaluation mode.
        train_droppath: largest stochastic-depth rate while it is trained.
        remember: GiB of main memory for the maps of a frozen encoder, in half precision: pictures that come again
            unchanged are not encoded again. 0 remembers nothing. Pays for small sets of pictures on CPUs.
    """

    kind: str = setting("swin", choices=("swin", "timm"))
    name: str | None = None
    kwargs: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None
    train: bool = False
    train_droppath: float = setting(0.0, low=0, high=1)
    remember: float = setting(0.0, low=0)


@dataclass
class ConnectorConfig(Section):
    """From encoder maps to visual tokens.

    Attributes:
        stride: pixels per side of one visual token: V = (image size / stride)^2.
        width: channels inside the residual block.
        norm: "batch" (over all processes of a training on GPUs), "batch_per_process" or "group" normalisation.
        conv2_repeats: how often the second convolution is applied.
    """

    stride: int = setting(64, choices=(32, 64))
    width: int = setting(2048, low=1)
    norm: str = setting("batch", choices=("batch", "batch_per_process", "group"))
    conv2_repeats: int = setting(1, choices=(1, 2))


@dataclass
class LoraConfig(Section):
    """Low-rank adapters of the language model, which is frozen but for them and the rows of new tokens.

    Attributes:
        rank: of the added matrices; 0 leaves adapters out.
        alpha: their scale is alpha / rank. dropout: on their input.
        targets: names of the linear layers that get one, such as q_proj; empty: every one.
    """

    rank: int = setting(0, low=0)
    alpha: float = setting(32.0, low=0)
    dropout: float = setting(0.0, low=0, high=1)
    targets: list[str] = setting([])


@dataclass
class LanguageConfig(Section):
    """The language model.

    Attributes:
        kind: "phi" builds a Phi of the sizes below; "auto" takes any causal model of transformers from ``path``.
        path: directory or Hub id of the causal model; "phi" has none.
        weights: directory or Hub id in the local cache with weights of a Phi of exactly these sizes to start from; None
            starts from random numbers.
        tokenizer: "scenes" (the small one learned from the embedded dataset's texts), or a directory or Hub id.
        vocab_size: size of the "scenes" tokenizer.
        embedding_rows: rows of the embedding matrix; 0 takes the tokenizer's size.
        hidden_size, layers, heads, ffn: D, depth, attention heads, width of the feed-forward part.
        rope_fraction: share of each head's channels that is rotated; rope_theta: base of the rotation.
        context: longest sequence in tokens.
        attention: attention kernel; "eager" trains faster than "sdpa" on CPUs in bf16.
        lm_head_bias: keep the bias of the output layer.
        train: update the language model; with adapters, only them.
        reads: "prompt", all of it; or "names": names and expressions alone, which a frozen model reads once and for
            all. For the prompt order "instruction_first", the fusion "visual_only" and the response "none".
        lora: adapters.
    """

    kind: str = setting("phi", choices=("phi", "auto"))
    path: str | None = None
    weights: str | None = None
    tokenizer: str = "scenes"
    vocab_size: int = setting(1024, low=258)
    embedding_rows: int = setting(51200, low=0)
    hidden_size: int = setting(2048, low=1)
    layers: int = setting(24, low=1)
    heads: int = setting(32, low=1)
    ffn: int = setting(8192, low=1)
    rope_fraction: float = setting(0.5, low=0, high=1)
    rope_theta: float = setting(10000.0, low=1)
    context: int = setting(2048, low=16)
    attention: str = setting("sdpa", choices=("sdpa", "eager"))
    lm_head_bias: bool = True
    train: bool = True
    reads: str = setting("prompt", choices=("prompt", "names"))
    lora: LoraConfig = field(default_factory=LoraConfig)


@dataclass
class TextConfig(Section):
    """Text embeddings of names and expressions.

    Attributes:
        hidden: which hidden states are pooled: "last", the output of the final norm, or "layer_mean" over all layers.
        pool_suffix: the token ``[SEG]`` follows every name and expression and is pooled with it.
        proj: "mlp2" or "linear" projection to the decoder's width.
        no_object: the no-object column of the softmax: a "learned" vector and bias, or "background_name", the name
            "background", listed last.
    """

    hidden: str = setting("last", choices=("last", "layer_mean"))
    pool_suffix: bool = False
    proj: str = setting("mlp2", choices=("mlp2", "linear"))
    no_object: str = setting("learned", choices=("learned", "background_name"))


@dataclass
class ClassifierConfig(Section):
    """How a query is scored against names: ``word`` is "softmax_ce" or "sigmoid_focal"."""

    word: str = setting("softmax_ce", choices=("softmax_ce", "sigmoid_focal"))


@dataclass
class SelectConfig(Section):
    """Selection of encoder tokens by similarity to the text.

    Attributes:
        enabled: False only together with ``query.fusion: base_only``.
        score: "head" (decoder norm and visual projection) or "bare" (projection alone).
        kinds: "all" names compete, or only "things" in panoptic tasks.
    """

    enabled: bool = True
    score: str = setting("head", choices=("head", "bare"))
    kinds: str = setting("all", choices=("all", "things"))


@dataclass
class QueryConfig(Section):
    """Matching queries.

    Attributes:
        num: N.
        base: where the base queries come from: "summary", the state of the summary token, or "none", which leaves the
            selected features alone (fusion "visual_only").
        expand: "slots" (one vector plus learned slots) or "full" (one vector per query).
        fusion: "sum", "visual_only", "base_only" or "concat_mlp" of base queries and selected features.
    """

    num: int = setting(100, low=1)
    base: str = setting("summary", choices=("summary", "none"))
    expand: str = setting("slots", choices=("slots", "full"))
    fusion: str = setting("sum", choices=("sum", "visual_only", "base_only", "concat_mlp"))


@dataclass
class StuffConfig(Section):
    """Queries for stuff regions.

    Attributes:
        num: S; 0 leaves them out.
        detach: stop gradients into their contents and boxes.
        box_loss: train and match boxes of stuff.
    """

    num: int = setting(100, low=0)
    detach: bool = False
    box_loss: bool = False


@dataclass
class PixelDecoderConfig(Section):
    """The deformable encoder over the feature pyramid.

    Attributes:
        width, mask_width: C of the memory and of the mask features.
        layers, heads, points, ffn: depth, attention heads, sampling points per level and head, feed-forward width.
        levels: number of memory levels: 4 (strides 8 to 64), 3 (8 to 32) or 5 (4 to 64).
        finest: stride of the finest level, from which each level doubles it; None: as ``levels`` says. 16 makes memory
            and decoder four times as fast and blind to small objects.
    """

    width: int = setting(256, low=8)
    mask_width: int = setting(256, low=8)
    layers: int = setting(6, low=1)
    heads: int = setting(8, low=1)
    points: int = setting(4, low=1)
    ffn: int = setting(2048, low=1)
    levels: int = setting(4, choices=(3, 4, 5))
    finest: int | None = setting(None, choices=(4, 8, 16, 32))


@dataclass
class DecoderConfig(Section):
    """The query decoder; its width is ``pixel_decoder.width``.

    Attributes:
        layers, heads, points, ffn: as in the pixel decoder.
        mask_padding: ignore padded cells; False takes padding for content and needs ``boxes.frame: padded``.
        level_order: order of the levels in the decoder's memory.
        anchor_scale: which level gets the small anchors.
        double_norm: apply the decoder norm twice on the class and mask path.
        loop_box_input: states ("normed" or "raw") that update the boxes between layers.
    """

    layers: int = setting(9, low=1)
    heads: int = setting(8, low=1)
    points: int = setting(4, low=1)
    ffn: int = setting(2048, low=1)
    mask_padding: bool = True
    level_order: str = setting("fine_to_coarse", choices=("fine_to_coarse", "coarse_to_fine"))
    anchor_scale: str = setting("fine_small", choices=("fine_small", "coarse_small"))
    double_norm: bool = False
    loop_box_input: str = setting("normed", choices=("normed", "raw"))


@dataclass
class DenoisingConfig(Section):
    """Denoising queries of word tasks (training only).

    Attributes:
        budget: slots per image; 0 switches denoising off.
        box_noise: largest relative shift and scale of a noised box.
        label_noise: probability of a wrong name.
        overflow: with more targets than slots "subsample" them or "skip" denoising for the step.
        anonymous: probability that a list ends with the word "object" and all noised targets of its image are asked for
            by that word: what box prompts without a name need.
    """

    budget: int = setting(100, low=0)
    box_noise: float = setting(0.4, low=0, high=1)
    label_noise: float = setting(0.0, low=0, high=1)
    overflow: str = setting("subsample", choices=("subsample", "skip"))
    anonymous: float = setting(0.0, low=0, high=1)


@dataclass
class ModelConfig(Section):
    """The network.

    Attributes:
        preset: name of an architecture whose sizes are filled in before the file's own values; None: published sizes.
        encoder, connector, llm, text, classifier, select, query, stuff, pixel_decoder, decoder, dn: its parts.
    """

    preset: str | None = None
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    connector: ConnectorConfig = field(default_factory=ConnectorConfig)
    llm: LanguageConfig = field(default_factory=LanguageConfig)
    text: TextConfig = field(default_factory=TextConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    select: SelectConfig = field(default_factory=SelectConfig)
    query: QueryConfig = field(default_factory=QueryConfig)
    stuff: StuffConfig = field(default_factory=StuffConfig)
    pixel_decoder: PixelDecoderConfig = field(default_factory=PixelDecoderConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    dn: DenoisingConfig = field(default_factory=DenoisingConfig)
