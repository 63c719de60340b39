"""A flowd transform: says when somebody who is watched, or anybody, changes a position in a way
that is worth a word.

Its own stream is all that it remembers: an event that stands there is not told again, also after a
crash.
"""

from decimal import Decimal
from typing import Any, get_args

from attrs import field, frozen

from flowd.plugin import Feed, Input, Seconds, StreamName, Streams
from flowd.traders import Change, PositionEvent, address_of

ADDRESSES_MAX = 10_000
_WORDS = {
    "OPEN": "opened",
    "INCREASE": "increased",
    "DECREASE": "decreased",
    "CLOSE": "closed",
    "FLIP": "flipped to",
}


def _events(_: object, attribute: Any, events: list[str]) -> None:
    for event in events:
        if event not in get_args(Change):
            raise ValueError(
                f"events: there is no {event!r}; there are {', '.join(get_args(Change))}"
            )
    if not events:
        raise ValueError("events = []: name at least one, or leave events out for all")


def _addresses(_: object, attribute: Any, addresses: list[str]) -> None:
    for address in addresses:
        if address_of(address) is None:
            raise ValueError(f"addresses: {address!r:.60} is none; one is 0x and 40 digits")
    if len(addresses) > ADDRESSES_MAX:
        raise ValueError(f"addresses: {len(addresses)}, at most {ADDRESSES_MAX}")


@frozen
class Config:
    """Events of these kinds, of these `addresses` (`[]` for everybody) and `symbols`, that change a
    position by at least `min_notional` quote units, are told; `liquidated` tells only those that
    were forced.
    """

    input: StreamName
    events: list[str] = field(factory=lambda: list(get_args(Change)), validator=_events)
    addresses: list[str] = field(factory=list, validator=_addresses)
    symbols: list[str] = field(factory=lambda: ["*"])
    min_notional: Decimal = Decimal(0)
    liquidated: bool = False
    max_age: Seconds = Seconds(86_400.0)

    def __attrs_post_init__(self) -> None:
        if self.min_notional < 0:
            raise ValueError(f"min_notional = {self.min_notional}: expected 0 or more")
        if not self.symbols:
            raise ValueError('symbols = []: name at least one, or ["*"] for all')
        everything = not self.addresses and not self.min_notional and not self.liquidated
        if everything and len(self.events) == len(get_args(Change)) and "*" in self.symbols:
            raise ValueError(
                "this tells of every event there is, as its input does: name addresses, events, "
                "symbols or min_notional"
            )


@frozen
class PositionAlert:
    """An event that somebody wanted to hear of. `event_id` is its id, `value` what the change was
    worth, in quote units.
    """

    symbol: str
    address: str
    event: Change
    time_ms: int
    value: Decimal
    liquidated: bool
    sampled: bool
    event_id: str
    text: str
    venue: str


def alert_of(event: PositionEvent) -> PositionAlert:
    """An event, with its sentence."""
    forced = ", liquidated" if event.liquidated else ""
    price = "" if event.mark_price is None else f" at {event.mark_price:,f}"
    text = (
        f"{event.address[:6]}…{event.address[-4:]} {_WORDS[event.event]} {event.side}"
        f" {event.symbol}: {event.notional:,.0f}{price}, now {event.size:f}{forced}"
    )
    return PositionAlert(
        event.symbol,
        event.address,
        event.event,
        event.time_ms,
        event.notional,
        event.liquidated,
        event.sampled,
        event.id,
        text,
        event.venue,
    )


async def alerts(config: Config, streams: Streams, feed: Feed[PositionAlert]) -> None:
    """Look at each event once; ends when the input does."""
    events: Input[PositionEvent] = streams[config.input]
    watched = frozenset(address.lower() for address in config.addresses)
    kinds, symbols = frozenset(config.events), frozenset(config.symbols)
    async for record in events.cursor().records():
        event = record.value
        age_ms = feed.clock() - event.time_ms
        if (
            event.event in kinds
            and (not watched or event.address in watched)
            and ("*" in symbols or event.symbol in symbols)
            and event.notional >= config.min_notional
            and (event.liquidated or not config.liquidated)
            and age_ms <= config.max_age * 1000
        ):
            feed.publish(alert_of(event), id=event.id)
