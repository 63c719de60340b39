"""How much is kept of a stream, as the configuration writes it."""

import contextlib

from flowd.stream.held import RETAIN_MAX, Behind, Retain
from flowd.values.errors import UserError
from flowd.values.settings import seconds, size


def behind_of(value: int | str, where: str) -> Behind:
    """What is held for readers within; UserError."""
    if isinstance(value, int) and not isinstance(value, bool):
        if 0 <= value <= RETAIN_MAX:
            return Behind(count=value)
    elif isinstance(value, str):
        with contextlib.suppress(ValueError):
            return Behind(count=RETAIN_MAX, bytes=size(value))
    raise UserError(
        f"{where}.behind_max = {value!r}: expected a number of records from 0 to {RETAIN_MAX}, "
        'or a size such as "64MiB"'
    )


def retain_of(given: int | str | None, where: str, default: int) -> Retain:
    """What is kept of a stream; UserError."""
    value = default if given is None else given
    if isinstance(value, int) and not isinstance(value, bool):
        if 1 <= value <= RETAIN_MAX:
            return Retain(count=value)
    elif isinstance(value, str):
        with contextlib.suppress(ValueError):
            if (age_s := seconds(value)) > 0:
                return Retain(count=RETAIN_MAX, age_s=age_s)
    raise UserError(
        f"{where}.retain = {value!r}: expected a number of records from 1 to {RETAIN_MAX}, "
        'or an age such as "1h"'
    )
