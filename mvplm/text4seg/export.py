"""Writing a data set as questions and answers: records, the format of ms-swift, tokens, and a command."""

import json
from collections import Counter
from pathlib import Path

from mvplm.data.catalog import get_dataset
from mvplm.data.images import load_image
from mvplm.data.mask_questions import QuestionMaker
from mvplm.data.mask_records import MaskRecords
from mvplm.interop.msswift import launch_command, to_msswift
from mvplm.structures import Record
from mvplm.textmask import get_codec
from mvplm.textmask.answer import TAGS
from mvplm.textmask.bricks import BRICKS

RECORDS_FILE, SWIFT_FILE, TOKENS_FILE, LAUNCH_FILE = "records.jsonl", "msswift.jsonl", "new_tokens.txt", "launch.sh"


def export_msswift(
    dataset: str,
    out: str | Path,
    *,
    form: str,
    codec: str = "bsd_bricks",
    grid: int | None = None,
    options: dict[str, object] | None = None,
    split: str = "train",
    base: str = "Qwen/Qwen2-VL-7B-Instruct",
) -> Counter[str]:
    """Write the questions and answers of a data set into a folder; pictures that are in memory only are written, too.

    Args:
        dataset: name in the catalog; its records need masks. out: folder. options: of the data set.
        form: kind of question. codec, grid: how masks are spelled. split: written into the records.
        base: model in the command.

    Returns:
        How many records were ``written``, targets ``vanished`` on the grid, questions ``left_out``.

    Raises:
        ValueError: an unknown form, codec or option, or a data set without any question of the form.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    spelled = get_codec(codec, grid=grid)
    maker = QuestionMaker(spelled, form, training=True, answered=True)

    def image(record: Record) -> str:
        if isinstance(record.image, (str, Path)):
            return str(record.image)
        from PIL import Image

        path = folder / "images" / f"{record.image_id}.png"
        path.parent.mkdir(exist_ok=True)
        if not path.is_file():
            Image.fromarray(load_image(record.image)).save(path)
        return str(path)

    records = MaskRecords(get_dataset(dataset, **(options or {})), maker, image, split=split)
    with (
        (folder / RECORDS_FILE).open("w", encoding="utf-8") as plain,
        (folder / SWIFT_FILE).open("w", encoding="utf-8") as swift,
    ):
        for record in records:
            plain.write(json.dumps(record, ensure_ascii=False) + "\n")
            swift.write(json.dumps(to_msswift(record), ensure_ascii=False) + "\n")
    if not records.counts["written"]:
        raise ValueError(f"data set {dataset} gives no question of the form {form!r}: {records.reason or 'none fits'}")
    needs_tokens = not codec.startswith("isd_")
    if needs_tokens:
        (folder / TOKENS_FILE).write_text("\n".join((*TAGS, *BRICKS)) + "\n", encoding="utf-8")
    command = launch_command(SWIFT_FILE, TOKENS_FILE if needs_tokens else None, base=base)
    (folder / LAUNCH_FILE).write_text(command, encoding="utf-8")
    return records.counts
