"""Components to streams: what cannot work is refused before it starts."""

from typing import Any

import pytest
from attrs import field, frozen

from flowd.plugin import Sink, Source, Transform
from flowd.setup import config, wiring
from flowd.setup.registry import Registry
from flowd.upstream.outages import Outage
from flowd.values.errors import UserError


@frozen
class Fill:
    price: int


@frozen
class Liquidation:
    price: int


@frozen
class BigLiquidation(Liquidation):
    factor: int = 1


@frozen
class Nothing:
    pass


@frozen
class OneInput:
    input: str


@frozen
class Inputs:
    inputs: list[str] = field(factory=list)
    orders: str | None = None


@frozen
class OrdersAndVolume:
    orders: str = field(metadata={"reads": (Liquidation, Fill)})
    volume: str = field(metadata={"reads": BigLiquidation})


async def run(*args: Any) -> None:
    """Never called here."""


def plan(text: str) -> wiring.Plan:
    registry = Registry()
    for name, record in (("fills", Fill), ("orders", Liquidation), ("big-orders", BigLiquidation)):
        registry.sources[name] = Source(name, run, Nothing, record=record)
    for kind, config_, reads in (
        ("volume", OneInput, Liquidation),
        ("any", OneInput, None),
        ("several", Inputs, None),
    ):
        registry.transforms[kind] = Transform(kind, run, config_, record=Liquidation, reads=reads)
    registry.sinks["page"] = Sink("page", OneInput, run=run, reads=Liquidation)
    registry.sinks["chart"] = Sink("chart", OrdersAndVolume, run=run)
    registry.sinks["all"] = Sink("all", Nothing, run=run)
    return wiring.plan(config.parse(text, registry))


def part(where: str, kind: str, **keys: Any) -> str:
    lines = [f"{key} = {value!r}" for key, value in keys.items()]
    return "\n".join((f"[{where}]", f'kind = "{kind}"', *lines, ""))


def test_an_empty_configuration_has_the_outages_all_the_same() -> None:
    found = plan("")

    assert (found.order, found.records, found.inputs) == ([], {"outages": Outage}, {})


def test_components_start_sources_first_and_sinks_last() -> None:
    found = plan(
        part("sinks.s", "page", input="t2")
        + part("transforms.t2", "volume", input="t1")
        + part("transforms.t1", "volume", input="o")
        + part("sources.o", "orders")
    )

    assert [component.name for component in found.order] == ["o", "t1", "t2", "s"]
    assert found.records == {
        "o": Liquidation,
        "t1": Liquidation,
        "t2": Liquidation,
        "outages": Outage,
    }
    assert found.inputs == {"o": [], "t1": ["o"], "t2": ["t1"], "s": ["t2"]}


def test_a_component_may_read_several_streams() -> None:
    found = plan(
        part("sources.a", "orders")
        + part("sources.b", "fills")
        + part("transforms.t", "several", inputs=["a", "b"], orders="a")
    )

    assert found.inputs["t"] == ["a", "b", "a"]


def test_the_outages_may_be_read_by_anybody() -> None:
    found = plan(part("transforms.t", "any", input="outages"))

    assert found.inputs["t"] == ["outages"]


def test_a_more_special_record_will_do() -> None:
    found = plan(part("sources.b", "big-orders") + part("transforms.t", "volume", input="b"))

    assert len(found.order) == 2


def test_a_stream_that_is_not_there_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r'transforms.t.input = "order": .* Did you mean "orders"?'):
        plan(part("sources.orders", "orders") + part("transforms.t", "volume", input="order"))


def test_a_stream_that_is_like_no_other_is_refused_with_those_there_are() -> None:
    with pytest.raises(UserError, match="there is no such stream; there are: o, outages, t"):
        plan(part("sources.o", "orders") + part("transforms.t", "volume", input="zzz"))


def test_a_sink_is_no_stream() -> None:
    with pytest.raises(UserError, match="there is no such stream"):
        plan(part("sinks.all", "all") + part("sinks.s", "page", input="all"))


def test_a_stream_of_another_type_is_refused_with_one_that_fits() -> None:
    with pytest.raises(UserError) as caught:
        plan(
            part("sources.all-fills", "fills")
            + part("sources.force-orders", "orders")
            + part("transforms.volume-1m", "volume", input="all-fills")
        )

    assert str(caught.value) == (
        'transforms.volume-1m.input = "all-fills": carries Fill, but volume reads Liquidation. '
        'Did you mean "force-orders"?'
    )


def test_a_stream_of_another_type_is_refused_though_none_fits() -> None:
    with pytest.raises(UserError, match="No configured stream carries that"):
        plan(part("sources.f", "fills") + part("sinks.s", "page", input="f"))


def test_components_that_read_each_other_in_a_circle_are_refused() -> None:
    with pytest.raises(UserError, match=r"transforms.a, transforms.b: these read each other"):
        plan(part("transforms.a", "any", input="b") + part("transforms.b", "any", input="a"))


def test_a_component_that_reads_itself_is_refused() -> None:
    with pytest.raises(UserError, match="in a circle"):
        plan(part("transforms.a", "any", input="a"))


def test_a_setting_may_say_itself_what_its_stream_carries() -> None:
    sources = part("sources.f", "fills") + part("sources.b", "big-orders")

    found = plan(sources + part("sinks.c", "chart", orders="f", volume="b"))
    with pytest.raises(UserError) as caught:
        plan(sources + part("sinks.c", "chart", orders="f", volume="f"))

    assert found.inputs["c"] == ["f", "b"]
    assert str(caught.value) == (
        'sinks.c.volume = "f": carries Fill, but chart reads BigLiquidation. Did you mean "b"?'
    )
