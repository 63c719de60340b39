"""Where to go on after a connection has ended: the session, its cursor, and whether anything is
missing.
"""

import json
from hashlib import blake2b
from typing import Any

from attrs import evolve, field, frozen

from flowd.plugin import Feed
from flowd_hydromancer.frames import Frame

TABLE = "place"
KEY = "session"
TRIES_MAX = 10
"""Dials in a row that may ask for one session: then it is given up, whatever they failed of."""
TOKEN_MAX = 512
BEFORE_MAX = 8
"""Former sessions that are remembered, so that nobody sees them."""


@frozen
class Saved:
    """What survives. A session belongs to an address and a subscription, which `of` stands for.

    `before` are the sessions that it took the place of, which are no less secret; `tries` counts
    the dials that asked for it without being welcomed; `told` is what has been said about the
    proportion of counterparties.
    """

    of: str
    session: str | None = field(default=None, repr=False)
    cursor: str | None = field(default=None, repr=False)
    before: list[str] = field(factory=list, repr=False)
    tries: int = 0
    told: str = ""


class Place:
    """The session and the cursor, in a private table: a connection, a component or a daemon that is
    started again soon enough goes on from there.
    """

    def __init__(self, feed: Feed[Any], url: str, subscription: dict[str, Any]) -> None:
        self._table = feed.table(TABLE, Saved)
        text = json.dumps([url, subscription], sort_keys=True)
        of = blake2b(text.encode(), digest_size=8).hexdigest()
        saved = self._table.get(KEY)
        self._saved = saved if saved is not None and saved.of == of else Saved(of)
        self.asked: dict[str, str] = {}
        """What the connection was opened with, to be resumed; empty for a new session."""

    def ask(self) -> dict[str, str]:
        """What resumes the session; empty when there is none."""
        if self._saved.tries >= TRIES_MAX:
            self.forget()
        saved, self.asked = self._saved, {}
        if saved.session:
            self._save(evolve(saved, tries=saved.tries + 1))
            self.asked["sessionId"] = saved.session
            if saved.cursor:
                self.asked["cursor"] = saved.cursor
        return self.asked

    @property
    def resumable(self) -> bool:
        """Whether there is a session to go on with."""
        return bool(self._saved.session)

    @property
    def secrets(self) -> list[str]:
        """What must not be shown."""
        saved = self._saved
        known = (saved.session, saved.cursor, *saved.before, *self.asked.values())
        return [one for one in known if one]

    def begin(self, session: str | None, *, resumed: bool) -> None:
        """A connection was welcomed: to the session it asked for, or to another one, which begins
        without a cursor.
        """
        if not resumed:
            self.forget()
        if session is None or not _is_token(session):
            session = self._saved.session
        self._save(evolve(self._saved, session=session, tries=0))

    def move(self, cursor: str | None) -> None:
        """Everything up to this cursor has been published."""
        if cursor and self._saved.session and _is_token(cursor):
            self._save(evolve(self._saved, cursor=cursor))

    def forget(self) -> None:
        """The session is gone."""
        saved = self._saved
        before = [*saved.before, *filter(None, [saved.session])][-BEFORE_MAX:]
        self._save(evolve(saved, session=None, cursor=None, before=before, tries=0))

    @property
    def told(self) -> str:
        """What has been said about counterparties."""
        return self._saved.told

    @told.setter
    def told(self, what: str) -> None:
        self._save(evolve(self._saved, told=what))

    def _save(self, saved: Saved) -> None:
        self._saved = saved
        self._table.append(saved, key=KEY)


def _is_token(text: str) -> bool:
    """Whether this can be kept, and asked for in an address."""
    return 0 < len(text) <= TOKEN_MAX and text.isprintable()


class Sequence:
    """Whether messages of one connection are missing, by their numbers."""

    def __init__(self) -> None:
        self._seq = 0
        self._batch: tuple[int, int, int] | None = None
        """(id, newest part, parts) of the block that comes in parts."""

    def missing(self, frame: Frame) -> int:
        """How many messages, or parts of them, are missing before this one."""
        lost = self._missing_parts(frame)
        seq = frame.seq
        if seq is None:
            return lost
        if seq <= self._seq:
            # A repeated message, or a further part under the same number; 1 begins anew.
            self._seq = 1 if seq == 1 else self._seq
            return lost
        lost = max(lost, seq - self._seq - 1)
        self._seq = seq
        return lost

    def is_foreign(self, frame: Frame) -> bool:
        """Whether this cannot be the next message, nor a repeated one."""
        return frame.seq is None or frame.seq > self._seq + 1

    def _missing_parts(self, frame: Frame) -> int:
        before, self._batch = self._batch, None
        if frame.chunk is None or frame.batch_id is None:
            return 0 if before is None else max(0, before[2] - before[1])
        parts = frame.total_chunks or frame.chunk
        self._batch = (frame.batch_id, frame.chunk, parts)
        if before is None or before[0] != frame.batch_id:
            left = 0 if before is None else max(0, before[2] - before[1])
            return left + max(0, frame.chunk - 1)
        if frame.chunk <= before[1]:
            # A part that is repeated.
            self._batch = before
            return 0
        return frame.chunk - before[1] - 1
