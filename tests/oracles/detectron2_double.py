"""A stand-in for detectron2: only the documented interface of the few classes that the project touches.

``install(monkeypatch)`` puts it where ``import detectron2`` looks. Registry and configuration node are fvcore's, which
detectron2 builds on.
"""

import sys
import types
from collections import UserDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode
from fvcore.common.registry import Registry
from torch import Tensor


class Boxes:
    """Boxes (N, 4) XYXY in pixels; ``.tensor`` is float32."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = torch.as_tensor(tensor, dtype=torch.float32).reshape(-1, 4)

    def __len__(self) -> int:
        return len(self.tensor)

    def __getitem__(self, item: Any) -> "Boxes":
        return Boxes(self.tensor[item])

    def area(self) -> Tensor:
        return (self.tensor[:, 2] - self.tensor[:, 0]) * (self.tensor[:, 3] - self.tensor[:, 1])

    def to(self, device: Any) -> "Boxes":
        return Boxes(self.tensor.to(device))


class BitMasks:
    """Bitmaps (N, H, W); ``.tensor`` is bool."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = torch.as_tensor(tensor).bool()

    def __len__(self) -> int:
        return len(self.tensor)

    def __getitem__(self, item: Any) -> "BitMasks":
        return BitMasks(self.tensor[item])

    def to(self, device: Any) -> "BitMasks":
        return BitMasks(self.tensor.to(device))


class PolygonMasks:
    """Per instance a list of polygons, each an array of x, y, x, y, ... in pixels."""

    def __init__(self, polygons: list[list[Any]]) -> None:
        self.polygons = [[np.asarray(p, np.float64) for p in instance] for instance in polygons]

    def __len__(self) -> int:
        return len(self.polygons)


class Instances:
    """Fields of equal length about one image; every public attribute is a field."""

    def __init__(self, image_size: tuple[int, int], **fields: Any) -> None:
        object.__setattr__(self, "_image_size", image_size)
        object.__setattr__(self, "_fields", {})
        for name, value in fields.items():
            self.set(name, value)

    @property
    def image_size(self) -> tuple[int, int]:
        return self._image_size

    def set(self, name: str, value: Any) -> None:
        assert all(len(value) == len(other) for other in self._fields.values()), f"length of field {name}"
        self._fields[name] = value

    def __setattr__(self, name: str, value: Any) -> None:
        self.set(name, value)

    def __getattr__(self, name: str) -> Any:
        if name == "_fields" or name not in self._fields:
            raise AttributeError(f"no field {name!r}")
        return self._fields[name]

    def has(self, name: str) -> bool:
        return name in self._fields

    def get(self, name: str) -> Any:
        return self._fields[name]

    def get_fields(self) -> Mapping[str, Any]:
        return self._fields

    def to(self, device: Any) -> "Instances":
        return Instances(self._image_size, **{name: value.to(device) for name, value in self._fields.items()})

    def __getitem__(self, item: Any) -> "Instances":
        return Instances(self._image_size, **{name: value[item] for name, value in self._fields.items()})

    def __len__(self) -> int:
        for value in self._fields.values():
            return len(value)
        raise NotImplementedError("empty Instances have no length")


class Metadata(types.SimpleNamespace):
    """Whatever is known about a dataset."""

    def get(self, key: str, default: Any = None) -> Any:
        return getattr(self, key, default)

    def set(self, **known: Any) -> "Metadata":
        for key, value in known.items():
            assert getattr(self, key, value) == value, f"{key} is set already"
            setattr(self, key, value)
        return self


class _MetadataCatalog(UserDict):
    def get(self, name: str) -> Metadata:  # type: ignore[override]
        return self.data.setdefault(name, Metadata(name=name))


def _default_cfg() -> CfgNode:
    cfg = CfgNode()
    cfg.MODEL = CfgNode({"META_ARCHITECTURE": "GeneralizedRCNN", "DEVICE": "cpu", "WEIGHTS": ""})
    cfg.INPUT = CfgNode({"FORMAT": "BGR"})
    cfg.DATASETS = CfgNode({"TRAIN": (), "TEST": ()})
    return cfg


def install(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """Make the stand-in importable as detectron2 until the test ends; returns its parts by name."""
    registry, catalog = Registry("META_ARCH"), _MetadataCatalog()

    def build_model(cfg: CfgNode) -> torch.nn.Module:
        return registry.get(cfg.MODEL.META_ARCHITECTURE)(cfg).to(torch.device(cfg.MODEL.DEVICE))

    rooms = {
        "structures": {"Boxes": Boxes, "BitMasks": BitMasks, "PolygonMasks": PolygonMasks, "Instances": Instances},
        "data": {"MetadataCatalog": catalog},
        "config": {"get_cfg": _default_cfg, "CfgNode": CfgNode},
        "modeling": {"META_ARCH_REGISTRY": registry, "build_model": build_model},
    }
    package = types.ModuleType("detectron2")
    package.__path__ = []  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "detectron2", package)
    for room, names in rooms.items():
        module = types.ModuleType(f"detectron2.{room}")
        vars(module).update(names)
        setattr(package, room, module)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return types.SimpleNamespace(**{name: value for names in rooms.values() for name, value in names.items()})
