import io
import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import pytest

from penstock.telemetry import log


@pytest.fixture(autouse=True)
def _root() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [msgspec.json.decode(line) for line in stream.getvalue().splitlines()]


def test_a_record_is_one_json_object_with_its_fields() -> None:
    stream = io.StringIO()
    handler = log.configure("gateway 0", {}, stream)
    logging.getLogger("penstock.test").info("two\nlines", extra={"fields": {"request_id": "req-1", "status": 200}})
    handler.close()
    (line,) = lines(stream)
    assert line["message"] == "two\nlines"
    assert (line["process"], line["level"], line["request_id"], line["status"]) == ("gateway 0", "info", "req-1", 200)


def test_exceptions_keep_their_trace() -> None:
    stream = io.StringIO()
    handler = log.configure("control", {}, stream)
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("penstock.test").exception("failed")
    handler.close()
    (line,) = lines(stream)
    assert "ValueError: broken" in str(line["exception"])


@pytest.mark.parametrize(
    ("environ", "seen"), [({}, 2), ({"PENSTOCK_LOG_LEVEL": "error"}, 1), ({"PENSTOCK_LOG_LEVEL": "debug"}, 3)]
)
def test_the_level_comes_from_the_environment(environ: dict[str, str], seen: int) -> None:
    stream = io.StringIO()
    handler = log.configure("x", environ, stream)
    logger = logging.getLogger("penstock.test")
    logger.debug("d")
    logger.info("i")
    logger.error("e")
    handler.close()
    assert len(lines(stream)) == seen


class Happened(msgspec.Struct):
    what: str
    count: int = 0


def test_frequent_lines_have_the_fields_of_their_struct() -> None:
    stream = io.StringIO()
    handler = log.configure("gateway 0", {}, stream)
    write = handler.lines("penstock.x", "something")
    write(Happened("one"))
    write(Happened("two", 2))
    handler.close()
    first, second = lines(stream)
    assert list(first.items())[1:] == [
        ("level", "info"), ("process", "gateway 0"), ("logger", "penstock.x"), ("message", "something"),
        ("what", "one"), ("count", 0),
    ]  # fmt: skip
    assert (second["what"], second["count"]) == ("two", 2)
    written = datetime.fromisoformat(str(first["time"]))
    assert abs((datetime.now(UTC) - written).total_seconds()) < 60


def test_what_is_dropped_is_told_whoever_wrote_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_QUEUE", 2)
    monkeypatch.setattr(log, "_LOOK_S", 3600)
    stream = io.StringIO()
    handler = log.configure("x", {}, stream)
    write = handler.lines("penstock.x", "something")
    for _ in range(5):
        write(Happened("one"))
    handler.close()
    *kept, told = lines(stream)
    assert (len(kept), handler.dropped) == (2, 3)
    assert (told["level"], told["message"]) == ("warning", "3 lines were dropped in all")


def test_a_closed_stream_does_not_stop_the_process() -> None:
    stream = io.StringIO()
    handler = log.configure("x", {}, stream)
    stream.close()
    logging.getLogger("penstock.test").info("lost")
    handler.close()
    assert handler.dropped == 1
