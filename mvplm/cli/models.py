"""``mvplm models``: what can be built and what can be loaded."""

import typer

HELP = "Models: list what can be built or loaded."
EXAMPLE = "Example: mvplm models list"


def list_known() -> None:
    """Print what can be loaded with trained weights, and what can be built with random ones."""
    from mvplm.build import list_models
    from mvplm.pretrained import shipped_models

    for name in shipped_models():
        typer.echo(f"{name}  (trained weights: mvplm.load)")
    for name in list_models():
        typer.echo(f"{name}  (architecture: mvplm.create_model)")


COMMANDS = {"list": (list_known, "mvplm models list")}
