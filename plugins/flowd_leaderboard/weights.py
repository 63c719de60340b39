"""What each figure is worth in a score."""

from typing import Any, Final, Literal

from attrs import field, fields, frozen

TOLERANCE: Final = 1e-9

VolumeScale = Literal["linear", "log"]


def _positive(_: object, attribute: Any, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"weights.{attribute.name} = {value}: expected a number from 0 to 1")


@frozen
class Weights:
    """What each figure is worth: not below 0, and 1 in sum."""

    win_rate: float = field(default=0.30, validator=_positive)
    volume: float = field(default=0.20, validator=_positive)
    max_drawdown: float = field(default=0.25, validator=_positive)
    risk_ratio: float = field(default=0.15, validator=_positive)
    max_profit: float = field(default=0.10, validator=_positive)

    def __attrs_post_init__(self) -> None:
        total = sum(self.each)
        if abs(total - 1) > TOLERANCE:
            raise ValueError(f"weights: they sum up to {total:g}, expected 1")

    @property
    def each(self) -> list[float]:
        """In the order of the figures of a `Contender`."""
        return [getattr(self, one.name) for one in fields(Weights)]
