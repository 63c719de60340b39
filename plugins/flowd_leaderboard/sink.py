"""A flowd sink: the leaderboard, traders and their events for whoever asks, and events as they
happen.

What many ask alike is prepared once by the door. Whoever asks for one trader asks tracking to visit
it, so that its state is fresh for the next who looks; what was told is named by what it was made
of, so that who has it already costs neither looking through streams nor writing it anew.
"""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from attrs import field, frozen

from flowd.market import Fill
from flowd.plugin import (
    Asked,
    BadRequest,
    Batch,
    Hot,
    Index,
    Live,
    Record,
    Session,
    StreamName,
    Streams,
    Tail,
    codec,
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
    traders = Traders(config)

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
            instead=traders.about,
            page=True,
        ),
        Hot(
            "/traders/{address}/events",
            lambda batch: b"",
            stream=config.positions,
            instead=traders.events,
        ),
        Hot(
            "/api/v1/stats",
            lambda batch: b"",
            stream=config.round,
            instead=stats,
        ),
    ]


class Traders:
    """What is known of one trader, for whoever asks."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._by_address: dict[str, Index[Any, str]] = {}

    async def about(self, query: Mapping[str, str], streams: Streams, now_ms: int) -> Tail:
        """All of it. Who was not visited lately is visited next."""
        config, address = self._config, asked_for(query["address"])
        _check(query, ["address"])
        happened = await self._of(streams, config.positions, address, EVENTS)
        known = config.fills in streams
        fills = await self._of(streams, config.fills, address, FILLS) if known else []
        # From here on nothing else runs: all that is told is of one instant.
        account: Account | None = streams[config.accounts].get(address)
        if account is None or now_ms - account.time_ms > STALE_MS:
            streams[config.positions].ask(address)
        trader: Trader | None = streams[config.traders].get(address)
        standing: Standing | None = streams[config.leaderboard].get(address)
        equity: Equity | None = streams[config.equity].get(address)

        def body() -> bytes:
            told = {
                "trader_address": address,
                "known": trader is not None,
                "tracked": account is not None,
                "trader": None if trader is None else shapes.trader(trader),
                "standing": None if standing is None else shapes.standing(standing),
                "account": None if account is None else shapes.account(account),
                "equity": [] if equity is None else shapes.equity(equity),
                "events": [shapes.event(one.value) for one in happened],
            }
            if known:
                told["fills"] = [shapes.fill(one.value) for one in fills]
            return codec.encode(told) + b"\n"

        state = [address, trader, account, standing, equity, known, *_span(happened), *_span(fills)]
        return Tail(body, _named(streams, config, state))

    async def events(self, query: Mapping[str, str], streams: Streams, now_ms: int) -> Tail:
        """Its newest events, newest first."""
        address = asked_for(query["address"])
        _check(query, ["address"])
        found = await self._of(streams, self._config.positions, address, EVENTS)

        def body() -> bytes:
            told = [shapes.event(one.value) for one in found]
            whole = {"trader_address": address, "events": told, "count": len(told)}
            return codec.encode(whole) + b"\n"

        return Tail(body, _named(streams, self._config, [address, *_span(found)]))

    async def _of(self, streams: Streams, name: str, address: str, most: int) -> list[Record[Any]]:
        if name not in self._by_address:
            self._by_address[name] = Index(streams[name], lambda value: value.address)
        index = self._by_address[name]
        await index.update()
        return index.find(address, most=most, backward=True)


def _span(records: list[Record[Any]]) -> tuple[int, int]:
    """What names the newest records of one address: which is the first of them, and how many."""
    return (records[0].seq if records else 0, len(records))


def _named(streams: Streams, config: Config, state: list[Any]) -> str:
    """A word for what an answer is made of. In another epoch, numbers mean other records."""
    epochs = [
        streams[name].head.epoch for name in (config.positions, config.fills) if name in streams
    ]
    return blake2b(codec.encode([epochs, state]), digest_size=10).hexdigest()


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
