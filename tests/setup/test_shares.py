"""One configuration as an ingest and as edges have it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import evolve, field, frozen
from quart import Blueprint

from flowd import testing
from flowd.plugin import Beside, Feed, Live, Secret, Sink, Source, StreamName, UserError
from flowd.setup import config, shares
from flowd.setup.shares import INGEST, Share

FOLDER = Path("/run/flowd")


@frozen
class Nothing:
    pass


@frozen
class Order:
    price: int


@frozen
class Pipe:
    """The settings of a sink and a source that a server joins."""

    at: str
    inputs: list[StreamName] = field(factory=lambda: [StreamName("*")])


@frozen
class Tap:
    at: str
    streams: list[str]


async def follow(settings: Any, feed: Feed[Any]) -> None:
    pass


async def push(settings: Any, streams: Any) -> None:
    pass


async def there(settings: Any) -> dict[str, Any]:
    return {}


def routes(settings: Any, streams: Any) -> Blueprint:
    return Blueprint("page", __name__)


def live(settings: Any) -> Live:
    return Live("/live", lambda batch: [b""], websocket=True)


def server(at: Path) -> list[str]:
    return ["pipe-server", str(at)]


def own(at: Path) -> Pipe:
    return Pipe(str(at))


def tapped(settings: Pipe, streams: list[str]) -> Tap:
    return Tap(settings.at, streams)


JOINED = Beside("pipe", tapped, own, server)


def kinds(beside: Beside | None = JOINED) -> Any:
    return testing.registry(
        SimpleNamespace(
            flowd_sources=lambda: [
                Source("orders", follow, Nothing, Order),
                Source("pipe", follow, Tap, object, streams=there, beside=beside),
            ],
            flowd_sinks=lambda: [
                Sink("pipe", Pipe, run=push),
                Sink("keeper", Nothing, run=push, routes=routes),
                Sink("page", Nothing, routes=routes),
                Sink("asking", Nothing, routes=routes, asks=True),
                Sink("live", Nothing, live=live),
            ],
        )
    )


TEXT = """
[flowd]
listen = ["127.0.0.1:4200"]
max_clients = 1001
allow_hosts = ["flow.example.org"]
[sources.orders]
kind = "orders"
read_token = { env = "ORDERS_TOKEN" }
[sinks.keeper]
kind = "keeper"
[sinks.page]
kind = "page"
[sinks.asking]
kind = "asking"
[sinks.live]
kind = "live"
"""
PIPE = '[sinks.out]\nkind = "pipe"\nat = "there"\ninputs = {}\n'
SHARE = Share(
    name=INGEST,
    text=TEXT,
    edges=2,
    folder=FOLDER,
    ticket_key="k" * 32,
    listen=["127.0.0.1:4200"],
    inherit=[5],
    streams=["orders", "outages"],
)


def derived(name: str, text: str = TEXT) -> config.Config:
    found = kinds()
    return shares.derive(config.parse(text, found), evolve(SHARE, name=name), found)


def parts(found: config.Config) -> list[tuple[str, str]]:
    return [(part.where, part.kind) for part in found.components]


def test_what_a_process_is_told_is_a_line() -> None:
    line = SHARE.told()

    assert line.count(b"\n") == 1
    assert Share.read(line) == SHARE


def test_the_ingest_is_all_of_it_and_feeds_the_edges() -> None:
    found = derived(INGEST)

    assert parts(found) == [
        ("sources.orders", "orders"),
        ("sinks.keeper", "keeper"),
        ("sinks.page", "page"),
        ("sinks.asking", "asking"),
        ("sinks.live", "live"),
        ("sinks.edges", "pipe"),
    ]
    assert found.components[-1].settings == Pipe("/run/flowd/server.sock")
    assert found.settings.addresses == ["unix:/run/flowd/ingest.sock"]
    assert found.settings.max_clients == 1001


def test_the_ingest_believes_edges_who_a_client_is_and_that_it_may() -> None:
    found = derived(INGEST)

    assert "local" in found.settings.limits.trusted_proxies
    assert found.settings.allow_hosts == found.settings.allow_origins == ["*"]


def test_an_edge_follows_the_ingest_and_has_what_serves_by_itself() -> None:
    found = derived("edge-2")

    assert parts(found) == [
        ("sources.upstream", "pipe"),
        ("sinks.page", "page"),
        ("sinks.live", "live"),
    ]
    assert found.components[0].settings == Tap("/run/flowd/server.sock", ["orders", "outages"])
    assert found.settings.addresses == ["unix:/run/flowd/edge-2.sock", "127.0.0.1:4200"]
    assert found.settings.allow_hosts == ["flow.example.org"]
    assert {name: token.source for name, token in found.tokens.items()} == {
        "orders": "environment variable ORDERS_TOKEN"
    }


def test_edges_share_out_clients_and_the_memory_for_them() -> None:
    found = derived("edge-1")

    assert found.settings.max_clients == 501
    assert found.settings.memory_budget == 128 * 1024 * 1024


def test_all_have_one_key_for_tickets_which_is_the_configured_one_if_there_is() -> None:
    made = {derived(name).settings.ticket_key for name in (INGEST, "edge-1", "edge-2")}

    assert made == {Secret("made by the parent", "k" * 32)}


def test_a_sink_that_is_configured_feeds_the_edges() -> None:
    text = TEXT + PIPE.format('["*"]')

    assert parts(derived(INGEST, text))[-1] == ("sinks.out", "pipe")
    assert derived("edge-1", text).components[0].settings.at == "there"


def test_a_sink_that_does_not_write_all_streams_cannot() -> None:
    with pytest.raises(
        UserError, match=r'\[sinks.out\]: edges follow all.*outages.*inputs = \["\*'
    ):
        derived(INGEST, TEXT + PIPE.format('["orders"]'))


@pytest.mark.parametrize("edges", [0, 65])
def test_there_are_some_edges_and_not_too_many(edges: int) -> None:
    with pytest.raises(UserError, match="expected a number from 1 to 64"):
        shares.joint(config.parse(TEXT, kinds()), kinds(), edges, FOLDER)


def test_without_a_kind_that_joins_processes_there_are_no_edges() -> None:
    found = kinds(beside=None)

    with pytest.raises(UserError, match="no plugin brings a kind of source"):
        shares.joint(config.parse(TEXT, found), found, 2, FOLDER)


def test_what_a_server_lacks_is_said_of_the_edges() -> None:
    def missing(at: Path) -> list[str]:
        raise UserError("no pipe-server is installed")

    found = kinds(Beside("pipe", tapped, own, missing))

    with pytest.raises(UserError, match=r"^flowd.edges: no pipe-server is installed"):
        shares.joint(config.parse(TEXT, found), found, 2, FOLDER)


def test_no_component_is_called_as_a_process() -> None:
    text = TEXT.replace("sinks.page", "sinks.edge-2")

    with pytest.raises(UserError, match="a process is called edge-2"):
        derived(INGEST, text)


def test_what_tells_of_the_ingests_own_outages_is_not_followed() -> None:
    assert shares.followed(["outages", "outages.edge", "orders"]) == ["orders", "outages"]
