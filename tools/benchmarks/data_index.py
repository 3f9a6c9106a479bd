"""A giant annotation file: time to index it, to open it again and to read a record, and the memory it takes.

Writes a file of the size and form of Objects365 v2 (1.7 million pictures, 10 million boxes) into a temporary folder,
indexes it in one process and reads from it in another, which loads nothing else.

Example: python tools/benchmark.py data_index
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import Row

IMAGES, BOXES, NAMES, SHRINK = 1_700_000, 10_000_000, 365, 1000
_SHARED = """
import json, os, random, resource, sys, time
from pathlib import Path
sys.path[:0] = {path!r}
from mvplm.data.index import IndexPlan, open_index
def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
before, started, used = memory(), time.perf_counter(), time.process_time()
index = open_index({file!r}, IndexPlan("benchmark"))
opened = time.perf_counter() - started
"""
_BUILD = (
    _SHARED
    + """
used = time.process_time() - used
print(json.dumps({{
    "seconds": opened, "processor": used, "memory": memory(), "size": index.index.stat().st_size / 2**20,
}}))
"""
)
_READ = (
    _SHARED
    + """
names = index.extra("categories")
ready = time.perf_counter() - started
draw, times, used = random.Random(0), [], time.process_time()
for turn in range({reads}):
    place = draw.randrange(len(index))
    began = time.perf_counter()
    index.entry(place)
    times.append(time.perf_counter() - began)
used = time.process_time() - used
times.sort()
began = time.perf_counter()
count = sum(1 for _ in index.file_names())
print(json.dumps({{
    "open": ready, "imports": before, "memory": memory(), "mean": sum(times) / len(times) * 1e3,
    "median": times[len(times) // 2] * 1e3, "processor": used / len(times) * 1e3,
    "p99": times[int(0.99 * len(times))] * 1e3, "names": time.perf_counter() - began, "images": count,
}}))
"""
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Where the file is written."""
    parser.add_argument("--folder", type=Path, help="folder for the temporary files; default: the system's")


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Seconds, milliseconds and GiB."""
    shrink = SHRINK if arguments.quick else 1
    images, boxes = IMAGES // shrink, BOXES // shrink
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        file = Path(folder) / "annotations.json"
        write_objects365(file, images=images, boxes=boxes)
        size = file.stat().st_size / 2**20
        built = _run(_BUILD, file)
        _forget(folder)
        cold = _run(_READ, file, reads=200)
        warm = _run(_READ, file, reads=20_000 // (20 if arguments.quick else 1))
    detail = f"{images} pictures, {boxes} boxes, {size:.0f} MiB of JSON"
    return [
        Row("index: once", built["seconds"], "s", "", detail),
        Row("index: processor time", built["processor"], "s", "", "without waiting for others"),
        Row("index: largest memory", built["memory"], "GiB", "<= 1", "largest resident size of the process"),
        Row("index: size", built["size"], "MiB", "", "on disk"),
        Row("open", warm["open"], "s", "<= 2", "with the names of the categories"),
        Row("open: nothing in memory", cold["open"], "s", "<= 2", "after the files left the page cache"),
        Row("memory", warm["memory"], "GiB", "<= 1", f"largest resident size; {warm['imports']:.2f} GiB of it imports"),
        Row("random record", warm["median"], "ms", "<= 1", "median"),
        Row("random record: mean", warm["mean"], "ms", "", "other programs' turns included"),
        Row("random record: processor time", warm["processor"], "ms", "<= 1", "mean"),
        Row("random record: slow ones", warm["p99"], "ms", "", "99th percentile"),
        Row("random record: nothing in memory", cold["median"], "ms", "", "median of the first 200 from disk"),
        Row("names of all pictures", warm["names"], "s", "", "one pass"),
    ]


def write_objects365(file: Path, *, images: int, boxes: int) -> None:
    """A file in the form of Objects365 v2, entry by entry; the boxes of a picture do not stand together."""
    draw = random.Random(0)
    with file.open("w", encoding="utf-8") as out:
        out.write('{"images": [')
        for number in range(images):
            name = f"images/v1/patch{number % 51}/objects365_v1_{number:08d}.jpg"
            entry = {"height": 512, "id": number, "license": 5, "width": 769, "file_name": name, "url": ""}
            out.write((", " if number else "") + json.dumps(entry))
        out.write('], "annotations": [')
        for number in range(boxes):
            x, y = draw.random() * 600, draw.random() * 400
            entry = {
                "id": number,
                "iscrowd": 0,
                "isfake": 0,
                "area": 9963.19,
                "isreflected": 0,
                "bbox": [x, y, 85.25, 116.875],
                "image_id": draw.randrange(images),
                "category_id": 1 + number % NAMES,
            }
            out.write((", " if number else "") + json.dumps(entry))
        categories = [{"name": f"Name {number}", "id": number} for number in range(1, NAMES + 1)]
        out.write(f'], "categories": {json.dumps(categories)}}}')


def _run(program: str, file: Path, **values: object) -> dict[str, float]:
    path = [str(Path(__file__).resolve().parents[2]), *filter(None, sys.path)]
    code = program.format(path=path, file=str(file), **values)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def _forget(folder: str) -> None:
    """Ask the system to drop the pages of the files; where it cannot, "nothing in memory" is not that cold."""
    import os

    if not hasattr(os, "posix_fadvise"):
        return
    for path in Path(folder).iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
