"""Language model: any transformers causal LM, fed with text and visual tokens.

Source: MVP-LM, section 3.2 (Phi-1.5); plain causal attention everywhere, visual tokens included.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mvplm.structures.processes import mean_over_processes, process_count


@dataclass
class PrefixState:
    """What a language model remembers of the tokens read so far.

    Attributes:
        cache: keys and values of every layer (grows in place, as transformers' caches do).
        valid: (B, P) bool, False on padding among the P cached positions.
        lengths: (B,) int64, real tokens read per row, which is the position of the next one.
    """

    cache: Any
    valid: Tensor
    lengths: Tensor


@dataclass
class Extension:
    """Newly read tokens.

    Attributes:
        hidden: (B, n, D) after the final norm. state: what is remembered after them.
        mean: (B, n, D) mean over all layers; None unless asked for.
    """

    hidden: Tensor
    state: PrefixState
    mean: Tensor | None = None


@dataclass
class Reading:
    """States of a sequence read at once: hidden (B, T, D), and mean (B, T, D) or None; see :class:`Extension`."""

    hidden: Tensor
    mean: Tensor | None


class LanguageModel(nn.Module):
    """Hidden states, logits and key-value caching over a transformers causal LM.

    Args:
        causal_lm: a transformers model with ``inputs_embeds`` and a cache (Phi, Llama, Qwen, ...). Its base model and
            head become ``model`` and ``lm_head``; a head that shares the embedding matrix is not registered twice.
        num_tokens: ids the tokenizer knows; the others get no probability. None: all rows.
        head_bias: keep the bias of the head; False drops it.
    """

    def __init__(self, causal_lm: nn.Module, *, num_tokens: int | None = None, head_bias: bool = True) -> None:
        super().__init__()
        self.model = causal_lm.base_model
        fuse_gelu(self.model)
        head = causal_lm.get_output_embeddings()
        tied = head.weight is causal_lm.get_input_embeddings().weight
        if not head_bias:
            head.bias = None
        self.lm_head = None if tied else head
        rows = head.weight.shape[0]
        if num_tokens is not None and not 0 < num_tokens <= rows:
            raise ValueError(f"the language model has rows for {rows} tokens, the tokenizer {num_tokens}")
        self.num_tokens = rows if num_tokens is None else num_tokens
        known = inspect.signature(self.model.forward).parameters
        self._cache_argument = "cache" if "cache" in known else "past_key_values"

    @classmethod
    def from_phi(
        cls, *, num_tokens: int | None = None, attention: str = "sdpa", head_bias: bool = True, **sizes: Any
    ) -> "LanguageModel":
        """A Phi with random weights; ``sizes`` are fields of transformers' ``PhiConfig``."""
        from transformers import PhiConfig, PhiForCausalLM

        ends = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
        config = PhiConfig(**{**ends, **sizes})
        config._attn_implementation = attention
        return cls(PhiForCausalLM(config), num_tokens=num_tokens, head_bias=head_bias)

    @property
    def width(self) -> int:
        """D."""
        return self.model.get_input_embeddings().weight.shape[1]

    def gradient_checkpointing(self, enabled: bool) -> None:
        """Recompute activations in the backward pass (less memory) or keep them."""
        # The switch is named "activation_checkpointing" in newer versions of transformers.
        names = [f"{kind}_checkpointing_{'enable' if enabled else 'disable'}" for kind in ("activation", "gradient")]
        next(getattr(self.model, name) for name in names if hasattr(self.model, name))()

    def embed(self, ids: Tensor) -> Tensor:
        """Input vectors (..., D) of token ids (...)."""
        return self.model.get_input_embeddings()(ids)

    def assemble(self, ids: Tensor, visual: Tensor, *, starts: Sequence[int]) -> Tensor:
        """Input vectors (B, T, D) with the visual tokens written over positions ``start`` to ``start + V``.

        Args:
            ids: (B, T) int64; image positions hold the padding id.
            visual: (B, V, D). starts: B host integers.

        Raises:
            ValueError: when the visual tokens do not fit.
        """
        text = self.embed(ids)
        visual = visual.to(text.dtype)
        count, length = visual.shape[1], ids.shape[1]
        if len(starts) != len(ids) or len(visual) != len(ids):
            raise ValueError(f"{len(ids)} rows of ids need as many starts ({len(starts)}) and images ({len(visual)})")
        if max(starts) + count > length:
            raise ValueError(f"{count} visual tokens from position {max(starts)} do not fit into {length} positions")
        if len(set(starts)) == 1:
            return torch.cat([text[:, : starts[0]], visual, text[:, starts[0] + count :]], dim=1)
        rows = [torch.cat([text[i, :s], visual[i], text[i, s + count :]]) for i, s in enumerate(starts)]
        return torch.stack(rows)

    def forward(self, embeddings: Tensor, valid: Tensor, *, asides: Tensor | None = None) -> Tensor:
        """Hidden states (B, T, D) after the final norm.

        Args:
            embeddings: (B, T, D) input vectors. valid: (B, T) bool, False on padding, on either side.
            asides: (B, 2) int64, a span of each row that the tokens after it do not look at and do not count in their
                positions; (0, 0) for none.
        """
        return self.read(embeddings, valid, asides=asides).hidden

    def read(self, embeddings: Tensor, valid: Tensor, *, mean: bool = False, asides: Tensor | None = None) -> Reading:
        """As ``forward``; with ``mean`` also the mean over the input, every layer and the final norm's output.

        The last layer counts after the final norm, the others before it: L + 1 tensors for L layers.
        """
        mask, positions = self._attention_mask(valid, valid.shape[1], asides=asides), _positions(valid, asides)
        return self._read(embeddings, mask=mask, positions=positions, mean=mean)

    def prefill(
        self, embeddings: Tensor, valid: Tensor, *, mean: bool = False, asides: Tensor | None = None
    ) -> Extension:
        """As ``read``, and remembers the prefix, asides left out."""
        cache = self._empty_cache()
        mask, positions = self._attention_mask(valid, valid.shape[1], asides=asides), _positions(valid, asides)
        reading = self._read(embeddings, mask=mask, positions=positions, mean=mean, cache=cache)
        kept = valid if asides is None else valid & ~_inside(asides, valid.shape[1])
        return Extension(reading.hidden, PrefixState(cache, kept, kept.sum(1)), mean=reading.mean)

    def branch(self, state: PrefixState, rows: Sequence[int]) -> PrefixState:
        """A state whose rows are copies of the given rows; the original is not touched by what is read after it."""
        index = torch.tensor(list(rows), device=state.valid.device)
        cache = self._empty_cache()
        for number, layer in enumerate(state.cache.layers):
            cache.update(layer.keys.index_select(0, index), layer.values.index_select(0, index), number)
        return PrefixState(cache, state.valid.index_select(0, index), state.lengths.index_select(0, index))

    def extend(self, state: PrefixState, embeddings: Tensor, *, valid: Tensor, mean: bool = False) -> Extension:
        """Read n more tokens after a prefix.

        Args:
            state: of the prefix; its cache grows.
            embeddings: (B, n, D). valid: (B, n) bool, False where a row reads nothing.
            mean: see ``read``.
        """
        seen = torch.cat([state.valid, valid], dim=1)
        mask, positions = self._attention_mask(seen, valid.shape[1]), state.lengths[:, None] + _positions(valid)
        reading = self._read(embeddings, mask=mask, positions=positions, mean=mean, cache=state.cache)
        after = PrefixState(state.cache, seen, state.lengths + valid.sum(1))
        return Extension(reading.hidden, after, mean=reading.mean)

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits (..., rows) float32; ids the tokenizer does not know are -inf."""
        if self.lm_head is None:
            logits = F.linear(hidden, self.model.get_input_embeddings().weight)
        else:
            logits = self.lm_head(hidden)
        logits = logits.float()
        if self.num_tokens == logits.shape[-1]:
            return logits
        unknown = torch.arange(logits.shape[-1], device=logits.device) >= self.num_tokens
        return logits.masked_fill(unknown, float("-inf"))

    def loss(self, hidden: Tensor, supervised: Tensor, *, labels: Tensor) -> Tensor:
        """Token-mean cross-entropy (scalar float32), the head running on supervised positions only.

        The mean is over the tokens of all processes, see ``mean_over_processes``.

        Args:
            hidden: (B, T, D). supervised: (M,) int64 flat positions b * T + t. labels: (M,) int64 their next tokens.
        """
        logits = self.logits(hidden.flatten(0, 1).index_select(0, supervised))
        tokens = mean_over_processes(torch.full((), float(len(labels)), device=logits.device))
        return F.cross_entropy(logits, labels, reduction="sum") / tokens.clamp(min=1.0 / process_count())

    def _empty_cache(self) -> Any:
        from mvplm.models.cache import make_cache

        return make_cache(self.model.config)

    def _read(self, embeddings: Tensor, *, mask: Tensor, positions: Tensor, mean: bool, cache: Any = None) -> Reading:
        """One run of the base model; ``cache`` grows in place."""
        output = self.model(
            inputs_embeds=embeddings,
            attention_mask=mask,
            position_ids=positions,
            use_cache=cache is not None,
            output_hidden_states=mean,
            **({} if cache is None else {self._cache_argument: cache}),
        )
        return Reading(output.last_hidden_state, _layer_mean(output) if mean else None)

    def _attention_mask(self, valid: Tensor, queries: int, *, asides: Tensor | None = None) -> Tensor:
        """Causal mask over real keys (B, 1, queries, keys), built here so that nothing is read back to the host."""
        implementation = self.model.config._attn_implementation
        if implementation not in ("sdpa", "eager"):
            if asides is not None:
                raise ValueError(f"lists before the image need attention 'sdpa' or 'eager', got {implementation!r}")
            return valid
        keys = valid.shape[1]
        reach = torch.arange(keys - queries, keys, device=valid.device)
        allowed = torch.arange(keys, device=valid.device) <= reach[:, None]
        # A padded query still sees its own key, so that no softmax runs over nothing.
        own = torch.arange(keys, device=valid.device) == reach[:, None]
        mask = ((allowed & valid[:, None]) | own)[:, None]
        if asides is not None:
            behind = reach >= asides[:, 1:]
            mask = mask & ~(behind[:, :, None] & _inside(asides, keys)[:, None])[:, None]
        if implementation == "sdpa":
            return mask
        dtype = self.model.dtype
        return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)


def _layer_mean(output: Any) -> Tensor:
    """Mean (B, n, D) float32 over the tuple of hidden states, whose last one is after the final norm."""
    return torch.stack([states.float() for states in output.hidden_states]).mean(0)


def _positions(valid: Tensor, asides: Tensor | None = None) -> Tensor:
    """Positions (B, T) of real tokens; they go on after an aside as if it were not there."""
    positions = (valid.long().cumsum(1) - 1).clamp(min=0)
    if asides is None:
        return positions
    behind = torch.arange(positions.shape[1], device=positions.device) >= asides[:, 1:]
    return positions - behind * (asides[:, 1:] - asides[:, :1])


def _inside(spans: Tensor, length: int) -> Tensor:
    """(B, length) bool, True inside each row's span (B, 2)."""
    places = torch.arange(length, device=spans.device)
    return (places >= spans[:, :1]) & (places < spans[:, 1:])


def fuse_gelu(model: nn.Module) -> None:
    """Let every GELU that a model computes operator by operator in the tanh form run as the one operator it is."""
    from transformers.activations import NewGELUActivation

    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(module, name, nn.GELU(approximate="tanh"))
