"""SA1B-ORS: samples of open-world referring segmentation made from SA-1B, by category and by description.

Source: Qwen3-VL-Seg (arXiv 2605.07141); thresholds are ours unless docs/ors.md says otherwise.
"""

from mvplm.data.ors.callables import ROLES, read_callables
from mvplm.data.ors.config import OrsConfig
from mvplm.data.ors.run import BuildSettings, BuildSummary, build_ors

__all__ = ["ROLES", "BuildSettings", "BuildSummary", "OrsConfig", "build_ors", "read_callables"]
