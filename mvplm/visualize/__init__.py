"""Visualisation: pictures of results, training curves, and the one-page report."""

from mvplm.visualize.curves import plot_curves
from mvplm.visualize.draw import draw_perception
from mvplm.visualize.page import Card, write_page
from mvplm.visualize.palette import colour_of
from mvplm.visualize.sheet import write_sheet

__all__ = ["Card", "colour_of", "draw_perception", "plot_curves", "write_page", "write_sheet"]
