"""What the exchange grants to one network address, where it is, and its answers of refusal."""

from typing import Final

from attrs import define, frozen

from flowd_simulator.door import Answer

PLAIN: Final = "text/plain; charset=utf-8"
HTML: Final = "text/html"


@define
class Terms:
    """Limits are of one address, as documented, but for what tests need. All of it may be changed
    while the exchange runs.
    """

    connections: int = 10
    connections_per_min: int = 30
    subscriptions: int = 1000
    messages_per_min: int = 2000
    weight_per_min: int = 1200
    silence_s: float = 60.0
    """A connection to which nothing was sent for so long is closed."""
    recent: int = 30
    """Trades in the first message after a subscription."""
    greeting: str | None = None
    """Sent first, as in earlier times: `Websocket connection established.`"""
    users: bool = True
    """Whether trades name their buyer and seller, which they once did not."""
    fills_max: int = 2000
    """In one answer."""
    padding: int = 0
    """So many more positions, in made-up coins, in every state that is not empty."""


@frozen
class Addresses:
    """Where the exchange listens: one port for both."""

    at: str

    @property
    def websocket(self) -> str:
        """flowd's `url`."""
        return f"ws://{self.at}/ws"

    @property
    def info(self) -> str:
        """flowd's `info_url`."""
        return f"http://{self.at}/info"

    @property
    def base(self) -> str:
        """The `base_url` of the exchange's own SDK."""
        return f"http://{self.at}"


TOO_MUCH: Final = Answer(429, b"null")
NOT_UNDERSTOOD: Final = Answer(
    422, b"Failed to deserialize the JSON body into the target type", PLAIN
)
BAD_GATEWAY: Final = Answer(
    502,
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    b"<center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n",
    HTML,
)
