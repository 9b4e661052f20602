"""Closed-loop load: wrk with as many connections as wanted, each asking again as soon as it has its answer."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from bench.gateway import process, traffic

_SCRIPT = Path(__file__).with_name("wrk.lua")
_MARGIN_S = 30.0


class Counts(msgspec.Struct, frozen=True):
    """
    What wrk saw.

    Attributes:
        refused: answers with an error status. broken: connections that failed, and time-outs.
    """

    requests: int
    duration_us: int
    refused: int
    broken: int
    p50_us: int
    p99_us: int

    @property
    def rate(self) -> float:
        """Good answers per second."""
        return max(0, self.requests - self.refused) / (self.duration_us / 1e6)


def parse(output: str) -> Counts:
    """
    Return the counts that `wrk.lua` printed.

    Raises:
        ValueError: there are none.
    """
    for line in reversed(output.splitlines()):
        if line.startswith("{"):
            return msgspec.convert(json.loads(line), Counts)
    raise ValueError(f"wrk printed no counts: {output[-300:]!r}")


def load(port: int, requests: Path, first: int, connections: int, seconds: float, core: int) -> Counts:
    """Load a port for some seconds; `first` is the number of the first request. Raises Unavailable."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"]
    command += ["-s", str(_SCRIPT), f"http://127.0.0.1:{port}{traffic.PATH}", "--", str(requests), str(first)]
    return parse(process.told(command, core, seconds + _MARGIN_S).decode())
