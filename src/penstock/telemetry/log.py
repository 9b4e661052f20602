"""
JSON logs: one object per line on standard error, written by a thread so that no request waits for a terminal.

The queue is bounded; what does not fit is dropped and counted. Fields are given as `extra={"fields": {...}}`; never put
a key, an `Authorization` value, a prompt or a reply there.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO

import msgspec

VARIABLE = "PENSTOCK_LOG_LEVEL"
_QUEUE = 10_000


class JsonHandler(logging.Handler):
    """Hands records to one writer thread. One per process; `close()` writes what is queued."""

    def __init__(self, process: str, stream: TextIO) -> None:
        super().__init__()
        self._process = process
        self._stream = stream
        self._queue: queue.Queue[logging.LogRecord | None] = queue.Queue(_QUEUE)
        self.dropped = 0
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record, or count it as dropped."""
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Write what is queued, waiting at most two seconds, and stop the thread."""
        try:
            self._queue.put(None, timeout=1)
        except queue.Full:
            return super().close()
        self._thread.join(2)
        return super().close()

    def _write(self) -> None:
        while (record := self._queue.get()) is not None:
            try:
                self._stream.write(self._line(record))
                if self._queue.empty():
                    self._stream.flush()
            except Exception:  # noqa: BLE001  # a bad record or a closed standard error must not end all logging
                self.dropped += 1

    def _line(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
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
        if self.dropped:
            line["dropped"] = self.dropped
        return msgspec.json.encode(line, enc_hook=str).decode() + "\n"


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
