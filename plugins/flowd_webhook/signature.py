"""How a receiver knows that a request is ours and fresh: HMAC-SHA256 over the time and the body.

The header is `Flowd-Signature: t=<ms>,v1=<hex>`; what is signed is the decimal time, a full stop
and the body's bytes. To verify, compute the same and compare in constant time, and refuse a time
that is more than a few minutes off: `verify` does both.
"""

import hmac
from hashlib import sha256

HEADER = "Flowd-Signature"
TOLERANCE_MS = 300_000


def sign(secret: str, body: bytes, time_ms: int) -> str:
    """The header's value."""
    return f"t={time_ms},v1={_digest(secret, body, time_ms)}"


def verify(
    secret: str, header: str, body: bytes, now_ms: int, tolerance_ms: int = TOLERANCE_MS
) -> bool:
    """Whether this body was signed with this secret, not long ago."""
    parts = dict(part.partition("=")[::2] for part in header.split(","))
    time = parts.get("t", "")
    if not time.isascii() or not time.isdigit() or abs(now_ms - int(time)) > tolerance_ms:
        return False
    return hmac.compare_digest(
        parts.get("v1", "").encode(), _digest(secret, body, int(time)).encode()
    )


def _digest(secret: str, body: bytes, time_ms: int) -> str:
    return hmac.new(secret.encode(), b"%d.%b" % (time_ms, body), sha256).hexdigest()
