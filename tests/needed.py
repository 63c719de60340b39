"""What a test needs of its machine."""

import os
from typing import NoReturn

import pytest


def lacking(why: str) -> NoReturn:
    """Skip the test, and fail where CI runs: there everything is there."""
    assert os.environ.get("CI") != "true", why
    pytest.skip(why)
