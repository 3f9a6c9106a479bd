"""The steps of SA1B-CoRS: from an image to samples "every instance of a category"."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mvplm.data.ors.callables import VERDICTS
from mvplm.data.ors.fragments import merge_fragments
from mvplm.data.ors.instances import Box, Grounded, duplicates, suppress
from mvplm.data.ors.shards import UnreadableError
from mvplm.data.ors.texts import CATEGORY_PROMPT
from mvplm.data.ors.words import normalise_tag
from mvplm.data.ors.work import Found, Work
from mvplm.evaluation.box_accuracy import box_iou
from mvplm.prompts.box_masks import safe_text
from mvplm.structures.masks import encode_mask, tight_box


class Read:
    """Are picture and masks there, and do they fit?"""

    name, source = "read", ""
    roles: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    def __call__(self, work: Work) -> Found:
        """One image in, one or none out."""
        found = Found(1)
        try:
            content = work.source.content()
            size = work.pixels.shape[:2]
            told = (content["image"]["height"], content["image"]["width"])
            if size != told:
                raise UnreadableError("size_differs", f"the picture is {size}, its JSON file says {told}")
        except UnreadableError as error:
            # Not the message: it names folders, and the same images in another place give the same lines.
            found.reject(error.reason)
            return found
        found.out.append(work.source.name)
        found.image = {
            "image_id": content["image"]["image_id"],
            "file": f"{work.source.shard}/{work.source.name}{work.source.picture}",
            "height": size[0],
            "width": size[1],
        }
        return found


class Tag:
    """Tags in their normal form, each once."""

    name, source, roles = "tag", "read", ("tagger",)
    optional: tuple[str, ...] = ()

    def __call__(self, work: Work) -> Found:
        """Tags out: texts, in the order the tagger gave them."""
        given = list(work.ask("tagger")) if work.items else []
        found = Found(len(given))
        for raw, _ in given:
            tag = normalise_tag(safe_text(raw))
            if not tag or tag in found.out:
                found.reject("repeated" if tag else "empty", tag=tag)
            else:
                found.out.append(tag)
        return found


class Filter:
    """Tags that name things."""

    name, source = "filter", "tag"
    roles: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    def __call__(self, work: Work) -> Found:
        """Tags in, tags out."""
        found = Found(len(work.items))
        for tag in work.items:
            reason = work.tools.nouns.reason_against(tag)
            if reason is None:
                found.out.append(tag)
            else:
                found.reject(reason, tag=tag)
        return found


class Ground:
    """Boxes of every tag."""

    name, source, roles = "ground", "filter", ("grounder",)
    optional: tuple[str, ...] = ()

    def __call__(self, work: Work) -> Found:
        """Tags in, ``{"label", "box", "score"}`` out, best first."""
        found = Found(len(work.items))
        for tag in work.items:
            boxes = [
                {"label": tag, "box": box, "score": float(score)}
                for box, score in ((_within(box, work.size), score) for box, score in work.ask("grounder", tag))
                if score >= work.config.ground_score and box is not None
            ]
            if not boxes:
                found.reject("ungrounded", tag=tag)
            found.out += sorted(boxes, key=lambda one: (-one["score"], one["box"]))
        return found


class Suppress:
    """Of boxes on one object the best and most specific."""

    name, source = "suppress", "ground"
    roles: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    def __call__(self, work: Work) -> Found:
        """Boxes in, boxes out."""
        boxes = [Grounded(one["label"], _box(one), one["score"]) for one in work.items]
        gone = suppress(boxes, iou=work.config.nms_iou, is_above=work.tools.nouns.is_above)
        reasons = {one.place: one.reason for one in gone}
        found = Found(len(boxes), [one for place, one in enumerate(work.items) if place not in reasons])
        for place, reason in reasons.items():
            found.reject(reason, label=boxes[place].label, box=list(boxes[place].box))
        return found


class Segment:
    """A second opinion about every box, and a coarse mask."""

    name, source, roles = "segment", "suppress", ("boxer", "segmenter")
    optional: tuple[str, ...] = ()

    def __call__(self, work: Work) -> Found:
        """Boxes in, the same with ``mask`` and the boxer's ``box`` out."""
        found = Found(len(work.items))
        asked: dict[str, list[list[float]]] = {}
        for one in work.items:
            label, told = one["label"], {"label": one["label"], "box": one["box"]}
            if label not in asked:
                boxes = (_within(box, work.size) for box in work.ask("boxer", label))
                asked[label] = [box for box in boxes if box is not None]
            best = max(asked[label], key=lambda box: (box_iou(box, one["box"]), box), default=None)
            if best is None or box_iou(best, one["box"]) < work.config.box_agreement:
                found.reject("box_disagree", **told)
                continue
            mask = np.asarray(work.ask("segmenter", tuple(best)), bool)
            if mask.shape != work.size:
                raise ValueError(
                    f"{work.source.name}: the segmenter's mask is {mask.shape}, the image {work.size}; it must be of "
                    "the image's size"
                )
            if not mask.any():
                found.reject("empty", **told)
                continue
            found.out.append({"label": label, "score": one["score"], "box": best, "mask": encode_mask(mask)})
        return found


