"""A message or an answer, and each of its records as it is written there, byte by byte."""

import json
from functools import lru_cache
from typing import Any

from attrs import frozen

RECORDS = '"records":['
"""What is within a string has no such quotes."""
_decoder = json.JSONDecoder()


@frozen
class Written:
    """A record, and its JSON."""

    found: dict[str, Any]
    json: str

    @property
    def print(self) -> int:
        """The same for the same bytes, never 0, and another for any other."""
        return hash(self.json) or 1


@frozen
class Told:
    """All of it, and the records among it."""

    found: dict[str, Any]
    records: tuple[Written, ...] = ()

    def __getitem__(self, key: str) -> Any:
        return self.found[key]

    @property
    def epoch(self) -> str:
        """That of its position."""
        epoch: str = self.found["position"].rpartition(".")[0]
        return epoch


@lru_cache(256)
def told(text: str) -> Told:
    """What a text says; it is said to many. Its records are to be there without a space."""
    found = json.loads(text)
    if not found.get("records"):
        return Told(found)
    records = []
    at = text.index(RECORDS) + len(RECORDS)
    for _ in found["records"]:
        record, end = _decoder.raw_decode(text, at)
        records.append(Written(record, text[at:end]))
        at = end + 1
    return Told(found, tuple(records))


@lru_cache(1024)
def written(text: str) -> Written:
    """A record by itself."""
    return Written(json.loads(text), text)
