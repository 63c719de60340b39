"""A flowd sink: the leaderboard, traders and their events for whoever asks, and events as they
happen.

What many ask alike is prepared once by the door. Whoever asks for one trader asks tracking to visit
it, so that its state is fresh for the next who looks.
"""

from collections.abc import Mapping
from typing import Any
from zlib import crc32

from attrs import field, frozen

from flowd.market import Fill
from flowd.plugin import (
    Asked,
    BadRequest,
    Batch,
    Hot,
    Live,
    Session,
    StreamName,
    Streams,
    Tail,
    codec,
    filters,
)
from flowd.traders import (
    Account,
    Equity,
    PositionEvent,
    Round,
    Standing,
    Trader,
    address_of,
)
from flowd_leaderboard import shapes
from flowd_leaderboard.records import Computation

LIMIT, LIMIT_MAX = 100, 1000
EVENTS, FILLS = 100, 100
"""How many of each there are in what is told of one trader."""
STALE_MS = 60_000
"""A state that is older is asked for anew when somebody looks."""


def _optional(default: str, reads: type) -> Any:
    """A stream that is done without."""
    return field(default=StreamName(default), metadata={"reads": reads, "optional": True})


def _needed(default: str, reads: type) -> Any:
    return field(default=StreamName(default), metadata={"reads": reads})


@frozen
class Config:
    """The streams that answers are made of, by the names that they have unless the configuration
    calls their components otherwise.
    """

    traders: StreamName = _needed("traders", Trader)
    positions: StreamName = _needed("positions", PositionEvent)
    leaderboard: StreamName = _needed("leaderboard", Standing)
    computed: StreamName = _needed("leaderboard.computed", Computation)
    accounts: StreamName = _needed("positions.accounts", Account)
    equity: StreamName = _needed("positions.equity", Equity)
    round: StreamName = _needed("positions.round", Round)
    fills: StreamName = _optional("all-fills", Fill)


def asked_for(text: str) -> str:
    """An address as it is kept; BadRequest where it can be none."""
    address = address_of(text.lower())
    if address is None:
        raise BadRequest(
            f"{text!r:.60} is no address",
            parameter="address",
            value=text,
            allowed="0x and 40 hexadecimal digits",
            status=404,
        )
    return address


def hot(config: Config) -> list[Hot]:
    """What is polled. Where the pages have the same path, a browser gets the page."""

    def board(batch: Batch[Standing], asked: Asked) -> bytes:
        rows = [record.value for record in batch.records]
        chosen = asked.options
        return shapes.leaderboard(rows, chosen["sort_by"], chosen["order"], asked.limit or LIMIT)

    def board_age(streams: Streams, now_ms: int) -> Tail:
        computed: Computation | None = streams[config.computed].get("leaderboard")
        if computed is None:
            return Tail(shapes.computed(None, 0, now_ms))
        return Tail(
            shapes.computed(computed.time_ms, computed.population, now_ms), str(computed.time_ms)
        )

    def newest(batch: Batch[Trader]) -> bytes:
        rows = [shapes.trader(record.value) for record in reversed(batch.records)]
        return codec.encode({"traders": rows, "count": len(rows)}) + b"\n"

    def stats(query: Mapping[str, str], streams: Streams, now_ms: int) -> bytes:
        told: Round | None = streams[config.round].get("round")
        events = streams[config.positions].head.seq
        return codec.encode(shapes.stats(told, now_ms, events)) + b"\n"

    return [
        Hot(
            "/api/v1/leaderboard",
            board,
            stream=config.leaderboard,
            options={"sort_by": tuple(shapes.SORTS), "order": shapes.ORDERS},
            tail=board_age,
            limit_max=LIMIT_MAX,
            limit=LIMIT,
        ),
        Hot(
            "/traders",
            newest,
            stream=config.traders,
            prepare=lambda record: None,
            limit_max=LIMIT_MAX,
            limit=LIMIT,
            page=True,
        ),
        Hot(
            "/traders/{address}",
            lambda batch: b"",
            stream=config.traders,
            instead=lambda query, streams, now_ms: about(config, query, streams, now_ms),
            page=True,
        ),
        Hot(
            "/traders/{address}/events",
            lambda batch: b"",
            stream=config.positions,
            instead=lambda query, streams, now_ms: events(config, query, streams),
        ),
        Hot(
            "/api/v1/stats",
            lambda batch: b"",
            stream=config.round,
            instead=stats,
        ),
    ]


def about(config: Config, query: Mapping[str, str], streams: Streams, now_ms: int) -> Tail:
    """All that is known of one trader. Who was not visited lately is visited next."""
    address = asked_for(query["address"])
    _check(query, ["address"])
    account: Account | None = streams[config.accounts].get(address)
    if account is None or now_ms - account.time_ms > STALE_MS:
        streams[config.positions].ask(address)
    trader: Trader | None = streams[config.traders].get(address)
    standing: Standing | None = streams[config.leaderboard].get(address)
    equity: Equity | None = streams[config.equity].get(address)
    told = {
        "trader_address": address,
        "known": trader is not None,
        "tracked": account is not None,
        "trader": None if trader is None else shapes.trader(trader),
        "standing": None if standing is None else shapes.standing(standing),
        "account": None if account is None else shapes.account(account),
        "equity": [] if equity is None else shapes.equity(equity),
        "events": [shapes.event(one) for one in _newest(streams, config.positions, address)],
    }
    if config.fills in streams:
        found = _newest(streams, config.fills, address, most=FILLS)
        told["fills"] = [shapes.fill(one) for one in found]
    return _whole(told)


def events(config: Config, query: Mapping[str, str], streams: Streams) -> Tail:
    """The newest events of one trader, newest first."""
    address = asked_for(query["address"])
    _check(query, ["address"])
    found = [shapes.event(one) for one in _newest(streams, config.positions, address)]
    return _whole({"trader_address": address, "events": found, "count": len(found)})


def _newest(streams: Streams, name: str, address: str, most: int = EVENTS) -> list[Any]:
    """The newest values of a stream that are of this address, newest first."""
    stream = streams[name]
    wanted = filters.parse(stream.record, {"address": address})
    batch = stream.read(0, first=True, filter=wanted)
    return [record.value for record in reversed(batch.records[-most:])]


def _whole(told: Mapping[str, Any]) -> Tail:
    """A body, and what names it."""
    body = codec.encode(told) + b"\n"
    return Tail(body, f"{crc32(body):08x}{len(body):x}")


def _check(query: Mapping[str, str], known: list[str]) -> None:
    for name, value in query.items():
        if name not in known:
            raise BadRequest(
                f"no parameter is called {name!r:.60}", parameter=name, value=value, allowed=[]
            )


def live(config: Config) -> Live:
    """`/ws/v1/updates`: events as they happen; with `after` from there on."""

    def open(session: Session) -> None:
        wanted = dict(session.query)
        after, limit = wanted.pop("after", None), wanted.pop("limit", None)
        if "address" in wanted:
            parts = wanted["address"].split(",")
            wanted["address"] = ",".join(asked_for(part) for part in parts)
        wish = session.wish(
            config.positions,
            filter=wanted,
            after=after,
            limit=0 if after is None and limit is None else limit,
        )
        session.say(shapes.connected(session.now_ms()))
        session.follow(wish)

    return Live(
        "/ws/v1/updates",
        shapes.updates,
        websocket=True,
        open=open,
        warn=shapes.slow,
        error=shapes.error,
        heartbeat=lambda session: shapes.heartbeat(session.now_ms()),
    )
