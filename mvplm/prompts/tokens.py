"""The tokenizer of a prompt: ordinary text on one side, the summary and end tokens as bare ids on the other."""

import copy
import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from mvplm.prompts.plain import plain_backend
from mvplm.prompts.templates import template_texts
from mvplm.structures.choices import check_choice

SUMMARY_TOKEN = "<PER>"
PAD_TOKEN = "[PAD]"
SUFFIX_TOKEN = "[SEG]"
END_TOKEN = "<|endoftext|>"
IDS_FILE = "prompt_tokenizer.json"
_TOKENIZER_FILE = "tokenizer.json"
_TEMPLATE_REPEATS = 1000
PAPER_CONTROLS = (SUMMARY_TOKEN,)
"""Tokens the paper's prompts add to a tokenizer."""
RELEASED_CONTROLS = (PAD_TOKEN, SUFFIX_TOKEN)
"""Tokens the public checkpoints added, in the order of their ids."""


class PromptTokenizer:
    """A fast Hugging Face tokenizer with the control tokens of prompts, ``<PER>`` unless said otherwise.

    Text never turns into a control token: :meth:`encode` uses a copy of the tokenizer without any added token, so
    "<PER>" or "<|endoftext|>" written by a user is spelled out like every other word. Control tokens are placed by id.

    Args:
        tokenizer: a fast transformers tokenizer; it is copied.
        controls: control tokens added to it, of ``<PER>``, ``[PAD]`` and ``[SEG]``; existing ones are kept, the others
            take the next free ids.

    Attributes:
        tokenizer: the wrapped transformers tokenizer, control tokens included.
        summary_id: id of ``<PER>``. suffix_id: id of ``[SEG]``, which follows names. -1 for a token that is not there.
        end_id: id of the end-of-text token. pad_id: that of ``[PAD]``, else the end's; padding has explicit masks.
        vocab_size: largest id + 1.

    Raises:
        ValueError: the tokenizer is not a fast one, has no end-of-text token, or cannot spell a control token as text;
            an unknown control token.
    """

    def __init__(self, tokenizer: Any, *, controls: Sequence[str] = PAPER_CONTROLS) -> None:
        from tokenizers import AddedToken

        for control in controls:
            check_choice("control token", control, choices=(SUMMARY_TOKEN, PAD_TOKEN, SUFFIX_TOKEN))

        if getattr(tokenizer, "backend_tokenizer", None) is None:
            raise ValueError(f"a fast tokenizer is needed, got {type(tokenizer).__name__}")
        if tokenizer.eos_token_id is None:
            raise ValueError("the tokenizer has no end-of-text token (eos_token)")
        self.tokenizer = copy.deepcopy(tokenizer)
        self.controls = tuple(controls)
        self.tokenizer.add_tokens([AddedToken(control, special=False, normalized=False) for control in controls])
        ids = {control: self.tokenizer.convert_tokens_to_ids(control) for control in controls}
        self.summary_id: int = ids.get(SUMMARY_TOKEN, -1)
        self.suffix_id: int = ids.get(SUFFIX_TOKEN, -1)
        self.end_id: int = self.tokenizer.eos_token_id
        self.pad_id: int = ids.get(PAD_TOKEN, self.end_id)
        self._added: dict[int, Any] = dict(self.tokenizer.added_tokens_decoder)
        self.vocab_size: int = max(self.tokenizer.get_vocab().values()) + 1
        self._plain = plain_backend(self.tokenizer)
        self._check_controls_are_text()

    def _check_controls_are_text(self) -> None:
        controls = {i for i, token in self._added.items() if token.special} | self._control_ids()
        for token_id in sorted(controls):
            spelled = self.encode(str(self._added[token_id].content)) if token_id in self._added else []
            if controls & set(spelled):
                raise ValueError(
                    f"the tokenizer reads {self._added[token_id].content!r} as a control token, not as text"
                )

    def _control_ids(self) -> set[int]:
        return {i for i in (self.summary_id, self.suffix_id, self.end_id, self.pad_id) if i >= 0}

    @classmethod
    def from_pretrained(
        cls, directory: str | Path, *, local_files_only: bool = True, controls: Sequence[str] = PAPER_CONTROLS
    ) -> "PromptTokenizer":
        """Load what :meth:`save_pretrained` wrote, or any directory (or Hub id) transformers can read.

        Args:
            directory: where it lies.
            local_files_only: never use the network.
            controls: control tokens of a tokenizer of transformers; one of ours knows its own.

        Raises:
            ValueError: the stored hash or ids differ from those of the loaded tokenizer.
        """
        ids_file = Path(directory) / IDS_FILE
        if not ids_file.is_file():
            from transformers import AutoTokenizer

            return cls(
                AutoTokenizer.from_pretrained(str(directory), local_files_only=local_files_only), controls=controls
            )
        from transformers import PreTrainedTokenizerFast

        stored = json.loads(ids_file.read_text(encoding="utf-8"))
        tokenizer_file = str(Path(directory) / _TOKENIZER_FILE)
        loaded = cls(
            PreTrainedTokenizerFast(tokenizer_file=tokenizer_file, eos_token=stored["end_token"]),
            controls=stored.get("controls", PAPER_CONTROLS),
        )
        found = loaded.describe()
        wrong = [
            f"{key}: expected {stored.get(key)!r}, got {found[key]!r}" for key in found if stored.get(key) != found[key]
        ]
        if wrong:
            raise ValueError(f"the tokenizer in {directory} is not the one it was saved as ({'; '.join(wrong)})")
        return loaded

    def save_pretrained(self, directory: str | Path) -> None:
        """Write ``tokenizer.json`` and ``prompt_tokenizer.json`` (ids and hash) into ``directory``, creating it."""
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer.backend_tokenizer.save(str(folder / _TOKENIZER_FILE))
        (folder / IDS_FILE).write_text(json.dumps(self.describe(), indent=2) + "\n", encoding="utf-8")

    def describe(self) -> dict[str, Any]:
        """Control tokens, ids, vocabulary size and hash, JSON-ready: what a checkpoint stores and loading compares."""
        described: dict[str, Any] = {} if self.controls == PAPER_CONTROLS else self._other_controls()
        return {
            **described,
            "summary_token": SUMMARY_TOKEN if SUMMARY_TOKEN in self.controls else None,
            "summary_id": self.summary_id,
            "end_token": self.tokenizer.eos_token,
            "end_id": self.end_id,
            "pad_id": self.pad_id,
            "vocab_size": self.vocab_size,
            "sha256": self.hash(),
        }

    def _other_controls(self) -> dict[str, Any]:
        return {"controls": list(self.controls), "suffix_id": self.suffix_id}

    def hash(self) -> str:
        """SHA-256 (hex) of the tokenizer definition and the control ids; equal hash means equal ids for any text."""
        definition = json.loads(self.tokenizer.backend_tokenizer.to_str())
        definition["truncation"], definition["padding"] = None, None
        content = [definition, self.summary_id, self.end_id, self.pad_id]
        if self.controls != PAPER_CONTROLS:
            content.append(self._other_controls())
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode("utf-8")).hexdigest()

    @cached_property
    def allowed_ids(self) -> tuple[int, ...]:
        """Ids a caption may be generated from: text, ``<PER>``, the end token; no other control, no unused row."""
        keep = {self.summary_id, self.end_id}
        placed = {self.suffix_id, self.pad_id} - {self.end_id}
        known = set(self.tokenizer.get_vocab().values())
        text = known - placed
        return tuple(sorted(i for i in text if i in keep or not (i in self._added and self._added[i].special)))

    def encode(self, text: str) -> list[int]:
        """Ids of a piece of text, nothing added around it; control tokens in the text are ordinary characters.

        Raises:
            ValueError: the text holds unpaired surrogates, which no encoding can express.
        """
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(f"text is not valid Unicode: {text!r}") from error
        return list(self._plain.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; control ids are left out."""
        control = self._control_ids()
        kept = [int(i) for i in ids if int(i) not in control]
        return self.tokenizer.backend_tokenizer.decode(kept, skip_special_tokens=False)


def train_scenes_tokenizer(
    texts: Iterable[str], *, vocab_size: int = 1024, controls: Sequence[str] = PAPER_CONTROLS
) -> PromptTokenizer:
    """Train a small byte-level BPE on ``texts`` and on the template sentences; the same texts give the same tokenizer.

    Template words come first, so the fixed part of a prompt costs one token per word whatever the texts are. Any other
    text still encodes (byte fallback), only longer.

    Args:
        texts: sentences the prompts will be made of: names, expressions, captions.
        vocab_size: number of ids, the 256 bytes, the end token and the control tokens included.
        controls: see :class:`PromptTokenizer`.

    Raises:
        ValueError: ``vocab_size`` leaves no room for bytes and control tokens.
    """
    from transformers import PreTrainedTokenizerFast

    least = 257 + len(controls)
    if vocab_size < least:
        added = ", ".join(controls)
        raise ValueError(f"vocab_size must be at least {least} (256 bytes, end token, {added}), got {vocab_size}")
    corpus = list(texts)
    repeats = max(_TEMPLATE_REPEATS, len(corpus))
    corpus += [text for text in template_texts() for _ in range(repeats)]
    backend = byte_level_bpe(corpus, vocab_size=vocab_size - len(controls), specials=[END_TOKEN])
    return PromptTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END_TOKEN), controls=controls)


def byte_level_bpe(texts: Iterable[str], *, vocab_size: int, specials: Sequence[str], digits: str = "text") -> Any:
    """A byte-level BPE of ``tokenizers``, trained on texts; any other text still encodes.

    Args:
        texts: what to train on; the same texts give the same tokens.
        vocab_size: number of ids, the 256 bytes and the special tokens included.
        specials: special tokens, which get the first ids. digits: "text" like any other, every one a token of its own
            ("single"), or apart from what is around them ("runs").
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    backend = Tokenizer(models.BPE())
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False)
    apart = pre_tokenizers.Digits(individual_digits=digits == "single")
    backend.pre_tokenizer = bytes_ if digits == "text" else pre_tokenizers.Sequence([apart, bytes_])
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(specials),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(list(texts), trainer=trainer)
    return backend
