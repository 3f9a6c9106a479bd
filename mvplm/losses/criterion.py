"""The criterion: from predictions and targets to named, unweighted losses."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mvplm.losses import functional
from mvplm.losses.matcher import CLASSIFIERS, HungarianMatcher
from mvplm.losses.pairs import (
    NamedSet,
    PairTable,
    denoising_pairs,
    layer_suffixes,
    matched_pairs,
    named_sets,
)
from mvplm.losses.points import PointBudget, choose_points, uniform_points
from mvplm.losses.shares import Shares, share_out
from mvplm.losses.targets import TargetTable, collect_targets
from mvplm.structures.batch import Batch
from mvplm.structures.choices import check_choice
from mvplm.structures.outputs import PerceptionOutput
from mvplm.structures.sample import Target


@dataclass(frozen=True)
class _Setting:
    """What every loss of one call needs: targets, all pairs, set suffixes and the divisor of each set (S,)."""

    table: TargetTable
    pairs: PairTable
    suffixes: list[str]
    divisors: Tensor

    def extended(self, pairs: PairTable, suffixes: list[str], *, divisor: Tensor) -> "_Setting":
        """With further sets behind the present ones, all of one divisor."""
        divisors = torch.cat([self.divisors, divisor.expand(len(suffixes))])
        return _Setting(self.table, self.pairs.merged(pairs), self.suffixes + suffixes, divisors)

    def totals(self, values: Tensor, weight: Tensor) -> Tensor:
        """Weighted sums per set (S,) of per-pair values (R,), each over its set's divisor."""
        weighted = torch.where(weight > 0, values * weight, torch.zeros_like(values))
        sums = functional.segment_sum(weighted, self.pairs.set_index, count=len(self.suffixes))
        return sums / self.divisors

    def named(self, name: str, totals: Tensor) -> dict[str, Tensor]:
        """One scalar per set."""
        return {name + suffix: value for suffix, value in zip(self.suffixes, totals.unbind(0), strict=True)}


