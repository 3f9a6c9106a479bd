"""Constrained decoding with models of random weights: every answer is complete and fills its boxes exactly.

A small Qwen3-VL with random weights draws answers of every codec, image-wise ones on a grid of 8, box-wise ones on
their usual grid; walks with random choices go over grids of any size, half of them with the smallest budget of tokens
that is allowed; and answers that jump over what is certain are compared with those of ``generate``.

Example: python tools/benchmark.py textmask_generate --count 1000
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from drawn_masks import LABELS, draw_masks
from measuring import Row

if TYPE_CHECKING:
    from mvplm.textmask import Codec
    from mvplm.textmask.automaton import TokenGrammar

BATCH, LONGEST, SIDE = 50, 1500, 64
GRIDS = {"isd_full": 8, "isd_irle": 8, "isd_rrle": 8}
DECIDED_BAR = {"bsd_bricks": "<= 60"}
"""Percent of the tokens about which a model may be asked."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """How much is drawn."""
    parser.add_argument("--count", type=int, default=1000, help="answers per codec")
    parser.add_argument("--walks", type=int, default=2000, help="random walks, as many again with the smallest budget")


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Shares of exact answers and of tokens that the model decided, and whether jumps change anything."""
    from mvplm.textmask import CODECS, get_codec

    count, walks = (2, 5) if arguments.quick else (arguments.count, arguments.walks)
    tokenizer = _tokenizer()
    torch.manual_seed(0)
    model = _model(tokenizer)
    rows: list[Row] = []
    for name in CODECS:
        codec = get_codec(name, grid=4 if arguments.quick else GRIDS.get(name))
        rows += _generated(model, tokenizer, codec=codec, count=count)
        rows.append(_of_true_answers(codec, tokenizer))
    rows += _walks(tokenizer, count=walks)
    return [*rows, _jumps(model, tokenizer, count=1 if arguments.quick else 5, grid=3 if arguments.quick else 8)]


def _tokenizer() -> Any:
    from mvplm.models.small import small_tokenizer
    from mvplm.textmask import CODECS, add_mask_tokens, get_codec

    masks = draw_masks(8)
    texts = [get_codec(name).encode(mask[None], LABELS[1:]) for name in CODECS for mask in masks]
    tokenizer = small_tokenizer(texts, vocab_size=512)
    add_mask_tokens(tokenizer)
    return tokenizer


def _model(tokenizer: Any) -> Any:
    from mvplm.models.small import SmallSizes, small_model

    sizes = SmallSizes(
        width=48,
        layers=1,
        heads=2,
        ffn=64,
        context=4096,
        vision_width=32,
        vision_layers=2,
        vision_heads=2,
        vision_ffn=64,
        image=SIDE,
    )
    return small_model(tokenizer, sizes).eval()


def _prompts(model: Any, tokenizer: Any, *, count: int) -> Iterator[dict[str, torch.Tensor]]:
    """Inputs of a picture of noise and random words, in batches."""
    from mvplm.models.small import SmallSizes, small_processor

    processor = small_processor(tokenizer, SmallSizes(image=SIDE))
    rng = np.random.default_rng(0)
    for first in range(0, count, BATCH):
        number = min(BATCH, count - first)
        pictures = list(rng.integers(0, 256, (number, SIDE, SIDE, 3), np.uint8))
        words = [f"dog {place:04d}" for place in range(first, first + number)]
        turns = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": word}]} for word in words]
        texts = [processor.apply_chat_template([turn], tokenize=False) for turn in turns]
        yield dict(processor(text=texts, images=pictures, return_tensors="pt"))


def _generated(model: Any, tokenizer: Any, *, codec: "Codec", count: int) -> list[Row]:
    """Answers that a model with random weights draws."""
    from mvplm.textmask import constrain

    options: dict[str, Any] = {"labels": LABELS[1:], "most": 1, "may_refuse": False}
    constraint = constrain(codec, tokenizer, max_new_tokens=LONGEST, **options)
    started, answers = time.perf_counter(), []
    for inputs in _prompts(model, tokenizer, count=count):
        with torch.inference_mode():
            out = model.generate(
                **inputs, logits_processor=[constraint], max_new_tokens=LONGEST, do_sample=True, use_cache=True
            )
        answers += [_until_end(row, tokenizer) for row in out[:, inputs["input_ids"].shape[1] :].tolist()]
    seconds = time.perf_counter() - started
    exact = sum(_is_exact(codec, ids, tokenizer=tokenizer) for ids in answers)
    decided = [_decided(constraint.grammar, ids, budget=LONGEST) for ids in answers]
    length = np.mean([len(ids) for ids in answers])
    bar = DECIDED_BAR.get(codec.name, "")
    how = f"{len(answers)} drawn by random weights, {length:.0f} tokens on average, grid {codec.grid[0]}"
    return [
        Row(f"{codec.name}: exact answers", 100 * exact / len(answers), "%", ">= 100", how),
        Row(f"{codec.name}: decided by the model", 100 * float(np.mean(decided)), "%", bar, "of their tokens"),
        Row(f"{codec.name}: answers", len(answers) / seconds, "answers/s", "", f"batches of {BATCH}"),
    ]


