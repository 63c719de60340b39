"""One line per change of state, as text, as the journal likes it, or as JSON."""

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest

from flowd.operate.log import configure
from flowd.values.settings import Secret


@pytest.fixture(autouse=True)
def _logging_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    loggers = [logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)]
    before = [(one, one.handlers[:], one.level, one.filters[:]) for one in loggers]
    yield
    for one, handlers, level, filters in before:
        one.handlers[:], one.filters[:] = handlers, filters
        one.setLevel(level)


def say() -> None:
    logging.getLogger("flowd.orders").warning("%s: silent for %gs", "orders", 60)


def fail() -> None:
    try:
        raise ValueError("a bug")
    except ValueError as error:
        logging.getLogger("flowd.orders").error("orders: failed: %r", error, exc_info=error)


def written(form: str = "auto", level: str = "info") -> io.StringIO:
    out = io.StringIO()
    configure(level, form, out)  # type: ignore[arg-type]
    return out


def test_a_text_line_has_time_level_and_words() -> None:
    out = written()

    say()

    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d WARNING orders: silent for 60s\n", out.getvalue()
    )


def test_a_traceback_follows_its_line() -> None:
    out = written("text")

    fail()

    lines = out.getvalue().splitlines()
    assert lines[0].endswith("ERROR   orders: failed: ValueError('a bug')")
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-1] == "ValueError: a bug"


def test_below_systemd_lines_begin_with_the_level_and_leave_the_time_to_the_journal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1234")
    out = written()

    say()
    logging.getLogger("flowd").info("started")
    fail()

    lines = out.getvalue().splitlines()
    assert lines[:2] == ["<4>orders: silent for 60s", "<6>started"]
    assert all(line.startswith("<3>") for line in lines[2:])
    assert len(lines) > 4
    assert all(line.startswith("<3>orders: ") for line in lines[2:])


def test_json_is_one_object_per_line() -> None:
    out = written("json")

    say()
    fail()

    first, second = map(json.loads, out.getvalue().splitlines())
    assert first["message"] == "orders: silent for 60s"
    assert (first["level"], first["logger"]) == ("warning", "flowd.orders")
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d.*Z", first["timestamp"])
    assert "ValueError: a bug" in second["exception"]


def test_an_error_that_nothing_raised_has_no_traceback() -> None:
    out = written("json")

    logging.getLogger("flowd").exception("not in an except block")

    assert "exception" not in json.loads(out.getvalue())


def test_the_stack_that_a_line_asks_for_is_in_its_json() -> None:
    out = written("json")

    logging.getLogger("flowd").info("here", stack_info=True)

    assert "test_the_stack_that" in json.loads(out.getvalue())["stack_info"]


def test_json_says_no_time_of_its_own_form_below_systemd_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1234")
    out = written("json")

    say()

    assert json.loads(out.getvalue())["message"] == "orders: silent for 60s"


def test_what_is_below_the_level_is_not_said() -> None:
    out = written(level="warning")

    logging.getLogger("flowd").info("chatter")
    say()

    assert "chatter" not in out.getvalue()
    assert "silent" in out.getvalue()


def test_libraries_speak_only_when_something_is_wrong() -> None:
    out = written(level="debug")

    for name in ("trio-websocket", "websockets.client", "hypercorn.error", "httpx2"):
        logging.getLogger(name).info("details of no interest")
        logging.getLogger(name).warning("%s is worried", name)
    logging.getLogger("flowd").debug("our own details")

    assert "no interest" not in out.getvalue()
    assert out.getvalue().count("is worried") == 4
    assert "our own details" in out.getvalue()


def test_running_out_of_files_is_said_once_a_minute_and_without_a_traceback() -> None:
    out = written()
    logger = logging.getLogger("trio.serve_listeners")

    for _ in range(100):
        try:
            raise OSError(24, "Too many open files")
        except OSError:
            logger.exception("accept returned EMFILE")

    assert out.getvalue().count("EMFILE") == 1
    assert "Traceback" not in out.getvalue()


def test_configuring_again_replaces_what_was() -> None:
    first = written()
    second = written()

    say()

    assert first.getvalue() == ""
    assert second.getvalue().count("silent") == 1


def test_a_secret_in_a_line_is_not_said() -> None:
    out = written("json")

    logging.getLogger("flowd").warning(
        "key %s %r", Secret("x", value="hunter2"), {"a": Secret("x")}
    )

    assert "hunter2" not in out.getvalue()
    assert "***" in out.getvalue()


@pytest.mark.parametrize(
    ("form", "journal", "line"),
    [
        ("text", "", r"[0-9: -]{19} WARNING \[edge-1\] orders: silent for 60s\n"),
        ("auto", "8:1", r"<4>\[edge-1\] orders: silent for 60s\n"),
        ("json", "", r'\{.*"process":"edge-1".*"message":"orders: silent for 60s"\}\n'),
    ],
)
def test_of_several_processes_each_line_says_which_it_is_from(
    form: str, journal: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", journal)
    out = io.StringIO()
    configure("info", form, out, process="edge-1")  # type: ignore[arg-type]

    say()

    assert re.fullmatch(line, out.getvalue())
