"""``mvplm models``: what can be built and what can be loaded."""

import typer

HELP = "Models: list what can be built or loaded."


def list_known() -> None:
    """Print the names that ``mvplm.load`` and ``mvplm.create_model`` know."""
    from mvplm.build import list_models

    for name in list_models():
        typer.echo(name)


COMMANDS = {"list": (list_known, "mvplm models list")}
