"""Real daemons in real processes, fed by an exchange on loopback."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.edge.exchange import Exchange
from tests.edge.postgres import Cluster
from tests.edge.process import ADMIN, ADMIN_TOKEN, Flowd

Start = Callable[..., Flowd]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.edge)


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    """An exchange of this test's own."""
    with Exchange() as found:
        yield found


@pytest.fixture
def flowd(exchange: Exchange, tmp_path: Path) -> Iterator[Start]:
    """Makes daemons of this test's own, ended with it: `await flowd(max_clients=3).start()`."""
    with ExitStack() as stack:
        made = 0

        def make(name: str = "", **options: Any) -> Flowd:
            nonlocal made
            made += 1
            keys = ("source", "extra", "env", "arguments")
            own = {key: options.pop(key) for key in keys if key in options}
            folder = tmp_path / (name or f"flowd-{made}")
            return stack.enter_context(Flowd(folder, exchange.url, settings=options, **own))

        yield make


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A PostgreSQL for all tests that do it no harm: each has a database of its own in it."""
    with Cluster() as found:
        yield found


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL of this test's own."""
    with Cluster() as found:
        yield found


@pytest.fixture(scope="session")
def shared_exchange() -> Iterator[Exchange]:
    """The exchange that feeds `shared`."""
    with Exchange() as found:
        yield found


@pytest.fixture(scope="session")
def shared(shared_exchange: Exchange, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flowd]:
    """A daemon with some records, for all tests that only talk to it."""
    folder = tmp_path_factory.mktemp("shared")
    settings = {"heartbeat": "300ms", "admin_token": ADMIN_TOKEN}
    with Flowd(folder, shared_exchange.url, settings=settings, env=ADMIN) as found:
        trio.run(found.start)
        trio.run(found.reached, shared_exchange.say(50, "BTCUSDT")[-1])
        trio.run(found.reached, shared_exchange.say(50, "ETHUSDT", "BUY")[-1])
        yield found
        trio.run(found.stop)
        assert "Traceback" not in found.log
