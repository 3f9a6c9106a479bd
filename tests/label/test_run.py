"""Runs: order, retries, failures that harm nobody else, several processes, kills at random points."""

import io
import multiprocessing
import os
import random
import signal
from collections import Counter

import captioning
import pytest
from rich.console import Console

from mvplm.data import journal
from mvplm.label.captioners import CaptionerSettings, parse_captioner
from mvplm.label.processes import Processes
from mvplm.label.progress import Progress, ShownProgress
from mvplm.label.run import LabelSettings, label_records
from mvplm.label.store import CaptionStore, open_failures, read_captions
from mvplm.label.work import InProcess
from mvplm.structures import Record

FOUR = ("corner", "size", "first", "last")


def label(folder, records, *names, backend=None, samples=1, **settings):
    specs = [parse_captioner(f"{name}=captioning:{name}", CaptionerSettings(samples=samples)) for name in names]
    infos = [spec.describe() for spec in specs]
    with CaptionStore(folder, dataset={"name": "d"}, captioners=infos) as store:
        return label_records(
            records, specs, store=store, backend=backend or InProcess(records), settings=LabelSettings(**settings)
        )


def expected(records, *names, samples=1):
    from PIL import Image

    def text(image, name, sample):
        return getattr(captioning, name)([image], *([sample] if name == "numbered" else []))[0]

    images = [Image.fromarray(record.image) for record in records]
    return {
        (record.image_id, name, sample): text(image, name, sample)
        for record, image in zip(records, images, strict=True)
        for name in names
        for sample in range(samples)
    }


def written(folder):
    found = [((c.image_id, c.captioner, c.sample), c.text) for c in read_captions(folder)]
    assert len(dict(found)) == len(found)
    return dict(found)


def test_every_picture_gets_its_own_caption_of_every_captioner(tmp_path, records):
    done = label(tmp_path, records, *FOUR)
    assert done.complete and done.written == done.wanted == 160
    assert written(tmp_path) == expected(records, *FOUR)
    again = label(tmp_path, records, *FOUR)
    assert again.complete and (again.already, again.written) == (160, 0)


def test_what_is_done_is_not_asked_again(tmp_path, records):
    captioning.calls.clear()
    label(tmp_path, records[:16], "corner")
    assert captioning.calls["corner"] == 2
    label(tmp_path, records[:20], "corner")
    assert captioning.calls["corner"] == 3 and written(tmp_path) == expected(records[:20], "corner")


def test_one_captioner_gives_several_captions_and_more_later(tmp_path, records):
    captioning.calls.clear()
    assert label(tmp_path, records[:9], "numbered").complete
    done = label(tmp_path, records[:9], "numbered", samples=3)
    assert done.complete and (done.wanted, done.already, done.written) == (27, 9, 18)
    assert captioning.calls == {"numbered 0": 2, "numbered 1": 2, "numbered 2": 2}
    fewer = label(tmp_path, records[:9], "numbered", samples=2)
    assert fewer.complete and fewer.written == 0
    assert written(tmp_path) == expected(records[:9], "numbered", samples=3)


def test_a_function_that_knows_no_samples_is_asked_again(tmp_path, records):
    captioning.calls.clear()
    assert label(tmp_path, records[:5], "corner", samples=3).complete
    assert captioning.calls["corner"] == 3 and written(tmp_path) == expected(records[:5], "corner", samples=3)


def test_one_loaded_captioner_gives_every_sample(tmp_path, records, monkeypatch):
    loads = Counter()
    monkeypatch.setattr(captioning.Loaded, "__init__", lambda self: loads.update(["loaded"]))
    assert label(tmp_path, records[:3], "Loaded", samples=4).written == 12 and loads["loaded"] == 1


def test_failed_samples_are_told_apart_and_a_captioner_set_aside_draws_no_more(tmp_path, records):
    done = label(tmp_path, records[:2], "broken", samples=2, retries=0)
    assert sorted(f.sample for f in open_failures(tmp_path)) == [0, 0, 1, 1] and len(done.failures) == 4
    again = label(tmp_path, records[:2], "broken", samples=2, retries=0, give_up=2)
    assert [f.sample for f in again.failures] == [0, 0] and "broken" in again.set_aside


def test_pictures_of_several_records_are_captioned_once(tmp_path, records):
    done = label(tmp_path, [*records[:4], records[1], records[0]], "corner")
    assert done.wanted == 4 and done.complete and written(tmp_path) == expected(records[:4], "corner")


def test_failures_harm_nobody_else(tmp_path, records):
    gone = Record("gone", "no_such_picture.png", (6, 8))
    some = [*records[:9], gone]
    done = label(tmp_path, some, "broken", "corner", "too_few", retries=1)
    assert written(tmp_path) == expected(records[:9], "corner")
    assert not done.complete and done.wanted == 30 and done.written == 9
    stages = Counter((f.captioner, f.stage) for f in done.failures)
    assert stages == {(n, s): c for n in ("broken", "too_few") for s, c in (("captioner", 9), ("image", 1))} | {
        ("corner", "image"): 1
    }
    assert {f.image_id for f in done.failures if f.stage == "image"} == {"gone"}
    assert "no_such_picture.png" in done.failures[-1].error or "texts for" in done.failures[-1].error
    assert sorted(open_failures(tmp_path), key=repr) == sorted(done.failures, key=repr)


