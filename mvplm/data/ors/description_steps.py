"""The steps of SA1B-DeRS: from verified objects to samples "the object that a sentence describes"."""

from mvplm.data.ors.category_steps import make_sample
from mvplm.data.ors.texts import DESCRIPTION_PROMPT, reasons_against
from mvplm.data.ors.work import Found, Work
from mvplm.evaluation.box_accuracy import box_iou
from mvplm.prompts.box_masks import safe_text
from mvplm.structures.masks import mask_area


class Describe:
    """A description of every object."""

    name, source, roles = "describe", "verify", ("describer",)
    optional: tuple[str, ...] = ()

    def __call__(self, work: Work) -> Found:
        """Objects in, the same with a ``text`` out."""
        found = Found(len(work.items))
        for one in work.items:
            given = work.ask("describer", work.overlay(one), box=tuple(one["box"]), label=one["label"])
            text = safe_text(given)
            found.counts["cleaned"] += text != given
            found.out.append({**one, "text": text})
        return found


class FilterTexts:
    """Descriptions that can be used."""

    name, source = "texts", "describe"
    roles: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    def __call__(self, work: Work) -> Found:
        """Described objects in and out."""
        found = Found(len(work.items))
        reasons = reasons_against([one["text"] for one in work.items], config=work.config)
        for one, reason in zip(work.items, reasons, strict=True):
            if reason is None:
                found.out.append(one)
            else:
                found.reject(reason, label=one["label"], text=one["text"])
        return found


class Reground:
    """Objects that are found again from their description."""

    name, source, roles = "reground", "texts", ("regrounder",)
    optional: tuple[str, ...] = ()

    def __call__(self, work: Work) -> Found:
        """Described objects in and out."""
        found = Found(len(work.items))
        for one in work.items:
            box = work.ask("regrounder", one["text"])
            if box is None:
                found.reject("not_found", label=one["label"], text=one["text"])
            elif not regrounded(box_iou([float(value) for value in box], one["box"]), work.config.reground_iou):
                found.reject("elsewhere", label=one["label"], text=one["text"], box=[float(value) for value in box])
            else:
                found.out.append(one)
        return found


def regrounded(iou: float, least: float) -> bool:
    """Whether a box found again is the same: an IoU of exactly ``least`` is enough."""
    return iou >= least


class DescriptionSamples:
    """One sample for each description of an object that is large enough."""

    name, source = "ders", "reground"
    roles: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    def __call__(self, work: Work) -> Found:
        """Described objects in, samples out."""
        found = Found(len(work.items))
        height, width = work.size
        for place, one in enumerate(work.items):
            if mask_area(one["mask"]) < work.config.min_area_ratio * height * width:
                found.reject("too_small", label=one["label"], text=one["text"])
                continue
            instruction = DESCRIPTION_PROMPT.format(text=one["text"])
            found.out.append(make_sample(work, [one], kind="descriptive", instruction=instruction, name=str(place)))
        return found
