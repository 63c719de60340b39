"""A flowd sink: carries streams to NATS JetStream, each record once and in order.

It speaks NATS's protocol by itself, natively under Trio. The official client needs asyncio, and
reconnects and resends behind its caller's back, where a record must be acknowledged or asked about.
"""

from importlib import import_module
from ssl import SSLContext, SSLError, create_default_context
from urllib.parse import urlsplit

import trio
from attrs import field, frozen

from flowd.plugin import (
    Desk,
    Seconds,
    Secret,
    Sink,
    Size,
    StreamName,
    Streams,
    UserError,
    carry,
    hookimpl,
    how_to_install,
)
from flowd_nats.broker import Nats
from flowd_nats.credentials import signer
from flowd_nats.server import Server
from flowd_nats.wire import Login

NANOSECONDS = 1_000_000_000


@frozen
class Config:
    """`url` is an address, or several of one cluster with commas between them. A stream `NAME` has
    the subject `prefix.NAME`, and a JetStream stream of its own, which is created with these limits
    where it is not there.
    """

    inputs: list[StreamName]
    url: str | Secret = "nats://127.0.0.1:4222"
    prefix: str = "flowd"
    user: str | None = None
    password: Secret | None = None
    token: Secret | None = None
    credentials: Secret | None = None
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    messages: int = 1_000_000
    bytes: Size | None = None
    age: Seconds | None = None
    replicas: int = 1
    storage: str = "file"
    timeout: Seconds = field(default=Seconds(10.0))

    def __attrs_post_init__(self) -> None:
        if not self.inputs:
            raise ValueError("no inputs: name the streams to carry")
        if isinstance(self.url, str):
            addresses(self.url)
        if not self.prefix or not _is_subject(self.prefix):
            raise ValueError(f'prefix = "{self.prefix}": expected letters, digits, "-", "_", "."')
        wrong = next((name for name in self.inputs if name != "*" and not _is_subject(name)), None)
        if wrong is not None:
            raise ValueError(f'stream "{wrong}" cannot be a subject, which has no dots in a row')
        if self.storage not in ("file", "memory"):
            raise ValueError(f'storage = "{self.storage}": expected "file" or "memory"')
        if self.messages < 1 or not 1 <= self.replicas <= 5:
            raise ValueError("expected messages from 1 up, and 1 to 5 replicas")
        if self.timeout < 0.1 or (self.age is not None and self.age < 1):
            raise ValueError('expected a timeout from "100ms" and an age from "1s" up')
        if self.certificate is None and self.key is not None:
            raise ValueError("key: it belongs to a certificate, and there is none")
        if self.credentials is not None:
            try:
                import_module("nacl.signing")
            except ImportError:
                raise ValueError(
                    "credentials are signed by PyNaCl, which is not installed: "
                    + how_to_install("flowd-daemon[nats]")
                ) from None

    @property
    def limits(self) -> dict[str, object]:
        """What a new stream keeps, as JetStream calls it: the oldest make room."""
        return {
            "max_msgs": self.messages,
            "max_bytes": -1 if self.bytes is None else self.bytes,
            "max_age": 0 if self.age is None else int(self.age * NANOSECONDS),
            "num_replicas": self.replicas,
            "storage": self.storage,
            "discard": "old",
            "retention": "limits",
        }


def addresses(url: str) -> list[str]:
    """The addresses of servers; ValueError, which does not show them, for what is none."""
    found = [one.strip() for one in url.split(",")]
    for one in found:
        try:
            parts = urlsplit(one)
            # A port that is none raises where it is asked for.
            good = parts.scheme in ("nats", "tls") and parts.hostname and parts.port != 0
        except ValueError:
            good = False
        if not good:
            raise ValueError("url: expected an address such as nats://127.0.0.1:4222 or tls://…")
    return found


def _is_subject(text: str) -> bool:
    letters = all(c.isascii() and (c.isalnum() or c in "-_.") for c in text)
    return letters and all(text.split("."))


def login(config: Config) -> Login:
    """Who we are; UserError for what cannot be read."""
    try:
        return Login(
            config.user,
            None if config.password is None else config.password.reveal(),
            None if config.token is None else config.token.reveal(),
            None if config.credentials is None else signer(config.credentials.reveal()),
            _trust(config),
        )
    except UserError:
        raise
    except (OSError, SSLError, ValueError) as error:
        raise UserError(f"nats: {error}") from None


def _trust(config: Config) -> SSLContext | None:
    if config.ca is None and config.certificate is None:
        return None
    context = create_default_context(cafile=config.ca)
    if config.certificate is not None:
        context.load_cert_chain(config.certificate, config.key)
    return context


async def nats(config: Config, streams: Streams, desk: Desk) -> None:
    """Carry the streams until all of them have ended and all is acknowledged."""
    inputs = [streams[name] for name in config.inputs]
    try:
        urls = addresses(config.url if isinstance(config.url, str) else config.url.reveal())
    except ValueError as error:
        raise UserError(f"nats: {error}") from None
    known = login(config)
    async with trio.open_nursery() as nursery:
        server = Server(urls, known, nursery, config.timeout)
        await carry(inputs, Nats(server, desk, config.prefix, config.limits), desk)
        nursery.cancel_scope.cancel()


@hookimpl
def flowd_sinks() -> list[Sink]:
    """The kind `nats`."""
    return [Sink("nats", Config, run=nats)]
