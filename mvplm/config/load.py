"""Loading: a YAML file with its bases, plus dotted overrides, becomes a checked ``Config``; and back to YAML."""

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import Field, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, cast, get_args, get_origin

from mvplm.config.base import Section, near, value_problem
from mvplm.config.behaviours import BEHAVIOURS
from mvplm.config.presets import PRESETS, preset_tree
from mvplm.config.schema import Config, cross_problems
from mvplm.config.tree import Layer, override_layers, read_layers

_LOGGER = logging.getLogger("mvplm.config")


def load_config(
    path: str | Path | None = None, overrides: Sequence[str] = (), *, under: str | Path | None = None
) -> Config:
    """The configuration of a file, or of the defaults, with overrides applied last.

    Order, later wins: published defaults, ``behaviour``, the preset named by ``model.preset``, bases, file, overrides.

    Args:
        path: YAML file, or None.
        overrides: ``dotted.key=value`` items; the value is read as YAML.
        under: YAML file below the others, as if it were the furthest base, but for its evaluation sets.

    Raises:
        ValueError: everything that is wrong, in one message, one problem per line.
    """
    from omegaconf import OmegaConf

    errors: list[str] = []
    layers = [] if under is None else [_without_sets(layer) for layer in read_layers(Path(under), errors)]
    layers += [] if path is None else read_layers(Path(path), errors)
    layers += override_layers(overrides, errors)
    node = OmegaConf.structured(Config)
    for layer in _behaviour_layers(layers) + _preset_layers(layers, errors) + layers:
        _Filler(layer.origin, errors).fill(node, layer.tree, schema=Config)
    config = None if errors else cast(Config, OmegaConf.to_object(node))
    if config is not None:
        errors += cross_problems(config)
    if config is None or errors:
        where = f" in {path}" if path is not None else ""
        lines = "\n".join(f"  - {error}" for error in errors)
        raise ValueError(f"{len(errors)} problem{'s' if len(errors) > 1 else ''} in the configuration{where}:\n{lines}")
    return config


