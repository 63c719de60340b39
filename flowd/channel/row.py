"""Who is level in a channel, as the list that its pass walks over."""

from collections.abc import Callable

from flowd.channel.client import Place

Send = Callable[[bytes | memoryview], int]
"""A socket's `send`."""


class Row:
    """The level clients of a channel whose bytes are packed alike."""

    def __init__(self) -> None:
        self._members: dict[Place, None] = {}
        self.places: list[Place] = []
        self.sends: list[Send] | None = None
        """Made anew, with `places`, by the first pass after somebody came or went: removing one
        from the middle of a list of thousands is not worth it.
        """

    def __contains__(self, place: Place) -> bool:
        return place in self._members

    def add(self, place: Place) -> None:
        """This one is level."""
        self._members[place] = None
        self.sends = None

    def discard(self, place: Place) -> None:
        """This one is not any more."""
        del self._members[place]
        self.sends = None

    def ready(self) -> list[Send]:
        """Each one's `send`, in the order of `places`."""
        if self.sends is None:
            self.places = list(self._members)
            self.sends = [place.client.socket.send for place in self.places]
        return self.sends
