"""Settings from the environment: texts with `${NAME}` in them, and variables that name a key."""

from decimal import Decimal
from pathlib import Path

import pytest
from attrs import field, frozen

from flowd.plugin import Secret, Source
from flowd.setup import checks, config
from flowd.setup.config import Component, Config
from flowd.setup.registry import Registry
from flowd.values.errors import UserError

A = '[sources.a]\nkind = "feed"\n'


@frozen
class Tick:
    price: int


@frozen
class Inner:
    depth: int = 0


@frozen
class Feed:
    url: str = "ws://h"
    symbols: list[str] = field(factory=list)
    either: str | list[str] = ""
    count: int = 0
    least: Decimal = Decimal(0)
    share: float = 0.0
    fast: bool = False
    key: Secret | None = None
    inner: Inner = Inner()
    database: str | Secret | None = None


async def run(*args: object) -> None:
    """Never called here."""


REGISTRY = Registry()
REGISTRY.sources["feed"] = Source("feed", run, Feed, record=Tick)


def parse(text: str) -> Config:
    return config.parse(text, REGISTRY)


def only(text: str) -> Component:
    (found,) = parse(text).components
    return found


def settings(text: str) -> Feed:
    found = only(text).settings
    assert isinstance(found, Feed)
    return found


def refused(text: str) -> str:
    with pytest.raises(UserError) as told:
        parse(text)
    return str(told.value)


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("HOST", "PORT", "KEY", "COUNT"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


# -- within texts


def test_a_text_may_have_variables_anywhere(env: pytest.MonkeyPatch) -> None:
    env.setenv("HOST", "h.example")
    env.setenv("PORT", "7000")

    found = settings(A + 'url = "ws://${HOST}:${PORT}/x"\nsymbols = ["${HOST}", "B"]')

    assert found.url == "ws://h.example:7000/x"
    assert found.symbols == ["h.example", "B"]
    assert type(found.url) is str
    assert [type(name) for name in found.symbols] == [str, str]


def test_what_is_not_set_has_its_default(env: pytest.MonkeyPatch) -> None:
    env.setenv("PORT", "")

    assert settings(A + 'url = "ws://${HOST:-127.0.0.1}:${PORT:-80}"').url == "ws://127.0.0.1:80"


def test_what_is_not_set_and_has_no_default_is_a_mistake(env: pytest.MonkeyPatch) -> None:
    told = refused(A + 'url = "ws://${HOST}"\nsymbols = ["${PORT}"]')

    assert 'sources.a.url = "ws://${HOST}": the environment variable HOST is not set' in told
    assert '"${HOST:-…}"' in told
    assert "PORT is not set" in told


@pytest.mark.parametrize("wrong", ["${}", "${A", "${A-B}", "${1}", "a${ b}"])
def test_what_is_no_reference_is_a_mistake(wrong: str, env: pytest.MonkeyPatch) -> None:
    assert 'expected "${NAME}" or "${NAME:-default}"' in refused(f'{A}url = "{wrong}"')


def test_two_dollars_are_one_of_the_text(env: pytest.MonkeyPatch) -> None:
    assert settings(A + 'url = "$${HOST}$"').url == "${HOST}$"


def test_what_the_environment_says_is_not_looked_through_again(env: pytest.MonkeyPatch) -> None:
    env.setenv("HOST", "${PORT}")

    assert settings(A + 'url = "${HOST}"').url == "${PORT}"


def test_a_variable_alone_is_what_its_key_may_be(env: pytest.MonkeyPatch) -> None:
    env.setenv("COUNT", "12")
    keys = 'count = "${COUNT}"\nurl = "${COUNT}"\nleast = "${COUNT}"\nfast = "${FAST:-true}"'

    found = settings(f'{A}retain = "${{COUNT}}"\n{keys}\nsymbols = "${{S:-[]}}"')

    assert (found.count, found.url, found.least, found.fast) == (12, "12", Decimal(12), True)
    assert found.symbols == []
    assert only(f'{A}retain = "${{COUNT}}"').retain.count == 12


def test_what_does_not_fit_is_told_as_it_is_written(env: pytest.MonkeyPatch) -> None:
    env.setenv("KEY", "hunter2")

    told = refused(A + 'count = "${KEY}"')

    assert 'sources.a.count = "${KEY}": expected a whole number' in told
    assert "hunter2" not in told


def test_a_secret_may_be_a_variable_and_nothing_beside_it(env: pytest.MonkeyPatch) -> None:
    env.setenv("KEY", "hunter2")

    found = settings(A + 'key = "${KEY}"').key

    assert found is not None
    assert found.reveal() == "hunter2"
    assert "hunter2" not in repr(found) + found.source
    for plain in ("x${KEY}", "${NONE:-sesame}", "sesame"):
        told = refused(f'{A}key = "{plain}"')
        assert "does not belong into this file" in told
        assert "hunter2" not in told
        assert "sesame" not in told


def test_where_a_secret_may_be_what_is_all_of_a_variable_is_one(env: pytest.MonkeyPatch) -> None:
    env.setenv("HOST", "h")
    env.setenv("KEY", "redis://:hunter2@h")
    env.setenv("FLOWD__SOURCES__B__DATABASE", "redis://:hunter2@h")

    found = parse(f'{A}database = "${{KEY}}"\n[sources.b]\nkind = "feed"')

    assert [part.settings.database.reveal() for part in found.components] == [
        "redis://:hunter2@h",
        "redis://:hunter2@h",
    ]
    assert "hunter2" not in repr(found)
    env.delenv("FLOWD__SOURCES__B__DATABASE")
    assert settings(A + 'database = "redis://${HOST}"').database == "redis://h"
    assert settings(A + 'database = "redis://h"').database == "redis://h"


# -- a variable for a key


def test_a_variable_sets_a_key_or_adds_it(env: pytest.MonkeyPatch) -> None:
    env.setenv("FLOWD__SOURCES__A__URL", "ws://other")
    env.setenv("FLOWD__SOURCES__A__COUNT", "3")
    env.setenv("FLOWD__SOURCES__A__INNER__DEPTH", "9")
    env.setenv("FLOWD__MAX_CLIENTS", "7")

    found = parse(A + 'url = "ws://h"')

    assert found.components[0].settings == Feed(url="ws://other", count=3, inner=Inner(9))
    assert found.settings.max_clients == 7
    assert found.given["sources.a.url"] == {"FLOWD__SOURCES__A__URL": None}


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("count", "5", 5),
        ("count", " 5 ", 5),
        ("url", "5", "5"),
        ("url", '"5"', "5"),
        ("url", "ws://h # no comment", "ws://h # no comment"),
        ("url", "", ""),
        ("url", "1\nurl = 2", "1\nurl = 2"),
        ("symbols", '["A", "B"]', ["A", "B"]),
        ("either", '["A"]', ["A"]),
        ("either", "A", "A"),
        ("least", "0.10000000000000000001", Decimal("0.10000000000000000001")),
        ("share", "0.25", 0.25),
        ("fast", "true", True),
        ("inner", "{ depth = 4 }", Inner(4)),
    ],
)
def test_its_type_is_that_of_the_key(
    key: str, text: str, value: object, env: pytest.MonkeyPatch
) -> None:
    env.setenv(f"FLOWD__SOURCES__A__{key.upper()}", text)

    found = getattr(settings(A), key)

    assert (found, type(found)) == (value, type(value))


