"""The Quart app behind the door: health, status, metrics, the list of streams, the description,
admin, and the sinks' pages.

Hypercorn serves it, always through `GuardedServer`, which keeps one bad connection from ending the
daemon and one stalled client from keeping it.
"""

import hmac
import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio
from hypercorn.config import Config as HypercornConfig
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.utils import wrap_app
from quart import Blueprint, Response, has_request_context, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from flowd.door.desk import FOR_ADMINS
from flowd.door.head import REMEDIES
from flowd.door.loan import Loan
from flowd.door.readers import Readers
from flowd.door.visit import KEEP_ALIVE_S
from flowd.operate import telling
from flowd.operate.siblings import Siblings
from flowd.operate.status import Status
from flowd.operate.telling import as_json
from flowd.setup.paths import check_base
from flowd.stream.log import Stream
from flowd.values import codec, filters
from flowd.values.errors import BadRequest, UserError, unwrap
from flowd.values.settings import Secret

logger = logging.getLogger("flowd.web")

SEND_TIMEOUT_S = 10.0
SETTLE_S = 1.0
"""How long it may take to close a connection, or to make it ready for the next request."""
BODY_MAX = 64 * 1024


class GuardedServer(TCPServer):
    """One Hypercorn connection that can neither end the daemon nor outlive it."""

    _reading = False

    async def run(self) -> None:
        """Serve until the connection ends. What goes wrong is this connection's affair alone."""
        try:
            await super().run()
        except* Exception as group:
            error = unwrap(group)
            if not isinstance(error, OSError | trio.BrokenResourceError | trio.ClosedResourceError):
                logger.error("a connection failed; the others go on: %r", error, exc_info=error)

    async def protocol_send(self, event: Event) -> None:
        """Write with a deadline inside Hypercorn's shield, and tell the door when a response is
        complete.
        """
        if not isinstance(event, RawData):
            # This may be the request's own task, which Quart cancels as the response is complete:
            # the connection would neither be closed nor go on.
            with trio.move_on_after(SETTLE_S, shield=True):
                await super().protocol_send(event)
            if isinstance(event, Updated) and event.idle:
                assert isinstance(self.stream, Loan)
                self.stream.became_idle()
            return
        async with self.send_lock:
            try:
                with trio.move_on_after(SEND_TIMEOUT_S, shield=True):
                    await self.stream.send_all(event.data)
                    return
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            await trio.aclose_forcefully(self.stream)
        await self.protocol.handle(Closed())

    async def _read_data(self) -> None:
        """Read to the end. Hypercorn would wait for its idle clock after that."""
        self._reading = True
        await super()._read_data()
        self._reading = False
        await self.idle_task.stop()

    async def _idle_timeout(self) -> None:
        """The idle clock, between two requests. Hypercorn sets it going before the first one, too,
        which a daemon that stops would leave without an answer, and after the client has gone.
        """
        if self._reading:
            await super()._idle_timeout()


