"""Every threshold of the pipeline in one frozen object, whose hash stands in every record."""

import hashlib
import json
from dataclasses import asdict, dataclass

_SHARES = (
    *("ground_score", "nms_iou", "box_agreement", "fragment_area_ratio", "fragment_iof", "add_back_ratio"),
    *("hole_ratio", "close_ratio", "component_ratio", "fallback_ratio", "duplicate_iou", "duplicate_inside"),
    *("reground_iou", "min_area_ratio"),
)


@dataclass(frozen=True)
class OrsConfig:
    """Thresholds of SA1B-ORS. Shares lie in [0, 1]; |p| is the coarse mask, |u| the merged one, in pixels.

    Attributes:
        ground_score: least score of a grounded box.
        nms_iou: least IoU of two boxes that compete.
        box_agreement: least IoU of the boxer's box with the grounded one.
        fragment_pixels, fragment_area_ratio: a fragment below either (the ratio is of the image) is dropped.
        fragment_iof: least share of a fragment inside p.
        add_back: give back parts of p that no fragment covers.
        add_back_ratio: such a part that does not touch u needs this share of |p|.
        hole_ratio: holes up to this share of |u| are filled.
        close_ratio: rho = max(1, round(close_ratio * sqrt(H * W))); the closing square has 2 rho + 1 pixels a side.
        component_ratio: parts below this share of the largest are dropped.
        fallback_ratio: below this share of |p| the merged mask is given up for p.
        duplicate_iou: two objects of one label above this IoU, of boxes or of masks, are one.
        duplicate_inside: so are two of which one lies inside the other by this share.
        min_words, max_words: of a description.
        reground_iou: least IoU of the box found again from the description.
        min_area_ratio: least share of the image that a described object covers.
    """

    ground_score: float = 0.35
    nms_iou: float = 0.7
    box_agreement: float = 0.5
    fragment_pixels: int = 16
    fragment_area_ratio: float = 1e-5
    fragment_iof: float = 0.8
    add_back: bool = True
    add_back_ratio: float = 0.01
    hole_ratio: float = 0.01
    close_ratio: float = 0.002
    component_ratio: float = 0.02
    fallback_ratio: float = 0.7
    duplicate_iou: float = 0.7
    duplicate_inside: float = 0.9
    min_words: int = 3
    max_words: int = 60
    reground_iou: float = 0.8
    min_area_ratio: float = 0.002

    def __post_init__(self) -> None:
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if self.fragment_pixels < 0 or not 1 <= self.min_words <= self.max_words:
            raise ValueError(
                "fragment_pixels must not be negative, and 1 <= min_words <= max_words; got "
                f"{self.fragment_pixels}, {self.min_words} and {self.max_words}"
            )

    @property
    def hash(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of all fields."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]
