"""Names of results."""

from collections.abc import Mapping


def prefixed(results: Mapping[str, float], prefix: str | None) -> dict[str, float]:
    """Results with ``prefix`` in the place of their first part; None changes nothing.

    Where two would have one name, as ``rec/Acc@0.5`` and ``rec_from_mask/Acc@0.5``, the later one keeps its own after
    the prefix.
    """
    if prefix is None:
        return dict(results)
    out: dict[str, float] = {}
    for name, value in results.items():
        short = f"{prefix}/{name.partition('/')[2]}"
        out[short if short not in out else f"{prefix}/{name}"] = value
    return out
