"""The tokenizer of small models."""

import pytest

from mvplm.models.small import small_tokenizer

TEXTS = ["the red star left of the ring", "a small dotted heart"] * 40


@pytest.mark.parametrize("numbers", [0, 24])
def test_digits_are_single_or_numbers_are_whole(numbers: int):
    tokenizer = small_tokenizer(TEXTS, vocab_size=330, numbers=numbers)
    lengths = [len(tokenizer.encode(str(number), add_special_tokens=False)) for number in range(30)]
    assert lengths == [1 if number < 10 or number <= numbers else 2 for number in range(30)]
    assert tokenizer.decode(tokenizer.encode("[[3 12 20 24]] x124 猫")) == "[[3 12 20 24]] x124 猫"


def test_too_few_ids_for_the_numbers_are_refused():
    with pytest.raises(ValueError, match="^1 ids are too few for the numbers up to 400: [0-9]+ has none"):
        small_tokenizer(TEXTS, vocab_size=1, numbers=400)
