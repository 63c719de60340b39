"""Binance's archive of open interest: the daily files called metrics, as CSV. Pure: lines to
records.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal

from attrs import Factory, define

from flowd.market import OpenInterest, number
from flowd.plugin import UserError

REQUIRED = ("create_time", "symbol", "sum_open_interest")
VALUE = "sum_open_interest_value"
VENUE = "binance"

_TEXT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[ T]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,6})?(Z|\+00:00)?",
    re.ASCII,
)
_MILLISECONDS = re.compile(r"[0-9]{12,13}", re.ASCII)
_MS_MAX = 10**13


class Unusable(ValueError):
    """A row that is no sample. Its words are what it is counted by."""


@define
class Refused:
    """The rows that were no samples: how many for each reason, and which was the first."""

    counts: Counter[str] = Factory(Counter)
    first: dict[str, str] = Factory(dict)

    def note(self, reason: str, line: int, shown: object) -> None:
        """A row is refused."""
        self.counts[reason] += 1
        self.first.setdefault(reason, f"line {line}: {shown!s:.200}")


def samples(lines: Iterable[str], refused: Refused) -> Iterator[OpenInterest]:
    """The samples in the lines of a file, in its order. Rows that are none are noted and left;
    whoever keeps samples deals with those that are there twice, as they are in some files.

    UserError for what is no such file.
    """
    rows = _rows(lines, refused)
    _, header = next(rows, (0, []))
    names = [name.removeprefix("\ufeff").strip().lower() for name in header]
    if not set(REQUIRED) <= set(names):
        raise UserError(
            f"no metrics file of Binance's: expected the columns {', '.join(REQUIRED)}, "
            f"got {', '.join(names)!r:.200}"
        )
    for line, row in rows:
        if row in ([], header):  # Several files in a row have several headers.
            continue
        try:
            yield _sample(dict(zip(names, row, strict=False)), len(row) - len(names))
        except Unusable as error:
            refused.note(str(error), line, ",".join(row))


def _rows(lines: Iterable[str], refused: Refused) -> Iterator[tuple[int, list[str]]]:
    """The rows with the numbers of their lines."""
    reader = csv.reader(lines)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            refused.note("no CSV", reader.line_num, error)
        else:
            yield reader.line_num, row


def _sample(row: dict[str, str], too_many: int) -> OpenInterest:
    if too_many:
        raise Unusable("too many columns" if too_many > 0 else "too few columns")
    symbol = row["symbol"].strip()
    if not 0 < len(symbol) <= 64:
        raise Unusable("no symbol")
    value = row.get(VALUE, "").strip()
    return OpenInterest(
        symbol=symbol,
        time_ms=_time_ms(row["create_time"].strip()),
        contracts=_amount(row["sum_open_interest"].strip()),
        value=_amount(value) if value else None,
        venue=VENUE,
    )


def _time_ms(text: str) -> int:
    """A time as text, which is UTC, or in milliseconds."""
    if _MILLISECONDS.fullmatch(text):
        return int(text)
    match = _TEXT.fullmatch(text)
    if match is None:
        raise Unusable("bad time")
    try:
        time = datetime.fromisoformat(f"{match[1]} {match[2]}").replace(tzinfo=UTC)
    except ValueError:
        raise Unusable("bad time") from None
    time_ms = round(time.timestamp()) * 1000 + int((match[3] or ".0")[1:].ljust(6, "0")) // 1000
    if not 0 < time_ms < _MS_MAX:
        raise Unusable("bad time")
    return time_ms


def _amount(text: str) -> Decimal:
    try:
        found = number(text)
    except ValueError:
        raise Unusable("bad number") from None
    if found < 0:
        raise Unusable("bad number")
    return found
