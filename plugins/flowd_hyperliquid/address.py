"""Addresses of accounts: `0x` and 40 hexadecimal digits, compared and kept in lower case."""

import re

ZERO = "0x" + 40 * "0"

_fits = re.compile(r"0x[0-9a-f]{40}").fullmatch


def is_address(text: str) -> bool:
    """Whether this is an address in lower case, and somebody's."""
    return bool(_fits(text)) and text != ZERO
