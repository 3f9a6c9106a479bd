"""A language model from scratch learns where to look: visual tokens say whether they show what is asked for."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, rms_norm

from mvplm.models.text_mask.model import loss_of_output, read_rows
from mvplm.structures.processes import mean_over_processes
from mvplm.structures.written import WrittenBatch

_OTHERS_WEIGHT = 0.2


class LookingTeacher(nn.Module):
    """Trains answers, and beside them a dense hint where they come from.

    An answer alone teaches a language model little about where to look: a few digits for a whole picture. With the
    question in front of the picture each visual token can already tell whether it shows what is asked for, and is
    taught to, half way through the layers: what only the last one knows, no answer can look up. A linear layer does so,
    which is left out of saved models. Source: ours, after segmentation heads on conditioned features.

    Args:
        model: of ``AutoModelForImageTextToText``, or one with adapters.
        image_id: id of visual tokens. weight: of the hint beside the answers.
    """

    def __init__(self, model: nn.Module, *, image_id: int, weight: float) -> None:
        super().__init__()
        self.model: Any = model
        self.asked = nn.Linear(int(self.model.get_output_embeddings().weight.shape[1]), 1)
        self.image_id = image_id
        self.weight = weight

    def caption_loss(self, batch: WrittenBatch) -> Tensor:
        """Mean cross-entropy of the answers plus ``weight`` times that of the visual tokens.

        Tokens that show nothing of what is asked for count a fifth.

        Raises:
            ValueError: a batch with open answers, or one that does not tell what visual tokens show.
        """
        if batch.asked is None:
            raise ValueError("a batch needs to tell which visual tokens show what is asked for")
        output = read_rows(self.model, batch, output_hidden_states=True)
        states = output.hidden_states[len(output.hidden_states) // 2][batch.inputs["input_ids"] == self.image_id]
        scores = self.asked(rms_norm(states, states.shape[-1:])).float()[:, 0]
        weights = torch.where(batch.asked, 1.0, _OTHERS_WEIGHT)
        hint = binary_cross_entropy_with_logits(scores, batch.asked.float(), weights, reduction="sum")
        return loss_of_output(output, batch) + self.weight * hint / mean_over_processes(weights.sum())
