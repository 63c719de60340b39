"""`GET /api/v1/heatmap/{symbol}/timeseries?start=&end=&bins=&low=&high=`: the past as a picture, in
JSON, MessagePack or Arrow, whichever the client accepts.
"""

import gzip
from collections import OrderedDict
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from importlib import import_module
from typing import Any

import msgspec
import trio
from quart import Blueprint, Response, request

from flowd.plugin import BadRequest, Desk, Index, StreamName, Streams, codec, how_to_install
from flowd_heatmap.decoder import Decoder
from flowd_heatmap.picture import BINS_MAX, COLUMNS_MAX, draw, in_text, told
from flowd_heatmap.records import Column

PATH = "/api/v1/heatmap/<symbol>/timeseries"
BINS = 300
WEEK_MS = 7 * 86_400_000
JSON, MSGPACK, ARROW = (
    "application/json",
    "application/vnd.msgpack",
    "application/vnd.apache.arrow.stream",
)
LEVEL = 4
"""Of gzip: the highest takes three times as long for a twentieth less."""
KEPT_BYTES = 16 * 1024 * 1024
"""Of answers, as long as nothing new has come."""


class Answers:
    """Pictures that were asked for, made in a thread, one at a time; the newest-used are kept."""

    def __init__(self) -> None:
        self._decoder = Decoder()
        self._limiter = trio.CapacityLimiter(1)
        self._kept: OrderedDict[Any, bytes] = OrderedDict()
        self._bytes = 0

    async def get(self, key: Any, columns: list[Column], wanted: "Wanted") -> bytes:
        """The body for this key, which holds all that it depends on."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        made = await trio.to_thread.run_sync(self._make, columns, wanted, limiter=self._limiter)
        if key not in self._kept:
            self._bytes += len(made)
        self._kept[key] = made
        while self._bytes > KEPT_BYTES:
            self._bytes -= len(self._kept.popitem(last=False)[1])
        return made

    def _make(self, columns: list[Column], wanted: "Wanted") -> bytes:
        decoded = self._decoder.decode(columns)
        picture = draw(wanted.symbol, decoded, wanted.bins, wanted.low, wanted.high)
        body = wanted.write(told(picture, wanted.start_ms, wanted.end_ms))
        return gzip.compress(body, LEVEL, mtime=0) if wanted.packed else body


class Wanted:
    """What one request asks for, checked."""

    def __init__(
        self,
        symbol: str,
        query: Mapping[str, str],
        accept: str,
        packed: bool,
        now_ms: int,
    ) -> None:
        self.symbol = symbol
        self.packed = packed
        known = ("start", "end", "bins", "low", "high")
        for name, value in query.items():
            if name not in known:
                raise _refused(f"no parameter is called {name!r:.60}", name, value, known)
        end = _whole(query, "end", "milliseconds since 1970, UTC", 0, 10**14)
        self.end_ms = now_ms if end is None else end
        start = _whole(query, "start", "milliseconds since 1970, UTC", 0, 10**14)
        self.start_ms = self.end_ms - WEEK_MS if start is None else start
        if self.start_ms >= self.end_ms:
            before = f"below {self.end_ms}"
            raise _refused("start must lie before end", "start", self.start_ms, before)
        self.bins = _whole(query, "bins", f"2 to {BINS_MAX}", 2, BINS_MAX) or BINS
        self.low, self.high = _price(query, "low"), _price(query, "high")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise _refused("low must lie below high", "low", query["low"], f"below {self.high}")
        self.format = _format(accept)

    @property
    def key(self) -> tuple[Any, ...]:
        """All that it asks for, but for the time, which the columns say."""
        return (self.symbol, self.bins, self.low, self.high, self.format, self.packed)

    def write(self, plain: dict[str, Any]) -> bytes:
        """Plain values in the format that was asked for."""
        if self.format == MSGPACK:
            return msgspec.msgpack.encode(plain)
        if self.format == ARROW:
            return _arrow(plain)
        return codec.encode(in_text(plain)) + b"\n"


def routes(columns: StreamName, streams: Streams, desk: Desk) -> Blueprint:
    """The route, for a sink whose columns are in this stream."""
    blueprint = Blueprint(f"heatmap {columns}".replace(".", "-"), __name__)
    past: Index[Column, str] = Index(
        streams[columns], lambda column: column.symbol, lambda column: column.time_ms
    )
    answers = Answers()

    @blueprint.get(PATH)
    async def timeseries(symbol: str) -> Response:
        """The past of one symbol's map as a picture."""
        await past.update()
        if not past.find(symbol, most=1, backward=True):
            raise BadRequest(
                f"there is no past of a map of {symbol!r:.60}",
                parameter="symbol",
                value=symbol,
                allowed=sorted(past.groups())[:200],
                code="INVALID_SYMBOL",
                status=404,
            )
        packed = "gzip" in request.headers.get("Accept-Encoding", "")
        accept = request.headers.get("Accept", "")
        query = dict(request.args.items())
        wanted = Wanted(symbol, query, accept, packed, desk.now_ms())
        span = wanted.start_ms, wanted.end_ms
        found = [record.value for record in past.find(symbol, *span, most=COLUMNS_MAX + 1)]
        if len(found) > COLUMNS_MAX:
            allowed = f"a range of at most {COLUMNS_MAX} candles"
            raise _refused("the range is too long", "start", wanted.start_ms, allowed)
        # Where nothing is, the answer depends on nothing but that.
        ends = (found[0].time_ms, found[-1].time_ms, len(found)) if found else ()
        asked = (query.get("start"), query.get("end"))
        key = (*wanted.key, *ends, *asked, hash(found[-1]) if found else 0)
        etag = f'"{hash(key) & (2**64 - 1):016x}"'
        headers = {
            "ETag": etag,
            "Cache-Control": "no-cache",
            "Vary": "Accept, Accept-Encoding",
        }
        if request.headers.get("If-None-Match") == etag:
            return Response(b"", 304, headers)
        body = await answers.get(key, found, wanted)
        if packed:
            headers["Content-Encoding"] = "gzip"
        return Response(body, 200, headers, content_type=wanted.format)

    return blueprint


