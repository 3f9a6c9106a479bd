"""What a chat template puts around questions and answers, so that each piece can be turned into ids on its own."""

from dataclasses import dataclass
from typing import Any

from mvplm.prompts.plain import PlainTokenizer

_MARKS = ("first-question-mark", "first-answer-mark", "second-question-mark")


@dataclass(frozen=True)
class ChatFrame:
    """The fixed pieces of a conversation about one picture.

    Attributes:
        before: text before the first question, with the placeholder of the picture.
        after: ids between a question and its answer.
        end: id that ends an answer.
        between: ids between the end of an answer and the next question.
    """

    before: str
    after: tuple[int, ...]
    end: int
    between: tuple[int, ...]

    @classmethod
    def of(cls, processor: Any, tokenizer: PlainTokenizer) -> "ChatFrame":
        """The frame of a processor's chat template.

        Raises:
            ValueError: no chat template, or one that changes or reorders questions and answers.
        """
        if getattr(processor, "chat_template", None) is None:
            raise ValueError(
                "the processor has no chat template: put chat_template.jinja of the base model beside its processor"
            )
        first, answer, second = _MARKS
        asked: list[dict[str, Any]] = [
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": first}]}
        ]
        told = [
            *asked,
            {"role": "assistant", "content": [{"type": "text", "text": answer}]},
            {"role": "user", "content": [{"type": "text", "text": second}]},
        ]
        once, twice = (
            str(processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
            for turns in (asked, told)
        )
        if [once.count(first), *(twice.count(mark) for mark in _MARKS)] != [1, 1, 1, 1]:
            raise ValueError("the chat template does not show every question and answer once, as they are")
        before, after = once.split(first)
        between = tokenizer.frame(twice.split(answer)[1].split(second)[0])
        special = {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()}
        end = int(tokenizer.tokenizer.eos_token_id)
        if between and between[0] in special:
            end, between = between[0], between[1:]
        return cls(before, tuple(tokenizer.frame(after)), end, tuple(between))
