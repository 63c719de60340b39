"""The messages of the benchmark, built before the clock starts.

The daemon gets Binance's forced orders and makes its own messages from them; a peer gets finished
messages of the same length, so that everybody puts the same bytes on the wire.
"""

import json
import random
import time

from websockets.frames import Frame, Opcode

SYMBOLS = (
    *("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT", "ADAUSDT", "PUMPUSDT", "LTCUSDT"),
    *("1000PEPEUSDT", "LINKUSDT", "AVAXUSDT", "SUIUSDT", "BNBUSDT", "WIFUSDT", "HYPEUSDT"),
    *("ENAUSDT", "AAVEUSDT", "TRXUSDT", "DOTUSDT", "NEARUSDT"),
)
RECORD_TOKEN = '"seq":'
EVENT_TOKEN = "data:"
CHANNEL = "records"
NATS_HELLO = b'CONNECT {"verbose":false,"pedantic":false}\r\n'
NATS_FOLLOW = NATS_HELLO + f"SUB {CHANNEL} 1\r\n".encode()

# Prices and quantities are drawn, not counted up: they must compress no better than real ones.
_random = random.Random(2026)


def force_order(now_ms: int) -> str:
    """One forced order in Binance's combined form; no two are the same."""
    symbol = _random.choice(SYMBOLS)
    quantity = f"{_random.randrange(1, 90_000)}.{_random.randrange(1_000):03}"
    price = f"{_random.randrange(1, 900)}.{_random.randrange(10_000_000):07}"
    time_ms = now_ms - _random.randrange(1_000)
    order = (
        f'{{"s":"{symbol}","S":"{_random.choice(("BUY", "SELL"))}","o":"LIMIT","f":"IOC",'
        f'"q":"{quantity}","p":"{price}","ap":"{price}","X":"FILLED","l":"{quantity}",'
        f'"z":"{quantity}","T":{time_ms},"ps":"{symbol}","st":1}}'
    )
    return (
        '{"stream":"!forceOrder@arr","data":{"e":"forceOrder","E":'
        f'{time_ms + 1_003},"o":{order}}}}}'
    )


def mark_price(now_ms: int) -> str:
    """The busy stream that tells a daemon that its upstream is alive."""
    return json.dumps(
        {
            "stream": "btcusdt@markPrice@1s",
            "data": {
                "e": "markPriceUpdate",
                "E": now_ms,
                "s": "BTCUSDT",
                "p": "84550.20000000",
                "i": "84560.11000000",
                "P": "84555.00000000",
                "r": "0.00010000",
                "T": now_ms - now_ms % 28_800_000 + 28_800_000,
            },
        },
        separators=(",", ":"),
    )


def frame(text: str | bytes) -> bytes:
    """A WebSocket text message as a server sends it."""
    data = text.encode() if isinstance(text, str) else text
    return Frame(Opcode.TEXT, data).serialize(mask=False)


def records_message(index: int, length: int) -> str:
    """What a peer sends to a WebSocket client: flowd's envelope around one record."""
    envelope = (
        f'{{"type":"records","stream":"force-orders","position":"k3v9.{index}","first":false,'
        '"records":['
    )
    return envelope + record(index, length - len(envelope) - 2) + "]}"


def record(index: int, length: int) -> str:
    """What a peer sends as the data of an SSE event: flowd's fields, and as long as flowd's."""
    time_ms = time.time_ns() // 1_000_000
    symbol = _random.choice(SYMBOLS)
    side = _random.choice(("BUY", "SELL"))
    quantity = f"{_random.randrange(1, 9_000)}.{_random.randrange(10)}"
    price = f"{_random.randrange(1, 900)}.{_random.randrange(100_000):05}"
    notional = f"{_random.randrange(1, 900_000)}.{_random.randrange(100_000):05}"
    head = (
        f'{{"seq":{index},"time_ms":{time_ms},"value":{{"symbol":"{symbol}","side":"{side}",'
        f'"price":"{price}","quantity":"{quantity}","notional":"{notional}",'
        f'"time_ms":{time_ms},"id":"b:{symbol}:{time_ms}:{side}:'
    )
    filler = max(1, length - len(head) - 3)
    return f'{head}{_random.randrange(10**filler):0{filler}}"}}}}'


def plain(length: int) -> bytes:
    """A line of so many hexadecimal digits, which need no escaping wherever they are put."""
    return (_random.randbytes(length // 2 + 1).hex()[:length] + "\n").encode()


def masked(data: bytes) -> bytes:
    """A WebSocket message as a client sends it; the mask may be zeros."""
    assert len(data) < 126
    return bytes([0x82, 0x80 | len(data), 0, 0, 0, 0]) + data


# -- how a message is published to a server that wants to be told --


def post(path: str, body: bytes) -> bytes:
    """By HTTP."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def to_nchan(text: bytes, _shape: str) -> bytes:
    """To Nchan, which frames it for its subscribers itself."""
    return post("/pub", text)


def to_nats(text: bytes, _shape: str) -> bytes:
    """To NATS, by its own protocol."""
    return f"PUB {CHANNEL} {len(text)}\r\n".encode() + text + b"\r\n"


def to_pushpin(text: bytes, shape: str) -> bytes:
    """To Pushpin by ZeroMQ, since its HTTP publisher ends the connection after each message; it
    wants to be told what each kind of client gets.
    """
    if shape == "sse":
        formats = {"http-stream": {"content": f"data: {text.decode()}\n\n"}}
    else:
        formats = {"ws-message": {"content": text.decode()}}
    body = b"J" + json.dumps({"channel": CHANNEL, "formats": formats}).encode()
    return b"\x02" + len(body).to_bytes(8, "big") + body


# What opens a ZeroMQ connection (ZMTP 3.0, no security), and says that we only push.
ZMQ_READY = b"\x05READY\x0bSocket-Type\x00\x00\x00\x04PUSH"
ZMQ_HELLO = (
    b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
    + b"\x04" + bytes([len(ZMQ_READY)]) + ZMQ_READY
)  # fmt: skip
FORMS = {"nchan": to_nchan, "nats": to_nats, "pushpin": to_pushpin}
HELLOS = {"nats": NATS_HELLO, "pushpin": ZMQ_HELLO}
