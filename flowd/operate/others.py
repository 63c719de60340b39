"""Programs that are not ours. As an executable we have libraries with us, and where these are is in
the environment: they are not for others, which have their own.
"""

import os
import sys
from collections.abc import Sequence


def of_others(command: Sequence[str]) -> list[str]:
    """The command by which a program that is not ours is run with the libraries of its machine."""
    if not getattr(sys, "frozen", False):
        return [*command]
    before = os.environ.get("LD_LIBRARY_PATH_ORIG")
    as_before = ["-u", "LD_LIBRARY_PATH"] if before is None else [f"LD_LIBRARY_PATH={before}"]
    return ["/usr/bin/env", *as_before, *command]
