"""Captioning a data set: what is left to do, batches first, then what failed once more and alone."""

import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

from mvplm.data.views import image_ids
from mvplm.label.captioners import CaptionerSpec
from mvplm.label.progress import Progress
from mvplm.label.store import Caption, CaptionStore, Failure
from mvplm.label.work import Backend, Outcome
from mvplm.structures import Record

_log = logging.getLogger("mvplm.label")


@dataclass(frozen=True)
class LabelSettings:
    """How a run goes.

    Attributes:
        batch_size: pictures per call.
        retries: further tries of a picture that failed, alone.
        give_up: failed calls in a row after which a captioner is set aside for this run; 0 never does.
    """

    batch_size: int = 8
    retries: int = 2
    give_up: int = 100

    def __post_init__(self) -> None:
        for name, low in (("batch_size", 1), ("retries", 0), ("give_up", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")


@dataclass
class LabelSummary:
    """What a run did.

    Attributes:
        wanted: captions that the data set and the captioners make. already: of these, there before.
        written: new ones.
        failures: what is still missing, with the last error.
        set_aside: captioners that could not be loaded or failed too often in a row, and why.
    """

    wanted: int = 0
    already: int = 0
    written: int = 0
    failures: list[Failure] = field(default_factory=list)
    set_aside: dict[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Every caption is there."""
        return self.already + self.written == self.wanted


def label_records(
    records: Sequence[Record],
    specs: Sequence[CaptionerSpec],
    *,
    store: CaptionStore,
    backend: Backend,
    settings: LabelSettings | None = None,
    progress: Progress | None = None,
) -> LabelSummary:
    """Caption every picture with every captioner, as often as it is to, except what ``store`` holds already.

    The likeliest caption of every picture comes first, then the drawn ones. Pictures that several records share are
    captioned once. What fails is noted and does not keep anything else from
    being done.
    """
    places: dict[int | str, int] = {}
    for place, image_id in enumerate(image_ids(records)):
        places.setdefault(image_id, place)
    ids = {place: image_id for image_id, place in places.items()}
    settings = settings or LabelSettings()
    progress = progress or Progress()
    summary = LabelSummary()
    for spec in specs:
        done = store.done[spec.name]
        missing = [
            [place for place, image_id in ids.items() if (image_id, sample) not in done]
            for sample in range(spec.settings.samples)
        ]
        wanted = len(ids) * len(missing)
        already = wanted - sum(map(len, missing))
        summary.wanted += wanted
        summary.already += already
        progress.begin(spec.name, done=already, total=wanted)
        captioner = _OneCaptioner(spec, ids, store=store, settings=settings, progress=progress, summary=summary)
        for sample, todo in enumerate(missing):
            captioner.run(backend, todo, sample=sample)
    return summary


class _OneCaptioner:
    """The captions of one captioner."""

    def __init__(
        self,
        spec: CaptionerSpec,
        ids: dict[int, int | str],
        *,
        store: CaptionStore,
        settings: LabelSettings,
        progress: Progress,
        summary: LabelSummary,
    ) -> None:
        self.spec, self.ids, self.store = spec, ids, store
        self.settings, self.progress, self.summary = settings, progress, summary
        self.in_a_row = 0

    def run(self, backend: Backend, todo: Sequence[int], *, sample: int) -> None:
        """Caption ``todo`` for the time ``sample``; nothing once the captioner was set aside."""
        self.spec = replace(self.spec, sample=sample)
        failed: dict[int, Failure] = {}
        hopeless = self.spec.name in self.summary.set_aside
        for attempt in range(self.settings.retries + 1):
            if not todo or hopeless:
                break
            size = self.settings.batch_size if attempt == 0 else 1
            last = attempt == self.settings.retries
            with closing(backend.caption(self.spec, todo, batch_size=size)) as batches:
                for batch in batches:
                    tried = {outcome.place for outcome in batch}
                    failed = {p: f for p, f in failed.items() if p not in tried} | self._take(batch, final=last)
                    hopeless = self._is_hopeless(batch)
                    if hopeless:
                        break
            todo = sorted(failed)
        if failed:
            self.store.note(list(failed.values()))
            self.summary.failures += failed.values()

    def _take(self, batch: Sequence[Outcome], *, final: bool) -> dict[int, Failure]:
        """Write what succeeded; returns what failed by place."""
        name = self.spec.name
        sample = self.spec.sample
        texts = [Caption(self.ids[o.place], name, o.text, sample) for o in batch if o.text is not None]
        if texts:
            self.store.add(texts)
            self.summary.written += len(texts)
        failed = {
            o.place: Failure(self.ids[o.place], name, o.stage, o.error, sample)
            for o in batch
            if o.text is None and o.stage != "load"
        }
        for failure in failed.values():
            _log.info("%s, image %s: %s (%s)", name, failure.image_id, failure.error, failure.stage)
        self.progress.advance(name, len(texts), failed=len(failed) if final else 0)
        return failed

    def _is_hopeless(self, batch: Sequence[Outcome]) -> bool:
        for outcome in batch:
            if outcome.stage == "load":
                self.summary.set_aside[self.spec.name] = f"cannot be loaded: {outcome.error}"
                return True
            if outcome.stage == "captioner":
                self.in_a_row += 1
            elif outcome.text is not None:
                self.in_a_row = 0
            if self.settings.give_up and self.in_a_row >= self.settings.give_up:
                told = f"{self.in_a_row} failures in a row, the last one: {outcome.error}"
                self.summary.set_aside[self.spec.name] = told
                return True
        return False
