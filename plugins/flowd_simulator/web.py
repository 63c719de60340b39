"""Loopback ports: bare for WebSockets, or with a Quart app that Hypercorn serves, guarded against
its clients.
"""

import logging
import ssl
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from pathlib import Path
from typing import cast

import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app
from quart_trio import QuartTrio

logger = logging.getLogger(__name__)


class _GuardedServer(TCPServer):
    """Hypercorn's connection, with a deadline on writes, and whose failure ends nothing else."""

    send_timeout_s = 10.0

    async def run(self) -> None:
        try:
            await super().run()
        except* Exception:
            logger.exception("an HTTP connection failed")

    async def protocol_send(self, event: Event) -> None:
        if not isinstance(event, RawData):
            return await super().protocol_send(event)
        async with self.send_lock:
            # Hypercorn shields its writes, so only a deadline within the shield ever fires.
            try:
                with trio.move_on_after(self.send_timeout_s, shield=True):
                    await self.stream.send_all(event.data)
                    return
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            await trio.aclose_forcefully(self.stream)
        await self.protocol.handle(Closed())


async def serve_streams(
    serve: Callable[[trio.SocketStream], Awaitable[None]],
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Have each client served until cancelled, over TLS if there is a context for it. Reports
    `host:port` when it listens. OSError, with the port, when it cannot.
    """
    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        remedy = "choose another with --port, or with the option of that one, as --rest-port"
        raise OSError(f"port {port} of {host}: {error.strerror}; {remedy}") from error
    task_status.started(_address(host, listeners[0]))
    if tls is None:
        await trio.serve_listeners(serve, listeners)
        return

    async def secured(stream: trio.SocketStream) -> None:
        # Many a client ends without a goodbye, and so do exchanges.
        wrapped = trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
        # Whoever serves takes both, and asks for nothing that one of them lacks.
        await serve(cast("trio.SocketStream", wrapped))

    await trio.serve_listeners(secured, listeners)


def certified(certificate: Path, key: Path) -> ssl.SSLContext:
    """What to serve TLS with. A ValueError says which of the two files is no good."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:  # An SSLError is one.
        raise ValueError(f"--tls {certificate} {key}: {error}") from None
    return context


async def serve_http(
    app: QuartTrio,
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled. Reports `host:port` when it listens."""
    config = Config()
    config.alpn_protocols = ["http/1.1"]
    config.errorlog = logger
    context = WorkerContext(None)
    wrapped = wrap_app(app, config.wsgi_max_body_size, "asgi")

    async def connection(stream: trio.SocketStream) -> None:
        # Typed for TLS, but it tells the two apart itself.
        either = cast("trio.SSLStream[trio.SocketStream]", stream)
        await _GuardedServer(wrapped, config, context, ConnectionState({}), either).run()

    await serve_streams(connection, host, port, tls=tls, task_status=task_status)


def _address(host: str, listener: trio.SocketListener) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"{name}:{listener.socket.getsockname()[1]}"


def loopback(host: str) -> str:
    """The address to listen on. A ValueError for any that others could reach."""
    address = "127.0.0.1" if host == "localhost" else host
    try:
        harmless = ip_address(address).is_loopback
    except ValueError:
        harmless = False
    if not harmless:
        raise ValueError(
            f"host {host!r} is not a loopback address. The simulator plays an exchange for tests "
            "and must not be reachable by others: use 127.0.0.1, ::1 or localhost."
        )
    return address
