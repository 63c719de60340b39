"""Where a history lies: in a file or at an address, as a command line or configuration says."""

from pathlib import Path
from typing import Any

from flowd.history import Archive, database
from flowd.plugin import configured, secret
from flowd_history import state_directory
from flowd_history.query import File


class Mistake(Exception):
    """Something that cannot work; the message says what to do."""


def archive(place: str) -> Archive:
    """The history at a path or an address. Mistake when there is no such file."""
    if "://" in place:
        checked(place)
        return database(place).archive(place)
    if not Path(place).is_file():
        raise Mistake(
            f"{place}: there is no such file; a service's history lies in its state directory, "
            "such as /var/lib/flowd/history.db: name it with --db"
        )
    return File(Path(place))


def checked(address: str) -> str:
    """An address at which somebody keeps histories; Mistake when it cannot be read."""
    try:
        database(address).check(address)
    except ValueError as error:
        raise Mistake(str(error)) from None
    return address


def find(config: Path, stream: str) -> Archive:
    """The history that has this stream, as a configuration says."""
    found = histories(config)
    for sink in found:
        if {stream, "*"} & set(sink.get("inputs", ())):
            address = address_of(sink)
            path = state_directory() / str(sink.get("path", "history.db"))
            return archive(str(path) if address is None else address)
    inputs = sorted({str(name) for sink in found for name in sink.get("inputs", ())})
    if inputs:
        raise Mistake(f"{config}: no history keeps {stream!r}; kept are: {', '.join(inputs)}")
    raise Mistake(f'{config}: has no sink of kind = "history"; name a history with --db')


def histories(config: Path) -> list[dict[str, Any]]:
    """The tables of a configuration's histories, with what the environment says of them."""
    if not config.exists():
        raise Mistake(f"{config}: there is no such file; name one with --config or --db")
    return list(configured(config, "sinks", "history").values())


def address_of(sink: dict[str, Any]) -> str | None:
    """The address of a history's database, None where it has a file."""
    written = sink.get("database")
    if written is None or isinstance(written, str):
        return written
    try:
        return secret(written).reveal()
    except ValueError as error:
        raise Mistake(f"database: {error}") from None
