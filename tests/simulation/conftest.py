"""A broken promise shows the values that broke it, though it is no test module that holds it."""

import pytest

pytest.register_assert_rewrite(
    "tests.simulation.model", "tests.simulation.reader", "tests.simulation.world"
)
