"""Visualisation: pictures of results, training curves, and the one-page report."""

from mvplm.visualize.charts import bar_chart, heat_map, line_chart, scatter_chart, trade_chart
from mvplm.visualize.curves import plot_curves
from mvplm.visualize.draw import draw_perception
from mvplm.visualize.mask_text import masks_over, text_panel
from mvplm.visualize.page import Card, write_page
from mvplm.visualize.palette import colour_of
from mvplm.visualize.sections import Section, Sheet, write_sections
from mvplm.visualize.sheet import write_sheet
from mvplm.visualize.sides import side_by_side

__all__ = [
    "Card",
    "Section",
    "Sheet",
    "bar_chart",
    "colour_of",
    "draw_perception",
    "heat_map",
    "line_chart",
    "masks_over",
    "plot_curves",
    "scatter_chart",
    "side_by_side",
    "text_panel",
    "trade_chart",
    "write_page",
    "write_sections",
    "write_sheet",
]
