"""A Kafka cluster, as far as flowd needs it: what is last in a topic, and records that are appended
once and in order, or it is said.

It is librdkafka that does it, in threads of its own. Its idempotent producer numbers what it sends,
so it may send again for as long as it takes; nothing here gives a record up that it may still send.
Where one is refused it stops, and another producer begins; what is taken behind it is known.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any, TypeVar

import trio
from attrs import define, field, frozen

from flowd.plugin import UpstreamError, UserError

R = TypeVar("R")

PARTITION = 0
"""The only one that keeps the order of a whole stream."""
TURN_S = 0.1
"""A thread waits at most so long at once, so that it can be called off."""
THREADS = 4
BUFFER_KIB = 64 * 1024
"""What waits to be sent has at most so much memory, whoever sends it."""
STEP = 1000
"""How many records further back is looked, where the last ones are not there."""

logger = logging.getLogger("flowd.kafka")


class Trouble(UpstreamError):
    """The cluster cannot be reached, does not answer, or refuses."""


class TooLarge(Trouble):
    """The cluster does not take so much at once."""


@frozen
class Message:
    """A record of Kafka's; without a value it says that its key holds nothing any more."""

    key: bytes | None
    value: bytes | None
    headers: Mapping[str, str]


@define(eq=False)
class Sending:
    """Messages of one topic that were given to a producer, and what has become of them."""

    producer: Any
    messages: Sequence[Message]
    general: tuple[int, ...]
    """Errors that only say that the producer has ended."""
    told: list[tuple[int, Any]] = field(factory=list)
    """The number of each of which we know, and None or what was wrong; threads append to it."""
    end: int = 0
    """The offset behind the last that was stored."""
    failed: bool = False
    """Whether who sent them was told that they are not all there."""

    def tell(self, number: int, error: Any, message: Any) -> None:
        """What has become of one, as librdkafka says in a thread."""
        if error is None:
            self.end = max(self.end, message.offset() + 1)
        self.told.append((number, error))

    @property
    def settled(self) -> bool:
        """Whether the producer is done with all of them."""
        return len(self.told) >= len(self.messages)

    @property
    def error(self) -> Any:
        """What was wrong with one that was not stored, None when all were."""
        errors = [error for _, error in self.told if error is not None]
        return next((e for e in errors if e.code() not in self.general), (errors or [None])[0])

    @property
    def missed(self) -> list[Message]:
        """Those that were not stored though one behind them was."""
        newest = max([number for number, error in self.told if error is None], default=-1)
        lost = sorted(number for number, error in self.told if error is not None)
        return [self.messages[number] for number in lost if number < newest]


