"""Settings that several kinds have: what fits, and what who wrote something else is told."""

from collections.abc import Callable
from typing import Any

import pytest
from attrs import field, frozen

from flowd.plugin import Seconds, validators


@frozen
class Config:
    url: str = field(default="wss://example.org/ws", validator=validators.websocket_url)
    rest_url: str = field(default="https://example.org", validator=validators.http_url)
    symbols: list[str] = field(
        factory=lambda: ["*"],
        validator=validators.symbols(r"[A-Z]+USDT", "no pair; one looks like BTCUSDT", most=3),
    )
    candles: list[str] = field(
        factory=lambda: ["BTC"],
        validator=validators.symbols("[^ ]+", "none", most=3, wildcard="candles are of one symbol"),
    )
    every: Seconds = field(default=Seconds(3600.0), validator=validators.between("1m", "24h"))
    share: int = field(default=20, validator=validators.between(20, 2400, "it is shared"))


@frozen
class Required:
    url: str = field(validator=validators.websocket_url)


@pytest.mark.parametrize(
    "fits",
    [
        {},
        {"url": "ws://127.0.0.1:4300/a?b=c", "rest_url": "http://[::1]:80/"},
        {"symbols": ["BTCUSDT", "ETHUSDT", "SOLUSDT"], "candles": ["A", "B", "C"]},
        {"every": Seconds(60.0), "share": 2400},
        {"every": Seconds(86_400.0)},
    ],
)
def test_what_fits_is_taken(fits: dict[str, Any]) -> None:
    for name, value in fits.items():
        assert getattr(Config(**fits), name) == value


URL = 'expected an address such as "wss://example.org/ws"'


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"url": "https://example.org"}, f'url = "https://example.org": {URL}'),
        ({"url": "example.org"}, URL),
        ({"url": "wss://"}, URL),
        ({"url": "wss:///path"}, URL),
        ({"url": "wss://host:99999"}, URL),
        ({"url": "wss://host:0"}, URL),
        ({"url": "wss://[host"}, URL),
        (
            {"rest_url": "wss://x"},
            'rest_url = "wss://x": expected an address such as "https://exam',
        ),
        ({"symbols": []}, 'symbols = []: name at least one symbol, or ["*"] for all'),
        ({"symbols": ["*", "BTCUSDT"]}, 'symbols: "*" already means all; leave the others out'),
        ({"symbols": ["BTCUSDT", "BTC"]}, "symbols: 'BTC' is no pair; one looks like BTCUSDT"),
        ({"symbols": ["BTCUSDT\n"]}, r"symbols: 'BTCUSDT\n' is no pair; one looks like BTCUSDT"),
        ({"symbols": [""]}, "symbols: '' is no pair; one looks like BTCUSDT"),
        (
            {"symbols": [f"{one}USDT" for one in "ABCD"]},
            'symbols: 4 are too many, at most 3 fit; use ["*"] for all',
        ),
        ({"candles": []}, "candles = []: name at least one symbol"),
        ({"candles": ["*"]}, 'candles: candles are of one symbol; "*" cannot be here'),
        ({"candles": list("ABCD")}, "candles: 4 are too many, at most 3 fit"),
        ({"every": Seconds(59.5)}, "every = 59.5s: expected 1m to 24h"),
        ({"every": Seconds(float("nan"))}, "every = nans: expected 1m to 24h"),
        ({"share": 2_400_000}, "share = 2400000: expected 20 to 2400; it is shared"),
    ],
)
def test_what_does_not_fit_is_told_with_what_would_have_been_right(
    wrong: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  # all of it is compared
        Config(**wrong)

    assert told in str(refused.value)


def test_an_address_that_must_be_given_has_an_example_too() -> None:
    with pytest.raises(ValueError, match='expected an address such as "wss://host/path"'):
        Required("x" * 1000)


@pytest.mark.parametrize(
    "make", [lambda: Required("x" * 1000), lambda: Config(symbols=["x" * 1000])]
)
def test_however_long_it_is_a_message_stays_short(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="x" * 20) as refused:
        make()

    assert len(str(refused.value)) < 200
