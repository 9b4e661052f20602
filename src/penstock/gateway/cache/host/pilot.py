"""
A worker's end of the equal requests of its host: asks who leads, waits, and brings its answer to those that wait.

The node answers at once. When it does not, the worker goes on alone, those that wait included, until it answers again.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Protocol

import msgspec

from penstock.gateway.cache.host.wire import (
    PART,
    Alone,
    Answers,
    Ask,
    Asked,
    Fetch,
    Landed,
    Leave,
    Part,
    Ping,
    Questions,
    Refused,
    Told,
    Wanted,
    Word,
)
from penstock.gateway.cache.room import Room, Space
from penstock.gateway.cache.store import Entry
from penstock.types.errors import UpstreamRejected, UpstreamTimeout
from penstock.types.priority import Priority

TIMEOUT_S = 0.25
"""
How long the node may take to answer. Long beside the 0.1 ms that it takes, for equal requests come together when all
are busy; and short beside the call that it may save.
"""

_AWAY_S = 1.0  # how long nobody asks after a time-out, unless an answer comes late
_LATE_S = 0.001  # a loop that was late itself reads first what has come meanwhile
_SILENT = 3  # sweeps, which are 0.1 s apart, until who does not answer is away
_MOST = 10_000  # questions under way
_MOST_SAID = 256  # messages in one frame
_MOST_UNSENT = 32 * 1024 * 1024  # bytes that the node has not read yet; beyond, answers are not sent there
_OVERHEAD = 64  # bytes of an encoded answer beside what it consists of

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode


class Door(Protocol):
    """The way to the node. `unsent` is how many bytes it has not read yet."""

    @property
    def unsent(self) -> int: ...

    def send(self, message: msgspec.Struct) -> None: ...


class Taken(msgspec.Struct, frozen=True):
    """
    An answer that another worker has.

    Attributes:
        entry: None where it cannot be shared.
        kept: it is kept there.
    """

    entry: Entry | None
    kept: bool = False


_UNSHARED = Taken(None)


class HostLead:
    """The part of a worker's request that asks the upstream for the whole host; see `flight.Above`."""

    __slots__ = ("_number", "_over", "_pilot")

    def __init__(self, pilot: Pilot, number: int) -> None:
        self._pilot = pilot
        self._number = number
        self._over = False

    def land(self, answer: Entry | None, *, kept: bool) -> None:
        """Bring the answer to the workers that wait; with None, which is for one that cannot be shared, they ask."""
        if not self._over:
            self._over = True
            self._pilot.landed(self._number, answer, kept=kept)

    def release(self, error: BaseException | None) -> None:
        """The exchange has ended; without an answer the next one leads, unless it would be told the same."""
        if not self._over:
            self._over = True
            self._pilot.failed(self._number, error)


_Found = Taken | HostLead | UpstreamRejected | None


class _Asking:
    """
    One question, until its last answer.

    Attributes:
        most: bytes that the answer may have.
        deadline: clock time.
        answer_by: clock time up to which the node has time to answer.
        waiting: somebody leads, and it is known how long to wait for him.
        parts: of the answer, of so many bytes, which take `space`.
    """

    __slots__ = (
        "answer_by",
        "ask",
        "deadline",
        "future",
        "late",
        "most",
        "parts",
        "size",
        "space",
        "timer",
        "waiting",
    )

    def __init__(self, ask: Ask, future: asyncio.Future[_Found], deadline: float, most: int, space: Space) -> None:
        self.ask = ask
        self.future = future
        self.deadline = deadline
        self.most = most
        self.waiting = False
        self.late = False
        self.timer: asyncio.TimerHandle | None = None
        self.answer_by = 0.0
        self.parts: list[bytes] = []
        self.size = 0
        self.space = space


