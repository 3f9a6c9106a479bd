"""The tiny perceiver that read-only tests share, pictures of odd sizes, and thresholds a random network passes."""

import numpy as np
import pytest
from oracles.tiny import noise_picture, tiny_perceiver

from mvplm.perceiver import Perceiver
from mvplm.postprocess import PostprocessSettings


@pytest.fixture(scope="session")
def perceiver() -> Perceiver:
    return tiny_perceiver()


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    return noise_picture(47, 71, seed=1)


@pytest.fixture(scope="session")
def pictures(picture: np.ndarray) -> list[np.ndarray]:
    return [picture, noise_picture(90, 33, seed=2), noise_picture(64, 64, seed=3)]


@pytest.fixture(scope="session")
def loose() -> PostprocessSettings:
    """Thresholds that even a random network passes."""
    return PostprocessSettings(panoptic_score=0.0, overlap=0.0, gres_threshold=0.2)
