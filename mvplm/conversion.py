"""From a foreign checkpoint to a directory that training or loading understands.

A whole model becomes a model directory for ``mvplm.load``. Parts of one become a directory with ``model.safetensors``,
``partial.yaml`` (sizes, and where training starts from) and ``conversion.json`` (what became of every tensor).
"""

import copy
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mvplm.build import build_model, build_postprocess, build_tokenizer
from mvplm.config import Config, load_config
from mvplm.fingerprint import fingerprint
from mvplm.models.convert import (
    SOURCES,
    Checkpoint,
    Options,
    Source,
    Strictness,
    convert,
    infer_settings,
    read_checkpoint,
)
from mvplm.models.convert.report import Converted, LoadSummary, module_of
from mvplm.perceiver import Perceiver
from mvplm.pretrained import PARTIAL_FILE, TOKENIZER_DIR, WEIGHTS_FILE
from mvplm.prompts import PromptTokenizer, train_scenes_tokenizer
from mvplm.structures.choices import check_choice
from mvplm.structures.versions import library_versions

REPORT_FILE, UNUSED_FILE = "conversion.json", "unused.safetensors"
_TOKENIZER_FILES = ("tokenizer.json", "vocab.json")
_HEADS = {"mask2former": "heads", "phi": "text_heads", "openseed_phi": "text_heads"}


@dataclass(frozen=True)
class Conversion:
    """What a conversion wrote: the directory, the summary, and whether it is a whole model."""

    folder: Path
    summary: LoadSummary
    whole: bool


def convert_checkpoint(
    kind: str,
    source: str | Path,
    *,
    out: str | Path,
    options: Options | None = None,
    strictness: Strictness | None = None,
    overrides: Sequence[str] = (),
) -> Conversion:
    """Convert a file or directory and write the result.

    Args:
        kind: a name of ``mvplm.models.convert.SOURCES``.
        source: what to read. out: directory to write.
        options: what the tensors do not tell; None takes the heads a ``config.json`` beside the file names.
        strictness: what may be missing; nothing when None.
        overrides: configuration of the result, ``dotted.key=value``, over what the file tells.

    Raises:
        ValueError: unknown kind, a file that cannot be read, or one that does not fit.
        FileNotFoundError: there is no such file.
    """
    chosen = SOURCES[check_choice("kind of checkpoint", kind, choices=SOURCES)]
    checkpoint = read_checkpoint(source)
    options = options or options_from(checkpoint.config)
    mapped = chosen.map(checkpoint.tensors, options)
    tree = _merged(infer_settings(mapped.tensors, options), chosen.settings(options))
    whole = not chosen.partial and any(module_of(name) == "llm" for name in mapped.tensors)
    if whole and not any(item.startswith("model.llm.tokenizer=") for item in overrides):
        tree = _merged(tree, {"model": {"llm": {"tokenizer": str(_tokenizer_home(Path(source)))}}})
    config = load_config(None, [*_as_overrides(tree), *overrides])
    strictness = strictness or Strictness()
    folder = Path(out)
    if whole:
        return _convert_whole(chosen, checkpoint, config=config, options=options, strictness=strictness, folder=folder)
    if not chosen.partial:
        chosen = replace(chosen, covers=tuple(dict.fromkeys(module_of(name) for name in mapped.tensors)))
    expected = _expected_parts(config)
    converted = convert(checkpoint.tensors, chosen, expected=expected, options=options, strictness=strictness)
    _write_partial(folder, converted, config=config, tree=tree, expected=expected)
    _write_report(folder, converted.summary, checkpoint=checkpoint)
    return Conversion(folder, converted.summary, whole=False)


def options_from(stored: Mapping[str, Any], **given: Any) -> Options:
    """Options from a ``config.json`` of transformers, where given values (not None) win."""
    heads = _HEADS.get(str(stored.get("model_type")))
    read = {heads: stored["num_attention_heads"]} if heads and "num_attention_heads" in stored else {}
    return Options(**{**read, **{key: value for key, value in given.items() if value is not None}})


def _tokenizer_home(source: Path) -> Path:
    """The directory with the tokenizer of a whole model. Raises FileNotFoundError when there is none."""
    folder = source if source.is_dir() else source.parent
    if not any((folder / file).is_file() for file in _TOKENIZER_FILES):
        raise FileNotFoundError(
            f"{folder} has no tokenizer ({' or '.join(_TOKENIZER_FILES)}): copy the model's tokenizer there, or name "
            "its directory with model.llm.tokenizer=DIR"
        )
    return folder


