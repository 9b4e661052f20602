"""What a host sends of its journal, and what it removes; `tests/control/test_receive.py` has it meet a fold."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import pytest

from penstock.journal import segment as journal
from penstock.journal.host import writer_name
from penstock.journal.segment import Segment, Writer, is_of, segments
from penstock.journal.shipping import Piece, Receipt
from penstock.node.courier import Courier
from tests.records.exchanges import settled

HOST, BEFORE = "0123456789ab", "ba9876543210"


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def written(
    directory: Path, worker: str, *numbers: int, segment_bytes: int = 1_000_000, size: int = 0, host: str = HOST
) -> Writer:
    """Let a worker of a data directory of this name write; of one from before there were names, if it is empty."""
    writer = Writer(directory, writer_name(host, worker) if host else worker, segment_bytes)
    for number in numbers:
        writer.append(settled(number, error="x" * size))
    return writer


def undecodable() -> bytes:
    """A whole record that nobody can read yet."""
    payload = b"\xc1 from a later version"
    return len(payload).to_bytes(4, "little") + crc32(payload).to_bytes(4, "little") + payload


def taken(courier: Courier) -> None:
    """Let control take all that the courier sends now."""
    pieces = courier.pieces()
    ends = {piece.segment: piece.start + len(piece.data) for piece in pieces}
    courier.received(
        Receipt(
            {piece.segment: ends[piece.segment] for piece in pieces if not piece.closed},
            {piece.segment: ends[piece.segment] for piece in pieces if piece.closed},
        )
    )


def ids(pieces: tuple[Piece, ...]) -> list[str]:
    """The exchanges that are in them."""
    return [record.id for piece in pieces for record, _ in journal.read(piece.data)]


def more(courier: Courier) -> bool:
    return courier.more


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_segment_is_sent_from_its_start_until_control_says_how_far_it_is(tmp_path: Path) -> None:
    courier = Courier(tmp_path, HOST)
    assert courier.pieces() == ()
    assert not more(courier)
    writer = written(tmp_path, "0", 1, 2)
    (segment,) = segments(tmp_path)
    _, middle = segment.read(0, 1)
    assert courier.pieces() == (Piece(segment.path.name, 0, segment.raw(0, 1_000_000)),)
    assert not more(courier)
    courier.received(Receipt({segment.path.name: middle}, {}))
    (piece,) = courier.pieces()
    assert piece == Piece(segment.path.name, middle, segment.raw(middle, 1_000_000))
    assert [record.id for record, _ in journal.read(piece.data)] == [settled(2).id]
    assert not more(courier)
    writer.close()


def test_what_is_not_acknowledged_is_sent_again_and_what_is_acknowledged_is_not(tmp_path: Path) -> None:
    courier = Courier(tmp_path, HOST)
    writer = written(tmp_path, "0", 1)
    first = courier.pieces()
    assert courier.pieces() == first
    courier.received(Receipt({first[0].segment: len(first[0].data)}, {}))
    assert courier.pieces() == (Piece(first[0].segment, len(first[0].data)),)
    writer.append(settled(2))
    (piece,) = courier.pieces()
    assert [record for record, _ in journal.read(piece.data)] == [settled(2)]
    writer.close()


def test_a_piece_is_closed_only_when_it_goes_to_the_end_of_a_closed_segment(tmp_path: Path) -> None:
    courier = Courier(tmp_path, HOST)
    writer = written(tmp_path, "0", *range(4), size=200_000)
    (segment,) = segments(tmp_path)
    whole = segment.raw(0, 1 << 30)
    writer.close()
    (first,) = courier.pieces()
    assert more(courier)
    assert not first.closed
    assert 0 < len(first.data) < len(whole)
    courier.received(Receipt({first.segment: len(first.data)}, {}))
    (second,) = courier.pieces()
    assert not more(courier)
    assert (second.closed, first.data + second.data) == (True, whole)


def test_an_open_segment_that_is_sent_whole_is_not_closed(tmp_path: Path) -> None:
    courier = Courier(tmp_path, HOST)
    writer = written(tmp_path, "0", 1)
    (piece,) = courier.pieces()
    assert not piece.closed
    writer.close()
    (piece,) = courier.pieces()
    assert piece.closed


def test_a_report_names_every_segment_however_full_it_is(tmp_path: Path) -> None:
    courier = Courier(tmp_path, HOST)
    writers = [written(tmp_path, str(worker), *range(4), size=200_000) for worker in range(5)]
    for writer in writers:
        writer.close()
    pieces = courier.pieces()
    assert [piece.segment for piece in pieces] == files(tmp_path)
    assert sum(len(piece.data) for piece in pieces) < 1_000_000
    assert more(courier)
    assert not pieces[-1].closed
    for _ in range(20):
        taken(courier)
    assert (courier.pieces(), files(tmp_path), more(courier)) == ((), [], False)


def test_a_writer_that_goes_on_to_its_next_segment_meanwhile_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    courier = Courier(tmp_path, HOST)
    writer = written(tmp_path, "0", segment_bytes=1)
    (before,) = files(tmp_path)
    closed = Segment.closed

    def rotating(segment: Segment) -> bool:
        if len(files(tmp_path)) == 1:
            writer.append(settled(1))
        return closed(segment)

    monkeypatch.setattr(Segment, "closed", rotating)
    pieces = courier.pieces()
    assert [piece.segment for piece in pieces] == files(tmp_path)
    assert len(pieces) == 2
    assert (pieces[0].segment, pieces[0].closed, pieces[1].closed) == (before, True, False)
    writer.close()


def test_what_is_in_the_ledger_to_its_end_is_removed_and_nothing_else(tmp_path: Path) -> None:
    courier = Courier(tmp_path, HOST)
    written(tmp_path, "0", 1).close()
    going_on = written(tmp_path, "1", 2)
    first, second = courier.pieces()
    assert (first.closed, second.closed) == (True, False)
    receipt = Receipt({second.segment: len(second.data)}, {first.segment: len(first.data)})
    courier.received(receipt)
    assert files(tmp_path) == [second.segment]
    courier.received(receipt)  # it comes a second time
    assert courier.pieces() == (Piece(second.segment, len(second.data)),)
    going_on.close()


def test_a_node_that_starts_again_removes_what_was_done_without_its_knowing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written(tmp_path, "0", 1, 2).close()
    (segment,) = segments(tmp_path)
    courier = Courier(tmp_path, HOST)
    courier.pieces()
    courier.received(Receipt({}, {segment.path.name: segment.path.stat().st_size}))
    assert files(tmp_path) == []
    assert caplog.records == []


def test_a_damaged_segment_is_kept_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    courier = Courier(tmp_path, HOST)
    writer = written(tmp_path, "0", 1, 2, 3)
    (segment,) = segments(tmp_path)
    _, middle = segment.read(0, 1)
    writer.close()
    with segment.path.open("r+b") as file:
        file.seek(middle + 20)
        file.write(b"\xff\xff\xff")
    content = segment.path.read_bytes()
    (piece,) = courier.pieces()
    assert (len(piece.data), piece.closed) == (middle, True), "nothing behind the damage will ever come"
    courier.received(Receipt({}, {piece.segment: len(piece.data)}))
    assert files(tmp_path) == [f"{piece.segment}.damaged"]
    assert (tmp_path / f"{piece.segment}.damaged").read_bytes() == content
    assert courier.pieces() == ()
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_a_segment_that_was_cut_is_removed(tmp_path: Path) -> None:
    courier = Courier(tmp_path, HOST)
    written(tmp_path, "0", 1, 2).close()
    (segment,) = segments(tmp_path)
    with segment.path.open("r+b") as file:
        file.truncate(segment.path.stat().st_size - 5)
    (piece,) = courier.pieces()
    assert (piece.closed, [record for record, _ in journal.read(piece.data)]) == (True, [settled(1)])
    courier.received(Receipt({}, {piece.segment: len(piece.data)}))
    assert files(tmp_path) == []


def test_what_control_cannot_read_is_left_alone_for_a_minute_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    courier = Courier(tmp_path, HOST, clock)
    writer, other = written(tmp_path, "0", 1), written(tmp_path, "1", 2)
    stuck, sound = segments(tmp_path)
    _, middle = stuck.read(0, 1)
    with stuck.path.open("r+b") as file:
        file.seek(middle)
        file.write(undecodable())
    receipt = Receipt({stuck.path.name: middle, sound.path.name: 0}, {}, (stuck.path.name,))
    for _ in range(3):
        courier.pieces()
        courier.received(receipt)
    alone = (Piece(stuck.path.name, middle), Piece(sound.path.name, 0, sound.raw(0, 1_000_000)))
    assert courier.pieces() == alone
    assert not more(courier), "it is not asked for at once"
    clock.now += 59.9
    assert courier.pieces() == alone
    clock.now += 0.2
    assert courier.pieces()[0] == Piece(stuck.path.name, middle, undecodable())
    courier.received(receipt)
    assert courier.pieces() == alone
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    writer.close()
    other.close()


def test_what_control_cannot_read_is_never_ended_and_stays(tmp_path: Path) -> None:
    clock = Clock()
    courier = Courier(tmp_path, HOST, clock)
    written(tmp_path, "0", 1).close()
    (segment,) = segments(tmp_path)
    end = segment.path.stat().st_size
    with segment.path.open("ab") as file:
        file.write(undecodable())
    for _ in range(3):
        courier.pieces()
        courier.received(Receipt({segment.path.name: end}, {}, (segment.path.name,)))
        assert courier.pieces() == (Piece(segment.path.name, end),)
        courier.received(Receipt({}, {segment.path.name: end}))  # nothing that it could say of this
        assert files(tmp_path) == [segment.path.name]
        clock.now += 61


def test_what_could_not_be_read_and_can_be_now_is_sent_whole(tmp_path: Path) -> None:
    clock = Clock()
    courier = Courier(tmp_path, HOST, clock)
    written(tmp_path, "0", 1, 2, 3).close()
    (segment,) = segments(tmp_path)
    _, middle = segment.read(0, 1)
    courier.pieces()
    courier.received(Receipt({segment.path.name: middle}, {}, (segment.path.name,)))  # an earlier version of control
    clock.now += 61
    (piece,) = courier.pieces()
    assert (piece.start, piece.closed, ids((piece,))) == (middle, True, [settled(2).id, settled(3).id])
    courier.received(Receipt({}, {piece.segment: piece.start + len(piece.data)}))
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "name", ["../precious", "precious", ".", "", "other.journal", f"{HOST}~gateway-9-1-1-000000.journal"]
)
def test_control_cannot_have_other_files_removed(tmp_path: Path, name: str) -> None:
    directory = tmp_path / "journal"
    directory.mkdir()
    (tmp_path / "precious").write_text("x")
    (directory / "precious").write_text("x")
    courier = Courier(directory, HOST)
    going_on = written(directory, "0", 1)
    before = {path: path.stat().st_size for path in tmp_path.rglob("*")}
    for _ in range(2):
        (piece,) = courier.pieces()
        courier.received(Receipt({}, {name: 0, str(tmp_path / "precious"): 0, piece.segment: len(piece.data)}))
    assert {path: path.stat().st_size for path in tmp_path.rglob("*")} == before, "nor what is still written"
    going_on.close()


def test_a_segment_that_was_not_sent_to_its_end_is_not_removed(tmp_path: Path) -> None:
    courier = Courier(tmp_path, HOST)
    written(tmp_path, "0", *range(4), size=200_000).close()
    (piece,) = courier.pieces()
    assert not piece.closed
    courier.received(Receipt({}, {piece.segment: len(piece.data)}))
    assert files(tmp_path) == [piece.segment]


@pytest.mark.parametrize("host", [BEFORE, ""])
def test_what_was_written_under_another_name_is_sent_under_this_one(tmp_path: Path, host: str) -> None:
    courier = Courier(tmp_path, HOST)
    writer = written(tmp_path, "gateway-0", 1, 2, host=host)
    (theirs,) = files(tmp_path)
    own = written(tmp_path, "gateway-1", 3)
    (mine,) = set(files(tmp_path)) - {theirs}
    assert [piece.segment for piece in courier.pieces()] == [mine], "nobody else's, while it is written"
    writer.close()
    pieces = courier.pieces()
    (adopted,) = {piece.segment for piece in pieces} - {mine}
    assert is_of(adopted, HOST)
    assert ids(pieces) == [settled(number).id for number in (1, 2, 3)]
    taken(courier)
    taken(courier)
    assert files(tmp_path) == [mine]
    own.close()


def test_a_file_that_cannot_be_removed_stops_no_other_and_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    courier = Courier(tmp_path, HOST)
    for worker in ("0", "1", "2"):
        written(tmp_path, worker, 1).close()
    first, second, third = (segment.path for segment in segments(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refusing(Path.unlink, second))
        for _ in range(3):
            taken(courier)
            assert files(tmp_path) == [second.name], "the first and the third go"
        later = written(tmp_path, "3", 4)
        assert settled(4).id in ids(courier.pieces())
        taken(courier)
        later.close()
        taken(courier)
        assert files(tmp_path) == [second.name]
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.ERROR, "a segment cannot be removed")
    ]
    taken(courier)
    assert files(tmp_path) == []
    assert not first.exists()
    assert not third.exists()


def refusing(unlink: Callable[..., None], kept: Path) -> Callable[..., None]:
    """`unlink`, for a file of this path in a directory that may not be changed."""

    def attempt(path: Path, *, missing_ok: bool = False) -> None:
        if path == kept:
            raise PermissionError(13, "Permission denied")
        unlink(path, missing_ok=missing_ok)

    return attempt


def test_a_segment_taken_away_by_hand_is_not_named_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    courier = Courier(tmp_path, HOST)
    writers = [written(tmp_path, worker, 1) for worker in ("0", "1")]
    first, second = segments(tmp_path)
    raw = Segment.raw

    def taking(segment: Segment, offset: int, size: int) -> bytes:
        first.path.unlink(missing_ok=True)  # after it was found
        return raw(segment, offset, size)

    monkeypatch.setattr(Segment, "raw", taking)
    assert [piece.segment for piece in courier.pieces()] == [second.path.name]
    courier.received(Receipt({second.path.name: 0}, {first.path.name: 9}))
    assert [piece.segment for piece in courier.pieces()] == [second.path.name]
    for writer in writers:
        writer.close()


def test_what_waits_is_what_control_did_not_have_at_the_last_look(tmp_path: Path) -> None:
    courier = Courier(tmp_path, HOST)
    assert courier.waiting == 0
    writers = [written(tmp_path, "0", 1, 2), written(tmp_path, "1", 3)]
    first, second = segments(tmp_path)
    sizes = [len(segment.raw(0, 1_000_000)) for segment in (first, second)]
    assert courier.waiting == 0
    courier.pieces()
    assert courier.waiting == sum(sizes)
    _, middle = first.read(0, 1)
    courier.received(Receipt({first.path.name: middle, second.path.name: sizes[1]}, {}))
    assert courier.waiting == sum(sizes), "as it was then"
    courier.pieces()
    assert courier.waiting == sizes[0] - middle
    for writer in writers:
        writer.close()
    courier.pieces()
    assert courier.waiting == sizes[0] - middle
    taken(courier)
    courier.pieces()
    assert courier.waiting == 0
