"""How an account's worth went, in a bounded number of points."""

from typing import Final, NamedTuple

from attrs import Factory, define

POINTS_MAX: Final = 160


class Point(NamedTuple):
    """An account at one time; `profit` is its equity without what was deposited, `volume` what it
    traded until then, `perp_volume` without spot. Millionths of a dollar.
    """

    time_ms: int
    equity: int
    profit: int
    volume: int
    perp_volume: int


@define
class Series:
    """Points in the order of time. When they are too many, every second of the older half goes."""

    points: list[Point] = Factory(list)

    def add(self, point: Point) -> None:
        """One more."""
        self.points.append(point)
        if len(self.points) > POINTS_MAX:
            half = POINTS_MAX // 2
            self.points[:half] = self.points[:half:2]

    def since(self, time_ms: int) -> list[Point]:
        """The points from this time on, and the newest before it at the head."""
        before = [point for point in self.points if point.time_ms < time_ms]
        return [*before[-1:], *(point for point in self.points if point.time_ms >= time_ms)]