def test_names_are_found_whatever_stands_between_their_words(env: pytest.MonkeyPatch) -> None:
    env.setenv("FLOWD__SOURCES__BIG_FEED_1__COUNT", "1")

    assert settings('[sources."Big-feed.1"]\nkind = "feed"').count == 1


def test_a_component_may_be_of_the_environment_alone(env: pytest.MonkeyPatch) -> None:
    env.setenv("FLOWD__SOURCES__BIG_FEED__KIND", "feed")
    env.setenv("FLOWD__SOURCES__OTHER", '{ kind = "feed", count = 2 }')
    env.setenv("FLOWD__SOURCES__OTHER__FAST", "true")

    found = {part.name: part for part in parse("").components}

    assert list(found) == ["big-feed", "other"]
    assert found["other"].settings == Feed(count=2, fast=True)
    assert type(found["big-feed"].kind) is str


def test_a_secret_by_itself_or_where_it_is(env: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("of-a-file")
    for text, meant in (
        ("hunter2", "hunter2"),
        ("123456", "123456"),
        (f'{{ file = "{tmp_path}/key" }}', "of-a-file"),
    ):
        env.setenv("FLOWD__SOURCES__A__KEY", text)
        found = settings(A).key
        assert found is not None
        assert found.reveal() == meant
        assert meant not in str(parse(A))


def test_a_mistake_names_the_variable_and_not_its_value(env: pytest.MonkeyPatch) -> None:
    env.setenv("FLOWD__SOURCES__A__COUNT", "hunter2")
    env.setenv("FLOWD__SOURCES__A__COUNTS", "1")
    env.setenv("FLOWD__SOURCE__B__URL", "x")

    told = refused(A)

    assert 'sources.a.count = "${FLOWD__SOURCES__A__COUNT}": expected a whole number' in told
    assert "no key 'counts'. Did you mean \"count\"? (set by FLOWD__SOURCES__A__COUNTS)" in told
    assert "no key 'source'" in told
    assert "(set by FLOWD__SOURCE__B__URL)" in told
    assert "hunter2" not in told


def test_what_is_no_use_as_a_whole_names_its_variable_too(env: pytest.MonkeyPatch) -> None:
    env.setenv("FLOWD__MAX_CLIENTS", "0")

    told = refused(A)

    assert told == "flowd.max_clients = 0: expected a number from 1 up (set by FLOWD__MAX_CLIENTS)"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("FLOWD__", "expected FLOWD__KEY"),
        ("FLOWD__SOURCES____URL", "expected FLOWD__KEY"),
        ("FLOWD__SOURCES__A__KIND__X", "sources.a.kind is no table"),
        ("FLOWD__SOURCES__A_B__URL", "may be each of a-b, a.b"),
    ],
)
def test_a_variable_that_names_no_key_is_a_mistake(
    name: str, why: str, env: pytest.MonkeyPatch
) -> None:
    env.setenv(name, "x")

    told = refused(f'{A}[sources.a-b]\nkind = "feed"\n[sources."a.b"]\nkind = "feed"')

    assert name in told
    assert why in told


def test_what_is_disabled_may_be_said_there(env: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "flowd.toml"
    file.write_text("")
    env.setenv("FLOWD__PLUGINS__DISABLE", '["okx"]')

    assert config.disabled(file) == {"okx"}
    assert checks.load(file, REGISTRY).settings.plugins.disable == ["okx"]
