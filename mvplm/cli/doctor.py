"""``mvplm doctor``: what this machine offers and what is in use."""


def doctor() -> None:
    """Print versions, devices, precision, the kernels in use, the shipped models and where data is looked for."""
    import torch
    from rich.console import Console
    from rich.table import Table

    from mvplm.data.catalog import datasets_root
    from mvplm.engine import describe_environment
    from mvplm.models.ops.backends import live_backend
    from mvplm.pretrained import shipped_models

    root = datasets_root()
    live = live_backend(device="cuda" if torch.cuda.is_available() else "cpu")
    rows = {
        **describe_environment(),
        "deformable attention": f"{live.name} ({live.reason})",
        "trained models": ", ".join(shipped_models()) or "none",
        "data sets": f"{root.resolve()}{'' if root.is_dir() else ' (absent)'}",
    }
    table = Table("what", "here", title="mvplm doctor")
    for name, value in rows.items():
        table.add_row(name, value)
    Console().print(table)


COMMANDS = {"doctor": (doctor, "mvplm doctor")}
