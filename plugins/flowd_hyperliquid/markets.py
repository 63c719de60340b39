"""Hyperliquid's `metaAndAssetCtxs` to the figures of its markets: a pure function.

Source: upstreams/hyperliquid.md, section 3.3.
"""

from decimal import Decimal

import msgspec
from attrs import frozen

from flowd.market import number


@frozen
class Market:
    """What the venue tells of one coin: its mark price, and the open interest in base units."""

    mark_price: Decimal
    open_interest: Decimal


class _Ctx(msgspec.Struct, gc=False, rename="camel"):
    mark_px: str | None = None
    open_interest: str | None = None


class _Asset(msgspec.Struct, gc=False):
    name: str


class _Meta(msgspec.Struct, gc=False):
    universe: list[_Asset]


_decode = msgspec.json.Decoder(tuple[_Meta, list[_Ctx]]).decode


def markets(body: bytes) -> dict[str, Market]:
    """What `metaAndAssetCtxs` tells of each coin; ValueError for what it is not."""
    try:
        meta, ctxs = _decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"no markets: {error}") from None
    if len(meta.universe) != len(ctxs):
        raise ValueError(f"{len(meta.universe)} coins, and figures of {len(ctxs)}")
    found: dict[str, Market] = {}
    for asset, ctx in zip(meta.universe, ctxs, strict=True):
        if ctx.mark_px is not None and ctx.open_interest is not None:
            mark, interest = number(ctx.mark_px), number(ctx.open_interest)
            if mark > 0 and interest >= 0:
                found[asset.name] = Market(mark, interest)
    return found
