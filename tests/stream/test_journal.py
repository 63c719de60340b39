"""The journal: what was written before anybody was shown it, and what can be made of it later."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from attrs import evolve, frozen

from flowd.stream.frames import FRAME, Broken, Frame, Head, Saved, Segment, read, unbroken
from flowd.stream.journal import Journal
from flowd.stream.segments import BLOCK, NEWEST, NEWEST_AT, DiskSegments
from flowd.stream.volatile import MemorySegments

HEAD = Head(segment=1, life="a", boot="one")


class Orders:
    """A stream whose changes the tests note themselves."""

    name = "orders"
    epoch = "e1"
    seq = 2
    floor = 1
    mirrored = False

    def journal(self, changes: list[Any], number: int) -> None:
        assert number == 0


def written(*steps: Callable[[Journal], object]) -> MemorySegments:
    """A journal in memory, flushed after each step."""
    files = MemorySegments()
    journal = Journal(files)
    journal.begin(HEAD, 0)
    journal.add(Orders())
    journal.flush()
    for step in steps:
        step(journal)
        journal.flush()
    return files


def append(seq: int) -> Callable[[Journal], object]:
    return lambda journal: journal.pending.append((0, seq, 1000, None, b"{}", f"id{seq}"))


def numbers(frames: list[Frame]) -> list[int]:
    return [frame.number for frame in frames]


def seqs(frames: list[Frame]) -> list[int]:
    return [change[1] for frame in frames for change in frame.changes if len(change) == 6]


# -- writing


def test_what_changed_in_one_step_is_one_frame() -> None:
    files = written(
        lambda j: (append(1)(j), append(2)(j), j.move("volume", "orders", 2)),
        lambda j: j.pending.append((0, "BTCUSDT")),
    )

    (segment,) = files.read()
    assert numbers(segment.frames) == [1, 2, 3]
    assert segment.frames[0].changes == [[0, "orders", "e1"]]
    assert segment.frames[1].changes == [
        [0, 1, 1000, None, b"{}", "id1"],
        [0, 2, 1000, None, b"{}", "id2"],
    ]
    assert segment.frames[1].places == [("volume", "orders", 2)]
    assert segment.frames[2].changes == [[0, "BTCUSDT"]]
    assert segment.newest == 3


def test_a_flush_without_a_change_writes_nothing() -> None:
    files = written(lambda j: None, lambda j: None)

    assert numbers(files.read()[0].frames) == [1]


def test_of_a_place_that_moves_often_the_last_is_written() -> None:
    files = written(lambda j: [j.move("volume", "orders", seq) for seq in range(50)])

    assert files.read()[0].frames[1].places == [("volume", "orders", 49)]


def test_a_save_begins_a_segment_that_knows_all_streams() -> None:
    files = MemorySegments()
    journal = Journal(files)
    journal.begin(HEAD, 0)
    journal.add(Orders())
    journal.flush()
    append(1)(journal)
    frame = journal.cut(again=False)
    append(2)(journal)
    journal.flush()
    journal.saved()

    (segment,) = files.read()
    assert (frame, segment.head.segment) == (2, 2)
    assert segment.frames[0].changes == [[0, "orders", "e1"]]
    assert seqs(unbroken(Saved("a", False, frame), [segment], "one")) == [2]


def test_while_saves_fail_no_further_segment_is_begun() -> None:
    files = MemorySegments()
    journal = Journal(files)
    journal.begin(HEAD, 0)
    journal.add(Orders())
    journal.flush()
    for number in range(5):
        append(number + 1)(journal)
        journal.cut(again=number > 0)

    assert [segment.head.segment for segment in files.read()] == [1, 2]
    assert seqs(unbroken(Saved("a", False, 0), files.read(), "one")) == [1, 2, 3, 4, 5]


# -- a disk that fails


@frozen
class Failing:
    """Files that fail when told to."""

    files: MemorySegments
    fails: set[str]

    def _maybe(self, what: str) -> None:
        if what in self.fails:
            raise OSError(28, "No space left on device")

    def begin(self, head: Head) -> None:
        self._maybe("begin")
        self.files.begin(head)

    def write(self, data: bytes, number: int) -> None:
        self._maybe("write")
        self.files.write(data, number)

    def drop_before(self, segment: int) -> None:
        self.files.drop_before(segment)

    def invalidate(self) -> None:
        self._maybe("invalidate")
        self.files.invalidate()


def failing() -> tuple[Journal, Failing, list[str]]:
    lost: list[str] = []
    files = Failing(MemorySegments(), set())
    journal = Journal(files)
    journal.on_lost = lambda: lost.append("all epochs")
    journal.begin(HEAD, 0)
    journal.add(Orders())
    journal.flush()
    append(1)(journal)
    journal.flush()
    return journal, files, lost


def test_a_frame_that_cannot_be_written_leaves_no_journal_that_looks_whole() -> None:
    journal, files, lost = failing()

    files.fails.add("write")
    append(2)(journal)
    journal.flush()
    files.fails.clear()
    append(3)(journal)
    journal.flush()

    assert journal.error is not None
    assert "No space left" in journal.error
    assert lost == []
    with pytest.raises(Broken):
        unbroken(Saved("a", False, 0), files.files.read(), "one")


def test_where_it_cannot_even_be_made_invalid_all_streams_begin_a_new_epoch() -> None:
    journal, files, lost = failing()

    files.fails.update({"write", "invalidate"})
    append(2)(journal)
    journal.flush()

    assert lost == ["all epochs"]


def test_after_a_save_it_is_written_again_and_fits_only_that_save() -> None:
    journal, files, _ = failing()
    files.fails.add("write")
    append(2)(journal)
    journal.flush()
    files.fails.clear()

    frame = journal.cut(again=False)
    append(3)(journal)
    journal.flush()

    assert journal.error is None
    assert seqs(unbroken(Saved("a", False, frame), files.files.read(), "one")) == [3]
    for older in range(frame):
        with pytest.raises(Broken):
            unbroken(Saved("a", False, older), files.files.read(), "one")


def test_a_save_at_which_no_segment_can_be_begun_goes_on_without() -> None:
    journal, files, _ = failing()

    files.fails.add("begin")
    journal.cut(again=False)
    append(2)(journal)
    journal.flush()

    assert journal.error is not None
    assert files.files.read() == []


def test_it_goes_on_without_when_saves_fail_for_too_long() -> None:
    files = MemorySegments()
    journal = Journal(files, limit_bytes=500)
    journal.begin(HEAD, 0)
    journal.add(Orders())
    journal.flush()

    for seq in range(1, 100):
        append(seq)(journal)
        journal.flush()

    assert journal.error == "has grown over 500 bytes since the last save"
    assert files.read() == []
    assert not journal.pending


# -- reading back


def several(count: int = 6) -> tuple[Head, bytes]:
    files = written(*[append(seq) for seq in range(1, count + 1)])
    return HEAD, bytes(files.kept[0].data)


def test_a_frame_that_is_torn_at_the_end_was_shown_to_nobody() -> None:
    head, data = several(6)
    last = data.rindex(b"flj1")

    for end in range(last + 1, len(data)):
        segment = read(head, data[:end], 6)
        assert not segment.damaged
        assert numbers(segment.frames) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("seed", range(20))
def test_a_wrong_bit_before_the_end_is_damage(seed: int) -> None:
    head, data = several(6)
    random = Random(seed)
    spoiled = bytearray(data)
    spoiled[random.randrange(data.rindex(b"flj1"))] ^= 1 << random.randrange(8)

    assert read(head, bytes(spoiled), 7).damaged


def test_a_segment_that_was_begun_and_no_more_is_whole() -> None:
    assert read(HEAD, b"", 0) == Segment(HEAD)


# -- what can be made of it


WHOLE = written(append(1), append(2), append(3)).read()


def test_on_the_same_boot_everything_is_there() -> None:
    assert seqs(unbroken(Saved("a", False, 0), WHOLE, "one")) == [1, 2, 3]


def test_what_is_saved_already_is_not_applied_again() -> None:
    frames = unbroken(Saved("a", False, 3), WHOLE, "one")

    assert seqs(frames) == [3]
    assert frames[0].changes == [[0, "orders", "e1"]], "which stream has which number"


def test_after_an_orderly_stop_there_is_nothing_to_apply() -> None:
    files = MemorySegments()
    journal = Journal(files)
    journal.begin(HEAD, 0)
    journal.add(Orders())
    append(1)(journal)
    frame = journal.cut(again=False)
    journal.saved()

    assert unbroken(Saved("a", True, frame), files.read(), "another") == []
    with pytest.raises(Broken, match="older copy"):
        unbroken(Saved("a", True, frame - 1), files.read(), "another")


def test_a_file_of_before_there_was_a_journal_goes_on_if_it_was_closed_in_order() -> None:
    assert unbroken(Saved(None, True), [], "one") == []
    with pytest.raises(Broken):
        unbroken(Saved(None, False), [], "one")


SYNCED = [evolve(segment, head=evolve(segment.head, synced=True)) for segment in WHOLE]


def test_another_boot_finds_all_only_where_it_was_synced() -> None:
    assert seqs(unbroken(Saved("a", False, 0), SYNCED, "two")) == [1, 2, 3]
    with pytest.raises(Broken, match="restarted"):
        unbroken(Saved("a", False, 0), WHOLE, "two")


@pytest.mark.parametrize(
    ("saved", "segments", "why"),
    [
        (Saved("b", False, 0), WHOLE, "replaced or restored"),
        (Saved("b", True, 4), WHOLE, "replaced or restored"),
        (Saved("a", True, 4), [], "replaced or restored"),
        (Saved("a", True, 4, mark=b"7"), [evolve(WHOLE[0], seal=b"8")], "copy"),
        (Saved("a", False, 0), [evolve(WHOLE[0], damaged=True)], "damaged"),
        (Saved("a", False, 0), [evolve(WHOLE[0], frames=WHOLE[0].frames[1:])], "newest saves"),
        (Saved("a", False, 0), [evolve(WHOLE[0], frames=WHOLE[0].frames[:-1])], "end"),
        (Saved("a", False, 9), WHOLE, "end"),
        (
            Saved("a", False, 0),
            [evolve(WHOLE[0], frames=[*WHOLE[0].frames[:1], *WHOLE[0].frames[2:]])],
            "hole",
        ),
    ],
)
def test_what_cannot_be_known_is_not_gone_on_with(
    saved: Saved, segments: list[Segment], why: str
) -> None:
    with pytest.raises(Broken, match=why):
        unbroken(saved, segments, "one")


# -- files


def on_disk(path: Path, *seqs: int) -> DiskSegments:
    files = DiskSegments(path / "flowd.db")
    journal = Journal(files)
    journal.begin(HEAD, 0)
    journal.add(Orders())
    journal.flush()
    for seq in seqs:
        append(seq)(journal)
        journal.flush()
    return files


def test_files_are_read_back_while_they_are_written(tmp_path: Path) -> None:
    on_disk(tmp_path, 1, 2, 3)

    (segment,) = DiskSegments(tmp_path / "flowd.db").read()
    assert seqs(segment.frames) == [1, 2, 3]
    assert (segment.head, segment.newest, segment.seal) == (HEAD, 4, b"")


def test_only_its_owner_reads_a_segment(tmp_path: Path) -> None:
    files = on_disk(tmp_path, 1)

    assert files.paths()[0].stat().st_mode & 0o777 == 0o600


def test_a_file_that_was_cut_off_is_noticed(tmp_path: Path) -> None:
    files = on_disk(tmp_path, 1, 2, 3)
    path = files.paths()[0]
    whole = path.read_bytes()

    for end in range(BLOCK, len(whole), 7):
        path.write_bytes(whole[:end])
        with pytest.raises(Broken):
            unbroken(Saved("a", False, 0), DiskSegments(tmp_path / "flowd.db").read(), "one")


def test_a_write_that_was_torn_by_death_is_not(tmp_path: Path) -> None:
    files = on_disk(tmp_path, 1, 2, 3)
    path = files.paths()[0]
    whole = bytearray(path.read_bytes())
    whole[NEWEST_AT : NEWEST_AT + NEWEST.size] = NEWEST.pack(3)
    path.write_bytes(whole[:-5])

    frames = unbroken(Saved("a", False, 0), DiskSegments(tmp_path / "flowd.db").read(), "one")

    assert seqs(frames) == [1, 2]


def test_a_file_of_somebody_else_s_is_no_segment(tmp_path: Path) -> None:
    (tmp_path / "flowd.db.journal-00000001").write_bytes(b"")
    (tmp_path / "flowd.db.journal-00000002").write_bytes(b"x" * 2 * BLOCK)
    (tmp_path / "flowd.db.journal-old").write_bytes(b"flowd journal 1\n".ljust(BLOCK, b"\xc1"))

    assert DiskSegments(tmp_path / "flowd.db").read() == []


def test_dropping_and_making_invalid_removes_files(tmp_path: Path) -> None:
    files = on_disk(tmp_path, 1)
    files.begin(evolve(HEAD, segment=2))

    files.drop_before(2)
    kept = files.newest()
    files.invalidate()

    assert kept == 2
    assert files.paths() == []


def test_the_seal_of_an_orderly_end_is_read_back(tmp_path: Path) -> None:
    files = on_disk(tmp_path, 1)

    files.seal(b"17/1700")

    assert DiskSegments(tmp_path / "flowd.db").read()[0].seal == b"17/1700"


def test_a_frame_s_head_is_twenty_bytes() -> None:
    assert FRAME.size == 20


def test_it_says_how_long_ago_it_was_written() -> None:
    now = [10.0]
    journal = Journal(MemorySegments(), watch=lambda: now[0])
    assert journal.figures()["journal_ago_ms"] is None

    journal.begin(HEAD, 0)
    journal.add(Orders())
    journal.flush()
    now[0] = 12.5
    journal.flush()

    assert journal.figures()["journal_ago_ms"] == 2500, "a flush of nothing writes nothing"
