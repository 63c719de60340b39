"""The OpenAPI description: valid, and true of what is served."""

import json
import re
from decimal import Decimal
from typing import Any, Literal

import pytest
from attrs import frozen

from flowd.door.paths import Hot, Live
from flowd.operate.openapi import openapi
from flowd.stream.log import Stream
from flowd.upstream.outages import Outage


@frozen
class Level:
    price: Decimal


@frozen
class Order:
    symbol: str
    side: Literal["BUY", "SELL"]
    notional: Decimal
    levels: list[Level]
    venue: str | None = None


def make_stream(name: str, record: type, *, private: bool = False) -> Stream[Any]:
    return Stream(name, record, clock=lambda: 0, epoch="e", private=private)


def encode(batch: Any) -> bytes:
    return b""


STREAMS = [
    make_stream("orders", Order),
    make_stream("outages", Outage),
    make_stream("orders/state", Level, private=True),
]
PATHS: list[tuple[str, Live | Hot]] = [
    ("/streams/{stream}", Hot("/streams/{stream}", encode)),
    ("/sse/{stream}", Live("/sse/{stream}", encode, head=b"HTTP/1.1 200 OK\r\n\r\n")),
    ("/ws", Live("/ws", encode, websocket=True)),
    ("/api/{version}/ws/{symbol}", Live("/api/{version}/ws/{symbol}", encode, websocket=True)),
]


@pytest.fixture
def document() -> dict[str, Any]:
    return openapi("1.2.3", STREAMS, PATHS)


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def references(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [ref for part in value.values() for ref in references(part)]
    if isinstance(value, list):
        return [ref for part in value for ref in references(part)]
    return []


def test_the_document_is_openapi_3_1_and_json(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert document["info"]["title"] == "flowd"
    assert document["info"]["version"] == "1.2.3"
    assert set(document) <= {"openapi", "info", "servers", "paths", "components"}
    assert json.loads(json.dumps(document)) == document


def test_every_path_begins_with_a_slash_and_every_method_is_one(document: dict[str, Any]) -> None:
    for path, method, _ in operations(document):
        assert path.startswith("/")
        assert method in ("get", "post")


def test_every_operation_says_what_it_does_and_what_it_answers(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        assert operation["summary"], (path, method)
        assert operation["responses"], (path, method)
        for code, answer in operation["responses"].items():
            assert re.fullmatch(r"[1-5][0-9][0-9]", code)
            assert answer["description"]


def test_every_name_in_a_path_is_a_parameter_and_no_other(document: dict[str, Any]) -> None:
    for path, _, operation in operations(document):
        named = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
        assert named == set(re.findall(r"\{([^}]+)\}", path)), path


def test_parameters_are_whole_and_unique(document: dict[str, Any]) -> None:
    for path, _, operation in operations(document):
        parameters = operation.get("parameters", [])
        for parameter in parameters:
            assert parameter["in"] in ("path", "query")
            assert parameter["required"] is (parameter["in"] == "path")
            assert parameter["schema"]["type"] in ("string", "integer")
            assert parameter["description"]
        keys = [(parameter["name"], parameter["in"]) for parameter in parameters]
        assert len(keys) == len(set(keys)), path


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    found = references(document)

    assert found
    for reference in found:
        place: Any = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
        assert isinstance(place, dict)


def test_schemas_have_names_that_openapi_allows(document: dict[str, Any]) -> None:
    for name in document["components"]["schemas"]:
        assert re.fullmatch(r"[A-Za-z0-9._-]+", name)


def test_public_records_are_described_and_private_ones_are_not(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    assert set(schemas["Order"]["properties"]) == {
        "symbol",
        "side",
        "notional",
        "levels",
        "venue",
    }
    assert schemas["Order"]["properties"]["side"]["enum"] == ["BUY", "SELL"]
    assert schemas["Order"]["properties"]["notional"]["type"] == "string"
    assert {"Outage", "Status", "ComponentStatus", "Error"} <= set(schemas)
    streams = next(
        p for p in document["paths"]["/sse/{stream}"]["get"]["parameters"] if p["name"] == "stream"
    )
    assert streams["schema"]["enum"] == ["orders", "outages"]


def test_filters_are_parameters(document: dict[str, Any]) -> None:
    names = {p["name"] for p in document["paths"]["/streams/{stream}"]["get"]["parameters"]}

    assert {"stream", "after", "limit", "symbol", "side", "min_notional", "component"} <= names


@pytest.mark.parametrize(
    ("path", "codes"),
    [
        ("/streams/{stream}", {"200", "304", "400", "404"}),
        ("/sse/{stream}", {"200", "400", "404", "503"}),
        ("/ws", {"101", "400", "426", "503"}),
    ],
)
def test_each_kind_of_path_says_how_it_may_answer(
    document: dict[str, Any], path: str, codes: set[str]
) -> None:
    assert set(document["paths"][path]["get"]["responses"]) == codes


def test_mistakes_are_answered_with_an_error_object(document: dict[str, Any]) -> None:
    for path, _, operation in operations(document):
        for code, answer in operation["responses"].items():
            told = answer.get("content", {}).get("application/json", {}).get("schema")
            mistake = code.startswith("4")
            assert (told == {"$ref": "#/components/schemas/Error"}) is mistake, (path, code)


def test_what_needs_the_admin_token_says_so(document: dict[str, Any]) -> None:
    operation = document["paths"]["/components/{name}/reconnect"]["post"]

    (scheme,) = operation["security"][0]
    assert document["components"]["securitySchemes"][scheme] == {"type": "http", "scheme": "bearer"}


def test_two_records_of_the_same_name_are_both_described() -> None:
    def made(annotation: type) -> type:
        @frozen
        class Tick:
            price: annotation  # type: ignore[valid-type]

        Tick.__module__ = f"plugin_{annotation.__name__}"
        Tick.__qualname__ = "Tick"
        return Tick

    streams = [make_stream("a", made(int)), make_stream("b", made(str))]

    schemas = openapi("1", streams, [])["components"]["schemas"]

    described = [schema for name, schema in schemas.items() if "Tick" in name]
    assert sorted(s["properties"]["price"]["type"] for s in described) == ["integer", "string"]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in schemas)


def test_a_daemon_without_streams_and_sinks_is_described_too() -> None:
    document = openapi("1", [], [])

    assert "/health" in document["paths"]
    assert references(document)
