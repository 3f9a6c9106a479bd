"""A toy network, criterion and mixture with everything that makes resuming hard: noise, families, frozen parts."""

import random
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn


@dataclass
class ToyBatch:
    images: Tensor
    family: str
    image_ids: list[str]

    def __len__(self) -> int:
        return len(self.image_ids)

    def to(self, device) -> "ToyBatch":
        return replace(self, images=self.images.to(device))


class ToyModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(4, 8)
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.norm = nn.BatchNorm1d(8)
        self.slots = nn.Parameter(torch.randn(3, 8))
        self.word = nn.Linear(8, 3)
        self.caption = nn.Linear(8, 1)
        self.embedding = nn.Embedding(5, 8)

    def _features(self, batch: ToyBatch) -> Tensor:
        noise = torch.randn_like(batch.images) * 0.1
        return self.norm(self.frozen(torch.tanh(self.encoder(batch.images + noise))))

    def forward(self, batch: ToyBatch) -> dict[str, Tensor]:
        logits = self.word(self._features(batch)) + (self.slots @ self.embedding.weight[0])
        return {"logits": nn.functional.dropout(logits, 0.2)}

    def caption_loss(self, batch: ToyBatch) -> Tensor:
        return self.caption(self._features(batch)).square().mean()


def criterion(output: dict[str, Tensor], batch: ToyBatch) -> dict[str, Tensor]:
    points = torch.rand(2)
    shift = random.random()
    goal = batch.images[:, :3]
    assert output["logits"].dtype == torch.float32
    word = (output["logits"] - goal).square().mean() * (1 + points.mean())
    return {"word": word, "box_l1": output["logits"].abs().mean() * shift}


class Weights:
    def total(self, losses: dict[str, Tensor]) -> Tensor:
        return sum(value * (2.0 if name == "word" else 1.0) for name, value in losses.items())


class ToyMixture:
    def __init__(self, *, bad_steps=()) -> None:
        self.bad_steps = set(bad_steps)
        self.closed = False

    def batches(self, start_step: int, *, num_workers: int = 0):
        torch.rand(start_step + 1)  # loading may consume the global generator; training must not notice
        step = start_step
        try:
            while True:
                images = torch.randn(6, 4, generator=torch.Generator().manual_seed(step))
                if step in self.bad_steps:
                    images[0, 0] = float("nan")
                yield step, ToyBatch(images, "caption" if step % 3 == 2 else "word", [f"{step}-{i}" for i in range(6)])
                step += 1
        finally:
            self.closed = True

    def state_dict(self) -> dict:
        return {"kind": "toy"}

    def load_state_dict(self, state: dict, *, step: int | None = None) -> None:
        assert state == {"kind": "toy"}


def make_model(seed: int = 0) -> ToyModel:
    torch.manual_seed(seed)
    return ToyModel()
