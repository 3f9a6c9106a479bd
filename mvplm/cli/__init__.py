"""The ``mvplm`` command: it reads the command line and calls the library."""

from mvplm.cli.app import main

__all__ = ["main"]
