"""Random masks and labels."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

LABELS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(lambda text: text.split())
TRICKY = st.sampled_from(["others", "Others", "a|b", "x *3", "<seg>", "%41", "100%", "cat", "ｃａｔ", "No", "<fg3>"])


def masks(most: int = 4, side: int = 12):
    """(N, h, w) bool with N in 0 to ``most``."""
    shape = st.tuples(st.integers(0, most), st.integers(1, side), st.integers(1, side))
    return hnp.arrays(bool, shape, elements=st.booleans(), fill=st.booleans())


def blobs(count: int, side: int = 64, seed: int = 0) -> np.ndarray:
    """(count, side, side) smoothed noise, the upper 30 percent."""
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(seed).standard_normal((count, side, side))
    smooth = np.stack([gaussian_filter(one, 6) for one in noise])
    return smooth > np.quantile(smooth, 0.7, axis=(1, 2), keepdims=True)