def _convert_whole(
    source: Source,
    checkpoint: Checkpoint,
    *,
    config: Config,
    options: Options,
    strictness: Strictness,
    folder: Path,
) -> Conversion:
    tokenizer = build_tokenizer(config)
    tensors = checkpoint.tensors
    if options.as_init:
        tensors = _with_rows(tensors, tokenizer)
        config.model.llm.embedding_rows = max(config.model.llm.embedding_rows, tokenizer.vocab_size)
    with torch.device("meta"):
        model = build_model(config, tokenizer)
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    converted = convert(tensors, source, expected=expected, options=options, strictness=strictness)
    if converted.summary.missing:
        raise ValueError(f"a whole model cannot be written without {', '.join(converted.summary.missing)}")
    model.load_state_dict(converted.tensors, assign=True)
    # Where the tokenizer lay before means nothing to the one who loads the result.
    config.model.llm.tokenizer = str(folder / TOKENIZER_DIR)
    perceiver = Perceiver(model, tokenizer, config=config, settings=build_postprocess(config))
    origin = "initialised from" if options.as_init else "converted from"
    perceiver.save(folder, provenance={"source": f"{origin} {source.about}", **_provenance(checkpoint)})
    _write_unused(folder, checkpoint.tensors, summary=converted.summary)
    _write_report(folder, converted.summary, checkpoint=checkpoint)
    return Conversion(folder, converted.summary, whole=True)


def _with_rows(tensors: Mapping[str, Tensor], tokenizer: PromptTokenizer) -> dict[str, Tensor]:
    """The tensors with a row, the mean of all words, for every id the tokenizer has beyond the file's."""
    words = tokenizer.tokenizer.backend_tokenizer.get_vocab_size(with_added_tokens=False)
    grown = dict(tensors)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        table = tensors.get(name)
        if table is not None and len(table) < tokenizer.vocab_size:
            mean = table[:words].float().mean(0).to(table.dtype)
            grown[name] = torch.cat([table, mean.expand(tokenizer.vocab_size - len(table), -1)])
    return grown


def _expected_parts(config: Config) -> dict[str, torch.Size]:
    """Shapes of everything but the language model, which is built as small as can be."""
    small = copy.deepcopy(config)
    small.model.llm.layers = 1
    small.model.llm.embedding_rows = 0
    with torch.device("meta"):
        model: nn.Module = build_model(small, train_scenes_tokenizer((), vocab_size=small.model.llm.vocab_size))
    return {name: tensor.shape for name, tensor in model.state_dict().items() if module_of(name) != "llm"}


def _write_partial(
    folder: Path, converted: Converted, *, config: Config, tree: Mapping[str, Any], expected: Iterable[str]
) -> None:
    from omegaconf import OmegaConf
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    parts = {module_of(name) for name in converted.tensors}
    metadata = {"format": "pt", **fingerprint(config, None, parts=parts)}
    save_file(converted.tensors, str(folder / WEIGHTS_FILE), metadata=metadata)
    allowed = missing_prefixes((*expected, "llm.model", "llm.lm_head"), loaded=converted.tensors)
    start = {"train": {"init_from": str(folder), "init_allow": allowed}}
    content = OmegaConf.to_yaml(OmegaConf.create(_merged(tree, start)))
    head = f"# Parts of a network from {converted.summary.source}; name this file in _BASE_ of a run's configuration.\n"
    (folder / PARTIAL_FILE).write_text(head + content, encoding="utf-8")


def missing_prefixes(expected: Iterable[str], *, loaded: Iterable[str]) -> list[str]:
    """The shortest prefixes, each ending with a dot or a whole name, of the names that are expected and not loaded.

    Args:
        expected: all names of the network. loaded: those with a value; no prefix covers one of them.
    """
    have = list(loaded)
    found: dict[str, None] = {}
    for name in expected:
        if name in have or name.startswith(tuple(found) or "\0"):
            continue
        pieces = name.split(".")
        prefixes = [".".join(pieces[:i]) + "." for i in range(1, len(pieces))]
        prefix = next((p for p in prefixes if not any(other.startswith(p) for other in have)), name)
        found[prefix] = None
    return list(found)


def _write_unused(folder: Path, tensors: Mapping[str, Tensor], *, summary: LoadSummary) -> None:
    """Tensors of the file that the library has no use for, so that nothing of a model is lost."""
    from safetensors.torch import save_file

    left = {name: tensors[name].contiguous() for name in summary.unused if name in tensors}
    if left:
        save_file(left, str(folder / UNUSED_FILE), metadata={"format": "pt"})


def _write_report(folder: Path, summary: LoadSummary, *, checkpoint: Checkpoint) -> None:
    report = {"provenance": _provenance(checkpoint), "report": summary.to_dict()}
    (folder / REPORT_FILE).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _provenance(checkpoint: Checkpoint) -> dict[str, Any]:
    """Files with their hashes; whoever converts knows under which licence the weights came."""
    return {
        "files": {file.name: _sha256(file) for file in checkpoint.files},
        "date": date.today().isoformat(),
        "versions": library_versions(),
    }


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(1 << 24):
            digest.update(block)
    return digest.hexdigest()


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Two trees in one; the second wins."""
    merged = dict(first)
    for key, value in second.items():
        both = isinstance(merged.get(key), Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _as_overrides(tree: Mapping[str, Any]) -> list[str]:
    """A tree as ``dotted.key=value`` items, one per section of the model."""
    items = [f"{key}={json.dumps(value)}" for key, value in tree.items() if key != "model"]
    return [*items, *(f"model.{part}={json.dumps(value)}" for part, value in tree.get("model", {}).items())]
