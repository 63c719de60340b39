"""Durations, sizes and secrets, as the configuration writes them."""

from pathlib import Path

import pytest

from flowd.values.settings import Secret, seconds, secret, size


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("250ms", 0.25),
        ("5s", 5),
        ("5", 5),
        ("15m", 900),
        ("1.5h", 5400),
        ("7d", 604_800),
        (" 5 s ", 5),
        (5, 5),
        (0.5, 0.5),
        (0, 0),
    ],
)
def test_durations(written: object, meant: float) -> None:
    assert seconds(written) == pytest.approx(meant)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("128KiB", 131_072),
        ("16MiB", 16_777_216),
        ("1GiB", 1_073_741_824),
        ("1kB", 1000),
        ("2MB", 2_000_000),
        ("1.5KiB", 1536),
        ("100B", 100),
        ("100", 100),
        (100, 100),
    ],
)
def test_sizes(written: object, meant: int) -> None:
    assert size(written) == meant
    assert type(size(written)) is int


WRONG = ["", "s", "5x", "-5s", "5 s s", "1e3s", "٣s", "nan", "5S", -1, True, None, [], float("nan")]


@pytest.mark.parametrize("written", [*WRONG, float("inf"), 1e12, "5KiB"])
def test_what_is_no_duration_is_refused_with_an_example(written: object) -> None:
    with pytest.raises(ValueError, match='a duration such as "5s"'):
        seconds(written)


@pytest.mark.parametrize("written", [*WRONG, "5kib", "5s"])
def test_what_is_no_size_is_refused_with_an_example(written: object) -> None:
    with pytest.raises(ValueError, match='a size such as "128KiB"'):
        size(written)


def test_a_secret_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "hunter2")

    found = secret({"env": "SOME_KEY"})

    assert found.available
    assert found.reveal() == "hunter2"


@pytest.mark.parametrize("value", [None, ""])
def test_a_secret_that_is_not_set_says_where_it_was_looked_for(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("SOME_KEY", value)

    found = secret({"env": "SOME_KEY"})

    assert not found.available
    with pytest.raises(ValueError, match="environment variable SOME_KEY is not set"):
        found.reveal()


def test_a_secret_comes_from_a_file_without_its_line_end(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("hunter2\n")

    assert secret({"file": str(path)}).reveal() == "hunter2"


@pytest.mark.parametrize("content", [None, "\n"])
def test_a_secret_file_that_is_missing_or_empty_is_not_available(
    tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_text(content)

    found = secret({"file": str(path)})

    assert not found.available
    with pytest.raises(ValueError, match="key is not set"):
        found.reveal()


def test_a_secret_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")

    with pytest.raises(ValueError, match="cannot read"):
        secret({"file": str(tmp_path)})
    with pytest.raises(ValueError, match="cannot read"):
        secret({"file": str(tmp_path / "binary")})


def test_a_secret_comes_from_a_systemd_credential(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("hunter2")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))

    assert secret({"credential": "token"}).reveal() == "hunter2"


def test_without_systemd_there_are_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)

    assert not secret({"credential": "token"}).available


def test_a_secret_written_in_plain_is_refused_without_being_repeated() -> None:
    with pytest.raises(ValueError, match="does not belong into this file") as caught:
        secret("hunter2")

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "written",
    [{}, {"env": "A", "file": "b"}, {"vault": "x"}, {"env": ""}, {"env": 5}, 5, None, ["env"]],
)
def test_what_refers_to_no_secret_is_refused_with_an_example(written: object) -> None:
    with pytest.raises(ValueError, match=r'\{ env = "NAME" \}'):
        secret(written)


def test_a_secret_shows_nowhere() -> None:
    hidden = Secret("environment variable X", value="hunter2")

    assert f"{hidden} {hidden!r} {[hidden]} {hidden!s:>5}".count("hunter2") == 0
    assert repr(hidden) == "***"
