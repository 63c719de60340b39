"""A state that goes to another daemon and on by frames: that one is then as the first would be
after `kill -9`. The contract is one for files and for memory.
"""

import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio
from attrs import evolve, frozen

from flowd.stream.frames import Frame, unpacked
from flowd.stream.handover import Handover, Known, Opening, Replica, Unusable
from flowd.stream.held import Retain
from flowd.stream.memory import Memory
from flowd.stream.replica import SqliteReplica
from flowd.stream.snapshot import Store
from flowd.stream.stores import SqliteStore
from flowd.stream.volatile import MemoryReplica, MemoryStore


@frozen
class Tick:
    price: int = 0


class Places:
    """Two places where a state may be, each with its kind of store."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._stores = {name: MemoryStore(name) for name in "ab"}

    def store(self, name: str, anew: str | None = None) -> Store:
        if self._folder is None:
            self._stores[name].anew = anew
            return self._stores[name]
        return SqliteStore(self._folder / name, boot="one", anew=anew)

    def replica(self, name: str, boot: str = "one") -> Replica:
        if self._folder is None:
            return MemoryReplica(self._stores[name])
        return SqliteReplica(self._folder / name, boot)


@pytest.fixture(params=["memory", "sqlite"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Places:
    return Places(None if request.param == "memory" else tmp_path)


class Leader:
    """A daemon's memory, whose frames are written down."""

    def __init__(self, store: Store, seed: int = 1) -> None:
        self.store = store
        self.memory = Memory(store, lambda: 1_000_000, Random(seed))
        self.frames: list[Frame] = []

    async def start(self) -> "Leader":
        await self.memory.load()
        self.memory.journal.on_frame = self._note
        self.ticks = self.memory.open("ticks", Tick, Retain(5))
        self.board = self.memory.open("board", Tick, Retain(3))
        self.places = self.memory.join("sums")
        self.memory.journal.flush()
        return self

    def _note(self, number: int, payload: bytes) -> None:
        frame = unpacked(number, payload)
        assert frame is not None
        self.frames.append(frame)

    def step(self, number: int) -> None:
        """One step of its life, in one frame."""
        self.ticks.append(Tick(number), id=f"id{number}")
        self.board.append(Tick(number), key=f"key{number % 7}")
        if number % 5 == 0:
            self.board.forget(f"key{number % 3}")
        self.memory.journal.move("sums", "ticks", self.ticks.seq)
        self.places["ticks"] = self.ticks.seq
        self.memory.journal.flush()

    def after(self, frame: int) -> list[Frame]:
        return [one for one in self.frames if one.number > frame]


async def handed(places: Places, leader: Leader, to: str) -> Replica:
    """A replica at another place of what the leader saved last."""
    replica = places.replica(to)
    await replica.known()
    async with leader.store.handover() as handover:
        assert handover is not None
        await replica.install(handover)
    return replica


def seen_of(memory: Memory) -> dict[str, Any]:
    """All that anybody can see of it."""
    streams = {
        name: (one.epoch, one.seq, one.floor, [(r.seq, r.key, r.json) for r in one.after(0)])
        for name, one in memory.streams.items()
    }
    return {"streams": streams, "places": dict(memory.places["sums"])}


@pytest.mark.parametrize("saves", [(), (7,), (3, 9, 10)])
async def test_who_took_a_state_and_its_frames_goes_on_as_the_other_would(
    places: Places, saves: tuple[int, ...]
) -> None:
    leader = await Leader(places.store("a")).start()
    for number in range(1, 5):
        leader.step(number)
    assert await leader.memory.snapshots.save()
    for number in range(5, 8):
        leader.step(number)
    replica = await handed(places, leader, "b")
    known = await replica.known()
    assert (known.life, known.led) == (leader.memory.journal.lineage, False)
    for number in range(8, 30):
        leader.step(number)
        if number - 8 in saves:
            assert await leader.memory.snapshots.save()
    await replica.apply(leader.after(known.frame))
    assert (await replica.known()).frame == leader.memory.journal.frame
    await replica.close()

    heir = await Leader(places.store("b")).start()

    assert seen_of(heir.memory) == seen_of(leader.memory)
    assert heir.memory.why is None
    assert heir.memory.journal.lineage != leader.memory.journal.lineage
    assert heir.frames[0].number == leader.memory.journal.frame + 1
    assert heir.ticks.append(Tick(29), id="id29") is None, "what both saw counts once"
    assert heir.ticks.append(Tick(30), id="id30") is not None


async def test_frames_come_in_portions_across_a_life_of_the_replica(places: Places) -> None:
    leader = await Leader(places.store("a")).start()
    assert await leader.memory.snapshots.save()
    replica = await handed(places, leader, "b")
    for number in range(1, 30):
        leader.step(number)
        if number == 15:
            assert await leader.memory.snapshots.save()
    while (known := await replica.known()).frame < leader.memory.journal.frame:
        await replica.apply(leader.after(known.frame)[:4])
        await replica.close()
        replica = places.replica("b")
    await replica.close()

    heir = await Leader(places.store("b")).start()
    assert seen_of(heir.memory) == seen_of(leader.memory)


