"""librdkafka's own mock of a Kafka cluster, in this process: real sockets, real protocol, and
faults at will. It is part of the library that confluent-kafka brings.
"""

import ctypes
from pathlib import Path
from typing import Any

import confluent_kafka
import trio
from attrs import frozen

from tests.edge.peers import WAIT_S

PRODUCE = 0
"""What Kafka numbers its requests by."""
UNKNOWN_TOPIC = 3
TOO_LARGE = 10
NOT_ENOUGH_REPLICAS = 19
NOT_AUTHORIZED = 29
BROKER = 1

Pointer = ctypes.c_void_p


def library() -> ctypes.CDLL:
    """librdkafka, as confluent-kafka has loaded it."""
    folder = Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs"
    (found,) = folder.glob("librdkafka*.so*")
    loaded = ctypes.CDLL(str(found))
    for name, result, arguments in (
        ("conf_new", Pointer, []),
        ("conf_set", ctypes.c_int, [Pointer, *[ctypes.c_char_p] * 3, ctypes.c_size_t]),
        ("new", Pointer, [ctypes.c_int, Pointer, ctypes.c_char_p, ctypes.c_size_t]),
        ("destroy", None, [Pointer]),
        ("mock_cluster_new", Pointer, [Pointer, ctypes.c_int]),
        ("mock_cluster_destroy", None, [Pointer]),
        ("mock_cluster_bootstraps", ctypes.c_char_p, [Pointer]),
        ("mock_topic_create", ctypes.c_int, [Pointer, ctypes.c_char_p, ctypes.c_int, ctypes.c_int]),
        ("mock_broker_set_down", ctypes.c_int, [Pointer, ctypes.c_int32]),
        ("mock_broker_set_up", ctypes.c_int, [Pointer, ctypes.c_int32]),
        ("mock_broker_set_rtt", ctypes.c_int, [Pointer, ctypes.c_int32, ctypes.c_int]),
        ("mock_topic_set_error", None, [Pointer, ctypes.c_char_p, ctypes.c_int]),
        ("mock_push_request_errors", None, [Pointer, ctypes.c_int16, ctypes.c_size_t]),
    ):
        function = getattr(loaded, f"rd_kafka_{name}")
        function.restype, function.argtypes = result, arguments
    return loaded


@frozen
class Message:
    """A record as another consumer has it."""

    key: bytes | None
    value: bytes | None
    headers: dict[str, str]

    @property
    def position(self) -> str:
        return self.headers["Flowd-Position"]


class MockKafka:
    """A cluster of one broker."""

    def __init__(self) -> None:
        self._library = library()
        why = ctypes.create_string_buffer(512)
        conf = self._library.rd_kafka_conf_new()
        self._library.rd_kafka_conf_set(conf, b"log_level", b"0", why, 512)
        self._handle = self._library.rd_kafka_new(0, conf, why, 512)
        assert self._handle, why.value
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._handle, 1)
        assert self._cluster
        self.servers: str = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def __enter__(self) -> "MockKafka":
        return self

    def __exit__(self, *_: object) -> None:
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._handle)

    def create(self, topic: str, partitions: int = 1) -> None:
        """A topic, as who runs the cluster makes it."""
        assert not self._library.rd_kafka_mock_topic_create(
            self._cluster, topic.encode(), partitions, 1
        )

    def spoil(self, topic: str, error: int) -> None:
        """Whoever asks for the topic is told this error; 0 ends that."""
        self._library.rd_kafka_mock_topic_set_error(self._cluster, topic.encode(), error)

    def down(self) -> None:
        """The broker is gone; what it has stays."""
        assert not self._library.rd_kafka_mock_broker_set_down(self._cluster, BROKER)

    def up(self) -> None:
        """It is there again."""
        assert not self._library.rd_kafka_mock_broker_set_up(self._cluster, BROKER)

    def slow(self, milliseconds: int) -> None:
        """It takes so long for each answer."""
        assert not self._library.rd_kafka_mock_broker_set_rtt(self._cluster, BROKER, milliseconds)

    def refuse(self, *errors: int, request: int = PRODUCE) -> None:
        """It answers the next requests of this kind with these errors."""
        self._library.rd_kafka_mock_push_request_errors(
            self._cluster, request, len(errors), *map(ctypes.c_int, errors)
        )

    async def read(self, topic: str) -> list[Message]:
        """All records of a topic's first partition, in their order."""
        return await trio.to_thread.run_sync(self._read, topic)

    def _read(self, topic: str) -> list[Message]:
        options: dict[str, Any] = {
            **{"bootstrap.servers": self.servers, "group.id": "test", "log_level": 0},
            **{"enable.partition.eof": True, "enable.auto.commit": False},
        }
        consumer = confluent_kafka.Consumer(options)
        found: list[Message] = []
        try:
            consumer.assign([confluent_kafka.TopicPartition(topic, 0, 0)])
            while True:
                one = consumer.poll(WAIT_S)
                assert one is not None, "it does not answer"
                if one.error() is not None:
                    assert one.error().code() == confluent_kafka.KafkaError._PARTITION_EOF
                    return found
                pairs = one.headers() or []
                headers = {name: (value or b"").decode() for name, value in pairs}
                found.append(Message(one.key(), one.value(), headers))
        finally:
            consumer.close()

    def write(self, topic: str, value: bytes) -> None:
        """A record of somebody else's."""
        producer = confluent_kafka.Producer({"bootstrap.servers": self.servers, "log_level": 0})
        producer.produce(topic, value, partition=0)
        assert producer.flush(WAIT_S) == 0
