"""What a daemon remembers: streams that go on, places, and what nobody asks for any more."""

from random import Random

from attrs import frozen

from flowd.stream.held import Retain
from flowd.stream.memory import TABLE_RETAIN, Memory
from flowd.stream.volatile import MemoryStore


@frozen
class Tick:
    price: int = 0


async def remember(store: MemoryStore, seed: int = 0) -> Memory:
    memory = Memory(store, lambda: 1_000_000, Random(seed))
    await memory.load()
    return memory


async def lived(*tables: str, clean: bool = True) -> MemoryStore:
    """A store that a daemon has saved to: a stream `ticks`, and private tables."""
    store = MemoryStore()
    memory = await remember(store)
    memory.open("ticks", Tick, Retain(10)).append(Tick(1))
    for name in tables:
        component, _, table = name.partition("/")
        memory.table(component, table, Tick).append(Tick(2), key="all")
    memory.join("sums")["ticks"] = 1
    await memory.snapshots.save(clean=clean)
    return store


async def test_a_new_stream_is_empty_and_has_an_epoch_of_its_own() -> None:
    memory = await remember(MemoryStore())

    ticks, others = (memory.open(name, Tick, Retain(10)) for name in ("ticks", "others"))

    assert (len(ticks), ticks.retain, ticks.private) == (0, Retain(10), False)
    assert ticks.epoch != others.epoch
    assert memory.streams == {"ticks": ticks, "others": others}
    assert memory.saved_ms is None


async def test_a_stream_goes_on_where_it_was_saved() -> None:
    store = await lived()
    epoch = store.rows["ticks"].epoch

    memory = await remember(store, seed=1)
    ticks = memory.open("ticks", Tick, Retain(10))

    assert [record.value for record in ticks.after(0)] == [Tick(1)]
    assert (ticks.epoch, memory.saved_ms) == (epoch, 1_000_000)


async def test_after_the_machine_died_a_stream_goes_on_in_another_epoch() -> None:
    store = await lived(clean=False)
    epoch = store.rows["ticks"].epoch
    store.boot = "another"

    ticks = (await remember(store, seed=1)).open("ticks", Tick, Retain(10))

    assert ticks.seq == 1
    assert ticks.epoch != epoch


async def test_a_private_table_is_the_same_whenever_it_is_asked_for() -> None:
    memory = await remember(await lived("sums/steps"))

    table = memory.table("sums", "steps", Tick)

    assert memory.table("sums", "steps", Tick) is table is memory.streams["sums/steps"]
    assert (table.private, table.retain, table.get("all")) == (True, TABLE_RETAIN, Tick(2))


async def test_a_component_has_the_places_that_were_saved_of_it() -> None:
    memory = await remember(await lived())

    places = memory.join("sums")

    assert (places, memory.join("others")) == ({"ticks": 1}, {})
    assert memory.places["sums"] is places


async def test_only_private_tables_of_components_that_are_there_wait_to_be_asked_for() -> None:
    memory = await remember(await lived("sums/steps", "gone/steps"))

    memory.let_go({"sums"})

    assert memory.table("sums", "steps", Tick).get("all") == Tick(2)
    assert len(memory.open("ticks", Tick, Retain(10))) == 0
    assert len(memory.table("gone", "steps", Tick)) == 0