class Cluster:
    """One producer for all topics. `close` it."""

    def __init__(self, options: Mapping[str, object], timeout_s: float) -> None:
        self._kafka = import_module("confluent_kafka")
        self._timeout_s = timeout_s
        self._said: str | None = None
        self._threads = trio.CapacityLimiter(THREADS)
        self._sending: dict[str, Sending] = {}
        quiet = {"error_cb": self._on_error, "logger": _Log(), "log.connection.close": False}
        common = {**options, **quiet}
        self._producing = {
            **common,
            "enable.idempotence": True,
            "enable.gapless.guarantee": True,
            # Fewer can be taken behind one that is refused; see `missed`.
            "max.in.flight.requests.per.connection": 1,
            "message.timeout.ms": 0,
            "queue.buffering.max.kbytes": BUFFER_KIB,
        }
        mine = ("queue.", "linger.", "batch.", "compression.", "retr", "sticky.", "message.max.")
        self._reading = {
            **{name: value for name, value in common.items() if not name.startswith(mine)},
            "group.id": "flowd",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 100,
        }
        self._producer = self._new()
        self._consumer: Any = None
        self._asking = trio.Lock()
        """One consumer does for all who ask; it serves one at a time."""
        self._seen: set[str] = set()
        """The topics that are there."""
        self.missed: dict[str, list[Message]] = {}
        """Of each topic what was refused while something behind it was taken. librdkafka stops at a
        refusal, but what is on its way may still arrive. Known once `end` has been asked.
        """
        self.connections = 1
        """How many producers there were."""

    def _new(self) -> Any:
        try:
            return self._kafka.Producer(self._producing)
        except (self._kafka.KafkaException, ValueError, TypeError) as error:
            raise UserError(f"kafka: {said(error)}") from None

    async def end(self, topic: str) -> int:
        """The offset behind the topic's last record. What was given up before is settled first,
        however long it takes: until then it is Trouble, and once more if it was refused.
        """
        sending = self._sending.get(topic)
        if sending is not None:
            await self._settle(sending)
            del self._sending[topic]
            self.missed.setdefault(topic, []).extend(sending.missed)
        if sending is not None and sending.error is not None and sending.producer is self._producer:
            # It has stopped for good, as it was told to. What others gave it, they wait for.
            self._producer = self._new()
            self.connections += 1
        if sending is not None and sending.error is not None and not sending.failed:
            raise self._why(topic, sending)
        _, end = await self._ask(self._range, topic)
        return end

    async def newest(self, topic: str) -> Mapping[str, str] | None:
        """The headers of the topic's last record, None when it has none."""
        found: Mapping[str, str] | None = await self._ask(self._read_newest, topic)
        return found

    async def append(self, topic: str, messages: Sequence[Message]) -> int:
        """Append these and wait until all are stored; the offset behind the last. Trouble when they
        are not, or not yet: then nothing else may be appended before `end` was asked.
        """
        codes = self._kafka.KafkaError
        general = (codes._FATAL, codes._PURGE_QUEUE, codes._PURGE_INFLIGHT)
        sending = self._sending[topic] = Sending(self._producer, messages, general)
        for number in range(len(messages)):
            await self._produce(topic, number, sending)
        await self._settle(sending)
        if sending.error is not None:
            sending.failed = True
            raise self._why(topic, sending)
        del self._sending[topic]
        return sending.end

    def _why(self, topic: str, sending: Sending) -> Trouble:
        """Why not all of these were stored."""
        error = sending.error
        if error.code() == self._kafka.KafkaError.MSG_SIZE_TOO_LARGE:
            return TooLarge(f"topic {topic}: {error.str()}")
        # It may be that only another topic's were refused, by which the producer ended.
        general = error.code() in sending.general
        return Trouble(f"topic {topic}: {(general and self._said) or error.str()}")

    def serve(self) -> None:
        """Take what librdkafka has to say, at once; for who has nothing to send for a while."""
        self._poll(self._producer, 0)

    async def close(self) -> None:
        """Leave what is not sent, and end."""
        # A thread that was called off may still be asking: it has what it asks, and lets go of it.
        producer, self._producer, self._consumer = self._producer, None, None

        def end() -> None:
            producer.purge()
            producer.flush(TURN_S)

        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(end)

    async def _produce(self, topic: str, number: int, sending: Sending) -> None:
        message = sending.messages[number]
        while True:
            try:
                sending.producer.produce(
                    topic,
                    partition=PARTITION,
                    key=message.key,
                    value=message.value,
                    headers=dict(message.headers),
                    on_delivery=partial(sending.tell, number),
                )
                return
            except BufferError:
                await self._in_thread(self._poll, sending.producer, TURN_S)
            except self._kafka.KafkaException as error:
                sending.told.append((number, error.args[0]))
                return

    async def _settle(self, sending: Sending) -> None:
        with trio.move_on_after(self._timeout_s):
            while not sending.settled:
                await self._in_thread(self._poll, sending.producer, TURN_S)
            self._said = None if sending.error is None else self._said
            return
        why = f" ({self._said})" if self._said else ""
        raise Trouble(f"Kafka has not acknowledged within {self._timeout_s:g}s{why}")

    def _poll(self, producer: Any, seconds: float) -> None:
        try:
            producer.poll(seconds)
        except self._kafka.KafkaException as error:
            # It has stopped for good; what it had is told to those whose it was, by further polls.
            logger.debug("%s", said(error))

    async def _in_thread(self, act: Callable[..., R], *arguments: Any) -> R:
        return await trio.to_thread.run_sync(
            partial(act, *arguments), limiter=self._threads, abandon_on_cancel=True
        )

    async def _ask(self, act: Callable[[str], R], topic: str) -> R:
        async with self._asking:
            return await self._in_thread(self._asked, act, topic)

    def _asked(self, act: Callable[[str], R], topic: str) -> R:
        try:
            if self._consumer is None:
                self._consumer = self._kafka.Consumer(self._reading)
            if topic not in self._seen:
                # Where the cluster makes topics by itself, this has it make one.
                known = self._producer.list_topics(topic, self._timeout_s).topics[topic]
                if known.error is not None:
                    raise Trouble(
                        f"topic {topic}: {known.error.str()}; where it is not there, create it "
                        "with one partition"
                    )
                self._seen.add(topic)
            return act(topic)
        except self._kafka.KafkaException as error:
            self._seen.discard(topic)
            raise Trouble(f"Kafka cannot be asked: {self._said or said(error)}") from None

    def _range(self, topic: str) -> tuple[int, int]:
        found: tuple[int, int] = self._consumer.get_watermark_offsets(
            self._kafka.TopicPartition(topic, PARTITION), self._timeout_s
        )
        return found

    def _read_newest(self, topic: str) -> Mapping[str, str] | None:
        low, end = self._range(topic)
        # The very last ones may be no records, but marks of a transaction.
        back = 1
        while end > low:
            start = max(low, end - back)
            found = self._newest(self._consumer, topic, start)
            if found is not None or start == low:
                return found
            back *= STEP
        return None

    def _newest(self, consumer: Any, topic: str, start: int) -> Mapping[str, str] | None:
        """The headers of the newest record from this offset on."""
        kafka = self._kafka
        consumer.assign([kafka.TopicPartition(topic, PARTITION, start)])
        newest = None
        while True:
            found = consumer.poll(self._timeout_s)
            if found is None:
                raise Trouble(f"topic {topic} cannot be read within {self._timeout_s:g}s")
            if found.error() is None:
                newest = found
            elif found.error().code() == kafka.KafkaError._PARTITION_EOF:
                break
            else:
                raise Trouble(f"topic {topic} cannot be read: {found.error().str()}")
        consumer.unassign()
        if newest is None:
            return None
        pairs = newest.headers() or []
        return {name: (value or b"").decode(errors="replace") for name, value in pairs}

    def _on_error(self, error: Any) -> None:
        # That all are down is no reason; why they are is told before or after it.
        if error.code() != self._kafka.KafkaError._ALL_BROKERS_DOWN:
            self._said = error.str()


class _Log:
    """What librdkafka logs on each attempt; who runs flowd is told by `problem`."""

    def log(self, level: int, words: str, *arguments: object) -> None:
        """As a logger's."""
        logger.debug(words, *arguments)


def said(error: BaseException) -> str:
    """What librdkafka says is wrong."""
    inner = error.args[0] if error.args else error
    return str(inner.str()) if hasattr(inner, "str") else str(inner)
