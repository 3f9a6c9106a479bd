"""Packaging shim: the metadata stands in pyproject.toml; evaluation files and suites go into the package here."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CONFIGS = ("eval", "suites")


class BuildWithConfigs(build_py):
    """Copies ``configs/eval`` and ``configs/suites`` to where an installed package looks for them."""

    def run(self) -> None:
        super().run()
        if getattr(self, "editable_mode", False):
            return
        for part in CONFIGS:
            target = Path(self.build_lib) / "mvplm" / "assets" / "configs" / part
            shutil.copytree(Path("configs") / part, target, dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithConfigs})
