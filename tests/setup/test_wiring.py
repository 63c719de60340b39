"""Components to streams: what cannot work is refused before it starts."""

from collections.abc import Mapping
from typing import Any

import pytest
from attrs import field, frozen

from flowd.plugin import Sink, Source, StreamName, Transform
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
    input: StreamName


@frozen
class Inputs:
    inputs: list[StreamName] = field(factory=list)
    orders: StreamName | None = None


@frozen
class OrdersAndVolume:
    orders: StreamName = field(metadata={"reads": (Liquidation, Fill)})
    volume: StreamName = field(metadata={"reads": BigLiquidation})


@frozen
class Leg:
    of: StreamName = field(metadata={"reads": Fill})
    weight: int = 1


@frozen
class Everywhere:
    """Names of streams wherever a setting's type may have them, and texts that are none."""

    text: str = "zzz"
    input: str = "zzz"
    texts: list[str] = field(factory=lambda: ["zzz"])
    maybe: StreamName | None = None
    either: StreamName | list[StreamName] = field(factory=list)
    pair: tuple[StreamName, ...] = ()
    unique: frozenset[StreamName] = frozenset()
    by_name: dict[str, StreamName] = field(factory=dict)
    weights: Mapping[StreamName, int] = field(factory=dict)
    deep: dict[str, list[StreamName]] = field(factory=dict)
    leg: Leg | None = None
    legs: list[Leg] = field(factory=list)


@frozen
class Wishes:
    fills: StreamName = field(
        default=StreamName("all-fills"), metadata={"reads": Fill, "optional": True}
    )
    orders: StreamName = StreamName("all-orders")


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
        ("everywhere", Everywhere, None),
    ):
        registry.transforms[kind] = Transform(kind, run, config_, record=Liquidation, reads=reads)
    registry.sinks["page"] = Sink("page", OneInput, run=run, reads=Liquidation)
    registry.sinks["chart"] = Sink("chart", OrdersAndVolume, run=run)
    registry.sinks["wishes"] = Sink("wishes", Wishes, run=run)
    registry.sinks["all"] = Sink("all", Nothing, run=run)
    return wiring.plan(config.parse(text, registry))


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f'"{key}" = {toml(one)}' for key, one in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return repr(value)


def part(where: str, kind: str, **keys: Any) -> str:
    lines = [f"{key} = {toml(value)}" for key, value in keys.items()]
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


# -- which settings name streams


SOURCES = part("sources.a", "fills") + part("sources.b", "fills")


@pytest.mark.parametrize(
    ("settings", "reads"),
    [
        ({}, []),
        ({"maybe": "a"}, ["a"]),
        ({"either": "a"}, ["a"]),
        ({"either": ["a", "b"]}, ["a", "b"]),
        ({"pair": ["b", "a"]}, ["b", "a"]),
        ({"unique": ["a"]}, ["a"]),
        ({"by_name": {"x": "a", "y": "b"}}, ["a", "b"]),
        ({"weights": {"a": 1, "b": 2}}, ["a", "b"]),
        ({"deep": {"x": ["a", "b"]}}, ["a", "b"]),
        ({"leg": {"of": "a"}}, ["a"]),
        ({"legs": [{"of": "a"}, {"of": "b", "weight": 2}]}, ["a", "b"]),
    ],
)
def test_a_setting_names_streams_by_its_type_whatever_it_is_called(
    settings: dict[str, Any], reads: list[str]
) -> None:
    found = plan(SOURCES + part("transforms.t", "everywhere", **settings))

    assert found.inputs["t"] == reads


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"maybe": "c"}, "maybe"),
        ({"either": ["a", "c"]}, "either"),
        ({"by_name": {"x": "a", "y": "c"}}, "by_name.y"),
        ({"weights": {"c": 1}}, "weights"),
        ({"leg": {"of": "c"}}, "leg.of"),
        ({"legs": [{"of": "a"}, {"of": "c"}]}, "legs.of"),
    ],
)
def test_a_stream_that_is_not_there_is_told_with_the_key_that_names_it(
    settings: dict[str, Any], where: str
) -> None:
    with pytest.raises(UserError) as caught:
        plan(SOURCES + part("transforms.t", "everywhere", **settings))

    assert str(caught.value) == (
        f'transforms.t.{where} = "c": there is no such stream; there are: a, b, outages, t'
    )


def test_a_setting_within_a_setting_may_say_what_its_stream_carries() -> None:
    sources = SOURCES + part("sources.o", "orders")

    with pytest.raises(UserError, match=r't\.legs\.of = "o": carries Liquidation, but'):
        plan(sources + part("transforms.t", "everywhere", legs=[{"of": "o"}]))


def test_components_start_after_those_that_any_setting_names() -> None:
    found = plan(
        part("transforms.t3", "everywhere", leg={"of": "f"}, by_name={"x": "t2"})
        + part("transforms.t2", "everywhere", pair=["t1", "f"])
        + part("transforms.t1", "everywhere", maybe="f")
        + part("sources.f", "fills")
    )

    assert [component.name for component in found.order] == ["f", "t1", "t2", "t3"]


# -- defaults that name streams


def test_a_default_names_a_stream_like_a_setting() -> None:
    with pytest.raises(UserError, match=r's\.orders = "all-orders": there is no such'):
        plan(part("sinks.s", "wishes"))


def test_an_optional_default_is_read_where_it_is_there() -> None:
    sources = part("sources.all-orders", "orders") + part("sources.all-fills", "fills")

    found = plan(sources + part("sinks.s", "wishes"))

    assert found.inputs["s"] == ["all-fills", "all-orders"]


@pytest.mark.parametrize("other", ["", part("sources.all-fills", "orders")])
def test_an_optional_default_that_is_not_there_or_does_not_fit_is_not_read(other: str) -> None:
    found = plan(part("sources.all-orders", "orders") + other + part("sinks.s", "wishes"))

    assert found.inputs["s"] == ["all-orders"]


def test_what_somebody_wrote_must_be_there_though_the_setting_is_optional() -> None:
    with pytest.raises(UserError, match=r's\.fills = "all-fils": .* Did you mean "all-fills"'):
        plan(
            part("sources.all-orders", "orders")
            + part("sources.all-fills", "fills")
            + part("sinks.s", "wishes", fills="all-fils")
        )
