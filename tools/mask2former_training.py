"""transformers' Mask2Former at toy size, trained and scored on the drawn scenes, to compare our small model with."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mvplm.config import Config
from mvplm.data.images import load_image
from mvplm.data.mapper import build_target
from mvplm.data.transforms import resize_image
from mvplm.engine import OptimizerSettings, build_optimizer, parameter_groups, seed_everything, step_seed
from mvplm.engine.optim import set_learning_rate
from mvplm.evaluation import PanopticQuality
from mvplm.evaluation.panoptic import categories_of
from mvplm.evaluation.truth import true_panoptic
from mvplm.postprocess.panoptic import merge_segments
from mvplm.structures import Record, Vocabulary

_CLIP_NORM = 0.01  # of Mask2Former's own recipe


@dataclass(frozen=True)
class PanopticAnswer:
    """segment_map: (H, W) integers, 0 void. segments: its entries ``{"id", "category_id"}``."""

    segment_map: Tensor
    segments: list[dict[str, int]]


class Mask2FormerSteps:
    """Mask2Former with a Swin of about the size of our whole small model, on the same optimiser.

    Width, layers, queries and points of the losses are those of ours; gradients are clipped as in its own recipe.

    Attributes:
        model: the network. losses: sum of every step so far.
    """

    def __init__(self, config: Config, vocabulary: Vocabulary, *, lr: float, precision: str) -> None:
        """Args: config: of ours. vocabulary: names of the scenes. lr: peak rate. precision: "bf16" or "fp32"."""
        seed_everything(config.train.seed)
        self.model = _toy_mask2former(config, len(vocabulary)).train()
        self.losses: list[float] = []
        self._vocabulary, self._precision, self._lr, self._seed = vocabulary, precision, lr, config.train.seed
        self._side = config.image.size
        self._mean, self._std = (
            torch.tensor(values)[:, None, None] for values in (config.image.mean, config.image.std)
        )
        settings = OptimizerSettings(lr=lr, weight_decay=config.optim.weight_decay)
        self._optimizer = build_optimizer(parameter_groups(self.model, settings), settings)

    def step(self, records: Sequence[Record], *, factor: float = 1.0) -> float:
        """Learn from some scenes, at ``factor`` times the peak rate; returns the loss."""
        seed_everything(step_seed(self._seed, len(self.losses)))
        set_learning_rate(self._optimizer, self._lr * factor)
        targets = [
            build_target([(a, a.label) for a in record.annotations], record.size, image_size=self._side)
            for record in records
        ]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._precision == "bf16"):
            loss = self.model(
                pixel_values=self._pixels(records),
                mask_labels=[target.masks.float() for target in targets],
                class_labels=[target.labels for target in targets],
            ).loss
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), _CLIP_NORM)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.losses.append(loss.item())
        return self.losses[-1]

    @torch.no_grad()
    def score(self, records: Sequence[Record], *, batch_size: int, least_score: float) -> dict[str, dict[str, float]]:
        """Panoptic quality by post-processing: that of transformers at its defaults, and the one of our model.

        Args:
            records: scenes. batch_size: scenes per forward pass. least_score: of a query, for our post-processing.
        """
        qualities = {name: PanopticQuality(categories_of(self._vocabulary)) for name in ("transformers", "ours")}
        self.model.eval()
        for start in range(0, len(records), batch_size):
            chunk = records[start : start + batch_size]
            outputs = self.model(pixel_values=self._pixels(chunk))
            answers = {
                "transformers": self._their_answers(outputs, chunk),
                "ours": self._merged(outputs, chunk, least_score=least_score),
            }
            for name, found in answers.items():
                for record, answer in zip(chunk, found, strict=True):
                    truth = true_panoptic(record)
                    qualities[name].update(
                        answer.segment_map.numpy(),
                        answer.segments,
                        truth.segment_map,
                        truth.segments,
                        key=record.image_id,
                    )
        self.model.train()
        results = {name: quality.compute() for name, quality in qualities.items()}
        return {
            name: {key.partition("/")[2]: value for key, value in result.items() if key != "per_class"}
            for name, result in results.items()
        }

    def _pixels(self, records: Sequence[Record]) -> Tensor:
        pictures = [resize_image(load_image(record.image), self._side) for record in records]
        return torch.stack([(picture / 255 - self._mean) / self._std for picture in pictures])

    def _their_answers(self, outputs: Any, records: Sequence[Record]) -> Iterator[PanopticAnswer]:
        """transformers' own post-processing.

        It is asked not to fuse stuff, and fused here: where it fuses, later segments can get the number of another.
        """
        from transformers import Mask2FormerImageProcessor

        found = Mask2FormerImageProcessor().post_process_panoptic_segmentation(
            outputs, label_ids_to_fuse=set(), target_sizes=[record.size for record in records]
        )
        for answer in found:
            # Without any segment every pixel is -1.
            segment_map = answer["segmentation"].int().clamp(min=0)
            segments = [{"id": s["id"], "category_id": s["label_id"]} for s in answer["segments_info"]]
            yield fuse_stuff(segment_map, segments, vocabulary=self._vocabulary)

    def _merged(self, outputs: Any, records: Sequence[Record], *, least_score: float) -> Iterator[PanopticAnswer]:
        """The post-processing of our model."""
        probabilities = outputs.class_queries_logits.softmax(-1)
        for row, record in enumerate(records):
            scores, labels = probabilities[row].max(-1)
            kept = ((labels < len(self._vocabulary)) & (scores > least_score)).nonzero().flatten()
            # Masks are enlarged one by one: a batch of none is an error.
            logits = outputs.masks_queries_logits[row, kept]
            merged = merge_segments(
                scores[kept],
                labels[kept],
                masks=[_enlarged(mask, record.size) for mask in logits],
                names=self._vocabulary.names,
                isthing=self._vocabulary.isthing,
                size=record.size,
            )
            segments = [{"id": s.id, "category_id": s.class_index} for s in merged.segments]
            yield PanopticAnswer(merged.segment_map, segments)


def _enlarged(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Probabilities (1, H, W) of mask logits (h, w)."""
    return nn.functional.interpolate(logits[None, None], size=size, mode="bilinear")[0].sigmoid()


