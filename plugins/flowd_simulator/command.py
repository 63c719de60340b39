"""`flowd simulate`: the exchange simulator as a program."""

import logging
import math
import signal
import time
from collections.abc import Awaitable, Callable, Iterable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import trio
import typer
from attrs import evolve

from flowd_simulator.durations import duration, share
from flowd_simulator.faults import Faults, InfoFault, tell
from flowd_simulator.instruments import DEFAULT_SYMBOLS

if TYPE_CHECKING:
    from flowd_simulator.binance import Addresses
    from flowd_simulator.house import Addresses as OneAddress
    from flowd_simulator.hyperliquid import Addresses as HyperliquidAddresses

SPEED_MAX = 1000.0
CANNOT_START = 2
MESSAGES_PER_S = 1000
"""Hydromancer and Hyperliquid count messages by the minute, and say so in their own words."""


class Sampling(StrEnum):
    """Which forced order of a second the exchange tells about."""

    latest = "latest"
    largest = "largest"


def _duration(help: str, default: str | bool = True) -> Any:
    """An option that is a duration; `default` is how its default is written."""
    return typer.Option(parser=duration, metavar="DURATION", show_default=default, help=help)


def _share(help: str) -> Any:
    """An option that is a share of something."""
    return typer.Option(parser=share, metavar="SHARE", help=help)


def simulate(
    port: Annotated[int, typer.Option(help="WebSocket port; 0 takes a free one.")] = 4300,
    rest_port: Annotated[
        int | None,
        typer.Option(help="REST port; 0 takes a free one.", show_default="--port and one more"),
    ] = None,
    hydromancer_port: Annotated[
        int | None,
        typer.Option(
            help="Hydromancer's port; 0 takes a free one.", show_default="--port and two more"
        ),
    ] = None,
    hyperliquid_port: Annotated[
        int | None,
        typer.Option(
            help="Hyperliquid's port; 0 takes a free one.", show_default="--port and three more"
        ),
    ] = None,
    bybit_port: Annotated[
        int | None,
        typer.Option(help="Bybit's port; 0 takes a free one.", show_default="--port and four more"),
    ] = None,
    okx_port: Annotated[
        int | None,
        typer.Option(help="OKX's port; 0 takes a free one.", show_default="--port and five more"),
    ] = None,
    host: Annotated[str, typer.Option(help="A loopback address.")] = "127.0.0.1",
    tls: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            metavar="CERT KEY",
            help="Play Binance over TLS with this certificate and its key, as files in PEM.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed has the same prices.")] = 1,
    symbols: Annotated[str, typer.Option(help="Traded symbols.")] = ",".join(DEFAULT_SYMBOLS),
    rate: Annotated[
        float, typer.Option(min=0, help="Forced orders per minute, most of them in cascades.")
    ] = 60,
    fills: Annotated[
        float, typer.Option(min=0, help="Hyperliquid's fills per second: two for each trade.")
    ] = 40,
    sampling: Annotated[
        Sampling, typer.Option(help="Which forced order of a symbol and second is told.")
    ] = Sampling.latest,
    replay: Annotated[
        Path | None,
        typer.Option(help="Play a file of recorded frames, one per line; no forced orders else."),
    ] = None,
    speed: Annotated[
        float, typer.Option(min=1, max=SPEED_MAX, help="How much faster the recording plays.")
    ] = 1,
    loop: Annotated[bool, typer.Option("--loop", help="Play the recording for ever.")] = False,
    shift_to_now: Annotated[
        bool, typer.Option("--shift-to-now", help="Recorded events get the time of sending.")
    ] = False,
    drop_every: Annotated[float | None, _duration("Cut all connections so often.")] = None,
    stall_every: Annotated[float | None, _duration("Fall silent so often.")] = None,
    stall_for: Annotated[float, _duration("… for so long.", "90s")] = 90.0,
    garbage: Annotated[float, _share("Share of frames with a broken one before.")] = 0.0,
    duplicate: Annotated[float, _share("Share of frames sent twice.")] = 0.0,
    slow: Annotated[
        float | None, _duration("Delay every frame, and answers of /info, so much.")
    ] = None,
    info_fault: Annotated[
        InfoFault | None, typer.Option(help="How Hyperliquid's /info fails, all the time or …")
    ] = None,
    info_every: Annotated[float | None, _duration("… only so often …")] = None,
    info_for: Annotated[float, _duration("… for so long.", "30s")] = 30.0,
    lifetime: Annotated[float, _duration("Close connections this old.", "24h")] = 86400.0,
    ping_every: Annotated[float, _duration("Send a ping frame so often.", "3m")] = 180.0,
) -> None:
    """Play crypto exchanges on this machine: the protocols of Binance, Bybit, OKX, Hyperliquid and
    Hydromancer over made-up markets.

    For demonstrations, development and tests, without a network. The exchanges can be told to
    misbehave as real ones do. Durations are written 200ms, 30s, 3m or 24h.

    An exchange with much to liquidate, that cuts its clients off twice a minute and sends one
    broken frame in a hundred:

        flowd simulate --rate 120 --drop-every 30s --garbage 0.01

    One whose /info refuses everybody for a minute, every five minutes:

        flowd simulate --info-fault limited --info-every 5m --info-for 1m

    A recorded hour in half a minute, again and again, as if it were now:

        flowd simulate --replay hour.jsonl --speed 120 --loop --shift-to-now
    """
    # Late, here and below: each command of flowd's reads these options, and only this one plays.
    from flowd_simulator.binance import Binance
    from flowd_simulator.bybit import Bybit
    from flowd_simulator.chain.live import Chain
    from flowd_simulator.chain.past import LONG_PAST
    from flowd_simulator.hydromancer import Hydromancer
    from flowd_simulator.hyperliquid import Hyperliquid
    from flowd_simulator.okx import Okx
    from flowd_simulator.recording import load
    from flowd_simulator.session import Limits
    from flowd_simulator.web import certified, loopback

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        loopback(host)
        secure = None if tls is None else certified(*tls)
        frames = load(replay) if replay is not None else []
    except (ValueError, OSError) as error:
        raise _cannot_start(error) from None
    faults = Faults(
        drop_every_s=drop_every,
        stall_every_s=stall_every,
        stall_for_s=stall_for,
        garbage=garbage,
        duplicate=duplicate,
        slow_s=slow or 0.0,
        info=info_fault,
        info_every_s=info_every,
        info_for_s=info_for,
    )
    limits = Limits(lifetime_s=lifetime, ping_every_s=ping_every)
    binance = Binance(
        seed,
        _clock,
        [symbol.strip() for symbol in symbols.split(",") if symbol.strip()] or DEFAULT_SYMBOLS,
        rate=0 if frames else rate,
        sampling=sampling.value,
        faults=faults,
        limits=limits,
    )
    chain = Chain(seed, _clock, fills_per_s=fills, market=binance.market, past=LONG_PAST)
    counted = evolve(limits, messages_per_s=MESSAGES_PER_S)
    hydromancer = Hydromancer(seed, _clock, chain=chain, faults=evolve(faults), limits=counted)
    hyperliquid = Hyperliquid(
        seed,
        _clock,
        chain=chain,
        faults=evolve(faults),
        limits=evolve(counted, ping_every_s=math.inf),
    )
    others = evolve(limits, messages_per_s=100)
    bybit = Bybit(seed, _clock, market=binance.market, faults=evolve(faults), limits=others)
    okx = Okx(seed, _clock, market=binance.market, faults=evolve(faults), limits=others)
    play = partial(binance.replay, frames, speed=speed, loop=loop, shift_to_now=shift_to_now)
    rest = _beside(port, 1, rest_port)
    services = (
        partial(binance.serve, host=host, port=port, rest_port=rest, tls=secure),
        partial(hydromancer.serve, host=host, port=_beside(port, 2, hydromancer_port)),
        partial(hyperliquid.serve, host=host, port=_beside(port, 3, hyperliquid_port)),
        partial(bybit.serve, host=host, port=_beside(port, 4, bybit_port)),
        partial(okx.serve, host=host, port=_beside(port, 5, okx_port)),
    )

    told = {
        "Binance": faults,
        "Hydromancer": hydromancer.faults,
        "Hyperliquid": hyperliquid.faults,
        "Bybit": bybit.faults,
        "OKX": okx.faults,
    }

    def begin(*addresses: Any) -> None:
        chain.tape.begin(_clock())
        _welcome(binance.market.instruments, *addresses)

    failures: list[OSError] = []
    try:
        running = (chain.run, partial(tell, told), *((play,) if frames else ()))
        trio.run(_main, services, begin, running)
    except* OSError as errors:
        failures += leaves(errors)
    if failures:
        raise _cannot_start(failures[0])


