"""What a strict decoder raises."""


class CodecError(ValueError):
    """A text or a sequence of codes that is not exactly what the encoder writes."""
