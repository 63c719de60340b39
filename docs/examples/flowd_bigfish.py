"""Every large liquidation, posted to a webhook: a flowd sink that pushes."""

from decimal import Decimal

from attrs import frozen

from flowd.market import Liquidation
from flowd.plugin import Desk, Sink, StreamName, Streams, UpstreamError, hookimpl


@frozen
class Config:
    """From which stream, to which address, and how large is large."""

    input: StreamName
    webhook: str
    at_least_usd: Decimal = Decimal(1_000_000)


async def tell(config: Config, streams: Streams, desk: Desk) -> None:
    """Post the record of each liquidation that is worth at least so much, from now on."""
    stream = streams[config.input]
    async for batch in stream.cursor(after=stream.head):
        for record in batch.records:
            if record.value.notional >= config.at_least_usd:
                await post(desk, config.webhook, record.json)


async def post(desk: Desk, webhook: str, body: bytes) -> None:
    """One POST. That a webhook is down is weather: UpstreamError, and the sink starts again."""
    headers = {"Content-Type": "application/json"}
    answer = await desk.http.post(webhook, content=body, headers=headers, timeout_s=10)
    if not 200 <= answer.status < 300:
        raise UpstreamError(f"the webhook failed: HTTP {answer.status}")


@hookimpl
def flowd_sinks() -> list[Sink]:
    """The kind `bigfish`."""
    return [Sink("bigfish", Config, run=tell, reads=Liquidation)]
