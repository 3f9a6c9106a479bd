"""Random number generators: seeding, and their state as JSON."""

import base64
import random
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed python, numpy and torch (every device). ``seed`` may be any integer; numpy sees its low 32 bits."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed % 2**63)


def step_seed(seed: int, micro_step: int, *, rank: int = 0) -> int:
    """A 63-bit seed that depends on the run's seed, the micro-step and the rank, and on nothing else.

    The trainer seeds all generators with it before each micro-step. What data loading, evaluation or drawing consume
    in between can therefore never change the noise of a training step, before or after a resume.
    """
    return random.Random(f"{seed}-{micro_step}-{rank}").getrandbits(63)


def capture_rng() -> dict[str, Any]:
    """State of the generators of python, numpy, torch's CPU and every CUDA device; JSON-ready."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "python": [version, list(words), gauss],
        "numpy": [name, _pack(np.asarray(keys, np.uint32).tobytes()), position, has_gauss, cached],
        "torch": _pack(torch.get_rng_state().numpy().tobytes()),
        "cuda": [_pack(state.numpy().tobytes()) for state in cuda],
    }


def restore_rng(state: dict[str, Any]) -> None:
    """Put back what ``capture_rng`` returned. CUDA states are ignored where the number of devices differs."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, np.frombuffer(_unpack(keys), np.uint32), position, has_gauss, cached))
    torch.set_rng_state(_bytes_tensor(state["torch"]))
    if state["cuda"] and torch.cuda.is_available() and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all([_bytes_tensor(packed) for packed in state["cuda"]])


def _pack(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _unpack(text: str) -> bytes:
    return base64.b64decode(text)


def _bytes_tensor(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(_unpack(text)), dtype=torch.uint8)
