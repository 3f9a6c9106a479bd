"""The names that the room of models offers."""

import pytest

from mvplm import models


@pytest.mark.parametrize("name", models.__all__)
def test_every_name_is_there(name: str):
    assert getattr(models, name).__name__ == name and name in dir(models)


def test_a_wrong_name_is_answered_with_the_nearest():
    with pytest.raises(
        AttributeError, match="'mvplm.models' has no attribute 'PixelDecodr'; did you mean 'PixelDecoder'"
    ):
        models.PixelDecodr  # noqa: B018