def test_the_next_run_tries_again(tmp_path, records, monkeypatch):
    label(tmp_path, records[:3], "broken", retries=0)
    monkeypatch.setattr(captioning, "broken", captioning.corner)
    done = label(tmp_path, records[:3], "broken")
    assert done.complete and done.written == 3 and open_failures(tmp_path) == []


def test_a_batch_that_is_too_large_is_done_one_by_one(tmp_path, records):
    assert label(tmp_path, records[:9], "only_alone", retries=1).complete
    assert written(tmp_path) == expected(records[:9], "only_alone")


def test_a_captioner_that_cannot_be_loaded_or_only_fails_is_set_aside(tmp_path, records):
    done = label(tmp_path, records, "Unloadable", "broken", "corner", give_up=16)
    assert done.written == 40 and set(done.set_aside) == {"Unloadable", "broken"}
    assert "weights are gone" in done.set_aside["Unloadable"] and "16 failures in a row" in done.set_aside["broken"]
    assert Counter(f.captioner for f in done.failures) == {"broken": 16}


def test_settings_are_checked():
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        LabelSettings(batch_size=0)


def test_processes_share_the_work_and_a_dead_one_is_replaced(tmp_path, records):
    backend = Processes(records[:9], ["cpu", "cpu"], method="fork")
    done = label(tmp_path, records[:9], "deadly", "corner", backend=backend, batch_size=3, retries=1)
    backend.close()
    assert [f.image_id for f in done.failures] == [records[0].image_id]
    assert "exit code -9" in done.failures[0].error
    assert len(written(tmp_path)) == 9 + 8
    assert {k: v for k, v in written(tmp_path).items() if k[1] == "corner"} == expected(records[:9], "corner")


class _Dying:
    """Kills its process at the n-th chance; a chance is a call of a captioner, or before, amid and after a write."""

    def __init__(self, after: int) -> None:
        self.left = after

    def chance(self) -> bool:
        self.left -= 1
        return self.left == 0

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def _label_and_die(folder, records, after: int, names, samples: int) -> None:
    dying = _Dying(after)
    write, sync = os.write, os.fsync

    def torn_write(file, data):
        if dying.chance():
            write(file, bytes(data[: len(data) // 2]))
            dying.die()
        return write(file, data)

    def late_sync(file):
        if dying.chance():
            dying.die()
        return sync(file)

    journal.os = type("DyingSystem", (), {**vars(os), "write": torn_write, "fsync": late_sync})
    corner = captioning.corner

    def captioned(images):
        if dying.chance():
            dying.die()
        return corner(images)

    captioned.__module__ = corner.__module__
    captioning.corner = captioned
    label(folder, records, *names, samples=samples, batch_size=3)


@pytest.mark.parametrize(("names", "samples"), [(FOUR, 1), (("numbered", "corner"), 2)])
@pytest.mark.parametrize("seed", range(4))
def test_five_kills_lose_and_repeat_nothing(tmp_path, records, seed, names, samples):
    """In forked processes, so that nothing has to be imported again."""
    rng, context = random.Random(seed), multiprocessing.get_context("fork")
    for _ in range(5):
        run = context.Process(target=_label_and_die, args=(tmp_path, records, rng.randint(6, 26), names, samples))
        run.start()
        run.join()
        assert run.exitcode == -signal.SIGKILL
    before = len(written(tmp_path))
    done = label(tmp_path, records, *names, samples=samples, batch_size=3)
    assert done.already == before and 0 < before < 160 and done.complete
    assert written(tmp_path) == expected(records, *names, samples=samples)


def test_progress_tells_counts_speed_and_time_left(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("mvplm.label.progress.time.monotonic", lambda: now[0])
    progress = Progress()
    progress.begin("a", done=10, total=110)
    assert progress.text("a") == "10/110"
    now[0] += 10
    progress.advance("a", 20, failed=2)
    assert progress.text("a") == "30/110 · 2 failed · 2.0/s · 0:00:39 left"


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_is_shown(terminal):
    text, now = io.StringIO(), [0.0]
    console = Console(file=text, force_terminal=terminal, width=100)
    with ShownProgress(console, every=30, clock=lambda: now[0]) as progress:
        progress.begin("mod:one:", done=0, total=4)
        progress.advance("mod:one:", 1)
        now[0] = 31
        progress.advance("mod:one:", 2)
        progress.advance("mod:one:", 1)
    told = text.getvalue()
    assert "4/4" in told and "mod:one:" in told
    if not terminal:
        assert [line.split(": ")[1].split(" ")[0] for line in told.splitlines()] == ["0/4", "3/4", "4/4"]
