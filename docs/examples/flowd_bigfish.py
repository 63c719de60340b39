"""Every large liquidation, posted to a webhook: a flowd sink that pushes."""

from decimal import Decimal

import httpx2
from attrs import frozen

from flowd.market import Liquidation
from flowd.plugin import Sink, StreamName, Streams, UpstreamError, hookimpl


@frozen
class Config:
    """From which stream, to which address, and how large is large."""

    input: StreamName
    webhook: str
    at_least_usd: Decimal = Decimal(1_000_000)


async def tell(config: Config, streams: Streams) -> None:
    """Post the record of each liquidation that is worth at least so much, from now on."""
    stream = streams[config.input]
    async with httpx2.AsyncClient(
        timeout=10, headers={"Content-Type": "application/json"}
    ) as client:
        async for batch in stream.cursor(after=stream.head):
            for record in batch.records:
                if record.value.notional >= config.at_least_usd:
                    await post(client, config.webhook, record.json)


async def post(client: httpx2.AsyncClient, webhook: str, body: bytes) -> None:
    """One POST. That a webhook is down is weather: UpstreamError, and the sink starts again."""
    try:
        answer = await client.post(webhook, content=body)
        answer.raise_for_status()
    except httpx2.HTTPError as error:
        raise UpstreamError(f"the webhook failed: {error!r}") from None


@hookimpl
def flowd_sinks() -> list[Sink]:
    """The kind `bigfish`."""
    return [Sink("bigfish", Config, run=tell, reads=Liquidation)]
