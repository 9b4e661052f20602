"""
JSON logs: one object per line on standard error, written by a thread so that no request waits for a terminal.

The queue is bounded; what does not fit is dropped and counted. Fields are given as `extra={"fields": {...}}`; never put
a key, an `Authorization` value, a prompt or a reply there.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TextIO

import msgspec

VARIABLE = "PENSTOCK_LOG_LEVEL"
_QUEUE = 10_000  # lines
_LOOK_S = 0.05


class JsonHandler(logging.Handler):
    """
    Turns records into JSON lines and hands them to one writer thread. One per process; `close()` writes what is queued.

    The thread looks every 50 ms, so that whoever logs wakes nobody.
    """

    def __init__(self, process: str, stream: TextIO) -> None:
        super().__init__()
        self._process = process
        self._stream = stream
        self._lines: deque[bytes] = deque()
        self._encode = msgspec.json.Encoder(enc_hook=str).encode
        self._second = (0, b"")
        self.dropped = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record, or count it as dropped."""
        try:
            self._put(self._encode(self._described(record)))
        except Exception:  # noqa: BLE001  # a bad record must not end what wanted to log it
            self.dropped += 1

    def lines(self, logger: str, message: str) -> Callable[[msgspec.Struct], None]:
        """
        Return what writes a line of level `info` for each struct that it is given, with the fields of the struct.

        For what happens very often: it goes past the loggers and their levels.
        """
        known = {"level": "info", "process": self._process, "logger": logger, "message": message}
        behind = b'+00:00",' + self._encode(known)[1:-1] + b","
        put, encode, stamp = self._put, self._encode, self._stamp

        def write(fields: msgspec.Struct) -> None:
            put(b'{"time":"' + stamp(time.time()) + behind + encode(fields)[1:])

        return write

    def close(self) -> None:
        """Write what is queued, waiting at most two seconds, and stop the thread."""
        self._stop.set()
        self._thread.join(2)
        return super().close()

    def _put(self, line: bytes) -> None:
        if len(self._lines) >= _QUEUE:
            self.dropped += 1
        else:
            self._lines.append(line)

    def _write(self) -> None:
        stopping, told = False, 0
        while not stopping:
            stopping = self._stop.wait(_LOOK_S)
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            if lines and self.dropped > told:
                told = self.dropped
                lines.append(self._encode(self._described(_record(f"{told} lines were dropped in all"))))
            if not lines:
                continue
            lines.append(b"")
            try:
                self._stream.write(b"\n".join(lines).decode())
                self._stream.flush()
            except Exception:  # noqa: BLE001  # a closed standard error must not end all logging
                self.dropped += len(lines) - 1

    def _stamp(self, now: float) -> bytes:
        """Return date and time to the millisecond, without the zone, which is UTC."""
        second = int(now)
        known, written = self._second
        if second != known:
            written = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()
            self._second = second, written  # together, as other threads log too
        return b"%b.%03d" % (written, int((now - second) * 1000))

    def _described(self, record: logging.LogRecord) -> dict[str, object]:
        line: dict[str, object] = {
            "time": f"{self._stamp(record.created).decode()}+00:00",
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, Mapping):
            line.update(fields)
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = "".join(traceback.format_exception(*record.exc_info))
        return line


def _record(message: str) -> logging.LogRecord:
    return logging.LogRecord(__name__, logging.WARNING, "", 0, message, None, None)


def configure(process: str, environ: Mapping[str, str] = os.environ, stream: TextIO = sys.stderr) -> JsonHandler:
    """
    Send the root logger to JSON lines.

    The level is `PENSTOCK_LOG_LEVEL`; without it `info`, or `warning` when a person watches on a terminal.
    """
    handler = JsonHandler(process, stream)
    default = "warning" if stream.isatty() else "info"
    level = logging.getLevelNamesMapping().get(environ.get(VARIABLE, default).upper(), logging.INFO)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    return handler
