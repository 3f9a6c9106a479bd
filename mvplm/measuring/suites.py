"""Suites: several benchmarks of one model in one go. What is done is kept, what lacks its data is told."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mvplm.config import Config, EvalSetConfig, config_hash
from mvplm.config.tree import read_layers
from mvplm.data.catalog import dataset_entry, datasets_root, get_dataset
from mvplm.engine import EMA_FILE, is_run, join_processes, open_checkpoint, rank_and_world
from mvplm.measuring.config import evaluation_config
from mvplm.pretrained import WEIGHTS_FILE, find_model
from mvplm.structures.choices import check_choice

_PACKAGE = Path(__file__).resolve().parents[1]
# An installed package carries the files; a checkout has them beside the package.
_PLACES = (_PACKAGE / "assets" / "configs", _PACKAGE.parent / "configs")
DONE_FILE, METRICS_FILE = "suite.json", "metrics.json"
_KEYS = {"title": str, "benchmarks": list, "tables": list}


@dataclass(frozen=True)
class Suite:
    """A list of benchmarks, and the tables their numbers stand in.

    Attributes:
        name: of the suite. title: what it holds.
        benchmarks: names of evaluation files. tables: names in ``published.json``.
    """

    name: str
    title: str
    benchmarks: tuple[str, ...]
    tables: tuple[str, ...] = ()


@dataclass(frozen=True)
class Planned:
    """One benchmark as it would run.

    Attributes:
        name: of the benchmark.
        config: with the sets whose data are there.
        missing: the other sets, each with the place where its data were looked for.
        folder: where its metrics go.
        key: what tells this measurement from others: weights, settings, number of records.
        finished: whether the folder holds the metrics of exactly this measurement.
    """

    name: str
    config: Config
    folder: Path
    key: str
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """See above."""
        try:
            done = json.loads((self.folder / DONE_FILE).read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            return False
        return bool(done == {"key": self.key}) and (self.folder / METRICS_FILE).is_file()


def list_suites() -> list[str]:
    """Names of the suites that come with the project."""
    return sorted(path.stem for path in _files("suites"))


def load_suite(name: str | Path) -> Suite:
    """A suite by name or from a YAML file with ``title``, ``benchmarks`` and ``tables``.

    Raises:
        ValueError: no such suite, or something else in the file.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        found = {file.stem: file for file in _files("suites")}
        path = found[check_choice("suite", str(name), choices=sorted(found))]
    errors: list[str] = []
    layers = read_layers(path, errors)
    if errors:
        raise ValueError("; ".join(errors))
    tree = {key: value for layer in layers for key, value in layer.tree.items()}
    wrong = [key for key in tree if key not in _KEYS] + [
        key for key, kind in _KEYS.items() if not isinstance(tree.get(key, kind()), kind)
    ]
    if wrong or not tree.get("benchmarks"):
        raise ValueError(
            f"{path}: a suite has a title, a list of benchmarks and a list of tables"
            + (f"; {', '.join(map(str, wrong))} does not fit" if wrong else "")
        )
    lists = (tuple(map(str, tree.get(key, ()))) for key in ("benchmarks", "tables"))
    return Suite(path.stem, str(tree.get("title", path.stem)), *lists)


def list_benchmarks() -> list[str]:
    """Names of the evaluation files that come with the project."""
    return sorted(path.stem for path in _files("eval"))


def benchmark_file(name: str) -> Path:
    """The evaluation file of a benchmark: a name of ``list_benchmarks``, or a path.

    Raises:
        ValueError: no such benchmark.
    """
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    found = {file.stem: file for file in _files("eval")}
    return found[check_choice("benchmark", name, choices=sorted(found))]


def plan_suite(
    suite: Suite, *, weights: str, out: str | Path, overrides: Sequence[str] = (), limit: int = 0
) -> list[Planned]:
    """What would run, in order; nothing is measured.

    Args:
        suite: the benchmarks.
        weights: as for ``run_evaluation``.
        out: folder of the results.
        overrides: settings of every benchmark.
        limit: only so many records of each set; 0 takes all.

    Raises:
        ValueError: no such weights, or a wrong setting.
    """
    model, plans = weights_identity(weights), []
    for benchmark in suite.benchmarks:
        file = benchmark_file(benchmark)
        config = evaluation_config(file, overrides, weights=weights)
        missing = {name: place for name, entry in config.eval.sets.items() if (place := missing_data(entry))}
        there = {name: entry for name, entry in config.eval.sets.items() if name not in missing}
        config = replace(config, eval=replace(config.eval, sets=there))
        facts = [model, config_hash(config), limit, str(datasets_root().resolve())]
        key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
        plans.append(Planned(file.stem, config, Path(out) / file.stem, key, missing))
    return plans


def missing_data(entry: EvalSetConfig) -> str | None:
    """The place where the data of a set were looked for in vain; None when they are there."""
    known, root = dataset_entry(entry.dataset), datasets_root()
    absent = known.missing(root)
    if absent:
        first, *others = absent[0].split(" or ")
        return f"{root / first}" + (f" (or {len(others)} other places)" if others else "")
    if not known.needs:
        try:
            get_dataset(entry.dataset, **entry.options)
        except FileNotFoundError as error:
            return str(error).removeprefix("dataset file not found: ")
    return None


def run_suite(plans: Sequence[Planned], *, weights: str, limit: int = 0, pictures: int = 0) -> None:
    """Measure what is not finished and has its data, each benchmark into its folder. The model is loaded once.

    Args:
        plans: of ``plan_suite``, with the same ``weights`` and ``limit``.
        weights, limit, pictures: as for ``run_evaluation``.
    """
    from mvplm.runs import load_for_evaluation, run_evaluation

    waiting = [plan for plan in plans if plan.config.eval.sets and not plan.finished]
    perceiver = None
    for plan in waiting:
        if perceiver is None:
            join_processes(plan.config.train.device)
            perceiver = load_for_evaluation(plan.config, weights)
        first = rank_and_world()[0] == 0
        if first:
            (plan.folder / DONE_FILE).unlink(missing_ok=True)
        settings: dict[str, Any] = {"limit": limit, "pictures": pictures, "perceiver": perceiver}
        run_evaluation(plan.config, weights=weights, out=plan.folder, **settings)
        if first:
            (plan.folder / DONE_FILE).write_text(json.dumps({"key": plan.key}) + "\n", encoding="utf-8")


def suite_results(plans: Sequence[Planned]) -> dict[str, dict[str, Any]]:
    """Contents of the metrics files of finished benchmarks, by name."""
    return {
        plan.name: json.loads((plan.folder / METRICS_FILE).read_text(encoding="utf-8"))
        for plan in plans
        if plan.finished
    }


def weights_identity(weights: str) -> list[list[Any]]:
    """What tells weights from others without reading them: names, sizes and times of their files.

    Raises:
        ValueError: no such weights.
    """
    place = Path(weights)
    if is_run(place):
        folder = open_checkpoint(place).path
        files = [folder / WEIGHTS_FILE, folder / EMA_FILE]
    else:
        files = [find_model(weights) / WEIGHTS_FILE]
    facts = ((file.name, file.stat()) for file in files if file.is_file())
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in facts]


def _files(part: str) -> list[Path]:
    """The YAML files of a folder of ``configs``."""
    for place in _PLACES:
        if (place / part).is_dir():
            return sorted((place / part).glob("*.yaml"))
    return []
