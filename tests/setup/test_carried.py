"""The streams of other daemons: asked for, matched with the classes that are here, and wired."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import evolve, field, frozen

from flowd import testing
from flowd.operate.checked import check
from flowd.plugin import (
    Mirrored,
    Sink,
    Source,
    StreamName,
    Transform,
    UpstreamError,
    UserError,
)
from flowd.setup import carried, config, wiring
from flowd.setup.carried import AllCarried, Carried
from flowd.upstream.outages import Outage
from tests.ferry import Ferry, Nothing, Order, by_hand

HERE = "[sources.upstream]\nkind = 'ferry'\n"
READER = "[sinks.out]\nkind = 'reader'\ninputs = ['orders']\n"


@frozen
class Inputs:
    inputs: list[StreamName] = field(factory=list)


async def read(config: Inputs, streams: Any) -> None:
    pass


READS = SimpleNamespace(flowd_sinks=lambda: [Sink("reader", Inputs, run=read, reads=Order)])
KINDS = Ferry().registry(READS)


def plan(text: str, found: AllCarried | None) -> wiring.Plan:
    return wiring.plan(config.parse(text, KINDS), carried=found)


def carrying(**streams: Carried) -> AllCarried:
    return {"upstream": streams}


ORDERS = Carried(Mirrored("Order", "k3v9"), Order)
PROTECTED = evolve(ORDERS, there=evolve(ORDERS.there, protected=True))


def test_a_stream_of_another_daemon_is_wired_like_one_of_a_component() -> None:
    found = plan(HERE + READER, carrying(orders=ORDERS))

    assert found.inputs["out"] == ["orders"]
    assert found.records == {"orders": Order, "outages": Outage}
    assert found.writers["orders"] == "upstream"
    assert [part.name for part in found.order] == ["upstream", "out"]


def test_who_carries_streams_has_none_of_its_own_name() -> None:
    with pytest.raises(UserError, match=r'"upstream": there is no such stream'):
        plan(HERE + READER.replace("orders", "upstream"), carrying(orders=ORDERS))


def test_a_stream_that_is_not_there_is_a_mistake_once_it_is_known_what_is() -> None:
    with pytest.raises(UserError, match=r'sinks.out.inputs = "orders": there is no such stream'):
        plan(HERE + READER, carrying())


def test_before_that_it_is_none() -> None:
    assert plan(HERE + READER, None).inputs["out"] == []


def test_without_such_a_source_it_always_is() -> None:
    with pytest.raises(UserError, match="there is no such stream"):
        plan(READER, None)


def test_a_stream_of_the_wrong_class_is_a_mistake() -> None:
    with pytest.raises(UserError, match="carries Outage, but reader reads Order"):
        plan(HERE + READER, carrying(orders=Carried(Mirrored("Outage", "k3v9"), Outage)))


@pytest.mark.parametrize("name", ["orders", "upstream"])
def test_a_name_that_is_taken_is_left_out(name: str) -> None:
    own = "[sources.orders]\nkind = 'hand'\n"

    found = plan(HERE + own, carrying(**{name: ORDERS}, more=ORDERS))

    assert f"carries a stream {name}, and sources.{name} has" in found.left_out["upstream"][name]
    assert (found.writers["orders"], list(found.carried)) == ("orders", ["more"])


def test_what_is_read_with_a_token_there_is_not_to_be_had_here_without() -> None:
    found = plan(HERE, carrying(orders=PROTECTED, free=ORDERS))

    assert "orders is read with a token where it" in found.left_out["upstream"]["orders"]
    assert set(found.records) == {"free", "outages"}


def test_a_token_of_the_source_protects_what_is_protected_there_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("READ", "secret")

    found = plan(HERE + 'read_token = { env = "READ" }', carrying(orders=PROTECTED, free=ORDERS))

    assert list(found.tokens) == ["orders"]


def test_a_token_of_the_daemon_protects_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("READ", "secret")
    text = '[flowd]\nread_token = { env = "READ" }\n' + HERE

    assert set(plan(text, carrying(orders=PROTECTED)).tokens) == {"orders", "outages"}


def test_outages_are_the_other_s_and_what_is_lost_here_has_a_stream_of_its_own() -> None:
    found = plan(HERE, carrying(outages=Carried(Mirrored("Outage", "k3v9"), Outage)))

    assert found.writers["outages"] == "upstream"
    assert (found.outages, found.records["outages.edge"]) == ("outages.edge", Outage)


def test_of_the_name_of_that_stream_there_is_no_component() -> None:
    with pytest.raises(UserError, match="flowd has a stream of this name itself"):
        plan("[sources.'outages.edge']\nkind = 'hand'\n", None)


def test_a_sink_may_read_all_that_fit() -> None:
    text = HERE + "[sources.own]\nkind = 'hand'\n" + READER.replace("orders", "*")

    found = plan(text, carrying(orders=ORDERS))

    assert found.inputs["out"] == ["own", "orders"], "and no outages, which it does not read"
    assert found.order[-1].settings == Inputs(["own", "orders"])


def test_all_of_nothing_is_a_mistake() -> None:
    with pytest.raises(UserError, match=r'inputs = \["\*"\]: no configured stream carries what'):
        plan(READER.replace("orders", "*"), None)


def test_all_of_what_is_not_known_yet_is_none() -> None:
    assert plan(HERE + READER.replace("orders", "*"), None).inputs["out"] == []


@pytest.mark.parametrize("inputs", ["['*', 'own']", "['own', '*']"])
def test_all_and_one_of_them_is_a_mistake(inputs: str) -> None:
    text = "[sources.own]\nkind = 'hand'\n" + READER.replace("['orders']", inputs)

    with pytest.raises(UserError, match=r'inputs = "\*": there is no such stream'):
        plan(text, None)


# -- checking


def checked(ferry: Ferry, folder: Path, *, probe: bool) -> None:
    file = folder / "flowd.toml"
    file.write_text(HERE + READER)
    check(file, ferry.registry(READS), probe=probe)


def test_a_check_says_that_what_is_carried_is_not_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ferry = Ferry(reachable=False)

    checked(ferry, tmp_path, probe=False)

    said = " ".join(capsys.readouterr().out.split())
    assert "sources.upstream: which streams there are is known when they are asked" in said
    assert ferry.asked == 0


def test_a_check_that_asks_knows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ferry = Ferry({"orders": testing.stream("orders", record=Order)})

    checked(ferry, tmp_path, probe=True)

    assert "sinks.out reads orders" in capsys.readouterr().out


def test_a_check_that_asks_finds_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'sinks\.out\.inputs = "orders": there is no such stream'):
        checked(Ferry(), tmp_path, probe=True)


def test_a_check_that_asks_says_who_cannot_be_reached(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"sources\.upstream: cannot be reached"):
        checked(Ferry(reachable=False), tmp_path, probe=True)


def test_a_check_that_asks_says_what_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    streams = {name: testing.stream(name, record=Order) for name in ("orders", "more")}

    checked(Ferry(streams, protected={"more"}), tmp_path, probe=True)

    said = capsys.readouterr().out
    assert "note: sources.upstream: left out: the stream more is read with a token" in said


# -- asking


async def test_the_classes_are_those_that_plugins_here_bring() -> None:
    ferry = Ferry({"orders": testing.stream("orders", record=Order)})
    registry = ferry.registry()

    found = await carried.ask(config.parse(HERE, registry), registry)

    assert found == carrying(orders=Carried(Mirrored("Order", "test", 5000, kind="hand"), Order))


@pytest.mark.parametrize(
    ("name", "there", "told"),
    [
        ("orders", Mirrored("Fill", "k"), "the stream orders carries Fill, which no plugin here"),
        ("a/b", Mirrored("Order", "k"), "'a/b' is no stream's name"),
        ("orders", Mirrored("Order", "k", retain=0), "the stream orders retains 0 records"),
    ],
)
def test_what_cannot_be_here_is_told_with_a_remedy(name: str, there: Mirrored, told: str) -> None:
    found = carried.resolve({name: there, "more": Mirrored("Order", "k")}, KINDS)

    assert told in str(found[name].why_not)
    assert found["more"] == Carried(Mirrored("Order", "k"), Order), "and nothing else is to blame"
    assert plan(HERE, {"upstream": found}).left_out == {"upstream": {name: found[name].why_not}}


@frozen
class Other:
    """A class of another plugin, which is called as that of `hand` is."""

    price: int


Other.__name__ = "Order"


async def derive(config: Nothing, streams: Any, feed: Any) -> None:
    pass


def two_of_one_name(*, table: bool = False) -> Any:
    """Two plugins with a class `Order` each, of the kind `hand` and of `other`, or of its table."""
    tables = {"table": Other} if table else {}
    kind = Transform("other", derive, Nothing, record=Nothing if table else Other, tables=tables)
    return Ferry().registry(SimpleNamespace(flowd_transforms=lambda: [kind]))


@pytest.mark.parametrize("kind", ["", "elsewhere"])
def test_two_classes_of_one_name_are_not_guessed_between(kind: str) -> None:
    found = carried.resolve({"orders": Mirrored("Order", "k", kind=kind)}, two_of_one_name())

    why = r"orders carries Order, and tests\.ferry and tests\..* have such a class each"
    assert re.search(why, str(found["orders"].why_not))


@pytest.mark.parametrize("table", [False, True])
def test_of_two_classes_of_one_name_it_is_that_of_the_kind_that_writes_the_stream(
    table: bool,
) -> None:
    told = {kind: Mirrored("Order", "k", kind=kind) for kind in ("hand", "other")}

    found = carried.resolve(told, two_of_one_name(table=table))

    assert found == {"hand": Carried(told["hand"], Order), "other": Carried(told["other"], Other)}


def test_a_kind_that_has_no_such_class_here_does_not_say_which_it_is() -> None:
    told = {"orders": Mirrored("Order", "k", kind="ferry")}

    assert carried.resolve(told, KINDS)["orders"].record is Order


@pytest.mark.parametrize("name", ["outages", "outages.edge"])
def test_outages_are_flowds_own_whatever_plugins_call_their_classes(name: str) -> None:
    class Outages:
        """Of no good name."""

    Outages.__name__ = "Outage"
    kind = Source("other", by_hand, Nothing, record=Outages)
    registry = Ferry().registry(SimpleNamespace(flowd_sources=lambda: [kind]))

    assert carried.resolve({name: Mirrored("Outage", "k")}, registry)[name].record is Outage


async def test_who_cannot_be_reached_is_named() -> None:
    ferry = Ferry(reachable=False)
    registry = ferry.registry()

    with pytest.raises(UpstreamError, match=r"sources\.upstream: cannot be reached"):
        await carried.ask(config.parse(HERE, registry), registry)
