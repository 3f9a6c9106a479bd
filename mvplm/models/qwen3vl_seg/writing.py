"""Letting the base model write boxes, with the states for their masks caught in the same pass."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mvplm.models.qwen3vl_seg.capture import ImageStates, StateCapture, base_of
from mvplm.models.qwen3vl_seg.recording import ChoiceRecorder
from mvplm.models.text_mask.writing import Written
from mvplm.structures.choices import near_matches
from mvplm.textmask.jump_ahead import generate_with_jumps
from mvplm.textmask.processor import ConstrainedLogits

_ALONE = ("num_beams", "num_beam_groups", "num_return_sequences")
_ASSISTED = ("assistant_model", "prompt_lookup_num_tokens", "assistant_early_exit")
_SAMPLING = ("do_sample", "temperature", "top_k", "top_p", "repetition_penalty", "cache_implementation")


@dataclass(frozen=True)
class WrittenBoxes:
    """One answer with what its masks are decoded from.

    Attributes:
        written: the answer. image: of its question. mask_states: (n, D), one per mask token of the answer, in order.
    """

    written: Written
    image: ImageStates
    mask_states: Tensor


@dataclass(frozen=True)
class Writing:
    """How answers are written.

    Attributes:
        mask_id: of ``<mask_token>``. ends: ids that end an answer. pad: id of padding. max_new_tokens: longest answer.
        constraint: keeps answers in their agreed form; None: the model writes what it wants.
        sampling: settings of ``generate`` for sampling and caches; empty: the best token each time.

    Raises:
        ValueError: beam search, several answers to one question, or assisted decoding: states have no place there.
    """

    mask_id: int
    ends: tuple[int, ...]
    pad: int
    max_new_tokens: int
    constraint: ConstrainedLogits | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key, value in self.sampling.items():
            if (key in _ALONE and value != 1) or (key in _ASSISTED and value):
                raise ValueError(f"{key}={value!r}: beam search and assisted decoding cannot be combined with masks")
            if key not in (*_ALONE, *_ASSISTED, *_SAMPLING):
                raise ValueError(
                    f"unknown setting {key!r}{near_matches(key, _SAMPLING)}: one of {', '.join(_SAMPLING)}"
                )


@torch.inference_mode()
def write_boxes(model: Any, inputs: Mapping[str, Any], *, writing: Writing) -> list[WrittenBoxes]:
    """Answers to a batch of questions about one image each, in one pass.

    A constrained answer to a single question costs no model call for what has to follow anyway.

    Args:
        model: the base model, or one with adapters. inputs: its arguments, text padded on the left.

    Raises:
        ValueError: not one image per question.
    """
    with StateCapture(model, mask_id=writing.mask_id) as capture:
        if writing.constraint is not None and len(inputs["input_ids"]) == 1 and not writing.sampling:
            answers = [_jump(model, inputs["input_ids"], inputs=dict(inputs), writing=writing)]
        else:
            answers = _generate(model, inputs, writing=writing)
    return _joined(answers, capture)


def _joined(answers: Sequence[Written], capture: StateCapture) -> list[WrittenBoxes]:
    return [
        # A row goes on until all rows have ended; what it writes then belongs to no answer.
        WrittenBoxes(written, image, states[: written.ids.count(capture.mask_id)])
        for written, image, states in zip(answers, capture.images, capture.mask_states, strict=True)
    ]


def _generate(model: Any, inputs: Mapping[str, Any], *, writing: Writing) -> list[Written]:
    from transformers import GenerationConfig, LogitsProcessorList

    recorder = ChoiceRecorder()
    if writing.constraint is not None:
        writing.constraint.reset()
    processors = [] if writing.constraint is None else [writing.constraint]
    start = inputs["input_ids"].shape[1]
    # The state of a token belongs to the step that reads it: one step more serves a mask token at the very limit.
    settings = GenerationConfig(
        **{"do_sample": False, **writing.sampling},
        max_new_tokens=writing.max_new_tokens + 1,
        eos_token_id=list(writing.ends),
        pad_token_id=writing.pad,
        use_cache=True,
    )
    sequences = model.generate(
        **inputs, generation_config=settings, logits_processor=LogitsProcessorList([*processors, recorder])
    )
    answers = recorder.read(sequences, start=start, ends=writing.ends)
    return [_cut(answer, writing.max_new_tokens) for answer in answers]


def _cut(written: Written, most: int) -> Written:
    finished = written.finished and len(written.ids) < most
    return Written(written.ids[:most], written.log_probs[:most], written.free[:most], finished)


def _jump(model: Any, input_ids: Tensor, *, inputs: dict[str, Any], writing: Writing, cache: Any = None) -> Written:
    assert writing.constraint is not None
    inputs.pop("input_ids", None)
    # One row has no padding, and later calls are shorter than a mask of the first.
    inputs.pop("attention_mask", None)
    answer = generate_with_jumps(
        model, input_ids, constraint=writing.constraint, max_new_tokens=writing.max_new_tokens, cache=cache, **inputs
    )
    if writing.mask_id in answer.unread:
        last = len(answer.unread) - answer.unread[::-1].index(writing.mask_id)
        model(
            input_ids=input_ids.new_tensor([list(answer.unread[:last])]), past_key_values=answer.cache, use_cache=True
        )
    ids, log_probs = answer.ids, answer.log_probs.tolist()
    stop = next((place for place, token in enumerate(ids) if token in writing.ends), len(ids))
    return Written(ids[:stop], log_probs[:stop], [p != 0 for p in log_probs[:stop]], stop < len(ids))


@dataclass
class Prefix:
    """The beginning of all questions about one image, read once.

    Attributes:
        ids: (1, T) up to the question. cache: of the base model. deltas: its offset of positions behind images.
        image: what the mask decoder needs of the image.
    """

    ids: Tensor
    cache: Any
    deltas: Tensor
    image: ImageStates


@torch.inference_mode()
def read_prefix(model: nn.Module, inputs: Mapping[str, Any], *, length: int, mask_id: int) -> Prefix:
    """Read an image and what stands around it.

    Args:
        model: the base model, or one with adapters. inputs: its arguments for one question with the image first.
        length: so many first ids stand before the question.
    """
    known = {key: value for key, value in inputs.items() if key != "attention_mask"}
    for key in ("input_ids", "mm_token_type_ids"):
        if key in known:
            known[key] = known[key][:, :length]
    with StateCapture(model, mask_id=mask_id) as capture:
        output = model(**known, use_cache=True, logits_to_keep=1)
    deltas = base_of(model).model.rope_deltas
    return Prefix(known["input_ids"], output.past_key_values, deltas.clone(), capture.images[0])


@torch.inference_mode()
def write_after(model: nn.Module, prefix: Prefix, *, ids: Sequence[int], writing: Writing) -> WrittenBoxes:
    """The answer to one question about an image that has been read.

    Args:
        model: the base model, or one with adapters. ids: of the question and what follows it.
    """
    inner = base_of(model).model
    inner.rope_deltas = prefix.deltas
    pending = prefix.ids.new_tensor([list(ids)])
    with StateCapture(model, mask_id=writing.mask_id, images=[prefix.image]) as capture:
        cache = copy.deepcopy(prefix.cache)
        if writing.constraint is not None:
            answer = _jump(model, pending, inputs={}, writing=writing, cache=cache)
        else:
            answer = _step(model, pending, writing=writing, cache=cache)
    return _joined([answer], capture)[0]


@torch.inference_mode()
def read_after(
    model: nn.Module, prefix: Prefix, *, ids: Sequence[int], answer: Sequence[int], writing: Writing
) -> WrittenBoxes:
    """An answer that is given, read after an image that has been read.

    Args:
        model: the base model, or one with adapters. ids: of the question and what follows it. answer: its ids.
    """
    base_of(model).model.rope_deltas = prefix.deltas
    pending = prefix.ids.new_tensor([[*ids, *answer]])
    with StateCapture(model, mask_id=writing.mask_id, images=[prefix.image]) as capture:
        model(input_ids=pending, past_key_values=copy.deepcopy(prefix.cache), use_cache=True, logits_to_keep=1)
    return _joined([_given(answer)], capture)[0]


def _step(model: Any, pending: Tensor, *, writing: Writing, cache: Any) -> Written:
    """Greedy answer, token by token, after what is in the cache."""
    ids: list[int] = []
    log_probs: list[float] = []
    finished = False
    while not finished:
        output = model(input_ids=pending, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = output.past_key_values
        if len(ids) == writing.max_new_tokens:
            break
        scores = output.logits[0, -1].float().log_softmax(-1)
        token = int(scores.argmax())
        finished = token in writing.ends
        if not finished:
            ids.append(token)
            log_probs.append(float(scores[token]))
            pending = pending.new_tensor([[token]])
    return Written(ids, log_probs, [True] * len(ids), finished)


@torch.inference_mode()
def read_answers(
    model: nn.Module, inputs: Mapping[str, Any], *, answers: Sequence[Sequence[int]], writing: Writing
) -> list[WrittenBoxes]:
    """Answers that are given, read in one teacher-forced pass for the states of their mask tokens.

    Args:
        model: the base model, or one with adapters.
        inputs: its arguments, questions and answers, text padded on the left. answers: ids of the answers.
    """
    with StateCapture(model, mask_id=writing.mask_id) as capture:
        model(**inputs, use_cache=False, logits_to_keep=1)
    return _joined([_given(ids) for ids in answers], capture)


def _given(ids: Sequence[int]) -> Written:
    return Written(list(ids), [0.0] * len(ids), [False] * len(ids), True)