def _arrow(plain: dict[str, Any]) -> bytes:
    """One record batch: a row for each row of the picture and run, its side, code and length; what
    there is one of is in the schema's metadata.
    """
    arrow = import_module("pyarrow")
    ipc = import_module("pyarrow.ipc")
    sides, found, lengths = [], b"", b""
    for side in ("long", "short"):
        sides += [side] * len(plain[side]["codes"])
        found += plain[side]["codes"]
        lengths += plain[side]["lengths"]
    rest = {name: value for name, value in plain.items() if name not in ("long", "short")}
    table = arrow.table(
        {
            "side": arrow.array(sides).dictionary_encode(),
            "code": arrow.Array.from_buffers(
                arrow.uint8(), len(found), [None, arrow.py_buffer(found)]
            ),
            "length": arrow.Array.from_buffers(
                arrow.uint16(), len(found), [None, arrow.py_buffer(lengths)]
            ),
        }
    ).replace_schema_metadata({"picture": codec.encode(rest)})
    out = arrow.BufferOutputStream()
    with ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return bytes(out.getvalue())


def _format(accept: str) -> str:
    """What the client takes; JSON unless it names another that there is."""
    named = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    if named & {MSGPACK, "application/msgpack", "application/x-msgpack"}:
        return MSGPACK
    if named & {ARROW}:
        try:
            import_module("pyarrow")
        except ImportError:
            raise BadRequest(
                "Arrow needs pyarrow, which is not installed here",
                parameter="Accept",
                value=accept,
                allowed=f"{JSON}, {MSGPACK}; or {how_to_install('flowd-daemon[arrow]')}",
                code="NOT_ACCEPTABLE",
                status=406,
            ) from None
        return ARROW
    return JSON


def _whole(query: Mapping[str, str], name: str, allowed: str, least: int, most: int) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise _refused(f"{name} must be a whole number", name, text, allowed)
    if not least <= int(text) <= most:
        raise _refused(f"{name} is out of range", name, text, allowed)
    return int(text)


def _price(query: Mapping[str, str], name: str) -> Decimal | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        price = Decimal(text)
    except InvalidOperation:
        price = Decimal(-1)
    if not price.is_finite() or price < 0 or price > 10**12:
        raise _refused(f"{name} must be a price", name, text, "a number of 0 or more")
    return price


def _refused(
    message: str, parameter: str, value: object, allowed: str | tuple[str, ...]
) -> BadRequest:
    return BadRequest(message, parameter=parameter, value=value, allowed=allowed)
