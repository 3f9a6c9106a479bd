"""Reading names and expressions alone: they stand before the image, so their states depend on nothing but the words.

What a frozen language model said about a list or a sentence is remembered.
"""

import torch
from torch import Tensor, nn

from mvplm.models.language import LanguageModel
from mvplm.models.memo import Memo, content_key, weights_version
from mvplm.structures import Batch

_BUDGET = 512 << 20


class NamesReader(nn.Module):
    """Hidden states of the part of each prompt that comes before its image.

    Args:
        mean: the mean over all layers instead of the last state.
    """

    def __init__(self, *, mean: bool = False) -> None:
        super().__init__()
        self.mean = mean
        self.memo = Memo(_BUDGET)

    def forward(self, llm: LanguageModel, batch: Batch) -> Tensor:
        """(B, T, D) states over the first T positions, those of the longest list or expression; zero behind others.

        Raises:
            ValueError: a prompt whose image comes first.
        """
        ends = batch.image_starts
        length = max(ends)
        if min(ends) == 0:
            raise ValueError('names are read alone only in prompts of the order "instruction_first"')
        ids, valid = batch.input_ids[:, :length], batch.attention_mask[:, :length]
        if any(parameter.requires_grad for parameter in llm.parameters()):
            return self._read(llm, ids, valid=valid)
        host, version = ids.cpu(), weights_version(llm)
        keys = [content_key(row[:end]) + version for row, end in zip(host, ends, strict=True)]

        def compute(places: list[int]) -> list[tuple[Tensor, ...]]:
            with torch.no_grad():
                states = self._read(llm, ids[places], valid=valid[places])
            return [(row[: ends[place]],) for row, place in zip(states, places, strict=True)]

        rows = [states for (states,) in self.memo.rows(keys, compute)]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True).to(ids.device)

    def _read(self, llm: LanguageModel, ids: Tensor, *, valid: Tensor) -> Tensor:
        reading = llm.read(llm.embed(ids), valid, mean=self.mean)
        return reading.hidden if reading.mean is None else reading.mean
