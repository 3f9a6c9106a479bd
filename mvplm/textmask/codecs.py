"""Codecs by name."""

from typing import Any

import numpy as np

from mvplm.textmask.checks import check_grid
from mvplm.textmask.codec_bsd import PER_MILLE, BsdCodec
from mvplm.textmask.codec_isd import IsdCodec
from mvplm.textmask.grid import DOWN, UP, check_way, to_cells

Codec = IsdCodec | BsdCodec
_GRIDS = {"isd_full": 16, "isd_irle": 16, "isd_rrle": 16, "bsd": 64, "bsd_bricks": 64, "canvas": 32}
CODECS = tuple(_GRIDS)
"""Names of the codecs."""


def get_codec(name: str, grid: int | tuple[int, int] | None = None, **options: Any) -> Codec:
    """The codec of a name.

    Args:
        name: ``isd_full``, ``isd_irle``, ``isd_rrle``: a label for every cell of the picture; ``bsd``, ``bsd_bricks``:
            box and mask per instance, cut from the grid of the picture; ``canvas``: mask on a canvas over the box.
        grid: cells a side or (h, w); default 16, 64 for ``bsd`` and ``bsd_bricks``, 32 for ``canvas``.
        options: ``down``, ``up``; image-wise ``compat``, ``lead_in``; box-wise ``row_sep``, ``roi``, ``clip63``,
            ``bins``, ``whole_numbers``. See :class:`IsdCodec` and :class:`BsdCodec`.

    Raises:
        ValueError: an unknown name, option or value; the message lists the choices.
    """
    check_way("codec", name, choices=CODECS)
    family = IsdCodec if name.startswith("isd_") else BsdCodec
    known = tuple(field for field in family.__dataclass_fields__ if field not in ("name", "grid"))
    for option in options:
        check_way(f"option of {name}", option, choices=known)
    check_way("way down", options.get("down", "area_keep"), choices=DOWN)
    check_way("way up", options.get("up", "auto"), choices=UP)
    if options.get("row_sep") is None:
        options.pop("row_sep", None)
        if name == "canvas":
            options["row_sep"] = ""
    elif options["row_sep"] not in ("", "\n"):
        raise ValueError(f"row_sep must be a line feed or nothing, got {options['row_sep']!r}")
    if name == "canvas" and options.get("clip63"):
        raise ValueError("clip63 is about the grid of the picture; a canvas has none")
    if "bins" in options and not (name == "canvas" and 2 <= options["bins"] <= PER_MILLE):
        raise ValueError(f"bins are 2 to {PER_MILLE} steps of a canvas's box, got {options['bins']} with {name!r}")
    if options.get("compat"):
        options.setdefault("down", "nearest")
    return family(name, check_grid(_GRIDS[name] if grid is None else grid), **options)


def visible(masks: np.ndarray, codec: Codec) -> np.ndarray:
    """(N,) bool: whether anything of each mask (N, H, W) is left on the codec's grid. An empty mask never is."""
    seen: np.ndarray = np.any(masks, (1, 2))
    whole = isinstance(codec, BsdCodec) and codec.canvas
    if seen.any() and not whole:
        cells = to_cells(masks, codec.grid, down=codec.down)
        if isinstance(codec, BsdCodec) and codec.clip63:
            cells = cells[:, :-1, :-1]
        seen &= np.any(cells, (1, 2))
    return seen
