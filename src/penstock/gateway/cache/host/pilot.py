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

from penstock.gateway.cache.host.question import UNSHARED, Found, HostLead, Question, Taken
from penstock.gateway.cache.host.wire import (
    PART,
    Alone,
    Answers,
    Ask,
    Asked,
    Fetch,
    Kept,
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
from penstock.gateway.cache.room import Room
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

_encode = msgspec.msgpack.Encoder().encode


class Door(Protocol):
    """The way to the node. `unsent` is how many bytes it has not read yet."""

    @property
    def unsent(self) -> int: ...

    def send(self, message: msgspec.Struct) -> None: ...


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
        self._asked: dict[int, Question] = {}
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
        if now < self._away_until or len(self._asked) >= _MOST:
            return None
        if self._away_until:  # this one finds out for all
            self._away_until = now + _AWAY_S
        self._number = number = self._number + 1
        ask = Ask(number, key, priority, patience_s, since)
        question = self._asked[number] = Question(ask, deadline, most, self.room.space())
        self._put(number, question)
        try:
            found = await question.future
        except asyncio.CancelledError:
            self._given_up(number, question.future)
            raise
        finally:
            if question.timer is not None:
                question.timer.cancel()
            question.forget()
        if isinstance(found, UpstreamRejected):
            raise found
        return found

    def sweep(self) -> None:
        """See whether anybody is there, while somebody waits. Called every 0.1 s by the worker."""
        if self._silent:
            self._silent += 1
            if self._silent > _SILENT:
                self._turn_away()
        elif any(question.waiting for question in self._asked.values()):
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

    def keeps(self, key: bytes) -> None:
        """This worker keeps an answer that others did not wait for."""
        if not self._away_until:
            self._say(Kept(key))

    def failed(self, number: int, error: BaseException | None) -> None:
        """It has led, and has no answer."""
        if self._leads.pop(number, None) is None:
            return
        if isinstance(error, UpstreamRejected) and error.final:
            self._say(Refused(number, str(error), error.status, error.body, error.retry_after, error.code))
            self._flush()  # it may be large
        else:
            self._say(Leave(number))

    def _put(self, number: int, question: Question) -> None:
        """Ask, or ask again."""
        question.waiting = question.late = False
        question.answer_by = self._clock() + self._timeout_s
        self._say(question.ask)
        self._wait(number, question, self._timeout_s)

    def _wait(self, number: int, question: Question, wait_s: float) -> None:
        if question.timer is not None:
            question.timer.cancel()
        left_s = max(0.0, min(wait_s, question.deadline - self._clock()))
        question.timer = asyncio.get_running_loop().call_later(left_s, self._due, number, question)

    def _told(self, told: Told) -> None:
        number = told.number
        question = self._asked.get(number)
        if question is None:
            if (
                told.word is Word.LEAD
            ):  # its answer came while it asked again, so the node may not know that it has left
                self._say(Leave(number))
            return
        match told.word:
            case Word.LEAD:
                self._leads[number] = told.wanted
                self._settle(number, HostLead(self, number))
            case Word.WAIT:
                question.waiting = True
                self._wait(number, question, told.left_s)
            case Word.ALONE:
                self._settle(number, UNSHARED)
            case Word.AGAIN:
                question.forget()
                self._put(number, question)

    def _take(self, part: Part) -> None:
        question = self._asked.get(part.number)
        if question is not None and (found := question.take(part)) is not None:
            self._settle(part.number, found)

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

    def _settle(self, number: int, found: Found) -> None:
        """Give whoever asked the last answer."""
        question = self._asked.pop(number, None)
        if question is not None and not question.future.done():
            question.future.set_result(found)
        elif isinstance(found, HostLead):
            found.release(None)

    def _due(self, number: int, question: Question) -> None:
        """Nothing has happened in time: there was no answer, it is time to ask again, or nobody is there."""
        if question.future.done():
            return
        now = self._clock()
        if now >= question.deadline:
            self._leave(number)
            question.future.set_exception(UpstreamTimeout("no equal request was answered within the time allowed"))
        elif question.waiting:
            self._put(number, question)
        elif now < question.answer_by:  # the loop's clock is a little ahead of ours
            self._wait(number, question, max(_LATE_S, question.answer_by - now))
        elif not question.late:
            question.late = True
            self._wait(number, question, _LATE_S)
        else:
            self._turn_away()

    def _turn_away(self) -> None:
        """Go on without the node, those who wait included."""
        self._away_until = max(self._away_until, self._clock() + _AWAY_S)
        self._silent = 0
        for number, question in list(self._asked.items()):
            self._leave(number)
            if not question.future.done():
                question.future.set_result(None)

    def _given_up(self, number: int, future: asyncio.Future[Found]) -> None:
        """The client has left; what it was to lead goes to the next one."""
        if number in self._asked:
            self._leave(number)
        elif future.done() and not future.cancelled() and future.exception() is None:
            found = future.result()
            if isinstance(found, HostLead):
                found.release(None)

    def _leave(self, number: int) -> None:
        del self._asked[number]
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