def fuse_stuff(segment_map: Tensor, segments: Sequence[dict[str, int]], *, vocabulary: Vocabulary) -> PanopticAnswer:
    """All segments of one name of stuff as one, with the number of the first.

    Args:
        segment_map: (H, W) integers. segments: its entries. vocabulary: says which names are stuff.
    """
    first: dict[int, int] = {}
    fused, kept = segment_map.clone(), []
    for segment in segments:
        id_, category = segment["id"], segment["category_id"]
        stuff = not vocabulary.isthing[category]
        if stuff and category in first:
            fused[segment_map == id_] = first[category]
            continue
        kept.append(segment)
        if stuff:
            first[category] = id_
    return PanopticAnswer(fused, kept)


def _toy_mask2former(config: Config, num_names: int) -> nn.Module:
    """Random weights; a Swin of 3.6 M parameters and the rest, 5.4 M together for the sizes of ``mvplm-tiny``."""
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

    model = config.model
    backbone = SwinConfig(
        embed_dim=40,
        depths=[2, 2, 2, 2],
        num_heads=[2, 4, 8, 16],
        window_size=6,
        image_size=config.image.size,
        drop_path_rate=0.0,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    width = model.pixel_decoder.width
    return Mask2FormerForUniversalSegmentation(
        Mask2FormerConfig(
            backbone_config=backbone,
            num_labels=num_names,
            feature_size=width,
            mask_feature_size=width,
            hidden_dim=width,
            encoder_layers=model.pixel_decoder.layers,
            encoder_feedforward_dim=model.pixel_decoder.ffn,
            decoder_layers=model.decoder.layers + 1,  # it counts the prediction before the first layer
            dim_feedforward=model.decoder.ffn,
            num_queries=model.query.num + model.stuff.num,
            train_num_points=config.loss.num_points,
        )
    )
