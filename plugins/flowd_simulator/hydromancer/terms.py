"""What the service grants and refuses, and in which of the forms that are known of it.

All of it may be changed while it runs.
"""

from typing import Literal

from attrs import Factory, define

DEMO_KEY = "demo-key"


@define
class Terms:
    """One plan of the service; the limits are those of its second tier but for what tests need."""

    keys: set[str] = Factory(lambda: {DEMO_KEY})
    in_band: bool = False
    """A wrong key is refused by an error message and a close, not by HTTP 401."""
    connections: int = 500
    subscriptions: int = 5000
    liquidation_subscriptions: int = 2
    """Of one key; so is every limit here."""
    messages_per_min: int = 3000
    coins: int = 100
    all_fills: bool = True
    """Whether the key has the permission for all fills, unfiltered."""
    refused: dict[str, str] = Factory(dict)
    """Feeds that are refused, each with the error's text."""
    acknowledge: Literal["names", "objects", "never"] = "names"
    sessions: Literal["resumed", "ignored", "refused"] = "resumed"
    replay: Literal["data", "messages"] = "data"
    """Whether the rows are in the replay frame, or in ordinary messages after it."""
    replay_s: float = 30.0
    overlap: int = 0
    """Blocks before the cursor that are replayed too."""
    session_life_s: float = 120.0
    both_sides: bool = True
    """Whether the feed of liquidations has the counterparties' rows."""
    ping_every_s: float = 60.0
    pong_within_s: float = 30.0
    login_within_s: float = 10.0
    chunk_items: int = 500
