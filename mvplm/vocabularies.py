"""The names a perceiver asks for when none are given, kept in files on request."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mvplm.name_files import read_names, write_names
from mvplm.prompts import INSTRUCTION_FIRST, Conversation
from mvplm.questions import cleaned_names
from mvplm.structures import Vocabulary

if TYPE_CHECKING:
    from mvplm.perceiver import Perceiver


class VocabularyMixin:
    """What a Perceiver does with lists of names."""

    def set_vocabulary(self, names: Sequence[str] | str | Path, *, stuff: Iterable[str] | None = None) -> "Perceiver":
        """Names that :meth:`predict` asks for where ``classes`` are left out.

        With prompts of the order "instruction_first" their embeddings are computed now, once, and kept in the cache
        folder (``MVPLM_CACHE``, else ``~/.cache/mvplm``): a long list then costs nothing per image.

        Args:
            names: a list, or the path of a file that :meth:`save_vocabulary` wrote.
            stuff: which of them are stuff; by default those the model's vocabulary, or the file, says.

        Raises:
            ValueError: no names, repeated or empty ones, or a damaged file.
        """
        perceiver = cast("Perceiver", self)
        file = read_names(names) if isinstance(names, (str, Path)) else None
        listed = cleaned_names(names if file is None else file.facts["names"])
        known = self.stuff_names() if stuff is None else {name.lower() for name in cleaned_names(stuff, "stuff")}
        isthing = tuple(name.lower() not in known for name in listed)
        if file is not None and stuff is None:
            isthing = tuple(file.facts["isthing"])
        Conversation("word", listed, dedupe=perceiver.config.prompt.dedupe)  # refuses repeated names
        if perceiver.config.prompt.order == INSTRUCTION_FIRST:
            kept = file if file is not None and "text" in file.tensors else None
            if kept is None or not perceiver.names.adopt(listed, kept.tensors, facts=kept.facts["of"]):
                perceiver.names.embed(listed, on_disk=True)
        perceiver.asked = Vocabulary(listed, isthing)
        return perceiver

    def save_vocabulary(self, path: str | Path) -> Path:
        """Write the names of :meth:`set_vocabulary` and, where they do not depend on images, their embeddings.

        Raises:
            ValueError: no vocabulary was set.
        """
        perceiver = cast("Perceiver", self)
        if perceiver.asked is None:
            raise ValueError("there is no vocabulary to save; call set_vocabulary(names) first")
        names = perceiver.asked.names
        facts: dict[str, Any] = {"names": list(names), "isthing": list(perceiver.asked.isthing)}
        if perceiver.config.prompt.order != INSTRUCTION_FIRST:
            return write_names(path, {}, facts=facts)
        of = perceiver.names.facts(names)
        return write_names(path, perceiver.names.tensors(names), facts={**facts, "of": of})

    def stuff_names(self) -> set[str]:
        """Lower-case names that the model's vocabulary calls stuff."""
        vocabulary = cast("Perceiver", self).vocabulary
        if vocabulary is None:
            return set()
        pairs = zip(vocabulary.names, vocabulary.isthing, strict=True)
        return {name.lower() for name, isthing in pairs if not isthing}
