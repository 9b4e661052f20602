"""What a host sends of its journal, and what it removes; `tests/control/test_receive.py` has it meet a fold."""

from __future__ import annotations

import logging
from pathlib import Path
from zlib import crc32

import pytest

from penstock.journal import segment as journal
from penstock.journal.segment import Segment, Writer, segments
from penstock.journal.shipping import Piece, Receipt
from penstock.node.courier import Courier
from tests.records.exchanges import settled


def written(directory: Path, worker: str, *numbers: int, segment_bytes: int = 1_000_000, size: int = 0) -> Writer:
    writer = Writer(directory, worker, segment_bytes)
    for number in numbers:
        writer.append(settled(number, error="x" * size))
    return writer


def known(courier: Courier, positions: dict[str, int] | None = None) -> None:
    """Let the courier know how far control is: at the start of each segment, unless it is said."""
    courier.received(Receipt({piece.segment: 0 for piece in courier.pieces()} | (positions or {}), {}))


def more(courier: Courier) -> bool:
    return courier.more


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_nothing_is_sent_of_a_segment_before_control_has_said_how_far_it_is(tmp_path: Path) -> None:
    courier = Courier(tmp_path)
    assert courier.pieces() == ()
    assert not more(courier)
    writer = written(tmp_path, "0", 1, 2)
    (segment,) = segments(tmp_path)
    _, middle = segment.read(0, 1)
    (piece,) = courier.pieces()
    assert (piece.segment, piece.data, piece.closed) == (segment.path.name, b"", False)
    assert piece.start < 0, "where no segment has a record"
    assert more(courier)
    courier.received(Receipt({segment.path.name: middle}, {}))
    (piece,) = courier.pieces()
    assert piece == Piece(segment.path.name, middle, segment.raw(middle, 1_000_000))
    assert [record.id for record, _ in journal.read(piece.data)] == [settled(2).id]
    assert not more(courier)
    writer.close()


def test_what_is_not_acknowledged_is_sent_again_and_what_is_acknowledged_is_not(tmp_path: Path) -> None:
    courier = Courier(tmp_path)
    writer = written(tmp_path, "0", 1)
    known(courier)
    first = courier.pieces()
    assert courier.pieces() == first
    courier.received(Receipt({first[0].segment: len(first[0].data)}, {}))
    assert courier.pieces() == (Piece(first[0].segment, len(first[0].data)),)
    writer.append(settled(2))
    (piece,) = courier.pieces()
    assert [record for record, _ in journal.read(piece.data)] == [settled(2)]
    writer.close()


def test_a_piece_is_closed_only_when_it_goes_to_the_end_of_a_closed_segment(tmp_path: Path) -> None:
    courier = Courier(tmp_path)
    writer = written(tmp_path, "0", *range(4), size=200_000)
    (segment,) = segments(tmp_path)
    whole = segment.raw(0, 1 << 30)
    known(courier)
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
    courier = Courier(tmp_path)
    writer = written(tmp_path, "0", 1)
    known(courier)
    (piece,) = courier.pieces()
    assert not piece.closed
    writer.close()
    (piece,) = courier.pieces()
    assert piece.closed


def test_a_report_names_every_segment_however_full_it_is(tmp_path: Path) -> None:
    courier = Courier(tmp_path)
    writers = [written(tmp_path, str(worker), *range(4), size=200_000) for worker in range(5)]
    known(courier)
    for writer in writers:
        writer.close()
    pieces = courier.pieces()
    assert [piece.segment for piece in pieces] == files(tmp_path)
    assert sum(len(piece.data) for piece in pieces) < 1_000_000
    assert more(courier)
    assert not pieces[-1].closed
    for _ in range(20):
        courier.received(
            Receipt(
                {piece.segment: piece.start + len(piece.data) for piece in pieces if not piece.closed},
                {piece.segment: piece.start + len(piece.data) for piece in pieces if piece.closed},
            )
        )
        pieces = courier.pieces()
    assert (pieces, files(tmp_path), more(courier)) == ((), [], False)


