"""What a thing looks like and where it is: the ground truth that pictures and texts are both made from."""

from dataclasses import dataclass

from mvplm.data.scenes.palette import COLOURS
from mvplm.data.scenes.patterns import PATTERNS
from mvplm.data.scenes.shapes import SHAPES

HELD_OUT: frozenset[str] = frozenset(
    (
        "red square",
        "orange cross",
        "yellow crescent",
        "yellow triangle",
        "green circle",
        "cyan star",
        "blue heart",
        "purple arrow",
        "purple square",
        "pink triangle",
        "white ring",
        "black hexagon",
    )
)

SIZES: dict[str, tuple[float, float]] = {"small": (0.0108, 0.0195), "medium": (0.034, 0.054), "large": (0.09, 0.235)}

ATTRIBUTES: tuple[str, ...] = ("size", "pattern", "colour", "shape")
CHOICES: dict[str, tuple[str, ...]] = {
    "size": tuple(SIZES),
    "pattern": PATTERNS,
    "colour": tuple(COLOURS),
    "shape": tuple(SHAPES),
}


@dataclass(frozen=True)
class Look:
    """The four attributes of a thing, each a word of ``CHOICES`` ("medium" is never said)."""

    size: str
    pattern: str
    colour: str
    shape: str

    @property
    def name(self) -> str:
        """Colour and shape, the name a detector is asked for."""
        return f"{self.colour} {self.shape}"

    @property
    def words(self) -> str:
        """All that is ever said of it."""
        return " ".join(getattr(self, key) for key in ATTRIBUTES if getattr(self, key) != "medium")

    def differences(self, other: "Look") -> int:
        """How many of the four attributes differ."""
        return sum(getattr(self, key) != getattr(other, key) for key in ATTRIBUTES)


@dataclass(frozen=True)
class Thing:
    """A placed thing.

    Attributes:
        look: its attributes.
        area: pixels of the whole shape; visible: those not hidden by later things.
        box: (x1, y1, x2, y2) XYXY_ABS around the visible pixels.
    """

    look: Look
    area: int
    visible: int
    box: tuple[float, float, float, float]

    @property
    def hidden(self) -> float:
        """Hidden share of the shape in [0, 1]."""
        return 1 - self.visible / self.area

    @property
    def x(self) -> float:
        """Horizontal centre of the visible box, pixels."""
        return (self.box[0] + self.box[2]) / 2

    @property
    def y(self) -> float:
        """Vertical centre of the visible box, pixels (downwards)."""
        return (self.box[1] + self.box[3]) / 2


@dataclass(frozen=True)
class Region:
    """A piece of background: its texture's name and the centre of its whole area (x, y) in pixels."""

    name: str
    x: float
    y: float
