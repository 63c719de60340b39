"""cryptofeed on Binance's USD-M liquidations: its feed, its loop and its own types, one callback.

Its address is the feeder's, without TLS, as it is for the other side; the symbols are given to it,
since it would ask Binance for them.
"""

import asyncio
import os

from cryptofeed import FeedHandler
from cryptofeed.defines import BINANCE_FUTURES, LIQUIDATIONS
from cryptofeed.exchanges import BinanceFutures
from cryptofeed.symbols import Symbols

from bench import wire
from bench.intake import Count, arguments

SYMBOLS = {f"{name.removesuffix('USDT')}-USDT-PERP": name for name in wire.SYMBOLS}


def main() -> None:
    """Count what the callback gets, tell what it cost, and end."""
    given = arguments()
    count = Count(given.warm, given.count)
    Symbols.set(BINANCE_FUTURES, SYMBOLS, {})

    class Futures(BinanceFutures):
        """The exchange at the feeder's address. cryptofeed checks addresses only once."""

        def connect(self) -> list:
            made = super().connect()
            for connection, *_ in made:
                connection.address = f"ws://127.0.0.1:{given.port}/stream?streams=!forceOrder@arr"
            return made

    async def liquidation(_liquidation: object, _receipt_timestamp: float) -> None:
        if count.one():
            os._exit(0)  # Its loop would go on dialling.

    handler = FeedHandler(config={"log": {"disabled": True}, "uvloop": True})
    asyncio.set_event_loop(asyncio.new_event_loop())
    handler.add_feed(
        Futures(
            config={"log": {"disabled": True}},
            symbols=list(SYMBOLS),
            channels=[LIQUIDATIONS],
            callbacks={LIQUIDATIONS: liquidation},
        )
    )
    handler.run(install_signal_handlers=False)


if __name__ == "__main__":
    main()
