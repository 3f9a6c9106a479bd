"""Losses: costs, matching, loss terms, the criterion that names them and the weights that sum them."""

from mvplm.losses.criterion import Criterion
from mvplm.losses.matcher import HungarianMatcher, Matches, MatchWeights
from mvplm.losses.points import PointBudget
from mvplm.losses.weights import LossWeights

__all__ = [
    "Criterion",
    "HungarianMatcher",
    "LossWeights",
    "MatchWeights",
    "Matches",
    "PointBudget",
]