class Criterion:
    """Losses of a batch by name, unweighted.

    Each prediction set has ``word`` or ``sentence``, ``mask_bce``, ``mask_dice``, ``box_l1`` and ``box_giou``; the
    response has ``lm``. The output set carries no suffix; the others ``.initial``, ``.layer1`` ..., ``.selection``,
    ``.dn``, ``.dn.initial``, ``.dn.layer1`` .... Mask names are absent when no masks are predicted (box-only tasks).

    Args:
        matcher: assigns queries to targets.
        num_points, oversample, importance: points per pair of the mask losses, candidates per point, and the share
            chosen by uncertainty. Points are drawn per image and shared by its pairs; the choice is each pair's own.
        no_object_weight: class weight of no-object. sentence_scale: factor of the sentence loss.
        stuff_box_loss: whether stuff targets have box losses while stuff queries are in use.
        classifier: ``softmax_ce`` or ``sigmoid_focal`` word heads.
        dn_masks: whether denoising queries have mask losses.

    Source: MVP-LM, section 3.2; Mask DINO; PointRend.
    """

    def __init__(
        self,
        *,
        matcher: HungarianMatcher,
        num_points: int = 12544,
        oversample: float = 3.0,
        importance: float = 0.75,
        no_object_weight: float = 0.1,
        sentence_scale: float = 1.0,
        stuff_box_loss: bool = False,
        classifier: str = "softmax_ce",
        dn_masks: bool = True,
    ) -> None:
        self.matcher = matcher
        self.points = PointBudget(num_points, oversample, importance)
        self.no_object_weight = no_object_weight
        self.sentence_scale = sentence_scale
        self.stuff_box_loss = stuff_box_loss
        self.classifier = check_choice("classifier", classifier, choices=CLASSIFIERS)
        self.dn_masks = dn_masks

    def __call__(self, output: PerceptionOutput, batch: Batch | Sequence[Target]) -> dict[str, Tensor]:
        """Unweighted losses by name, float32 scalars.

        Args:
            output: of the model; predictions may be of any floating type.
            batch: its targets must be there unless the family is ``caption``; or the B targets alone.

        Raises:
            ValueError: the batch has no targets.
        """
        losses: dict[str, Tensor] = {}
        whole = isinstance(batch, Batch)
        if not whole or batch.family != "caption":
            targets = batch.targets if whole else batch
            if targets is None:
                raise ValueError("the criterion needs a batch with targets, got targets=None")
            with torch.autocast(output.logits.device.type, enabled=False):
                losses |= self._perception(output, targets, image_ids=batch.image_ids if whole else None)
        if output.lm_loss is not None:
            losses["lm"] = output.lm_loss.float()
        return losses

    def _perception(
        self, output: PerceptionOutput, targets: Sequence[Target], *, image_ids: Sequence[int | str] | None
    ) -> dict[str, Tensor]:
        table = collect_targets(targets, output)
        sets = named_sets(output)
        predictions = [single.predictions for single in sets]
        matches = self.matcher.match_all(predictions, output, targets=table, image_ids=image_ids)
        pairs = matched_pairs(matches)
        denoising, noised = output.denoising, None
        rows = sum(single.logits.shape[0] * single.logits.shape[1] for single in predictions)
        if denoising is not None:
            noised = denoising_pairs(denoising, table, first_row=rows, first_set=len(sets))
        classes = _classes(sets, pairs, labels=table.labels, names=output.name_mask.shape[1])
        shares = share_out(
            output,
            sets,
            classes=classes,
            targets=sum(table.counts),
            noised=noised,
            no_object_weight=self.no_object_weight,
        )
        count = shares.targets
        losses = self._classify(output, sets, classes=classes, shares=shares)
        setting = _Setting(table, pairs, [single.suffix for single in sets], torch.stack([count] * len(sets)))
        everything = setting
        if denoising is not None and noised is not None:
            losses |= self._classify_denoising(
                output, pairs=noised, table=table, first=(rows, len(sets)), shares=shares
            )
            layers = [".dn" + suffix for suffix in layer_suffixes(len(denoising.logits))]
            everything = setting.extended(noised, layers, divisor=count * denoising.groups)
        losses |= self._boxes(output, sets, setting=everything)
        if output.mask_features is not None and predictions[0].mask_embeddings is not None:
            noised_masks = self.dn_masks and denoising is not None and denoising.mask_embeddings is not None
            losses |= self._masks(output, sets, setting=everything if noised_masks else setting)
        return losses

    def _classify(
        self, output: PerceptionOutput, sets: list[NamedSet], *, classes: Sequence[Tensor], shares: Shares
    ) -> dict[str, Tensor]:
        """Word or sentence losses of the matched sets."""
        names = output.name_mask.shape[1]
        losses = {}
        for single, wanted, total in zip(sets, classes, shares.answers.unbind(0), strict=True):
            part = single.predictions.logits.float()
            if output.family == "sentence":
                found = (wanted < names).float().view(part.shape[:2])
                value = functional.sentence_bce(part[..., 0], found, count=shares.targets, total=total)
                losses["sentence" + single.suffix] = self.sentence_scale * value
            elif self.classifier == "softmax_ce":
                losses["word" + single.suffix] = functional.softmax_cross_entropy(
                    part.flatten(0, 1), wanted, no_object_weight=self.no_object_weight, total=total
                )
            else:
                value = self._focal(part[..., :names], wanted.view(part.shape[:2]), mask=output.name_mask[:, None])
                losses["word" + single.suffix] = value.sum() / shares.targets
        return losses

    def _classify_denoising(
        self,
        output: PerceptionOutput,
        *,
        pairs: PairTable,
        table: TargetTable,
        first: tuple[int, int],
        shares: Shares,
    ) -> dict[str, Tensor]:
        """Word or sentence losses of the filled denoising slots; ``first`` are the first row and set of denoising."""
        denoising = output.denoising
        layers = len(denoising.logits)
        logits = denoising.logits.float().flatten(0, 2).index_select(0, pairs.row - first[0])
        segment = pairs.set_index - first[1]
        wanted = table.labels[pairs.target]
        name, names = "word", output.name_mask.shape[1]
        filled = (shares.noised * denoising.groups).clamp(min=1)
        if output.family == "sentence":
            name, values = "sentence", self.sentence_scale * F.softplus(-logits[:, 0])
        elif self.classifier == "softmax_ce":
            values = F.cross_entropy(logits, wanted, reduction="none")
        else:
            mask = [row.expand(rows, -1) for row, rows in zip(output.name_mask, pairs.per_image, strict=True)]
            values = self._focal(logits[:, :names], wanted, mask=torch.cat(mask)).sum(-1)
            filled = shares.targets * denoising.groups
        totals = functional.segment_sum(values * pairs.weight, segment, count=layers) / filled
        return {
            f"{name}.dn{suffix}": value for suffix, value in zip(layer_suffixes(layers), totals.unbind(0), strict=True)
        }

    @staticmethod
    def _focal(logits: Tensor, classes: Tensor, *, mask: Tensor) -> Tensor:
        """Focal loss (..., K) of name logits for classes (...); K in ``classes`` means none; padded names give 0."""
        width = logits.shape[-1]
        hot = F.one_hot(classes, width + 1)[..., :width].float()
        values = functional.sigmoid_focal(logits.masked_fill(~mask, 0.0), hot)
        return values.masked_fill(~mask, 0.0)

    def _boxes(self, output: PerceptionOutput, sets: list[NamedSet], *, setting: _Setting) -> dict[str, Tensor]:
        pairs, table = setting.pairs, setting.table
        parts = [single.predictions.boxes for single in sets]
        boxes = _rows(parts, None if output.denoising is None else output.denoising.boxes, index=pairs.row)
        wanted = table.boxes.index_select(0, pairs.target)
        weight = pairs.weight
        if output.num_things < output.logits.shape[2] and not self.stuff_box_loss:
            weight = weight * table.isthing[pairs.target]
        distance = setting.totals(functional.box_l1_rows(boxes, wanted), weight)
        overlap = setting.totals(functional.box_giou_rows(boxes, wanted), weight)
        return setting.named("box_l1", distance) | setting.named("box_giou", overlap)

    def _masks(self, output: PerceptionOutput, sets: list[NamedSet], *, setting: _Setting) -> dict[str, Tensor]:
        pairs, table, features = setting.pairs, setting.table, output.mask_features
        parts = [single.predictions.mask_embeddings for single in sets]
        noised = output.denoising.mask_embeddings if len(setting.suffixes) > len(sets) else None
        embeddings = _rows(parts, noised, index=pairs.row)
        points = uniform_points(len(features), self.points.drawn, device=features.device)
        labels = table.sample(points, frame=output.frame)
        sampled = self.matcher.sampler(features, points).unbind(0)
        parts = zip(sampled, labels, table.starts, embeddings.split(pairs.per_image), strict=True)
        targets = pairs.target.split(pairs.per_image)
        entropy, dice = [], []
        for (maps, truth, start, rows), target in zip(parts, targets, strict=True):
            logits = rows @ maps
            index = choose_points(logits, self.points)
            wanted = logits.new_zeros(index.shape) if truth is None else truth[(target - start)[:, None], index]
            chosen = logits.gather(1, index)
            entropy.append(functional.mask_bce_rows(chosen, wanted))
            dice.append(functional.mask_dice_rows(chosen, wanted))
        weight = pairs.weight * table.has_mask[pairs.target]
        return setting.named("mask_bce", setting.totals(torch.cat(entropy), weight)) | setting.named(
            "mask_dice", setting.totals(torch.cat(dice), weight)
        )


def _classes(sets: list[NamedSet], pairs: PairTable, *, labels: Tensor, names: int) -> tuple[Tensor, ...]:
    """Per set (R,) int64 the name each row is matched to; ``names`` means no object."""
    sizes = [single.predictions.logits.shape[0] * single.predictions.logits.shape[1] for single in sets]
    classes = torch.full((sum(sizes),), names, dtype=torch.int64, device=pairs.row.device)
    classes[pairs.row] = labels[pairs.target]
    return classes.split(sizes)


def _rows(parts: list[Tensor], noised: Tensor | None, *, index: Tensor) -> Tensor:
    """Rows ``index`` (R, ...) float32 of all sets: matched ones (B, Q, ...) in order, then denoising (L, B, P, ...)."""
    rows = [part.flatten(0, 1) for part in parts]
    if noised is not None:
        rows.append(noised.flatten(0, 2))
    return torch.cat(rows).index_select(0, index).float()
