"""What adapting must not change: a base model with decoder and adapters off is the base; and how drift is measured."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles.box_perceivers import save_tiny_base, tiny_box_perceiver

from mvplm.cli import main
from mvplm.measuring.general import model_pair, read_prompts, run_general
from mvplm.models.qwen3vl_seg.drift import Drift, is_unwanted, measure_drift, summarise
from mvplm.structures.written import Turn, WrittenSample
from mvplm.text4seg.build import read_base


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapted(place: Path):
    perceiver = tiny_box_perceiver(f"box_mask.base={place}", "box_mask.lora={rank: 4, alpha: 8}")
    with torch.no_grad():
        for parameter in perceiver.model.base.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return perceiver


def questions(perceiver):
    """Arguments of a model for a question of text and for one about a picture."""
    tokenizer = perceiver.system.tokenizer
    text = torch.tensor([tokenizer.encode("a red star in every instance")])
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (3, 64, 96), dtype=np.uint8))
    pictured = perceiver.collate([WrittenSample(image, 0, "vqa", (Turn("what is it"),))]).inputs
    return [{"input_ids": text, "attention_mask": torch.ones_like(text)}, pictured]


@torch.no_grad()
def test_with_adapters_off_the_model_is_its_base_bit_for_bit(adapted, place: Path):
    """Logits of every token the base knows, and what it writes; rows of mask tokens are new and left out."""
    base, model = read_base(place).eval(), adapted.model.base
    new = adapted.system.new_tokens
    for inputs in questions(adapted):
        expected = base(**inputs).logits
        assert not torch.equal(model(**inputs).logits, expected)
        with model.disable_adapter():
            found = model(**inputs).logits
            written = model.generate(**inputs, do_sample=False, max_new_tokens=8, suppress_tokens=new)
        known = [row for row in range(expected.shape[-1]) if row not in new]
        assert torch.equal(found[..., known], expected[..., known])
        assert torch.equal(written, base.generate(**inputs, do_sample=False, max_new_tokens=8, suppress_tokens=new))


def test_a_model_does_not_drift_from_itself_and_drift_is_what_the_definition_says(adapted, place: Path):
    pair = model_pair(adapted, base=str(place), weights="unused")
    inputs = questions(adapted)[1]
    same = measure_drift(type(pair)(pair.base, read_base(place).eval(), [], pair.ends, pair.pad), inputs)
    assert (same.kl, same.agreeing, same.base_ids) == (0, same.tokens, same.adapted_ids)
    drift = measure_drift(pair, inputs, max_new_tokens=6)
    ids = torch.tensor([[*inputs["input_ids"][0].tolist(), *drift.base_ids]])
    start, kl, agreeing = inputs["input_ids"].shape[1], 0.0, 0
    with torch.no_grad():
        longer = {**inputs, "input_ids": ids, "attention_mask": torch.ones_like(ids)}
        longer["mm_token_type_ids"] = torch.cat(
            [inputs["mm_token_type_ids"], inputs["mm_token_type_ids"].new_zeros(1, ids.shape[1] - start)], 1
        )
        first, second = (model(**longer).logits[0] for model in (pair.base, pair.adapted))
    for place_ in range(start - 1, ids.shape[1] - 1):
        mine = first[place_].double().clone()
        mine[list(pair.new_tokens)] = float("-inf")
        p, q = mine.softmax(-1), second[place_].double().softmax(-1)
        kl += sum(float(a * (a / b).log()) for a, b in zip(p, q, strict=True) if a > 0)
        agreeing += int(p.argmax() == q.argmax())
    assert drift.kl == pytest.approx(kl, rel=1e-4) and drift.kl > 0.01
    assert drift.agreeing == agreeing and drift.tokens == len(drift.base_ids)


def test_numbers_of_several_questions():
    drifts = [Drift(3, 3, 0.0, 1.0, 1.0, [1, 2], [1, 2]), Drift(1, 0, 2.0, 1.0, 3.0, [1], [2])]
    found = summarise(drifts, [False, True])
    assert (found["agreement"], found["kl"], found["same_answer"], found["json_rate"]) == (75, 0.5, 50, 50)
    assert found["perplexity_base"] == pytest.approx(np.exp(0.5)) and found["perplexity"] == pytest.approx(np.e)


@pytest.mark.parametrize(
    ("text", "ids", "expected"),
    [
        ("It is a dog.", [1], False),
        ('[{"bbox_2d": [1, 2, 3, 4], "label": "dog"}]', [1], True),
        ("[]", [1], True),
        ("A dog", [1, 7], True),
        ('{"name": "dog"}', [1], False),
        ("The list [1, 2] has two members.", [1], False),
    ],
)
def test_answers_with_boxes_are_found(text: str, ids: list[int], expected: bool):
    assert is_unwanted(text, ids, new_tokens=[7]) is expected


def test_the_shipped_questions():
    prompts = read_prompts()
    kinds = [prompt.kind for prompt in prompts]
    assert (kinds.count("text"), kinds.count("image")) == (200, 200)
    assert len({prompt.id for prompt in prompts}) == 400
    assert len({prompt.text for prompt in prompts if prompt.kind == "text"}) == 200


def test_the_command_compares_a_saved_model_with_its_base(adapted, place: Path, tmp_path: Path, capsys):
    folder = adapted.save(tmp_path / "saved")
    out = tmp_path / "out"
    assert main(["evaluate", "--suite", "general", "--weights", str(folder), "--out", str(out), "--limit", "2"]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["data"]["counts"] == {"text": 2, "image": 2} and metrics["metrics"]["text/kl"] > 0
    answers = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    assert [entry["id"] for entry in answers] == ["text-000", "text-001", "image-000", "image-001"]
    # The base read anew gives what the model with its adapters off gives.
    again = run_general(folder, out=tmp_path / "again", base=str(place), limit=2)
    assert {name: round(value, 4) for name, value in again.items()} == pytest.approx(metrics["metrics"], abs=2e-3)
    whole = tiny_box_perceiver().save(tmp_path / "whole")
    assert main(["evaluate", "--suite", "general", "--weights", str(whole), "--out", str(out)]) == 2
    assert "box_mask.base=DIRECTORY" in capsys.readouterr().err
    (tmp_path / "bad.jsonl").write_text('{"id": "a", "text": "b"}\n{"id": "a", "txt": "b"}\n')
    with pytest.raises(ValueError, match="bad.jsonl, line 2: keys must be"):
        read_prompts(tmp_path / "bad.jsonl")
