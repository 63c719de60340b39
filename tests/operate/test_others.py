"""Which libraries a program gets that is not ours."""

import subprocess
import sys

import pytest

from flowd.operate.others import of_others

ASK = ["/bin/sh", "-c", 'echo "${LD_LIBRARY_PATH-none}"']


@pytest.mark.parametrize("before", ["/of/the/machine", "", None])
def test_an_executable_gives_others_the_libraries_that_they_had_before(
    monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setenv("LD_LIBRARY_PATH", "/of/flowd")
    monkeypatch.delenv("LD_LIBRARY_PATH_ORIG", raising=False)
    if before is not None:
        monkeypatch.setenv("LD_LIBRARY_PATH_ORIG", before)

    told = subprocess.run(of_others(ASK), capture_output=True, text=True, check=True).stdout

    assert told == f"{'none' if before is None else before}\n"


def test_elsewhere_nothing_is_different() -> None:
    assert of_others(ASK) == ASK