def _until_end(ids: list[int], tokenizer: Any) -> list[int]:
    return ids[: ids.index(tokenizer.eos_token_id) + 1] if tokenizer.eos_token_id in ids else ids


def _is_exact(codec: "Codec", ids: Sequence[int], *, tokenizer: Any) -> bool:
    """Whether the answer ended, needs no repair, and its masks have the size of their boxes."""
    result = codec.decode_ids(ids, codec.grid, tokenizer=tokenizer)
    fits = result.status in ("ok", "no_target") and not result.repairs and ids[-1] == tokenizer.eos_token_id
    for part in result.answer.instances:
        if part.box is not None and part.grid is not None:
            x1, y1, x2, y2 = part.box
            shape = codec.grid if codec.name == "canvas" else (y2 - y1, x2 - x1)
            fits &= x1 < x2 and y1 < y2 and part.grid.shape == shape
    return fits


def _decided(grammar: "TokenGrammar", ids: Sequence[int], *, budget: int | None = None) -> float:
    """Share of tokens with more than one choice."""
    state, free = grammar.start(), 0
    for place, token in enumerate(ids):
        free += len(grammar.allowed(state, None if budget is None else budget - place)) > 1
        after = grammar.advance(state, token)
        assert after is not None, f"token {place} leaves the grammar"
        state = after
    return free / len(ids)


def _of_true_answers(codec: "Codec", tokenizer: Any) -> Row:
    """The same for answers that are right: masks of smoothed noise."""
    from mvplm.textmask import constrain

    grammar = constrain(codec, tokenizer, labels=LABELS[1:], most=1, may_refuse=False).grammar
    known = [codec.encode_ids(mask[None], LABELS[1:], tokenizer=tokenizer) for mask in draw_masks(16)]
    shares = [_decided(grammar, [*ids, tokenizer.eos_token_id]) for ids in known]
    how = "of the tokens of 16 right answers, masks of smoothed noise"
    return Row(f"{codec.name}: to decide in right answers", 100 * float(np.mean(shares)), "%", "", how)


def _walks(tokenizer: Any, *, count: int) -> list[Row]:
    """Random choices on grids of any size up to 64, without and with the smallest budget."""
    from mvplm.textmask import constrain, get_codec

    rng, exact, late = np.random.default_rng(0), 0, 0
    for turn in range(2 * count):
        height, width = rng.integers(1, 65, 2).tolist()
        codec = get_codec("bsd_bricks", grid=(height, width))
        grammar = constrain(codec, tokenizer, labels=["x"], may_refuse=False, most=1).grammar
        state, ids = grammar.start(), []
        budget = grammar.min_finish(state) if turn % 2 else None
        while not grammar.is_final(state):
            allowed = grammar.allowed(state, None if budget is None else budget - len(ids))
            ids.append(int(allowed[rng.integers(len(allowed))]))
            after = grammar.advance(state, ids[-1])
            assert after is not None, "an allowed token leads on"
            state = after
        exact += _is_exact(codec, ids, tokenizer=tokenizer)
        late += budget is not None and len(ids) > budget
    how = f"{2 * count} random walks over grids up to 64x64, half of them with the smallest budget"
    return [
        Row("walks: exact answers", 100 * exact / (2 * count), "%", ">= 100", how),
        Row("walks: longer than the budget", float(late), "answers", "<= 0", how),
    ]


def _jumps(model: Any, tokenizer: Any, *, count: int, grid: int) -> Row:
    """Whether answers that jump over what is certain are those of ``generate``; every codec, greedy."""
    from mvplm.textmask import CODECS, constrain, generate_with_jumps, get_codec

    same, forwards, tokens, done = 0, 0, 0, 0
    for name in CODECS:
        codec = get_codec(name, grid=grid)
        constraint = constrain(codec, tokenizer, labels=LABELS[1:], max_new_tokens=600, most=1, may_refuse=False)
        for inputs in _prompts(model, tokenizer, count=count):
            for place in range(len(inputs["input_ids"])):
                one = _row_of(inputs, place)
                with torch.inference_mode():
                    out = model.generate(**one, logits_processor=[constraint], max_new_tokens=600, do_sample=False)
                jumped = generate_with_jumps(model, constraint=constraint, max_new_tokens=600, **one)
                same += jumped.ids == out[0, one["input_ids"].shape[1] :].tolist()
                forwards, tokens, done = forwards + jumped.forwards, tokens + len(jumped.ids), done + 1
    how = f"{done} greedy answers of all codecs, {forwards} forward passes for {tokens} tokens"
    return Row("jumps: same tokens as generate", 100 * same / done, "%", ">= 100", how)


def _row_of(inputs: dict[str, torch.Tensor], place: int) -> dict[str, torch.Tensor]:
    """One sample of a batch; pictures are all of one size, so their patches come in equal parts."""
    rows = len(inputs["input_ids"])
    return {
        name: value[place * (len(value) // rows) : (place + 1) * (len(value) // rows)] for name, value in inputs.items()
    }
