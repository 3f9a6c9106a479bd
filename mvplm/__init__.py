"""mvplm: boxes and masks for a list of words or a sentence. Names are loaded when first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mvplm.build import create_model as create_model
    from mvplm.build import list_models as list_models
    from mvplm.perceiver import Perceiver as Perceiver
    from mvplm.perceiver import load as load
    from mvplm.structures import Perception as Perception

__version__ = "0.1.0"

_HOMES = {
    "Perceiver": "mvplm.perceiver",
    "Perception": "mvplm.structures",
    "create_model": "mvplm.build",
    "list_models": "mvplm.build",
    "load": "mvplm.perceiver",
}

__all__ = ["Perceiver", "Perception", "__version__", "create_model", "list_models", "load"]  # noqa: F822


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    from mvplm.config.base import near

    raise AttributeError(f"module 'mvplm' has no attribute {name!r}{near(name, __all__)}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
