"""Captioners for the tests of labelling."""

from collections import Counter

calls = Counter()


def told(image) -> str:
    """A text that depends on the pixels, so that a mixed-up order shows."""
    return f"The corner is {image.getpixel((0, 0))} and the other one is {image.getpixel((1, 1))}."


def corner(images):
    """One text per picture."""
    calls.update(["corner"])
    return [told(image) for image in images]


def size(images):
    """One text per picture."""
    return [f"The picture has {image.width} columns and a height of {image.height} rows." for image in images]


def numbered(images, sample):
    """Another one for each sample."""
    calls.update([f"numbered {sample}"])
    return [f"The text number {sample} says: {told(image)}" for image in images]


def first(images):
    """Another one."""
    return [f"First of all there is {told(image)}" for image in images]


def last(images):
    """Another one."""
    return [f"Last of all there is {told(image)}" for image in images]


def broken(images):
    """Never answers."""
    raise RuntimeError("no answer")


def only_alone(images):
    """Fails for a batch."""
    if len(images) > 1:
        raise MemoryError("too many pictures")
    return [told(image) for image in images]


def too_few(images):
    """One text is missing."""
    return ["A text."] * (len(images) - 1)


def deadly(images):
    """Ends the process when a picture with a black corner comes along."""
    import os
    import signal

    if any(image.getpixel((0, 0)) == (0, 0, 0) for image in images):
        os.kill(os.getpid(), signal.SIGKILL)
    return [told(image) for image in images]


class Loaded:
    """A captioner with something to load."""

    prompt = "What is it?"

    def __call__(self, images):
        return ["It is one of the pictures."] * len(images)


class Unloadable:
    """Its weights are gone."""

    def __init__(self) -> None:
        raise OSError("weights are gone")

    def __call__(self, images):
        return [""] * len(images)
