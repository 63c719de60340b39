"""What Redis' refusals and coredis' errors mean to who runs flowd: sentences with what to do."""

import os
import socket
import ssl

import trio

from flowd.plugin import UpstreamError, unwrap

WRONGTYPE = "WRONGTYPE"
"""Redis' word for a key that is something else."""
ELSEWHERE = ("READONLY", "MASTERDOWN", "LOADING")
"""What a server says that is no primary, or none yet: another one may be."""
REFUSALS = {
    "OOM": "its memory is full: raise its maxmemory, or retain less",
    WRONGTYPE: "a key that is not flowd's is in the way: delete it, or choose another prefix",
    "NOAUTH": "it wants a password: set password, and username for an ACL user",
    "WRONGPASS": "it knows no such user and password: check username and password",
    "NOPERM": "its user may not do that; docs/reference/redis.md says which rights it needs",
    "READONLY": "it is a replica, which takes nothing: name the primary, or all servers",
    "LOADING": "it is loading its data; trying again",
    "MISCONF": "it takes nothing, since it cannot save its data to disk: see its log",
    "MASTERDOWN": "it is a replica that has lost its master",
    "DENIED": "it is in protected mode, in which it lets in nobody from other machines: give it a "
    "password, or say protected-mode no where nobody else reaches it",
}


class Refused(UpstreamError):
    """It answered, and does not do it: `code` is Redis' word for why, if it is a known one."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


def told(error: BaseException, where: str) -> UpstreamError:
    """What an error of coredis means, in a sentence."""
    from coredis.exceptions import (
        AuthenticationError,
        AuthenticationRequiredError,
        AuthorizationError,
        BusyLoadingError,
        ConnectionError,
        ReadOnlyError,
        ResponseError,
        WrongTypeError,
    )

    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(unwrap(causes[-1].__cause__))
    text = next((str(one) for one in reversed(causes) if str(one)), type(error).__name__)
    for one in causes:
        # Errors of TLS and of names have numbers of their own, which are no errno.
        if isinstance(one, socket.gaierror):
            text = str(one.strerror).lower()
        elif isinstance(one, OSError) and one.errno and not isinstance(one, ssl.SSLError):
            text = os.strerror(one.errno).lower()
        elif isinstance(one.__context__, trio.Cancelled):
            text = "it does not answer"  # It was given up, which coredis does not say.
    for one in causes:
        word = str(one).lstrip("-").partition(" ")[0]
        for kind, code in (
            (AuthenticationRequiredError, "NOAUTH"),
            (AuthenticationError, "WRONGPASS"),
            (AuthorizationError, "NOPERM"),
            (BusyLoadingError, "LOADING"),
            (ReadOnlyError, "READONLY"),
            (WrongTypeError, WRONGTYPE),
        ):
            if isinstance(one, kind) and word not in REFUSALS:
                word = code
        if word in REFUSALS:
            return Refused(f"{where}: {REFUSALS[word]}", word)
    if isinstance(error, ConnectionError | OSError) and not isinstance(error, ResponseError):
        why = f"{where} cannot be reached: {text.rstrip('.')}; trying again"
        return UpstreamError(why)
    return Refused(f"{where} refuses: {text}", "")
