"""One teacher-forced pass in training: the loss of the text, and masks from the states at image and mask tokens.

Source: Qwen3-VL-Seg (arXiv 2605.07141), L = L_text + lambda * L_seg. Gradients of the masks reach the base model
through the image states, the mask-token states and the levels of the vision tower.
"""

from torch import Tensor, nn

from mvplm.models.idle import exact_zero
from mvplm.models.qwen3vl_seg.capture import StateCapture
from mvplm.models.qwen3vl_seg.mask_decoder import BoxGuidedMaskDecoder
from mvplm.models.text_mask.model import answer_loss
from mvplm.structures.guided import GuidedBatch, GuidedOutput


def guided_forward(base: nn.Module, decoder: BoxGuidedMaskDecoder, *, batch: GuidedBatch, mask_id: int) -> GuidedOutput:
    """Text loss and decoded masks of a batch.

    Args:
        base: a Qwen3-VL, or one with adapters. decoder: fits it.
        batch: with answers. mask_id: id of ``<mask_token>``.

    Raises:
        ValueError: answers are open, or an instance has no mask token in its answer.
    """
    with StateCapture(base, mask_id=mask_id) as capture:
        text = answer_loss(base, batch.written)
    if not any(map(len, batch.targets)):
        return GuidedOutput(text, [None] * len(batch), exact_zero([decoder]))
    _check(capture.mask_states, batch)
    inputs = capture.decoder_inputs(
        [target.boxes for target in batch.targets], [target.tokens.tolist() for target in batch.targets]
    )
    return GuidedOutput(text, decoder(inputs))


def _check(states: list[Tensor], batch: GuidedBatch) -> None:
    for image_id, own, target in zip(batch.image_ids, states, batch.targets, strict=True):
        if len(target) and int(target.tokens.max()) >= len(own):
            raise ValueError(
                f"image {image_id}: its answers have {len(own)} mask tokens, "
                f"but an instance belongs to number {int(target.tokens.max())}"
            )
