"""The state's file, which one flowd has at a time."""

import fcntl
import os
from pathlib import Path

from flowd.values.errors import UserError


class StateFile:
    """A state file's path, and the lock that keeps every other flowd from it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def claim(self) -> None:
        """Make sure that no other daemon has this file; it is made if need be. UserError when one
        has, or when it cannot be made.
        """
        if self._file is not None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self.unusable(error) from None
        try:
            # On the file itself: a second name of it, or a lock file that somebody removed, would
            # let another daemon in, and the same numbers would mean other records.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise UserError(
                f"flowd.state: {self.path} is in use by another flowd; stop that one, "
                "or give this one a state file of its own"
            ) from None
        self._file = file

    def release(self) -> None:
        """Let others have it. Not before SQLite is done: this gives back its locks too."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def check(self) -> None:
        """OSError when another file lies there than the one that was claimed."""
        assert self._file is not None
        if os.stat(self.path).st_ino != os.fstat(self._file).st_ino:
            raise OSError(f"{self.path} is not the file that was opened: it was replaced")

    def mark(self) -> bytes:
        """What is known of the file: a copy that was put in its place is another one, or was
        changed since. The number alone would not tell: that of a file that is gone is used again.
        """
        found = os.stat(self.path)
        return b"inode %d changed %d" % (found.st_ino, found.st_ctime_ns)

    def unusable(self, error: Exception) -> UserError:
        """What keeps flowd from using it, for who runs it."""
        return UserError(
            f"flowd.state: {self.path} cannot be used: {error}. "
            "Give another path, or move the file away to start without a memory"
        )
