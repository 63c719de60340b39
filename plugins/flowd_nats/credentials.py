"""Who we are, as a NATS credentials file says it: a token that somebody signed, and a seed by which
we sign what the server asks.
"""

import base64
import binascii
import re
from collections.abc import Callable
from importlib import import_module

_PART = re.compile(r"-{3,}BEGIN ([A-Z ]+)-{3,}\s+(\S+)\s+-{3,}END [A-Z ]+-{3,}")


def signer(text: str) -> Callable[[bytes], dict[str, str]]:
    """What a server is told of its nonce, by the content of a credentials file or by a seed alone;
    ValueError for what is neither. It needs PyNaCl.
    """
    parts = dict(_PART.findall(text))
    jwt = parts.get("NATS USER JWT")
    seed = _seed(parts.get("USER NKEY SEED", text.strip()))
    key = import_module("nacl.signing").SigningKey(seed)

    def sign(nonce: bytes) -> dict[str, str]:
        signed = base64.urlsafe_b64encode(key.sign(nonce).signature).rstrip(b"=").decode()
        if jwt is not None:
            return {"jwt": jwt, "sig": signed}
        return {"nkey": public(bytes(key.verify_key)), "sig": signed}

    return sign


def public(key: bytes) -> str:
    """A user's public key as NATS writes it: `U...`."""
    named = bytes([20 << 3]) + key
    return base64.b32encode(named + binascii.crc_hqx(named, 0).to_bytes(2, "little")).decode()


def _seed(text: str) -> bytes:
    try:
        raw = base64.b32decode(text + "=" * (-len(text) % 8))
    except ValueError:
        raw = b""
    if len(raw) != 36 or binascii.crc_hqx(raw[:-2], 0) != int.from_bytes(raw[-2:], "little"):
        raise ValueError("expected a NATS credentials file, or the seed of a user: SU...")
    if (raw[0] & 248, (raw[0] & 7) << 5 | raw[1] >> 3) != (18 << 3, 20 << 3):
        raise ValueError("expected the seed of a user, which begins with SU")
    return raw[2:34]