def test_a_writer_that_goes_on_to_its_next_segment_meanwhile_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    courier = Courier(tmp_path)
    writer = written(tmp_path, "0", segment_bytes=1)
    known(courier)
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
    courier = Courier(tmp_path)
    written(tmp_path, "0", 1).close()
    going_on = written(tmp_path, "1", 2)
    known(courier)
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
    courier = Courier(tmp_path)
    courier.pieces()
    courier.received(Receipt({}, {segment.path.name: segment.path.stat().st_size}))
    assert files(tmp_path) == []
    assert caplog.records == []


def test_a_damaged_segment_is_kept_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    courier = Courier(tmp_path)
    writer = written(tmp_path, "0", 1, 2, 3)
    (segment,) = segments(tmp_path)
    _, middle = segment.read(0, 1)
    writer.close()
    with segment.path.open("r+b") as file:
        file.seek(middle + 20)
        file.write(b"\xff\xff\xff")
    content = segment.path.read_bytes()
    known(courier)
    (piece,) = courier.pieces()
    assert (len(piece.data), piece.closed) == (middle, True), "nothing behind the damage will ever come"
    courier.received(Receipt({}, {piece.segment: len(piece.data)}))
    assert files(tmp_path) == [f"{piece.segment}.damaged"]
    assert (tmp_path / f"{piece.segment}.damaged").read_bytes() == content
    assert courier.pieces() == ()
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_a_segment_that_was_cut_is_removed(tmp_path: Path) -> None:
    courier = Courier(tmp_path)
    written(tmp_path, "0", 1, 2).close()
    (segment,) = segments(tmp_path)
    with segment.path.open("r+b") as file:
        file.truncate(segment.path.stat().st_size - 5)
    known(courier)
    (piece,) = courier.pieces()
    assert (piece.closed, [record for record, _ in journal.read(piece.data)]) == (True, [settled(1)])
    courier.received(Receipt({}, {piece.segment: len(piece.data)}))
    assert files(tmp_path) == []


def test_what_control_cannot_read_is_not_sent_again_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    courier = Courier(tmp_path)
    writer, other = written(tmp_path, "0", 1), written(tmp_path, "1", 2)
    stuck, sound = segments(tmp_path)
    _, middle = stuck.read(0, 1)
    payload = b"\xc1 from a later version"
    with stuck.path.open("r+b") as file:
        file.seek(middle)
        file.write(len(payload).to_bytes(4, "little") + crc32(payload).to_bytes(4, "little") + payload)
    known(courier)
    for _ in range(3):
        courier.pieces()
        courier.received(Receipt({stuck.path.name: middle, sound.path.name: 0}, {}, (stuck.path.name,)))
    assert courier.pieces() == (
        Piece(stuck.path.name, middle),
        Piece(sound.path.name, 0, sound.raw(0, 1_000_000)),
    )
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    writer.close()
    with stuck.path.open("ab") as file:  # what closing has cut off
        file.write(len(payload).to_bytes(4, "little") + crc32(payload).to_bytes(4, "little") + payload)
    assert courier.pieces()[0] == Piece(stuck.path.name, middle, closed=True)
    courier.received(Receipt({sound.path.name: 0}, {stuck.path.name: middle}))
    assert files(tmp_path) == [f"{stuck.path.name}.damaged", sound.path.name]
    other.close()


def test_a_segment_taken_away_by_hand_is_not_named_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    courier = Courier(tmp_path)
    writers = [written(tmp_path, worker, 1) for worker in ("0", "1")]
    known(courier)
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


def test_what_waits_is_what_control_does_not_have(tmp_path: Path) -> None:
    courier = Courier(tmp_path)
    assert courier.waiting() == 0
    writers = [written(tmp_path, "0", 1, 2), written(tmp_path, "1", 3)]
    first, second = segments(tmp_path)
    sizes = [len(segment.raw(0, 1_000_000)) for segment in (first, second)]
    assert courier.waiting() == sum(sizes)
    courier.pieces()
    assert courier.waiting() == sum(sizes), "where control is is not known yet"
    _, middle = first.read(0, 1)
    courier.received(Receipt({first.path.name: middle, second.path.name: sizes[1]}, {}))
    assert courier.waiting() == sizes[0] - middle
    for writer in writers:
        writer.close()
