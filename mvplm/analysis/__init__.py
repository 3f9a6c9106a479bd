"""Looking into results: which pictures, names and sizes the numbers come from, and how two results differ."""

from mvplm.analysis.compare import Comparison, compare_results
from mvplm.analysis.report import analyse_results
from mvplm.analysis.results import Results, ScoredSet, open_results

__all__ = ["Comparison", "Results", "ScoredSet", "analyse_results", "compare_results", "open_results"]
