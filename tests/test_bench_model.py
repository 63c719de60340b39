"""What many clients want, worked by hand; and the page says what the model says."""

import re
from pathlib import Path

import pytest
from attrs import asdict, evolve, fields
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.model import KIB, Load, Prices, main, needs, table

NEXT_TO_NOTHING = 1e-9
FREE = Prices(
    **{
        **dict.fromkeys(asdict(Prices()), 0.0),
        "send_us": NEXT_TO_NOTHING,
        "redis_read_us": NEXT_TO_NOTHING,
    }
)
"""Nothing costs anything, but what a test says."""
QUIET = Load(clients=100_000, records=1.0, seen=1.0, streams=1, late_ms=150.0, busy=0.5)
PAGE = Path(__file__).parent.parent / "docs" / "scaling.md"


def test_a_pass_over_all_clients_ends_in_time() -> None:
    # 150 ms are 1.5 passes; in one of 100 ms there are 10 000 sends of 10 µs.
    found = needs(QUIET, evolve(FREE, send_us=10.0))

    assert (found.edges, found.clients_per_edge) == (10, 10_000)
    assert found.decides.startswith("time")
    assert found.delivering == pytest.approx(0.1)


def test_larger_messages_take_longer() -> None:
    # 10 µs, and 5 more for each of two KiB: half as many clients.
    load = evolve(QUIET, bytes=2 * KIB)

    assert needs(load, evolve(FREE, send_us=10.0, send_kib_us=5.0)).edges == 20


def test_a_core_is_no_busier_than_it_may_be() -> None:
    # Half a second of each is 50 000 sends, which are 1000 clients at 50 a second.
    load = evolve(QUIET, records=5000.0, seen=50.0)

    found = needs(load, evolve(FREE, send_us=10.0))

    assert (found.edges, found.clients_per_edge) == (100, 1000)
    assert found.decides.startswith("CPU")


def test_streams_are_divided_until_an_edge_can_take_its_part() -> None:
    # An edge may spend a quarter of a second on 10 µs for each record: 25 000 of 100 000.
    load = evolve(QUIET, records=100_000.0, streams=10)

    found = needs(load, evolve(FREE, intake_us=10.0, send_us=1.0))

    assert found.groups == 4
    assert found.intake == pytest.approx(0.25)


def test_an_edge_asks_for_all_its_streams_together_and_as_often_as_lateness_wants() -> None:
    # A tenth of 150 ms is 15 ms: 66.7 answers a second of 1500 µs, for any number of streams.
    load = evolve(QUIET, records=1000.0, streams=10)

    assert needs(load, evolve(FREE, intake_batch_us=1500.0)).intake == pytest.approx(0.1)


def test_redis_has_so_many_edges_and_then_replicas() -> None:
    # Of half a second 0.1 go into writing; 1000 records of 4 µs for each edge leave room for 100.
    load = evolve(QUIET, clients=200_000, records=1000.0, seen=1000.0)
    prices = evolve(FREE, redis_us=100.0, redis_read_us=4.0, send_us=0.5)

    found = needs(load, prices)

    assert (found.edges, found.edges_max_per_redis) == (200, 100)
    assert (found.redis_each, found.redis) == (2, 2)
    assert found.redis_busy == pytest.approx(0.5)


def test_ingests_share_the_records() -> None:
    # 1000 records of 600 µs each, and 66.7 batches of each of 10 streams at 150: 0.7 s in all.
    load = evolve(QUIET, records=1000.0, streams=10)

    assert (
        needs(load, evolve(FREE, ingest_us=400.0, sink_us=200.0, sink_batch_us=150.0)).ingests == 2
    )


def test_one_address_of_a_proxy_has_no_more_ports() -> None:
    found = needs(evolve(QUIET, clients=56_464), FREE)

    assert (found.edges, found.decides.split(":")[0]) == (2, "ports")


def test_the_others_take_the_clients_of_an_edge_that_died() -> None:
    # 10 000 come to nine others, 1111 each, of 450 µs, while half of the core is taken.
    found = needs(QUIET, evolve(FREE, send_us=10.0, arrival_us=450.0))

    assert found.storm_s == pytest.approx(1.0)
    assert found.all_back_s == pytest.approx(4.5)


def test_memory_is_the_edge_its_records_and_its_clients() -> None:
    load = evolve(QUIET, bytes=100, retain=1000)
    prices = evolve(
        FREE, send_us=10.0, edge_bytes=1e6, remembered=3.0, client_bytes=20.0, kernel_bytes=30.0
    )

    assert needs(load, prices).memory_per_edge == 1e6 + 3e5 + 10_000 * 50


def test_a_stream_that_no_edge_can_take_is_refused() -> None:
    with pytest.raises(ValueError, match="divide it into more streams"):
        needs(evolve(QUIET, records=1e6), evolve(FREE, intake_us=10.0))


@pytest.mark.parametrize("name", ["clients", "records", "seen", "streams", "late_ms", "cores"])
def test_a_load_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        Load(**{name: 0})


@given(st.integers(1, 2_000_000), st.floats(1, 50_000), st.floats(0.01, 5), st.integers(20, 200))
@settings(max_examples=60)
def test_more_clients_never_need_fewer_edges(
    clients: int, records: float, seen: float, streams: int
) -> None:
    few = Load(clients=clients, records=records, seen=seen, streams=streams)

    less, more = needs(few), needs(evolve(few, clients=2 * clients))

    assert less.edges <= more.edges
    assert less.clients_per_edge * less.edges >= clients


def test_the_page_says_what_the_model_says() -> None:
    text = PAGE.read_text(encoding="utf-8")

    assert table(Load()) in text
    assert table(Load(records=0.5, seen=0.5, streams=1)) in text


def test_the_page_has_each_price_that_the_model_has() -> None:
    text = PAGE.read_text(encoding="utf-8")
    units = {"client_bytes": KIB, "kernel_bytes": KIB, "edge_bytes": KIB * KIB}

    for one in fields(Prices):
        (line,) = re.findall(rf"^\| `--{one.name.replace('_', '-')}`: .*$", text, re.MULTILINE)
        told = line.split(" | ")[1].split()[0]
        assert one.default is not None
        assert float(told) * units.get(one.name, 1) == one.default, line


@pytest.mark.parametrize("prices", [{"send_us": 0.0}, {"sink_us": -1.0}])
def test_a_price_that_cannot_be_is_refused(prices: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="no price is below 0"):
        Prices(**prices)


def test_the_command_takes_a_readers_own_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--clients", "5000", "--records", "10", "--streams", "2", "--send-us", "20"])

    wanted = table(Load(clients=5000, records=10.0, streams=2), Prices(send_us=20.0))
    assert capsys.readouterr().out == wanted


def test_the_command_says_what_cannot_be(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--busy", "2"])

    assert "busy is a share of a core" in capsys.readouterr().err