async def test_what_a_leader_lets_fall_off_falls_off_in_the_copy(tmp_path: Path) -> None:
    places = Places(tmp_path)
    leader = await Leader(places.store("a")).start()
    assert await leader.memory.snapshots.save()
    replica = await handed(places, leader, "b")
    for number in range(1, 500):
        leader.step(number)
    assert await leader.memory.snapshots.save()
    await replica.apply(leader.after((await replica.known()).frame))
    await replica.close()

    with closing(sqlite3.connect(tmp_path / "b")) as db:
        count = "SELECT COUNT(*) FROM records WHERE stream = 'ticks'"
        assert db.execute(count).fetchone() == (5,)


async def test_a_state_that_was_led_knows_how_far_it_goes(places: Places) -> None:
    assert await places.replica("a").known() == Known(None, 0, False)


async def test_after_a_crash_all_frames_count_and_after_an_orderly_end_too(places: Places) -> None:
    leader = await Leader(places.store("a")).start()
    assert await leader.memory.snapshots.save()
    leader.step(1)
    lineage, frame = leader.memory.journal.lineage, leader.memory.journal.frame
    await leader.store.close()

    replica = places.replica("a")
    assert await replica.known() == Known(lineage, frame, True)
    await replica.close()

    again = await Leader(places.store("a")).start()
    assert again.memory.why is None
    assert again.ticks.seq == 1
    again.step(2)
    assert await again.memory.snapshots.save(clean=True)
    frame = again.memory.journal.frame
    await again.store.close()
    replica = places.replica("a")
    assert await replica.known() == Known(lineage, frame, True)
    await replica.close()

    last = await Leader(places.store("a")).start()
    assert last.memory.why is None, "to be looked at changes nothing"
    await last.store.close()


async def test_what_another_one_has_gone_on_with_was_not_led(places: Places) -> None:
    leader = await Leader(places.store("a")).start()
    assert await leader.memory.snapshots.save()
    leader.store.disown()
    await leader.store.close()

    known = await places.replica("a").known()

    assert (known.life, known.led) == (leader.memory.journal.lineage, False)


async def test_a_state_whose_journal_is_broken_goes_nowhere(tmp_path: Path) -> None:
    places = Places(tmp_path)
    leader = await Leader(places.store("a")).start()
    assert await leader.memory.snapshots.save()
    leader.step(1)
    await leader.store.close()

    assert await places.replica("a", boot="two").known() == Known(None, 0, True)


async def test_who_begins_anew_has_new_epochs_and_all_records(places: Places) -> None:
    leader = await Leader(places.store("a")).start()
    leader.step(1)
    assert await leader.memory.snapshots.save()
    replica = await handed(places, leader, "b")
    await replica.close()

    heir = await Leader(places.store("b", anew="nobody has all of it"), seed=2).start()

    assert heir.memory.why == "nobody has all of it"
    assert heir.ticks.epoch != leader.ticks.epoch
    assert [record.value for record in heir.ticks.after(0)] == [Tick(1)]


async def test_what_is_damaged_changes_nothing(places: Places) -> None:
    leader = await Leader(places.store("a")).start()
    leader.step(1)
    assert await leader.memory.snapshots.save()
    replica = await handed(places, leader, "b")
    known = await replica.known()

    async def parts() -> AsyncGenerator[bytes, None]:
        await trio.lowlevel.checkpoint()
        yield b"nonsense"

    async with aclosing(parts()) as nonsense:
        with pytest.raises(Unusable):
            await replica.install(Handover(Opening("x", 3, []), nonsense))
    with pytest.raises(Unusable, match="never opened"):
        await replica.apply([Frame(known.frame + 1, [[9, 1, 1, None, b"{}", None]], [])])

    assert await replica.known() == known


async def test_a_state_that_ends_too_soon_or_is_another_is_not_taken(tmp_path: Path) -> None:
    places = Places(tmp_path)
    leader = await Leader(places.store("a")).start()
    assert await leader.memory.snapshots.save()
    replica = places.replica("b")
    cut: Callable[[bytes], bytes] = lambda part: part[:-9]  # noqa: E731
    for opening, change in (("", cut), ("other", lambda part: part)):
        async with leader.store.handover() as handover:
            assert handover is not None
            found = handover.parts

            async def parts(
                found: Any = found, change: Any = change
            ) -> AsyncGenerator[bytes, None]:
                async for part in found:
                    yield change(part)

            told = evolve(handover.opening, life=opening or handover.opening.life)
            async with aclosing(parts()) as changed:
                with pytest.raises(Unusable):
                    await replica.install(Handover(told, changed))
    assert await replica.known() == Known(None, 0, False)


async def test_a_state_that_was_led_is_kept_when_another_takes_its_place(tmp_path: Path) -> None:
    places = Places(tmp_path)
    for name, price in (("a", 1), ("b", 2)):
        leader = await Leader(places.store(name)).start()
        leader.step(price)
        assert await leader.memory.snapshots.save(clean=True)
        await leader.store.close()
    first = await Leader(places.store("a")).start()

    await (await handed(places, first, "b")).close()

    assert (tmp_path / "b.replaced").stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(tmp_path / "b.replaced")) as db:
        (json,) = db.execute("SELECT json FROM records WHERE stream = 'ticks'").fetchone()
    assert b'"price":2' in json
    assert not (tmp_path / "a.handover").exists()
    assert not (tmp_path / "b.handover").exists()
