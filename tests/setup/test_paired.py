"""The table `[pair]`: what it may say, and what is said of it where it is wrong."""

import pytest

from flowd.setup.config import parse
from flowd.testing.daemons import installed
from flowd.values.errors import UserError

PAIR = '[pair]\nkind = "redis"\nurl = "redis://127.0.0.1:6379/0"\n'


def test_without_the_table_there_is_no_pair() -> None:
    assert parse("", installed()).pair is None


def test_a_pair_has_a_kind_and_what_that_wants() -> None:
    found = parse(PAIR + 'lease = "2s"\npatience = "10m"\n', installed()).pair

    assert found is not None
    assert found.definition.kind == "redis"
    assert (found.settings.lease, found.patience_s) == (2.0, 600.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[pair]\nurl = 'x'", r'\[pair\]: needs kind = "…"'),
        ("[pair]\nkind = 'redsi'", r"no plugin brings such a pair. Did you mean \"redis\"\?"),
        ("[pair]\nkind = 'redis'", r"\[pair\]: url = … is missing"),
        (PAIR + "leese = '2s'", r"there is no key 'leese'. Did you mean \"lease\"\?"),
        (PAIR + "lease = '100ms'", r'lease: expected "500ms" to "60s"'),
        (PAIR + "patience = '0s'", r'pair.patience: expected at least "1s"'),
        (PAIR + "name = 'a{b'", r'name = "a\{b": expected a word'),
        ("pair = 5", r"pair: expected a table, written \[pair\], got 5"),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(text, installed())


def test_each_key_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWD__PAIR__LEASE", "5s")
    monkeypatch.setenv("FLOWD__PAIR__URL", "redis://elsewhere:6379/0")

    found = parse(PAIR, installed()).pair

    assert found is not None
    assert found.settings.lease == 5.0
