"""The paths that sinks bring, and what each leads to."""

import re
from collections.abc import Iterable

from flowd.door.head import Head
from flowd.door.paths import Hot, Live
from flowd.door.rules import READING


class Route:
    """A path with `{names}`, and what it leads to."""

    def __init__(self, path: str, leads_to: Live | Hot, reads: Iterable[str] = ()) -> None:
        self.path = path
        self.leads_to = leads_to
        self.reads = tuple(reads)
        """The streams that the sink's settings name."""
        parts = re.split(r"\{([a-z_]+)\}", path)
        pattern = "".join(
            f"(?P<{part}>[^/]+)" if index % 2 else re.escape(part)
            for index, part in enumerate(parts)
        )
        self._match = re.compile(pattern).fullmatch

    def serves(self, head: Head) -> dict[str, str] | None:
        """The values of the names, None when the request is not for this route, or is for what the
        sink's own routes answer.
        """
        others = isinstance(self.leads_to, Hot) and self.leads_to.others
        if others and head.method not in READING:
            return None
        return self.match(head.path)

    def match(self, path: str) -> dict[str, str] | None:
        """The values of the names, None when the path is another."""
        found = self._match(path)
        return None if found is None else found.groupdict()
