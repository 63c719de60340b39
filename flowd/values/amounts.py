"""Exact decimals: how they are read, added up and written."""

import re
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow

EXACT = Context(prec=100, traps=[Inexact, InvalidOperation, Overflow])
"""Arithmetic that refuses to round: `EXACT.multiply(quantity, price)`."""

_NUMBER = re.compile(r"-?[0-9]{1,24}(\.[0-9]{1,24})?", re.ASCII)


def number(text: object) -> Decimal:
    """A decimal number as exchanges write it, `"0.0071500"`.

    ValueError for anything else: numbers that are no strings, exponents, `NaN`, `Infinity`, or
    more than 24 digits on either side of the point.
    """
    if not isinstance(text, str) or not _NUMBER.fullmatch(text):
        raise ValueError(f"expected a decimal number in a string, got {text!r:.60}")
    return Decimal(text)


def trimmed(value: Decimal) -> Decimal:
    """The same number in its one plain form: no exponent, no trailing zeros, no minus zero."""
    if not value:
        return _ZERO
    value = EXACT.normalize(value)
    return EXACT.quantize(value, _ONE) if value == value.to_integral_value() else value


_ZERO, _ONE = Decimal(0), Decimal(1)