def to_yaml(config: Config) -> str:
    """The configuration as YAML with every value written out; ``load_config`` reads it back."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(asdict(config)))


def config_hash(config: Config) -> str:
    """First 12 hexadecimal digits of the SHA-256 of all settings but the output directory."""
    values = asdict(config)
    values["train"].pop("output")
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def _without_sets(layer: Layer) -> Layer:
    """The layer without evaluation sets."""
    evaluation = layer.tree.get("eval")
    if not isinstance(evaluation, dict):
        return layer
    kept = {name: value for name, value in evaluation.items() if name != "sets"}
    return Layer({**layer.tree, "eval": kept}, layer.origin)


def _behaviour_layers(layers: Sequence[Layer]) -> list[Layer]:
    """The values a behaviour stands for; an unknown one is reported where it is written."""
    named = [layer.tree["behaviour"] for layer in layers if "behaviour" in layer.tree]
    name = named[-1] if named else None
    return [Layer(BEHAVIOURS[name], f"behaviour {name!r}")] if isinstance(name, str) and name in BEHAVIOURS else []


def _preset_layers(layers: Sequence[Layer], errors: list[str]) -> list[Layer]:
    name, origin = None, ""
    for layer in layers:
        model = layer.tree.get("model")
        if isinstance(model, dict) and "preset" in model:
            name, origin = model["preset"], layer.origin
    if name is None:
        return []
    if not isinstance(name, str) or name not in PRESETS:
        known = sorted(PRESETS)
        errors.append(f"{origin}: model.preset must be one of {', '.join(known)}, got {name!r}{near(name, known)}")
        return []
    return [Layer(preset_tree(name), f"preset {name!r}")]


RETIRED = frozenset({"model.dn.sentence"})
"""Keys that written-out configurations of earlier runs hold although nothing ever read them; they are passed over."""


class _Filler:
    """Writes the tree of one layer into the typed node, section by section, and collects what does not fit."""

    def __init__(self, origin: str, errors: list[str]) -> None:
        self.origin = origin
        self.errors = errors

    def fill(self, node: Any, tree: Any, *, schema: type[Section], prefix: str = "") -> None:
        if not isinstance(tree, dict):
            self._problem(f"{prefix or 'the config'} must be a mapping, got {tree!r}")
            return
        known = {spec.name: spec for spec in fields(schema)}
        for key, value in tree.items():
            dotted = f"{prefix}.{key}" if prefix else str(key)
            if dotted in RETIRED:
                _LOGGER.warning("%s: %s has no effect and is passed over", self.origin, dotted)
                continue
            if key not in known:
                hint = near(key, list(known)) or _elsewhere(dotted)
                self._problem(f"unknown key {dotted}{hint}; known here: {', '.join(known)}")
                continue
            spec = known[key]
            entry_schema = _entry_schema(spec)
            if is_dataclass(spec.type):
                self.fill(node[key], value, schema=cast(type[Section], spec.type), prefix=dotted)
            elif entry_schema is not None:
                self._fill_named(node[key], value, schema=entry_schema, prefix=dotted)
            else:
                self._set(node, spec, value=value, dotted=dotted)

    def _fill_named(self, node: Any, tree: Any, *, schema: type[Section], prefix: str) -> None:
        from omegaconf import OmegaConf

        if not isinstance(tree, dict):
            self._problem(f"{prefix} must map names to settings, got {tree!r}")
            return
        for name, value in tree.items():
            if value is None:
                node.pop(name, None)
                continue
            if name not in node:
                node[name] = OmegaConf.structured(schema)
            self.fill(node[name], value, schema=schema, prefix=f"{prefix}.{name}")

    def _set(self, node: Any, spec: "Field[Any]", *, value: Any, dotted: str) -> None:
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        before = node[spec.name]
        free = get_origin(spec.type) is dict and isinstance(value, dict)
        if free and get_args(spec.type)[1] is not Any:
            # As with named sections, null takes an entry out.
            for name in [name for name, entry in value.items() if entry is None]:
                before.pop(name, None)
            value = {name: entry for name, entry in value.items() if entry is not None}
        try:
            OmegaConf.update(node, spec.name, value, merge=free)
        except (OmegaConfBaseException, TypeError, ValueError):
            self._problem(f"{dotted} must be {_type_name(spec.type)}, got {value!r}")
            return
        after = node[spec.name]
        problem = value_problem(spec, OmegaConf.to_container(after) if OmegaConf.is_config(after) else after)
        if problem is not None:
            node[spec.name] = before
            self._problem(dotted.removesuffix(spec.name) + problem)

    def _problem(self, text: str) -> None:
        self.errors.append(f"{self.origin}: {text}")


def _entry_schema(spec: "Field[Any]") -> type[Section] | None:
    """The section class of a field that maps names to sections, else None."""
    arguments = get_args(spec.type)
    if get_origin(spec.type) is dict and is_dataclass(arguments[1]):
        return cast(type[Section], arguments[1])
    return None


def _elsewhere(dotted: str) -> str:
    """A hint for a key that is right but stands in the wrong place."""
    last = dotted.rsplit(".", 1)[-1]
    found = [name for name in _dotted_names(Config) if name.rsplit(".", 1)[-1] == last]
    best = [name for name in found if name.endswith("." + dotted)] or found
    return f" (did you mean {' or '.join(repr(name) for name in best[:3])}?)" if best else ""


def _dotted_names(schema: type[Section], *, prefix: str = "") -> Iterator[str]:
    for spec in fields(schema):
        yield prefix + spec.name
        if is_dataclass(spec.type):
            yield from _dotted_names(cast(type[Section], spec.type), prefix=f"{prefix}{spec.name}.")


def _type_name(kind: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    if kind in names:
        return names[kind]
    if get_origin(kind) is list:
        return "a list, each entry " + _type_name(get_args(kind)[0])
    if get_origin(kind) is dict:
        return "a mapping"
    return " or ".join("null" if part is type(None) else _type_name(part) for part in get_args(kind)) or str(kind)