class Web:
    """The app and what serves it. `serve` is the door's way in."""

    def __init__(self, app: QuartTrio, base_path: str = "") -> None:
        self.app = app
        self._base = base_path
        config = HypercornConfig()
        config.alpn_protocols = ["http/1.1"]
        config.keep_alive_timeout = KEEP_ALIVE_S + 10
        config.graceful_timeout = 2.0
        config.websocket_max_message_size = 4096
        config.include_server_header = False
        config.accesslog = None
        config.errorlog = None
        self._config = config
        self._context = WorkerContext(None)
        self._wrapped = wrap_app(_below(app, base_path), BODY_MAX, None)
        self._state: Any = {}
        self._own = [(path, method) for path, method, *_ in self.routes()]
        self._open: set[Loan] = set()
        self._ended = trio.lowlevel.ParkingLot()

    def add_routes(self, where: str, make: Callable[[], Blueprint]) -> None:
        """Serve a sink's own routes; UserError when they cannot be made, or a path is flowd's."""
        try:
            self.app.register_blueprint(make())
        except UserError as error:
            raise UserError(f"[{where}]: {error}") from None
        except Exception as error:
            logger.error("%s: its routes failed", where, exc_info=error)
            raise UserError(f"[{where}]: its routes cannot be served: {error!r}") from error
        for path, *_ in self.routes():
            check_base(where, path, self._base)
        answers = Counter((path, method) for path, method, *_ in self.routes())
        for path, method in self._own:
            if answers[path, method] > 1:
                raise UserError(f"[{where}]: {method} {path} is flowd's own; choose another path")

    def routes(self) -> list[tuple[str, str, str, bool]]:
        """What the app serves: path with `{names}`, method, the first line of its docstring, and
        whether it is for admins only.
        """
        found = []
        for rule in self.app.url_map.iter_rules():
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
            view = self.app.view_functions[rule.endpoint]
            words = (view.__doc__ or "").strip()
            summary = words.partition("\n")[0] or f"From the sink's own routes: {path}"
            methods = (rule.methods or set()) - {"HEAD", "OPTIONS"}
            admins = getattr(view, FOR_ADMINS, False)
            found += [(path, method, summary, admins) for method in sorted(methods)]
        return found

    def methods(self, path: str) -> list[str]:
        """The methods that the app answers at this path."""
        return list(self.app.url_map.bind("").allowed_methods(path))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """The app's life: started when this says so, ended when this is cancelled."""
        lifespan = Lifespan(self._wrapped, self._config, self._state)
        async with trio.open_nursery() as nursery:
            await nursery.start(lifespan.handle_lifespan)
            await lifespan.wait_for_startup()
            task_status.started()
            await trio.sleep_forever()

    async def serve(self, stream: Loan) -> None:
        """Serve requests that are not the door's own."""
        # A Loan has all of a socket's stream that Hypercorn uses.
        server = GuardedServer(self._wrapped, self._config, self._context, self._state, stream)  # type: ignore[arg-type]
        self._open.add(stream)
        try:
            await server.run()
        finally:
            self._open.discard(stream)
            self._ended.unpark_all()

    async def end(self, grace_s: float) -> None:
        """Let responses under way be finished within `grace_s`; cut off who does not read."""
        await self._context.terminated.set()
        with trio.move_on_after(grace_s):
            while self._open:
                await self._ended.park()
        for stream in list(self._open):
            await stream.cut()


def _below(app: QuartTrio, base_path: str) -> Callable[..., Awaitable[None]]:
    """The app as a server sees it that has it below a path. The door takes that away; here it is
    said as ASGI has it, for what an app writes: links, redirects.
    """

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope = {**scope, "path": base_path + scope["path"], "root_path": base_path}
        await app(scope, receive, send)

    return asgi


