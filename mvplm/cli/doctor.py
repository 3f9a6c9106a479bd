"""``mvplm doctor``: what this machine offers and what is in use."""


def doctor() -> None:
    """Print versions, devices, precision, the kernels in use, the shipped models and where data is looked for."""
    from rich.console import Console
    from rich.table import Table

    from mvplm.data.catalog import datasets_root
    from mvplm.engine import describe_environment
    from mvplm.pretrained import shipped_models

    root = datasets_root()
    rows = {
        **describe_environment(),
        "deformable attention": _deformable_attention(),
        "trained models": ", ".join(shipped_models()) or "none",
        "data sets": f"{root.resolve()}{'' if root.is_dir() else ' (absent)'}",
    }
    table = Table("what", "here", title="mvplm doctor")
    for name, value in rows.items():
        table.add_row(name, value)
    Console().print(table)


def _deformable_attention() -> str:
    """The implementation that runs on the device that models run on, and why."""
    import torch

    from mvplm.models.ops.backends import live_backend

    try:
        live = live_backend(device="cuda" if torch.cuda.is_available() else "cpu")
    except RuntimeError as error:
        return f"none: {error}"
    return f"{live.name} ({live.reason})"


COMMANDS = {"doctor": (doctor, "mvplm doctor")}
