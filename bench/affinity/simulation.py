"""
Replicas with a cache of what they have read, and a gateway before them that chooses as Penstock's does.

The service model: a replica has `seats`. It reads one prompt after the other, at a fixed rate, but for what its cache
has of the prompt's beginning; then the first token is there, and the others follow at a fixed pace beside whatever else
it does. The cache is least recently used, in the trace's blocks. While all seats of all replicas are taken, requests
wait in the gateway, first come first served, before a replica is chosen.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random

import msgspec

from bench.affinity.trace import BLOCK, Request
from penstock.gateway.routing.latency import Latency
from penstock.gateway.routing.prefix import Prefix
from penstock.gateway.routing.prompts import UNKNOWN, Prompts
from penstock.gateway.routing.rendezvous import seed_of
from penstock.gateway.routing.ways import Way

READ_S = 50e-6  # per token of a prompt: 20,000 tokens/s, about what a model of 8 billion parameters reads on an H100
MADE_S = 0.015  # per token of an answer, of the same
SEATS = 32


class Setting(msgspec.Struct, frozen=True):
    """
    Attributes:
        cache: tokens that each replica keeps.
        workers: gateway processes, each of which knows of its own requests only.
        remembered: bytes of prompts that each remembers of a replica.
    """

    replicas: int
    cache: int
    workers: int = 1
    seats: int = SEATS
    remembered: int = UNKNOWN


class Outcome(msgspec.Struct, frozen=True):
    """
    Attributes:
        cached: share of all prompt tokens that need not be read again.
        first_s: time to the first token of each request, in seconds, sorted.
    """

    cached: float
    first_s: tuple[float, ...]

    @property
    def mean_s(self) -> float:
        """Mean time to the first token."""
        return sum(self.first_s) / len(self.first_s)

    def quantile_s(self, share: float) -> float:
        """Return the time to the first token that so large a share of the requests keeps."""
        return self.first_s[min(len(self.first_s) - 1, int(len(self.first_s) * share))]


class Cache:
    """Blocks that a replica has read, the least recently used forgotten first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def has(self, blocks: Sequence[int]) -> int:
        """Return how many of the first blocks are there."""
        for number, block in enumerate(blocks):
            if block not in self._blocks:
                return number
        return len(blocks)

    def add(self, blocks: Sequence[int]) -> None:
        """Take in a prompt."""
        for block in reversed(blocks):
            self._blocks[block] = None
            self._blocks.move_to_end(block)
        while len(self._blocks) > self._most:
            self._blocks.popitem(last=False)


@dataclass
class _Replica:
    """What really is; only the clairvoyant sees it."""

    cache: Cache
    line: deque[_Visit] = field(default_factory=deque)
    reading_until: float = 0.0
    reads: bool = False
    taken: int = 0

    def left_s(self, request: Request) -> float:
        """Return how long a prompt would be read, were it begun now."""
        return (request.read - cached(self.cache, request)) * READ_S


@dataclass(eq=False)
class _Seen:
    """A replica as one worker knows it; see `routing.candidate.Candidate`."""

    number: int
    seats: int
    seed: int
    outstanding: int = 0
    latency: Latency = field(default_factory=Latency)
    prompts: Prompts = field(default_factory=Prompts)


@dataclass
class _Visit:
    """A request at a replica."""

    request: Request
    counts: bool
    came: float
    sent: float
    seen: _Seen
    unread: int
    begun: bool = False


@dataclass
class _Ask:
    """See `routing.candidate.Ask`."""

    turn: int
    now: float
    workers: int
    prefix: Prefix
    session: int | None


def cached(cache: Cache, request: Request) -> int:
    """Return tokens of a prompt that need not be read; the last one always is, since the answer follows from it."""
    return min(cache.has(request.blocks) * BLOCK, request.read - 1)


def ideal(warm: Sequence[Request], asked: Sequence[Request]) -> float:
    """Return the share of tokens that one cache without bounds, shared by all replicas, would have."""
    cache, found = Cache(1 << 60), 0
    for request in warm:
        cache.add(request.blocks)
    for request in asked:
        found += cached(cache, request)
        cache.add(request.blocks)
    return found / sum(request.read for request in asked)


