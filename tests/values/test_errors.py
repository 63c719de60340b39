"""What can go wrong without being a bug."""

import pytest

from flowd.values.errors import (
    BadRequest,
    UpstreamError,
    UpstreamSilent,
    UserError,
    did_you_mean,
    unwrap,
)


def test_a_bad_request_tells_what_was_sent_and_what_would_have_worked() -> None:
    error = BadRequest("side is never 'HOLD'", parameter="side", value="HOLD", allowed=("BUY",))

    assert error.body() == {
        "code": "BAD_PARAMETER",
        "message": "side is never 'HOLD'",
        "parameter": "side",
        "value": "HOLD",
        "allowed": ["BUY"],
    }
    assert error.status == 400


def test_what_is_allowed_may_be_a_sentence() -> None:
    error = BadRequest("no", parameter="limit", allowed="a whole number")

    assert error.body()["allowed"] == "a whole number"


@pytest.mark.parametrize("id", ["r1", 0, 7])
def test_a_request_that_has_a_name_is_answered_by_it(id: str | int) -> None:
    error = BadRequest("no", parameter="limit")

    error.id = id

    assert error.body()["id"] == id


def test_a_request_without_a_name_is_answered_without_one() -> None:
    assert "id" not in BadRequest("no", parameter="limit").body()


def test_a_silent_upstream_is_an_upstream_error() -> None:
    assert issubclass(UpstreamSilent, UpstreamError)
    assert not issubclass(UserError, UpstreamError)


def test_groups_of_one_are_unwrapped_however_deep() -> None:
    error = ValueError("inner")

    found = unwrap(ExceptionGroup("a", [ExceptionGroup("b", [ExceptionGroup("c", [error])])]))

    assert found is error


def test_a_group_of_several_stays_a_group() -> None:
    group = ExceptionGroup("a", [ValueError("1"), ValueError("2")])

    assert unwrap(ExceptionGroup("outer", [group])) is group


def test_what_is_no_group_is_itself() -> None:
    error = KeyboardInterrupt()

    assert unwrap(error) is error


@pytest.mark.parametrize(
    ("wrong", "known", "end"),
    [
        ("order", ["fills", "orders"], '. Did you mean "orders"?'),
        ("zebra", ["fills", "orders"], "; there are: fills, orders"),
        ("order", [], "; there are: none"),
    ],
)
def test_a_name_that_does_not_exist_is_answered_with_those_that_do(
    wrong: str, known: list[str], end: str
) -> None:
    assert did_you_mean(wrong, known) == end


def test_what_a_client_sent_is_shown_to_it_up_to_a_limit() -> None:
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep, {"a": deep}]

    def shown(value: object) -> object:
        return BadRequest("no", parameter="p", value=value).body()["value"]

    assert shown("BTC") == "BTC"
    assert shown(["a", 1, None]) == ["a", 1, None]
    assert shown(deep) == ["…", "…"]
    assert shown({"a": 1, "b": deep}) == {"a": 1, "b": "…"}
    assert len(str(shown("x" * 10_000))) == 500