def build(
    *,
    status: Callable[[], Status],
    streams: Mapping[str, Stream[Any]],
    describe: Callable[[], dict[str, Any]],
    check_admin: Callable[[str], None],
    readers: Readers,
    reconnect: Callable[[str], None],
    siblings: Siblings | None = None,
) -> QuartTrio:
    """The app with flowd's own routes; sinks add their blueprints. One of several processes says
    with its `siblings` how all are.
    """
    app = QuartTrio("flowd", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = BODY_MAX
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = True
    # Werkzeug would redirect `//` to an address that it makes of the client's own `Host`.
    app.url_map.merge_slashes = False
    core = Blueprint("flowd", __name__)

    @core.get("/streams")
    async def list_streams() -> Response:
        return as_json({"streams": [_stream(s) for s in streams.values() if not s.private]})

    async def openapi() -> Response:
        return as_json(describe())

    if siblings is None or siblings.whole:
        core.get("/openapi.json")(openapi)

    @core.post("/components/<name>/reconnect")
    async def force_reconnect(name: str) -> Response:
        check_admin(request.headers.get("Authorization", ""))
        reconnect(name)
        logger.info("%s: reconnect asked for by %s", name, request.remote_addr)
        return as_json({"success": True, "message": f"{name} is started again"}, 202)

    @core.post("/tickets")
    async def ticket() -> Response:
        """A ticket for who reads with a token and can send no header"""
        found, expires_ms = readers.ticket(request.headers.get("Authorization", ""))
        answer = as_json({"ticket": found, "expires_ms": expires_ms})
        answer.headers["Cache-Control"] = "no-store"
        return answer

    async def index() -> Response:
        return Response(_index(describe(), status()), content_type="text/plain; charset=utf-8")

    @app.before_serving
    async def begin() -> None:
        """By now the sinks' blueprints are in: `/` is ours only if none of them brought it.

        How a status becomes JSON is worked out when that is first done, which takes long. So it is
        done while nobody waits.
        """
        codec.to_plain(status())
        if all(rule.rule != "/" for rule in app.url_map.iter_rules()):
            app.add_url_rule("/", "index", index)

    app.register_blueprint(telling.routes(status, siblings))
    app.register_blueprint(core)
    app.register_error_handler(BadRequest, _refused)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(ExceptionGroup, _bug)
    app.register_error_handler(Exception, _bug)
    app.after_request(_common_headers)
    return app


def may_read(readers: Readers) -> Callable[[str], None]:
    """What checks, for any stream, that whoever's request is answered may read it: BadRequest else.
    Outside of requests all may be read.
    """

    def check(stream: str) -> None:
        if readers.locked and has_request_context():
            readers.check(request.headers.get("Authorization", ""), stream)

    return check


def authorize(token: Secret | None, header: str) -> None:
    """Let an admin pass, BadRequest for all others. The tokens are compared in constant time."""
    if token is None or not token.available:
        why = "not set" if token is None else f"empty ({token.source})"
        raise BadRequest(
            f"this daemon has no admin token: flowd.admin_token is {why}",
            parameter="Authorization",
            allowed='admin_token = { env = "FLOWD_ADMIN_TOKEN" } in the [flowd] table',
            code="FORBIDDEN",
            status=403,
        )
    scheme, _, given = header.partition(" ")
    fits = hmac.compare_digest(given.strip().encode(), token.reveal().encode())
    if scheme.lower() != "bearer" or not fits:
        raise BadRequest(
            "this needs the admin token",
            parameter="Authorization",
            allowed="Authorization: Bearer TOKEN",
            code="UNAUTHORIZED",
            status=401,
        )


def _stream(stream: Stream[Any]) -> dict[str, Any]:
    return {
        "name": stream.name,
        "record": stream.record.__name__,
        "position": str(stream.head),
        "records": len(stream),
        "retain": stream.retain.count,
        "retain_age_s": stream.retain.age_s,
        "filters": sorted(filters.names(stream.record)),
    }


async def _refused(error: BadRequest) -> Response:
    answer = as_json({"error": error.body()}, error.status)
    answer.headers.update(REMEDIES.get(error.status, ()))
    return answer


async def _http_error(error: HTTPException) -> Response:
    body = {"code": error.name.upper().replace(" ", "_"), "message": error.description}
    answer = as_json({"error": body}, error.code or 500)
    for name, value in error.get_headers():
        if name.lower() in ("allow", "retry-after", "location"):
            answer.headers[name] = value
    return answer


async def _bug(error: BaseException) -> Response:
    inner = unwrap(error)
    if isinstance(inner, BadRequest):
        return await _refused(inner)
    if isinstance(inner, HTTPException):
        return await _http_error(inner)
    logger.error("%s %s failed: %r", request.method, request.path, inner, exc_info=inner)
    body = {"code": "INTERNAL_ERROR", "message": "this is a bug in flowd; its log says more"}
    return as_json({"error": body}, 500)


async def _common_headers(answer: Response) -> Response:
    answer.headers.setdefault("Access-Control-Allow-Origin", "*")
    if request.method == "OPTIONS":
        answer.headers["Access-Control-Allow-Headers"] = "Authorization"
    answer.headers.setdefault("X-Content-Type-Options", "nosniff")
    answer.headers.setdefault("Cache-Control", "no-cache")
    return answer


def _index(description: dict[str, Any], status: Status) -> str:
    """What there is to curl, for who comes to `/` without pages configured."""
    base_path = description["servers"][0]["url"].rstrip("/")
    lines = [f"flowd {status.version}: {status.health()['status']}", ""]
    for path, methods in description["paths"].items():
        for method, what in methods.items():
            lines.append(f"  {method.upper():5} {base_path + path:34} {what['summary']}")
    names = [stream.name for stream in status.streams]
    return "\n".join([*lines, "", f"Streams: {', '.join(names)}", ""])
