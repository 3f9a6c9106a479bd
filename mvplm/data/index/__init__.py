"""Indices of giant annotation files: read once from end to end, then any record in a moment and in little memory."""

from mvplm.data.index.build import IndexPlan, open_index
from mvplm.data.index.reader import IndexEntry, JsonIndex
from mvplm.data.index.stream import Item, stream_items

__all__ = ["IndexEntry", "IndexPlan", "Item", "JsonIndex", "open_index", "stream_items"]
