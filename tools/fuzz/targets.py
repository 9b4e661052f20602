"""All targets. A new one is a module with a `TARGET`, a line here, and is in `make fuzz` and in the tests."""

from __future__ import annotations

from tools.fuzz import bodies, chunked, replies, server, streams
from tools.fuzz.target import Target

TARGETS: dict[str, Target] = {
    each.name: each for each in (server.TARGET, chunked.TARGET, replies.TARGET, streams.TARGET, bodies.TARGET)
}
