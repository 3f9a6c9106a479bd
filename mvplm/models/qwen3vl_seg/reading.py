"""From written boxes to a ``Perception``: boxes paired with their mask tokens, masks decoded, labels resolved."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mvplm.models.qwen3vl_seg.contracts import DecoderInput, DecoderOutput
from mvplm.models.qwen3vl_seg.mask_decoder import BoxGuidedMaskDecoder
from mvplm.models.qwen3vl_seg.parse import ParsedBoxes, parse_boxes
from mvplm.models.qwen3vl_seg.recover import only_answer
from mvplm.models.qwen3vl_seg.writing import WrittenBoxes
from mvplm.models.text_mask.reading import BOX_TASKS, Asked, panoptic_map, place_of_label, semantic_map
from mvplm.prompts.box_masks import MASK_TOKEN
from mvplm.structures import BoxFormat, Instances, Perception, convert_boxes
from mvplm.structures.written import WrittenAnswer
from mvplm.textmask.confidence import brick_scores

# Private-use letters: a mask token that is told apart from others, and one that was only spelled.
_NUMBERED, _SPELLED = re.compile(re.escape(MASK_TOKEN) + "\ue000(\\d+)\ue001"), "<mask_token\ue002>"


@dataclass(frozen=True)
class ReadBoxes:
    """One answer read and decoded.

    Attributes:
        text: the whole answer. parsed: what it says; ``mask_index`` counts the mask tokens of the whole answer.
        size: (H, W) of the image.
        places: boxes that have a mask, as places in ``parsed.boxes``. masks: of those boxes.
        sure: probability of the tokens that were free, their geometric mean.
        tokens: how many were written. finished: whether the model ended the answer itself.
    """

    text: str
    parsed: ParsedBoxes
    size: tuple[int, int]
    places: list[int]
    masks: DecoderOutput
    sure: float
    tokens: int
    finished: bool


def answer_text(ids: Sequence[int], tokenizer: Any, *, mask_id: int, numbered: bool = False) -> str:
    """Text of an answer; mask tokens are what has their id, characters that spell one are marked.

    Args:
        ids: of the answer. tokenizer: plain. mask_id: of ``<mask_token>``. numbered: count behind each mask token.
    """
    parts: list[str] = []
    run: list[int] = []
    count = 0
    for token in [*ids, mask_id]:
        if token != mask_id:
            run.append(token)
            continue
        parts += [tokenizer.decode(run).replace(MASK_TOKEN, _SPELLED) if run else "", MASK_TOKEN]
        parts += [f"\ue000{count}\ue001"] * numbered
        run, count = [], count + 1
    return "".join(parts[: -2 if numbered else -1])


def read_ids(ids: Sequence[int], size: tuple[int, int], *, tokenizer: Any, mask_id: int) -> ParsedBoxes:
    """What an answer says about an image of ``size`` (H, W); ``mask_index`` counts the mask tokens among its ids.

    Args:
        ids: of the answer. tokenizer: plain. mask_id: of ``<mask_token>``.
    """
    parsed = parse_boxes(answer_text(ids, tokenizer, mask_id=mask_id), size)
    numbered = answer_text(ids, tokenizer, mask_id=mask_id, numbered=True)
    # Thoughts and prose around fences are set aside, with the mask tokens inside them.
    kept = [int(number) for number in _NUMBERED.findall(only_answer(numbered, Counter()))]
    return replace(parsed, mask_index=[None if place is None else kept[place] for place in parsed.mask_index])


@torch.inference_mode()
def decode_answers(
    decoder: BoxGuidedMaskDecoder,
    answers: Sequence[WrittenBoxes],
    *,
    parsed: Sequence[ParsedBoxes],
    sizes: Sequence[tuple[int, int]],
    texts: Sequence[str],
) -> list[ReadBoxes]:
    """Masks of all boxes of a batch that have a mask token, decoded together.

    Args:
        answers: with image and states. parsed: what they say. sizes: (H, W) of the images. texts: the answers as text.
    """
    dtype = next(decoder.parameters()).dtype
    places = [
        [place for place, token in enumerate(read.mask_index) if token is not None and token < len(answer.mask_states)]
        for read, answer in zip(parsed, answers, strict=True)
    ]
    inputs: list[DecoderInput] = []
    for answer, read, own, size in zip(answers, parsed, places, sizes, strict=True):
        tokens = torch.tensor([read.mask_index[place] for place in own], dtype=torch.long)
        boxes = fractions(read.boxes[own], size)
        inputs.append(answer.image.asked(answer.mask_states[tokens.to(answer.mask_states.device)], boxes, dtype=dtype))
    decoded = decoder(inputs)
    found = []
    for row, answer in enumerate(answers):
        written = answer.written
        free = [p for p, free in zip(written.log_probs, written.free, strict=True) if free]
        sure = brick_scores(free, [1] * len(free)).mask_score
        found.append(
            ReadBoxes(
                texts[row],
                parsed[row],
                sizes[row],
                places=places[row],
                masks=decoded[row],
                sure=sure,
                tokens=len(written.ids),
                finished=written.finished,
            )
        )
    return found


def fractions(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """XYXY_ABS boxes (k, 4) of an image of ``size`` (H, W) as XYXY_NORM inside [0, 1]."""
    return convert_boxes(boxes, BoxFormat.XYXY_ABS, target=BoxFormat.XYXY_NORM, size=size).clamp(0, 1)


def perceive_boxes(read: ReadBoxes, asked: Asked, *, threshold: float = 0.0, ranked: bool = True) -> Perception:
    """The result of one answer.

    Boxes without a mask token stand in ``unmasked``, never as empty masks; an answer that cannot be read gives no
    instances and says so in ``written.status``.

    Args:
        read: the answer. asked: what it is about.
        threshold: logit above which a pixel belongs to a mask. ranked: best instance first, else as in the answer.
    """
    parsed, repairs = read.parsed, dict(read.parsed.repairs)
    index = [place_of_label(label, asked, repairs=repairs) if asked.listed else 0 for label in parsed.labels]
    boxed = asked.task in BOX_TASKS or asked.box_only
    scores = torch.full((len(parsed.boxes),), read.sure)
    scores[read.places] = read.masks.scores.float().cpu()
    everything = Instances(
        parsed.boxes, scores, labels=_labels(parsed.labels, index, asked=asked), class_index=_classes(index)
    )
    kept = [place for place in range(len(index)) if index[place] is not None]
    masked = [place for place in kept if place in read.places]
    bare = [place for place in kept if place not in read.places]
    if ranked:
        kept, masked, bare = (sorted(group, key=lambda i: (-float(scores[i]), i)) for group in (kept, masked, bare))
    if boxed:
        instances, unmasked = everything.keep(_tensor(kept)), None
    else:
        rows = [read.places.index(place) for place in masked]
        masks = read.masks.masks(read.size, threshold)[rows].cpu()
        instances = replace(everything.keep(_tensor(masked)), masks=masks)
        unmasked = everything.keep(_tensor(bare)) if bare else None
    status = "recovered" if parsed.status == "ok" and repairs else parsed.status
    found = Perception(asked.size, asked.task, list(asked.names), no_target=status == "no_target")
    found.instances, found.unmasked = instances, unmasked
    found.presence = float(instances.scores.max()) if len(instances) else 0.0
    found.written = WrittenAnswer(read.text, status, repairs, read.tokens, read.finished)
    if asked.task == "semantic":
        found.semantic = semantic_map(instances, asked)
    elif asked.task == "panoptic":
        found.panoptic = panoptic_map(instances, asked)
    return found


def _labels(labels: Sequence[str], index: Sequence[int | None], *, asked: Asked) -> list[str]:
    """What instances are called: names of a list as they were asked, else what the answer says."""
    if asked.listed:
        return [asked.names[place or 0] for place in index]
    return [label or (asked.names[0] if asked.names else "") for label in labels]


def _classes(index: Sequence[int | None]) -> Tensor:
    return torch.tensor([place or 0 for place in index], dtype=torch.int64)


def _tensor(places: Sequence[int]) -> Tensor:
    return torch.tensor(list(places), dtype=torch.long)
