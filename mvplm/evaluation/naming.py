"""Names of results."""

from collections.abc import Iterable, Mapping


def short_names(names: Iterable[str], prefix: str | None) -> dict[str, str]:
    """Name -> the same with ``prefix`` in the place of its first part; None changes nothing.

    Where two would have one name, as ``rec/Acc@0.5`` and ``rec_from_mask/Acc@0.5``, the later one keeps its own after
    the prefix.
    """
    out: dict[str, str] = {}
    for name in names:
        short = name if prefix is None else f"{prefix}/{name.partition('/')[2]}"
        out[name] = short if short not in out.values() else f"{prefix}/{name}"
    return out


def prefixed(results: Mapping[str, float], prefix: str | None) -> dict[str, float]:
    """Results under their :func:`short_names`."""
    names = short_names(results, prefix)
    return {names[name]: value for name, value in results.items()}