class Merge:
    """SA-1B's fragments put together along the coarse masks."""

    name, source = "merge", "segment"
    roles: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    def __call__(self, work: Work) -> Found:
        """Coarse masks in, whole masks with their tight boxes out."""
        found = Found(len(work.items))
        fragments = work.source.fragments() if work.items else []
        for one in work.items:
            merged = merge_fragments(work.mask(one), fragments, config=work.config)
            box = tight_box(merged.mask)
            assert box is not None
            found.counts["fallback"] += merged.fallback
            found.counts["fragments"] += merged.selected
            found.out.append(
                {**one, "box": box.tolist(), "mask": encode_mask(merged.mask), "fallback": merged.fallback}
            )
        return found


class Deduplicate:
    """Every object once."""

    name, source = "deduplicate", "merge"
    roles: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    def __call__(self, work: Work) -> Found:
        """Objects in, objects out."""
        gone = duplicates(
            [one["label"] for one in work.items],
            [_box(one) for one in work.items],
            masks=[work.mask(one) for one in work.items],
            iou=work.config.duplicate_iou,
            inside=work.config.duplicate_inside,
        )
        found = Found(len(work.items), [one for place, one in enumerate(work.items) if place not in gone])
        for place in gone:
            found.reject("duplicate", label=work.items[place]["label"], box=work.items[place]["box"])
        return found


class Verify:
    """Each object judged on the picture."""

    name, source, roles = "verify", "deduplicate", ("verifier",)
    optional: tuple[str, ...] = ()

    def __call__(self, work: Work) -> Found:
        """Objects in, objects out; the first "no" is the reason."""
        found = Found(len(work.items))
        for one in work.items:
            verdict = work.ask("verifier", work.overlay(one), label=one["label"])
            if missing := [name for name in VERDICTS if name not in verdict]:
                raise ValueError(f"{work.source.name}: the verifier does not say {', '.join(missing)}")
            against = next((name for name in VERDICTS if not verdict[name]), None)
            if against is None:
                found.out.append(one)
            else:
                told = safe_text(str(verdict.get("reason", "")))
                found.reject(against, label=one["label"], box=one["box"], told=told, mask=one["mask"])
        return found


class CategorySamples:
    """One sample for all objects of a label."""

    name, source, optional = "cors", "verify", ("captioner",)
    roles: tuple[str, ...] = ()

    def __call__(self, work: Work) -> Found:
        """Objects in, samples out, in the order in which labels come."""
        found = Found(len(work.items))
        for label in dict.fromkeys(one["label"] for one in work.items):
            mine = sorted((one for one in work.items if one["label"] == label), key=lambda one: one["box"])
            kind = "category_multi" if len(mine) > 1 else "category_single"
            sample = make_sample(work, mine, kind=kind, instruction=CATEGORY_PROMPT.format(text=label), name=label)
            if "captioner" in work.tools.callables:
                caption = work.ask("captioner", label, instances=[_box(one) for one in mine])
                sample["caption"] = safe_text(caption)
                found.counts["cleaned"] += sample["caption"] != caption
            found.out.append(sample)
        return found


def make_sample(
    work: Work, objects: Sequence[Mapping[str, Any]], *, kind: str, instruction: str, name: str
) -> dict[str, Any]:
    """A sample of SA1B-ORS, ORS-Bench's form; where it comes from is added when it is written.

    Args:
        work: the image. objects: with ``label``, ``box`` and ``mask``.
        kind: of the instruction. instruction: whole prompt. name: unique among the samples of the image and kind.
    """
    image = work.before["image"]
    return {
        "id": f"{image['image_id']}-{kind}-{name}",
        "image": image["file"],
        "height": image["height"],
        "width": image["width"],
        "instruction": instruction,
        "kind": kind,
        "ood": None,
        "instances": [
            {"label": o["label"], "bbox": [int(v) for v in o["box"]], "mask_rle": o["mask"]} for o in objects
        ],
        "source": "sa1b-ders" if kind == "descriptive" else "sa1b-cors",
    }


def _box(item: Mapping[str, Any]) -> Box:
    x1, y1, x2, y2 = item["box"]
    return (x1, y1, x2, y2)


def _within(box: Sequence[float], size: tuple[int, int]) -> list[float] | None:
    """A callable's box inside the image, as plain numbers; None when nothing is left of it."""
    x1, x2 = (float(min(max(value, 0), size[1])) for value in (box[0], box[2]))
    y1, y2 = (float(min(max(value, 0), size[0])) for value in (box[1], box[3]))
    return [x1, y1, x2, y2] if x2 > x1 and y2 > y1 else None