def _beside(port: int, number: int, said: int | None) -> int:
    """The port that was said, else the one so far behind the first; a free one, as that."""
    return (port and port + number) if said is None else said


async def _main(
    services: tuple[Callable[..., Awaitable[None]], ...],
    begin: Callable[..., None],
    running: tuple[Callable[[], Awaitable[None]], ...],
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            # The past takes its time; that a port is taken is known before.
            begin(*[await nursery.start(serve) for serve in services])
            for run in running:
                nursery.start_soon(run)
            async for _ in signals:
                break
            nursery.cancel_scope.cancel()


def _welcome(
    symbols: Iterable[str],
    addresses: "Addresses",
    hydromancer: str,
    hyperliquid: "HyperliquidAddresses",
    bybit: "OneAddress",
    okx: "OneAddress",
) -> None:
    from rich.console import Console

    from flowd_simulator.hydromancer import DEMO_KEY
    from flowd_simulator.snippet import snippet

    console = Console(highlight=False, soft_wrap=True)
    console.print(f"Binance is played at {addresses.market} and {addresses.rest},")
    console.print(
        f'Hydromancer at {hydromancer} for the key "{DEMO_KEY}", '
        f"Hyperliquid at {hyperliquid.base}, Bybit at {bybit.rest}, OKX at {okx.rest}. "
        "In flowd.toml:\n"
    )
    lines = snippet(
        symbols,
        websocket=addresses.market,
        rest=addresses.rest,
        hydromancer=hydromancer,
        hyperliquid=hyperliquid.websocket,
        hyperliquid_info=hyperliquid.info,
        bybit=bybit.websocket,
        bybit_rest=bybit.rest,
        okx=okx.websocket,
        okx_rest=okx.rest,
    )
    console.print(lines, markup=False)
    console.print(f"and HYDROMANCER_API_KEY={DEMO_KEY} in the environment. Ctrl+C ends it.")


def _cannot_start(error: Exception) -> typer.Exit:
    from rich.console import Console

    Console(stderr=True, highlight=False, soft_wrap=True).print(
        f"flowd simulate cannot start: {error}", markup=False
    )
    return typer.Exit(CANNOT_START)


def leaves(group: BaseExceptionGroup[OSError]) -> list[OSError]:
    """The errors themselves, without the groups that nurseries put around them."""
    found: list[OSError] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def _clock() -> int:
    return time.time_ns() // 1_000_000
