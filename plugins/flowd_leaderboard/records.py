"""What the leaderboard publishes beside the standings."""

from attrs import frozen


@frozen
class Computation:
    """One computation of the leaderboard: so many are `listed`, and the `population` of them was
    compared. `unlisted` were too many. A table, under the key `leaderboard`.
    """

    time_ms: int
    population: int
    listed: int
    unlisted: int
