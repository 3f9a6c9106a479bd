"""Asking for classes under several names in an evaluation, and hearing one answer for each class."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mvplm.config import Config, EvalSetConfig
from mvplm.data.mapper import SampleMapper
from mvplm.data.synonyms import Synonyms, expand, read_synonyms
from mvplm.looked import Looked
from mvplm.postprocess.synonyms import merge_synonyms
from mvplm.structures import Record, Sample, Vocabulary


class Asking:
    """How the classes of a data set are asked for.

    Args:
        synonyms: the names of every class; None asks for the names as they are.
    """

    def __init__(self, synonyms: Synonyms | None = None) -> None:
        self.synonyms = synonyms

    @classmethod
    def of(cls, config: Config, records: Sequence[Record]) -> "Asking":
        """As ``names.synonyms`` says; ``records`` are those of ``open_records``.

        Raises:
            ValueError: ``names.synonym_file`` is malformed or has none of the classes.
        """
        shown = records[0].vocabulary
        if config.names.synonyms != "max" or shown is None:
            return cls()
        whole: Vocabulary = getattr(records, "vocabulary", None) or shown
        file = config.names.synonym_file
        return cls(expand(whole, shown, more=None if file is None else read_synonyms(file)))

    def mapper(self, mapper: SampleMapper) -> Any:
        """The mapper that asks for all names; the record's own list otherwise."""
        return mapper if self.synonyms is None else _AskedMapper(mapper, self.synonyms.asked)

    def heard(self, looked: Looked) -> Looked:
        """The forward pass over classes instead of names."""
        if self.synonyms is None:
            return looked
        output, batch = merge_synonyms(looked.perceived.output, looked.batch, classes=self.synonyms.classes)
        return replace(looked, batch=batch, perceived=replace(looked.perceived, output=output))

    def hash(self, vocabulary: Vocabulary | None) -> str | None:
        """First 16 hexadecimal digits of the SHA-256 of the names asked, in order; None without names."""
        asked = vocabulary if self.synonyms is None else self.synonyms.asked
        if asked is None:
            return None
        return hashlib.sha256(json.dumps(list(asked.names), ensure_ascii=False).encode()).hexdigest()[:16]


def asked_key(entry: EvalSetConfig) -> str:
    """What an evaluation set is called where results are compared: data and task, whatever its name in a config."""
    data = str(entry.options.get("root", entry.dataset))
    return f"{data} {entry.task}"


class _AskedMapper:
    """A mapper of evaluation samples, for records with another list of names."""

    def __init__(self, mapper: SampleMapper, asked: Vocabulary) -> None:
        self._mapper = mapper
        self._asked = asked
        self.task = mapper.task

    def __call__(self, record: Record, **place: Any) -> Sample:
        """The sample; the truth stays out of it, for its labels are places in the record's own list."""
        return self._mapper(replace(record, vocabulary=self._asked, annotations=(), absent=(), expressions=()), **place)
