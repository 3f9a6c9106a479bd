"""What a model answers on pictures of its evaluation sets, to be looked at: one page with pictures and numbers."""

import json
from collections.abc import Mapping
from pathlib import Path

from mvplm.build_training import open_records
from mvplm.config import Config, EvalSetConfig
from mvplm.perceiver import Perceiver
from mvplm.prompts import family_of
from mvplm.structures import Perception, Record
from mvplm.visualize import Card, write_page


def write_report(
    perceiver: Perceiver, config: Config, *, metrics: Mapping[str, float], out: str | Path, count: int
) -> Path:
    """Write ``OUT/report.html`` and its pictures.

    Args:
        perceiver: the model.
        config: its evaluation sets.
        metrics: numbers to show below the pictures, in percent.
        out: directory.
        count: pictures of each set, spread evenly over it.

    Returns:
        The page.
    """
    folder = Path(out) / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    cards = []
    for name, entry in config.eval.sets.items():
        records = open_records(config, entry)
        stride = max(1, len(records) // count)
        for number, index in enumerate(range(0, len(records), stride)[:count]):
            cards.append(_answer(perceiver, entry, record=records[index], path=folder / f"{name}_{number}.png"))
    closing = json.dumps({name: round(value, 1) for name, value in metrics.items()}, indent=1)
    least = config.post.display_score
    lead = f"{count} pictures of each set, spread evenly over it. Drawn is what scores at least {least}."
    return write_page(Path(out) / "report.html", "Evaluation", lead=lead, cards=cards, closing=closing)


def _answer(perceiver: Perceiver, entry: EvalSetConfig, *, record: Record, path: Path) -> Card:
    if family_of(entry.task) == "sentence":
        asked = record.expressions[0].text
        answer: Perception = perceiver.predict(record.image, text=asked)
        truth = f"{len(record.expressions[0].targets)} objects"
    else:
        vocabulary = record.vocabulary
        assert vocabulary is not None
        things = zip(vocabulary.names, vocabulary.isthing, strict=True)
        stuff = [name for name, isthing in things if not isthing]
        answer = perceiver.predict(record.image, classes=vocabulary.names, task=entry.task, stuff=stuff)
        present = {vocabulary.names[each.label] for each in record.annotations if each.label is not None}
        asked, truth = f"{len(vocabulary.names)} names", ", ".join(sorted(present)) or "nothing"
    answer.plot(path)
    return Card(f"{entry.task}: image {record.image_id}", path, text=asked, facts={"in the picture": truth})
