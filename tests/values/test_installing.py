"""What to do where a package is missing."""

import shlex
import sys

import pytest

from flowd.plugin import how_to_install


def test_the_command_can_be_pasted_into_a_shell() -> None:
    assert how_to_install("flowd-daemon[redis]") == "pip install 'flowd-daemon[redis]'"
    assert shlex.split(how_to_install("a b")) == ["pip", "install", "a b"]


def test_an_executable_says_that_it_cannot_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)

    told = how_to_install("flowd-daemon[duckdb]")

    assert told.startswith("pip install 'flowd-daemon[duckdb]'")
    assert "nothing can be added to an executable" in told
