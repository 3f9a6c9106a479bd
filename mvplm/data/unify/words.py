"""Lists of category names: panoptic, semantic, instance and detection tasks."""

import random

from mvplm.data.unify.settings import Candidate, NameSampling
from mvplm.structures import Annotation, Record

THING_TASKS = ("instance", "detection")


def word_candidates(
    record: Record, *, task: str, rng: random.Random, sampling: NameSampling, training: bool
) -> list[Candidate]:
    """Names of the record's vocabulary to ask for, in vocabulary order.

    Evaluation: all names. Training: every present name, and absent ones by ``sampling`` (of a record that is not
    exhaustive only those it says are absent: any other may be in the image). Crowd regions are no targets; a name with
    nothing but crowds is neither present nor absent, so training does not ask for it. Tasks that look for countable
    objects only (instance, detection) leave stuff names and stuff regions out.

    Raises:
        ValueError: the record has no vocabulary, an annotation has no label, or there is no name to ask for.
    """
    if record.vocabulary is None:
        raise ValueError(f"image {record.image_id}: task {task!r} needs a vocabulary, the record has none")
    vocabulary, things_only = record.vocabulary, task in THING_TASKS
    found: dict[int, list[Annotation]] = {}
    crowded = set()
    for annotation in record.annotations:
        if annotation.label is None:
            raise ValueError(f"image {record.image_id}: task {task!r} needs a label for every annotation")
        if annotation.iscrowd:
            crowded.add(annotation.label)
        else:
            found.setdefault(annotation.label, []).append(annotation)
    indices = [i for i in range(len(vocabulary)) if vocabulary.isthing[i] or not things_only]
    if training:
        present = [i for i in indices if i in found]
        known = range(len(vocabulary)) if record.exhaustive else record.absent
        absent = [i for i in indices if i in known and i not in found and i not in crowded]
        indices = sorted(present + _draw_absent(absent, present=len(present), rng=rng, sampling=sampling))
    if not indices:
        raise ValueError(f"image {record.image_id}: no name to ask for in task {task!r}")
    return [Candidate(vocabulary.names[i], bool(vocabulary.isthing[i]), tuple(found.get(i, ()))) for i in indices]


def _draw_absent(absent: list[int], *, present: int, rng: random.Random, sampling: NameSampling) -> list[int]:
    """Absent names that enter the list; at least one when no name is present."""
    if len(absent) + present <= sampling.full_limit:
        if rng.random() < sampling.full_probability:
            return absent
        keep = rng.random()
        chosen = [index for index in absent if rng.random() < keep]
    else:
        size = rng.randint(*sampling.sizes)
        chosen = rng.sample(absent, min(len(absent), max(0, size - present)))
    if not chosen and not present and absent:
        chosen = [rng.choice(absent)]
    return chosen
