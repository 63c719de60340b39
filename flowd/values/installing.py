"""What to do where a package is missing."""

import shlex
import sys


def how_to_install(package: str) -> str:
    """The command that puts a package beside flowd, to be said after what needs it. Where flowd is
    an executable it says as well that this cannot have it.
    """
    command = f"pip install {shlex.quote(package)}"
    if getattr(sys, "frozen", False):
        return f"{command}, for a flowd that pip installed: nothing can be added to an executable"
    return command


def lacking(module: str) -> str:
    """What to do where code of others looks for a module in vain: which package has it is not
    known, and most are called like it.
    """
    package = module.split(".")[0]
    return f"install what it needs beside flowd, such as: {how_to_install(package)}"
