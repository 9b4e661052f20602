"""
Responses that upstreams keep: retrieved, deleted and cancelled by their ids, and their input listed.

Such a call names no model. The tag on the id says who keeps the response; that endpoint alone is asked, by its own name
for it. Nothing is generated and nothing costs anything, so there is neither a seat nor money to be had first, and
nothing is tried twice. It is an exchange all the same: limits of requests count it, and the journal has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import quote, unquote

import msgspec

from penstock.gateway.admission.admission import Admission
from penstock.gateway.dialects import events
from penstock.gateway.dialects.call import Call
from penstock.gateway.dialects.document import Document
from penstock.gateway.dialects.errors import counters_line, kind_of
from penstock.gateway.dialects.responses_answers import malformed
from penstock.gateway.exchange import trace_context
from penstock.gateway.identity.caller import Caller
from penstock.gateway.keepalive import HEADERS
from penstock.gateway.metering import tags
from penstock.gateway.metering.account import Account, Books
from penstock.gateway.ownership.keeper import Keeper, keeper_of, unknown
from penstock.gateway.ownership.stamp import Stamp
from penstock.gateway.ownership.tags import Tags
from penstock.gateway.refusal import refuse
from penstock.gateway.upstream.attempt import Dispatcher
from penstock.gateway.upstream.endpoint import Endpoint
from penstock.gateway.upstream.rejection import rejection
from penstock.gateway.view import View
from penstock.http.pool import Reply, Timeouts
from penstock.http.server import Request, Responder
from penstock.journal.records import Outcome
from penstock.types.dialect import Dialect
from penstock.types.errors import (
    ExchangeError,
    InvalidRequest,
    MethodNotAllowed,
    NoCapacity,
    PenstockError,
    UnknownPath,
    UpstreamFailed,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnusable,
)

PATH = "/v1/responses/"

LIST = "list_input_items"
ACTIONS: Mapping[str, Mapping[str, str]] = {
    "": {"GET": "retrieve_response", "DELETE": "delete_response"},
    "/cancel": {"POST": "cancel_response"},
    "/input_items": {"GET": LIST},
}
"""What can be done with a response, by what follows its id and by method: as the journal and metrics call it."""

_OK, _MULTIPLE, _UNAUTHORIZED, _MISSING = 200, 300, 401, 404
_NOT_SERVED = frozenset({_MISSING, 405, 501})
_MOST_AT_ONCE = 16  # of one tenant, at one endpoint, from this worker: without seats it is what bounds them
_MOST_REPLY = 64 * 1024 * 1024
_CONNECT_S = 5.0
_MAX_ECHO = 200  # characters of a client's text that an error repeats
_LINES = b"content-type: application/json\r\nx-penstock-cost-usd: 0.000000000\r\n"
_EVENTS = b"text/event-stream"
_BEGINNINGS = frozenset({"response.created", "response.queued", "response.in_progress"})
_NOTHING = Call(Dialect.RESPONSES, "", False, False, None, 0, Document(b"", {}, compact=True))
"""What limits of tokens count of such a call."""


class _Said(msgspec.Struct):
    type: str = ""
    response: msgspec.Raw = msgspec.Raw()  # of the events that begin an answer and of those that end it


_see = msgspec.json.Decoder(_Said).decode
_read = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Stored:
    """Serves what is below `PATH`. One per worker."""

    def __init__(self, books: Books, admission: Admission, dispatcher: Dispatcher, tags_: Tags) -> None:
        self._books = books
        self._admission = admission
        self._dispatcher = dispatcher
        self._tags = tags_
        self._at_once: dict[tuple[str, str], int] = {}

    async def serve(
        self, view: View, caller: Caller, request: Request, responder: Responder, request_id: str, headers: bytes
    ) -> None:
        """
        Answer one request.

        Args:
            headers: ready-made lines with which each answer begins.
        """
        id_line, books = headers, self._books
        try:
            given, below, action = _parsed(request)
            if caller.bounds is not None:
                caller.bounds.check(Dialect.RESPONSES.operation, request.peer)
            await request.body()  # if there is one, it is for nobody

            with Account(books, request_id, caller, _NOTHING, request.received, [caller.explained]) as account:
                account.operation = action
                account.trace_id, trace = trace_context(request.headers)
                if b"x-penstock-tags" in request.headers:
                    account.tags = tags.read(request.headers[b"x-penstock-tags"])

                # ownership: it is for its tenant alone, to be had from one endpoint alone
                keeper = keeper_of(given, caller, self._tags, view)
                model, place = keeper.route.model, keeper.place
                account.call = msgspec.structs.replace(_NOTHING, model=model.name)
                account.label = model.name
                account.explain("route", f"{model.name}: {place.name} alone, which keeps {keeper.original}")

                # admission, given back when the account is settled
                if keeper.route.rules is not None:
                    hold = await self._admission.admit(keeper.route.rules, caller, account.call, request.peer)
                    account.hold = hold
                    account.explanation.append(hold.explained)
                    headers += hold.lines() + (b"" if hold.outage is None else counters_line(hold.outage))

                # upstream, and the answer on its way back
                headers += place.answer_lines
                endpoint = self._endpoint(keeper, account)
                account.estimate(())
                with self._room(caller.tenant, endpoint):
                    account.open()
                    lines = place.headers + id_line + trace
                    with await self._ask(keeper, endpoint, request, below, lines) as reply:
                        if not _OK <= reply.status < _MULTIPLE:
                            raise await _rejected(keeper, account, given, reply)
                        account.explain("upstream", f"{endpoint.name} answers")
                        stamp = Stamp(self._tags, caller.tenant, endpoint.name, stored=True)
                        if reply.headers.get(b"content-type", b"").startswith(_EVENTS):
                            await _relay_stream(account, responder, reply, stamp, headers)
                        else:
                            await _relay_whole(account, responder, reply, stamp, headers)
            books.metrics.responded(account.status)
        except PenstockError as error:
            await refuse(books.metrics, responder, Dialect.RESPONSES, error, headers)

    def _endpoint(self, keeper: Keeper, account: Account) -> Endpoint:
        """
        Return the endpoint that keeps the response.

        Raises:
            NoCapacity: it cannot be asked now. Nobody else can be.
        """
        place = keeper.place
        account.deployment, account.provider = place.name, place.provider.name if place.provider else ""
        found = next((endpoint for endpoint in place.endpoints if endpoint.name == keeper.endpoint), None)
        if found is None:
            account.explain("replica", place.problem or f"{keeper.endpoint} is not ready")
            raise NoCapacity(f"the deployment {place.name} cannot answer now; no other keeps this", retry_after=2)
        wait_s = self._dispatcher.wait_s(place.name)
        if wait_s:
            account.explain("breaker", f"{place.name} is not asked for {wait_s:.1f} s")
            raise NoCapacity(f"the deployment {place.name} is not asked now; no other keeps this", retry_after=wait_s)
        return found

    @contextmanager
    def _room(self, tenant: str, endpoint: Endpoint) -> Iterator[None]:
        """
        Count a call of a tenant at an endpoint while it lasts.

        Raises:
            NoCapacity: there are as many as may be.
        """
        which = (tenant, endpoint.name)
        before = self._at_once.get(which, 0)
        if before >= _MOST_AT_ONCE:
            raise NoCapacity(f"{_MOST_AT_ONCE} stored responses are being asked for already", retry_after=1)
        self._at_once[which] = before + 1
        endpoint.outstanding += 1
        try:
            yield
        finally:
            endpoint.outstanding -= 1
            if self._at_once[which] == 1:
                del self._at_once[which]
            else:
                self._at_once[which] -= 1

    async def _ask(self, keeper: Keeper, endpoint: Endpoint, request: Request, below: str, lines: bytes) -> Reply:
        """
        Send the request on. Its query passes as it is, and nothing else of it.

        Args:
            below: what of the path follows the id.
        Raises:
            UpstreamError: there is no answer.
        """
        place, model = keeper.place, keeper.route.model
        assert place.provider is not None, "a place without a provider has no endpoint"
        left_s = request.received + model.total_s - self._books.clock()
        first_s = min(left_s, model.first_token_s)
        if left_s <= 0:
            raise UpstreamTimeout("the deadline passed before the upstream could be asked")
        target = f"/{quote(keeper.original, safe='')}{below}" + (f"?{request.query}" if request.query else "")
        method, full = request.method.encode(), place.provider.target(Dialect.RESPONSES) + target.encode()
        if place.credential is not None:
            sent = endpoint.address.path.encode() + full
            lines += await place.credential.lines(method, endpoint.pool.host, sent, b"", first_s)
        timeouts = Timeouts(
            connect_s=min(_CONNECT_S, first_s),
            first_byte_s=None,
            head_s=first_s,
            idle_s=model.first_token_s,
            total_s=left_s,
        )
        return await endpoint.pool.request(method, full, lines, b"", timeouts)


def _parsed(request: Request) -> tuple[str, str, str]:
    """
    Return what the client calls the response, what of the path follows that, and what is to be done.

    Raises:
        UnknownPath: nothing is served there.
        MethodNotAllowed: not by this method.
    """
    name, slash, rest = request.path.removeprefix(PATH).partition("/")
    methods = ACTIONS.get(slash + rest)
    if not name or methods is None or (not slash and request.method == "POST"):  # OpenAI's API has such ones, of names
        raise UnknownPath(f"nothing is served at {request.path[:_MAX_ECHO]}")
    if request.method not in methods:
        allow = ", ".join(methods)
        raise MethodNotAllowed(f"this path is called with {allow}, not {request.method}", allow=allow)
    return unquote(name), slash + rest, methods[request.method]


async def _rejected(keeper: Keeper, account: Account, given: str, reply: Reply) -> ExchangeError:
    """Explain the upstream's error status and return it as an error, in the client's own word for the response."""
    if reply.status == _UNAUTHORIZED and keeper.place.credential is not None:
        keeper.place.credential.refused()
    error = await rejection(account, keeper.endpoint, reply)
    if not isinstance(error, UpstreamRejected):
        return error
    if error.status == _MISSING and kind_of(error.body):
        return unknown(given)
    if error.status in _NOT_SERVED:  # a 404 that is worded in another way is a server's that knows no such path
        return InvalidRequest(f"the deployment {keeper.place.name} has no such operation", code="unsupported_operation")
    error.body = error.body.replace(keeper.original.encode(), given.encode())
    return error


async def _relay_whole(account: Account, responder: Responder, reply: Reply, stamp: Stamp, headers: bytes) -> None:
    """
    Read a reply, settle the exchange, send the answer.

    Raises:
        UpstreamError: the reply is broken, too large, or no JSON object.
        JournalError: the exchange could not be settled; nothing was sent.
    """
    body = await reply.read(_MOST_REPLY)
    if body:
        try:
            _read(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise UpstreamUnusable("the upstream's reply is not a JSON object") from None
        body = stamp.listing(body) if account.operation == LIST else stamp.reply(body)
    account.settle(Outcome.ANSWERED, reply.status)
    await responder.send(reply.status, headers + _LINES, body)


async def _relay_stream(account: Account, responder: Responder, reply: Reply, stamp: Stamp, headers: bytes) -> None:
    """
    Relay the events of a response, of which there may be none: the last may be before the place that the client wants.

    Raises:
        UpstreamError: the stream broke off.
        JournalError: the exchange could not be settled; the client has no whole answer.
    """
    splitter, whole = events.Splitter(), True
    account.status = _OK
    responder.start(_OK, headers + HEADERS)
    while data := await reply.chunk():
        out, whole = _examined(splitter.feed(data), stamp, whole)
        if out:
            await responder.write(out)
    out, whole = _examined(events.completed(splitter.rest()), stamp, whole)
    if not whole:  # which the framing does not tell where a connection's end is that of the stream
        raise UpstreamFailed("the upstream's stream was cut off")
    account.settle(Outcome.ANSWERED, _OK)
    responder.put(out)
    await responder.end()


def _examined(told: bytes, stamp: Stamp, whole: bool) -> tuple[bytes, bool]:
    """
    Return whole events with tags, and whether the answer may end behind them.

    Args:
        whole: whether it might before them.
    Raises:
        UpstreamFailed: one of them is malformed.
    """
    out = []
    for event in events.split(told):
        if malformed(event):
            raise UpstreamFailed("the upstream sent a malformed event")
        said = events.read(event, _see)
        if said is not None:
            whole = said.type == "error" or (bool(said.response) and said.type not in _BEGINNINGS)
        out.append(stamp.event(event))
    return b"".join(out), whole