class Simulation:
    """
    One run. `way` is None for the clairvoyant, who sees what the caches hold and what is yet to be read, and sends each
    request where its first token will come soonest.
    """

    def __init__(self, setting: Setting, way: Way[_Seen] | None) -> None:
        self._setting = setting
        self._way = way
        most = setting.cache // BLOCK
        self._replicas = [_Replica(Cache(most)) for _ in range(setting.replicas)]
        self._seen = [
            [_Seen(number, setting.seats, seed_of(f"mini/{number}")) for number in range(setting.replicas)]
            for _ in range(setting.workers)
        ]
        for seen in self._seen:
            for each in seen:
                each.prompts.most_bytes = setting.remembered
        self._events: list[tuple[float, int, _Visit | tuple[float, Request, bool]]] = []
        self._number = count()
        self._waiting: deque[tuple[float, Request, bool]] = deque()
        self._random = Random(1)  # the same each time
        self._turn = self._out = 0
        self._first_s: list[float] = []
        self._cached = self._read = 0

    def run(self, warm: Sequence[tuple[float, Request]], asked: Sequence[tuple[float, Request]]) -> Outcome:
        """Let requests come at their times, in seconds; what is told is of `asked`, which come after `warm`."""
        for counts, some in ((False, warm), (True, asked)):
            for at, request in some:
                self._at(at, (at, request, counts))
        while self._events:
            now, _, what = heapq.heappop(self._events)
            if isinstance(what, _Visit):
                self._step(now, what)
            elif self._out < self._setting.seats * len(self._replicas) and not self._waiting:
                self._send(now, *what)
            else:
                self._waiting.append(what)
        return Outcome(self._cached / self._read, tuple(sorted(self._first_s)))

    def _at(self, when: float, what: _Visit | tuple[float, Request, bool]) -> None:
        heapq.heappush(self._events, (when, next(self._number), what))

    def _send(self, now: float, came: float, request: Request, counts: bool) -> None:
        """Choose a replica for a request, as one of the workers."""
        self._turn += 1
        self._out += 1
        seen = self._random.choice(self._seen)
        if self._way is None:
            chosen = min(seen, key=lambda each: self._soonest(now, each.number, request))
        else:
            session = request.blocks[0]  # the conversation, or document, that it begins with
            chosen = self._way(seen, _Ask(self._turn, now, len(self._seen), request.prefix, session))
        unread = chosen.prompts.add(request.prefix)
        chosen.prompts.reading += unread
        chosen.outstanding += 1
        self._replicas[chosen.number].line.append(_Visit(request, counts, came, now, chosen, unread))
        self._read_next(now, chosen.number)

    def _soonest(self, now: float, number: int, request: Request) -> tuple[float, int]:
        replica = self._replicas[number]
        ahead = sum(replica.left_s(visit.request) for visit in replica.line)
        return max(0.0, replica.reading_until - now) + ahead + replica.left_s(request), replica.taken

    def _read_next(self, now: float, number: int) -> None:
        replica = self._replicas[number]
        if replica.reads or not replica.line or replica.taken >= self._setting.seats:
            return
        replica.reads = True
        replica.taken += 1
        visit = replica.line.popleft()
        known = cached(replica.cache, visit.request)
        if visit.counts:
            self._cached += known
            self._read += visit.request.read
        replica.reading_until = now + (visit.request.read - known) * READ_S
        self._at(replica.reading_until, visit)

    def _step(self, now: float, visit: _Visit) -> None:
        """A prompt has been read, or the last token has been made."""
        seen, replica = visit.seen, self._replicas[visit.seen.number]
        if not visit.begun:
            visit.begun, replica.reads = True, False
            replica.cache.add(visit.request.blocks)
            seen.prompts.reading -= visit.unread
            seen.latency.add(now - visit.sent, now)
            if visit.counts:
                self._first_s.append(now - visit.came)
            self._at(now + visit.request.made * MADE_S, visit)
        else:
            replica.taken -= 1
            seen.outstanding -= 1
            self._out -= 1
            if self._waiting:
                self._send(now, *self._waiting.popleft())
        self._read_next(now, seen.number)
