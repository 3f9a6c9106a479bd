"""From a record to a question that the model is to answer: pictures and prompts, no truth."""

from mvplm.data.box_questions import listed_names
from mvplm.data.mask_mapper import picture_of
from mvplm.prompts.box_masks import box_question
from mvplm.structures import Record
from mvplm.structures.written import Turn, WrittenSample


class OpenBoxMapper:
    """Makes samples with open answers of one form of question.

    Args:
        form: kind of question, see ``mvplm.prompts.box_masks``. task: public task, for what asks a mapper for it.
    """

    def __init__(self, form: str, *, task: str) -> None:
        self.form = form
        self.task = task

    def __call__(
        self, record: Record, *, epoch: int = 0, index: int = 0, expression: int | None = None
    ) -> WrittenSample:
        """The sample that asks for all names of a record, or for one of its expressions; nothing is drawn.

        Raises:
            ValueError: the record has no names, or its picture cannot be read.
        """
        if expression is None and record.expressions:
            expression = 0
        asked = None if expression is None else record.expressions[expression]
        if self.form == "category" and asked is not None and asked.kind == "category":
            names: tuple[str, ...] = listed_names(record, asked)
            question = box_question("category", classes=names)
        elif self.form != "category" and asked is not None:
            names = (asked.text,)
            question = box_question(self.form, text=names[0])
        elif record.vocabulary is not None:
            names = record.vocabulary.names
            question = box_question("category", classes=names)
        else:
            raise ValueError(f"image {record.image_id}: {self.form} needs names or an expression")
        return WrittenSample(picture_of(record), record.image_id, self.form, (Turn(question, None, tuple(names)),))