class Pilot:
    """
    Used by the tasks of one worker, from one event loop.

    Args:
        door: the way to the node.
        clock: seconds, monotonic.

    Attributes:
        finds: returns what this worker keeps under a key, if it does.
        room: for answers on their way here.
    """

    def __init__(self, door: Door, clock: Callable[[], float], timeout_s: float = TIMEOUT_S) -> None:
        self.finds: Callable[[bytes], Entry | None] = _nothing
        self.room = Room()
        self._door = door
        self._clock = clock
        self._timeout_s = timeout_s
        self._number = 0
        self._asking: dict[int, _Asking] = {}
        self._leads: dict[int, bool] = {}  # whether anybody waits, by number
        self._unsaid: list[Asked] = []
        self._silent = 0  # sweeps since it was asked whether it is there
        self._away_until = 0.0  # clock time up to which nobody asks; 0 while answers come

    async def join(
        self, key: bytes, since: float, patience_s: float, deadline: float, priority: Priority, most: int
    ) -> Taken | HostLead | None:
        """
        Ask who leads, and wait for the answer to the equal request of another worker, if one does.

        Args:
            since: seconds since the epoch; what was answered before is too old.
            patience_s: seconds that a leader has, until somebody else leads too.
            deadline: clock time.
            most: bytes that an answer may have.
        Returns:
            The answer; or the lead, when there was none; or None, when the node is away.
        Raises:
            UpstreamTimeout: the deadline has passed.
            UpstreamRejected: the equal request is refused.
        """
        now = self._clock()
        if now < self._away_until or len(self._asking) >= _MOST:
            return None
        if self._away_until:  # this one finds out for all
            self._away_until = now + _AWAY_S
        self._number = number = self._number + 1
        future: asyncio.Future[_Found] = asyncio.get_running_loop().create_future()
        ask = Ask(number, key, priority, patience_s, since)
        asking = self._asking[number] = _Asking(ask, future, deadline, most, self.room.space())
        self._put(number, asking)
        try:
            found = await future
        except asyncio.CancelledError:
            self._given_up(number, future)
            raise
        finally:
            if asking.timer is not None:
                asking.timer.cancel()
            asking.space.free()
        if isinstance(found, UpstreamRejected):
            raise found
        return found

    def sweep(self) -> None:
        """See whether anybody is there, while somebody waits. Called every 0.1 s by the worker."""
        if self._silent:
            self._silent += 1
            if self._silent > _SILENT:
                self._turn_away()
        elif any(asking.waiting for asking in self._asking.values()):
            self._silent = 1
            self._say(Ping())

    def heard(self, said: Answers) -> None:
        """Take in what the node says."""
        self._silent = 0
        self._away_until = 0.0
        for message in said.messages:
            match message:
                case Told():
                    self._told(message)
                case Wanted(number):
                    if number in self._leads:
                        self._leads[number] = True
                case Part():
                    self._take(message)
                case Fetch():
                    self._fetch(message)
                case Refused(number, text, status, body, retry_after, code):
                    error = UpstreamRejected(text, status=status, body=body, retry_after=retry_after, code=code)
                    self._settle(number, error)

    def lost(self) -> None:
        """Ask nobody any more."""
        self._turn_away()
        self._away_until = math.inf

    def landed(self, number: int, answer: Entry | None, *, kept: bool) -> None:
        """It has led, and has an answer, which goes to the node if anybody waits for it."""
        wanted = self._leads.pop(number, None)
        if wanted is None:  # nobody waits for this one any more
            return
        if answer is None:
            self._say(Alone(number))
        elif wanted and self._door.unsent <= _MOST_UNSENT:
            self._send(number, answer, kept=kept)
        else:
            self._say(Landed(number, kept, follows=False))

    def failed(self, number: int, error: BaseException | None) -> None:
        """It has led, and has no answer."""
        if self._leads.pop(number, None) is None:
            return
        if isinstance(error, UpstreamRejected) and error.final:
            self._say(Refused(number, str(error), error.status, error.body, error.retry_after, error.code))
            self._flush()  # it may be large
        else:
            self._say(Leave(number))

    def _put(self, number: int, asking: _Asking) -> None:
        """Ask, or ask again."""
        asking.waiting = asking.late = False
        asking.answer_by = self._clock() + self._timeout_s
        self._say(asking.ask)
        self._wait(number, asking, self._timeout_s)

    def _wait(self, number: int, asking: _Asking, wait_s: float) -> None:
        if asking.timer is not None:
            asking.timer.cancel()
        left_s = max(0.0, min(wait_s, asking.deadline - self._clock()))
        asking.timer = asyncio.get_running_loop().call_later(left_s, self._due, number, asking)

    def _told(self, told: Told) -> None:
        number = told.number
        asking = self._asking.get(number)
        if asking is None:  # it has left, which the node will read
            return
        match told.word:
            case Word.LEAD:
                self._leads[number] = told.wanted
                self._settle(number, HostLead(self, number))
            case Word.WAIT:
                asking.waiting = True
                self._wait(number, asking, told.left_s)
            case Word.ALONE:
                self._settle(number, _UNSHARED)
            case Word.AGAIN:
                asking.parts.clear()
                asking.space.free()
                asking.size = 0
                self._put(number, asking)

    def _take(self, part: Part) -> None:
        """Take in a part of an answer. One for which there is no room here cannot be shared."""
        asking = self._asking.get(part.number)
        if asking is None:
            return
        asking.size += len(part.data)
        if asking.size > asking.most + _OVERHEAD or not asking.space.take(len(part.data)):
            self._settle(part.number, _UNSHARED)
            return
        asking.parts.append(part.data)
        if part.more:
            return
        try:
            entry = _decode(b"".join(asking.parts))
        except msgspec.DecodeError:
            self._settle(part.number, _UNSHARED)
        else:
            self._settle(part.number, Taken(entry, part.kept))

    def _fetch(self, fetch: Fetch) -> None:
        entry = self.finds(fetch.key)
        if entry is None or entry.at < fetch.since or self._door.unsent > _MOST_UNSENT:
            self._say(Leave(fetch.number))
        else:
            self._send(fetch.number, entry, kept=True)

    def _send(self, number: int, answer: Entry, *, kept: bool) -> None:
        whole = _encode(answer)
        self._say(Landed(number, kept, follows=True))
        for start in range(0, len(whole), PART):
            self._say(Part(number, whole[start : start + PART], start + PART < len(whole), kept))
            self._flush()

    def _settle(self, number: int, found: _Found) -> None:
        """Give whoever asked the last answer."""
        asking = self._asking.pop(number, None)
        if asking is not None and not asking.future.done():
            asking.future.set_result(found)
        elif isinstance(found, HostLead):
            found.release(None)

    def _due(self, number: int, asking: _Asking) -> None:
        """Nothing has happened in time: there was no answer, it is time to ask again, or nobody is there."""
        if asking.future.done():
            return
        now = self._clock()
        if now >= asking.deadline:
            self._leave(number)
            asking.future.set_exception(UpstreamTimeout("no equal request was answered within the time allowed"))
        elif asking.waiting:
            self._put(number, asking)
        elif now < asking.answer_by:  # the loop's clock is a little ahead of ours
            self._wait(number, asking, max(_LATE_S, asking.answer_by - now))
        elif not asking.late:
            asking.late = True
            self._wait(number, asking, _LATE_S)
        else:
            self._turn_away()

    def _turn_away(self) -> None:
        """Go on without the node, those who wait included."""
        self._away_until = max(self._away_until, self._clock() + _AWAY_S)
        self._silent = 0
        for number, asking in list(self._asking.items()):
            self._leave(number)
            if not asking.future.done():
                asking.future.set_result(None)

    def _given_up(self, number: int, future: asyncio.Future[_Found]) -> None:
        """The client has left; what it was to lead goes to the next one."""
        if number in self._asking:
            self._leave(number)
        elif future.done() and not future.cancelled() and future.exception() is None:
            found = future.result()
            if isinstance(found, HostLead):
                found.release(None)

    def _leave(self, number: int) -> None:
        del self._asking[number]
        self._say(Leave(number))

    def _say(self, message: Asked) -> None:
        """Say something in the loop's next turn, with all else that there is to say then."""
        self._unsaid.append(message)
        if len(self._unsaid) == 1:
            asyncio.get_running_loop().call_soon(self._flush)
        elif len(self._unsaid) >= _MOST_SAID:
            self._flush()

    def _flush(self) -> None:
        if self._unsaid:
            unsaid, self._unsaid = self._unsaid, []
            self._door.send(Questions(unsaid))


def _nothing(_key: bytes) -> Entry | None:
    return None
