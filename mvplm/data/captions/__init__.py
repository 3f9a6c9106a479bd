"""Captions written by models: rules that keep the reliable ones."""

from mvplm.data.captions.refine import Refined, RefineSettings, refine_captions, word_entropy

__all__ = ["RefineSettings", "Refined", "refine_captions", "word_entropy"]
