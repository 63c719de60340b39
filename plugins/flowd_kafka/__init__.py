"""A flowd sink: carries streams to Kafka, each record once and in order, by librdkafka."""

from importlib import import_module

import trio
from attrs import field, frozen

from flowd.plugin import (
    Desk,
    Seconds,
    Secret,
    Sink,
    StreamName,
    Streams,
    carry,
    hookimpl,
    how_to_install,
)
from flowd_kafka.broker import Kafka
from flowd_kafka.cluster import Cluster

OURS = {
    "bootstrap.servers": "say it as servers",
    "message.timeout.ms": "records are sent until they are there",
    "delivery.timeout.ms": "records are sent until they are there",
    "enable.idempotence": "it is what keeps records from being there twice",
    "enable.gapless.guarantee": "it is what keeps records from being left out",
    "max.in.flight": "one at a time keeps records from being left out",
    "max.in.flight.requests.per.connection": "one at a time keeps records from being left out",
    "acks": "all of them are waited for",
    "request.required.acks": "all of them are waited for",
    "transactional.id": "there are no transactions",
    "partitioner": "a stream is one partition",
    "queue.buffering.max.kbytes": "what waits is bounded already",
}
"""Options of librdkafka that are ours to set, and why."""
MOST = 1_000_000
"""What librdkafka takes at once where its `message.max.bytes` does not say."""
SERVE_S = 5.0


@frozen
class Config:
    """`servers` are some of the cluster's, with commas between them. A stream `NAME` is the topic
    `prefix.NAME`, of which the first partition is used. `options` are librdkafka's own, for TLS,
    SASL and compression.
    """

    inputs: list[StreamName]
    servers: str = "127.0.0.1:9092"
    prefix: str = "flowd"
    options: dict[str, str | int | bool | Secret] = field(factory=dict)
    timeout: Seconds = Seconds(10.0)

    def __attrs_post_init__(self) -> None:
        try:
            # It is large: only who configures it pays for it, and before the loop turns.
            import_module("confluent_kafka")
        except ImportError:
            raise ValueError(
                "it needs confluent-kafka, which is not installed: "
                + how_to_install("flowd-daemon[kafka]")
            ) from None
        if not self.inputs:
            raise ValueError("no inputs: name the streams to carry")
        if not self.prefix or not all(
            letter.isascii() and (letter.isalnum() or letter in "-_.") for letter in self.prefix
        ):
            raise ValueError(f'prefix = "{self.prefix}": expected letters, digits, "-", "_", "."')
        ours = next((name for name in self.options if name in OURS), None)
        if ours is not None:
            raise ValueError(f'options: "{ours}" is not to be set: {OURS[ours]}')
        if self.timeout < 0.1:
            raise ValueError('expected a timeout from "100ms" up')

    @property
    def most(self) -> int:
        """Bytes of a record that librdkafka takes."""
        found = self.options.get("message.max.bytes", MOST)
        return int(found) if isinstance(found, int | str) else MOST


async def kafka(config: Config, streams: Streams, desk: Desk) -> None:
    """Carry the streams until all of them have ended and all is acknowledged."""
    inputs = [streams[name] for name in config.inputs]
    options = {
        name: value.reveal() if isinstance(value, Secret) else value
        for name, value in config.options.items()
    }
    cluster = Cluster({**options, "bootstrap.servers": config.servers}, config.timeout)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_serve, cluster)
            await carry(inputs, Kafka(cluster, desk, config.prefix, config.most), desk)
            nursery.cancel_scope.cancel()
    finally:
        await cluster.close()


async def _serve(cluster: Cluster) -> None:
    while True:
        await trio.sleep(SERVE_S)
        cluster.serve()


@hookimpl
def flowd_sinks() -> list[Sink]:
    """The kind `kafka`."""
    return [Sink("kafka", Config, run=kafka)]
