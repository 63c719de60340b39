"""All that a daemon remembers: its streams, and how far each component has read in them."""

import logging
from collections.abc import Callable, Container
from random import Random
from typing import Any

from flowd.stream.held import Behind, Retain
from flowd.stream.log import Stream
from flowd.stream.snapshot import Loaded, Snapshots, Store, is_place_in
from flowd.values.clock import Clock

logger = logging.getLogger("flowd.memory")

TABLE_RETAIN = Retain(100_000)
"""Of the tables that a component keeps beside its stream: how many keys each may have."""

EPOCH_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


class Memory:
    """The streams of a daemon, each opened with what was saved of it.

    First of all comes `load`, once. The store is the caller's to close, after the last save. What
    was loaded is held until its stream is opened, or until `let_go` says that nobody will.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        random: Random,
        before_save: Callable[[], None] = lambda: None,
    ) -> None:
        self.streams: dict[str, Stream[Any]] = {}
        self.places: dict[str, dict[str, int]] = {}
        """By component: up to which seq it has dealt with each stream."""
        self.snapshots = Snapshots(store, self.streams, self.places, clock, before_save)
        self.behind = Behind()
        """How much a stream holds for its readers within, where nothing else is said of it."""
        self.journal = store.journal
        """This life's, once loaded."""
        self._store = store
        self._clock = clock
        self._random = random
        self._loaded = Loaded()

    async def load(self) -> None:
        """Read what was saved and journaled. UserError when the store cannot be used."""
        self._loaded = await self._store.load()
        self.journal = self._store.journal
        self.journal.on_lost = self._new_epochs

    @property
    def why(self) -> str | None:
        """Why it does not go on as if nothing had happened; None when it does."""
        return self._loaded.why

    @property
    def saved_ms(self) -> int | None:
        """When that was saved which was loaded; None when there was nothing."""
        return self._loaded.saved_ms

    def open(
        self,
        name: str,
        record: type,
        retain: Retain,
        behind: Behind | None = None,
        *,
        private: bool = False,
        epoch: str | None = None,
    ) -> Stream[Any]:
        """A stream that goes on where it was saved, in its epoch if the daemon ended cleanly.

        With an `epoch`, another daemon numbers it: what was saved in another one counts no more,
        and neither do the places that components had there.
        """
        stream: Stream[Any] = Stream(
            name,
            record,
            clock=self._clock,
            epoch=epoch or self._epoch(),
            retain=retain,
            behind=behind or self.behind,
            private=private,
            mirrored=epoch is not None,
        )
        anew = not self.snapshots.restore(stream, self._loaded)
        self._loaded.streams.pop(name, None)  # The stream has it now.
        if anew:
            logger.info("%s: begins anew: what was saved of it is of another epoch", name)
            for component, place in list(self._loaded.places):
                if is_place_in(place, name):
                    del self._loaded.places[component, place]
        self.journal.add(stream, anew=anew)
        self.streams[name] = stream
        return stream

    def _epoch(self) -> str:
        return "".join(self._random.choices(EPOCH_CHARACTERS, k=8))

    def _new_epochs(self) -> None:
        """The journal lies and cannot be removed: no number may mean two records."""
        for stream in self.streams.values():
            if not stream.mirrored:  # Its numbers are told by another daemon: they stay true.
                stream.epoch = self._epoch()

    def table(self, component: str, name: str, record: type) -> Stream[Any]:
        """A component's private table; the same one whenever it is asked for."""
        full = f"{component}/{name}"
        found = self.streams.get(full)
        return self.open(full, record, TABLE_RETAIN, private=True) if found is None else found

    def join(self, component: str) -> dict[str, int]:
        """A component's places, as they were saved; what it makes of them is saved with the
        streams.
        """
        self.places[component] = {
            stream: seq for (name, stream), seq in self._loaded.places.items() if name == component
        }
        return self.places[component]

    def let_go(self, components: Container[str]) -> None:
        """Of what no stream has taken, hold only the private tables of these components, which
        they may still ask for; and the places of all others, who may be configured again.
        """
        self.snapshots.keep_places(
            {key: seq for key, seq in self._loaded.places.items() if key[0] not in self.places}
        )
        for name in list(self._loaded.streams):
            component, _, table = name.partition("/")
            if not table or component not in components:
                del self._loaded.streams[name]
