"""
The request path. Read `serve` from top to bottom: that is everything that happens to a request, in order.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from urllib.parse import unquote

import msgspec

from penstock.auth import keys
from penstock.gateway import stored
from penstock.gateway.admission.admission import Admission
from penstock.gateway.cache.exact import ExactCache
from penstock.gateway.dialects import errors
from penstock.gateway.dialects.spoken import BY_PATH, Spoken
from penstock.gateway.exchange import Exchange, trace_context
from penstock.gateway.identity.caller import LOCAL, Caller, authenticate
from penstock.gateway.keepalive import KeepAlive
from penstock.gateway.metering import tags
from penstock.gateway.metering.account import Account, Books
from penstock.gateway.ownership.claim import Claim, claim_of
from penstock.gateway.ownership.tags import Tags
from penstock.gateway.refusal import refuse
from penstock.gateway.relay import relay_stream, relay_whole
from penstock.gateway.shadow.shadows import Shadows
from penstock.gateway.upstream.attempt import Dispatcher
from penstock.gateway.view import EMPTY, Plan, Route, View
from penstock.http.server import Refusal, Request, Responder
from penstock.snapshot.config import Model, Outage
from penstock.types.dialect import Dialect
from penstock.types.errors import (
    ExchangeError,
    InvalidRequest,
    MethodNotAllowed,
    ModelNotFound,
    NoCapacity,
    PenstockError,
    UnknownPath,
)

_OK = 200
_JSON = b"content-type: application/json\r\n"
_MODELS = "/v1/models"
_ANTHROPIC = "/v1/messages/"
_MAX_ECHO = 200  # characters of a client's text that an error repeats


class Gateway:
    """
    One worker's data plane. Made once per process; `view` is replaced as a whole when a document changes.

    Args:
        pepper: the secret under which keys and tags are hashed.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        books: Books,
        admission: Admission,
        cache: ExactCache,
        dispatcher: Dispatcher,
        shadows: Shadows,
        pepper: bytes,
        clock: Callable[[], float],
    ) -> None:
        self.books = books
        self.admission = admission
        self.cache = cache
        self.dispatcher = dispatcher
        self.shadows = shadows
        self.digest = keys.Digester(pepper)
        self.tags = Tags(pepper)
        self.stored = stored.Stored(books, admission, dispatcher, self.tags)
        self.clock = clock
        self.view: View = EMPTY
        self.draining = False
        self._prefix = "req-" + os.urandom(12).hex()  # of this process; a number makes it a request's
        self._number = 0

    def new_id(self) -> str:
        """Return an id that no other request has, of this worker or any other."""
        self._number = number = self._number + 1
        return f"{self._prefix}{number:08x}"

    def follow(self, view: View) -> None:
        """Use a new view from the next exchange on."""
        self.view = view
        self.admission.divide(view.settings.workers)
        self.cache.shelf.follow(view.settings)
        self.dispatcher.follow(view)

    def refuse(self, error: ExchangeError) -> Refusal:
        """Say how the HTTP server answers an error that it finds itself, and count it."""
        refusal = errors.refusal(error)
        self.books.metrics.responded(refusal.status)
        return refusal


async def serve(gateway: Gateway, request: Request, responder: Responder) -> None:
    """Answer one request, whatever it is."""
    view, request_id = gateway.view, gateway.new_id()
    id_line = b"x-request-id: %b\r\n" % request_id.encode()
    spoken = BY_PATH.get(request.path)
    headers = id_line + (b"request-id: %b\r\n" % request_id.encode() if spoken and spoken.like_anthropic else b"")
    try:
        if spoken is None:
            return await _serve_rest(gateway, view, request, responder, request_id, headers)
        if request.method != "POST":
            raise MethodNotAllowed(f"{request.path} is called with POST, not {request.method}", allow="POST")

        # identity; on the Unix socket, which only this machine's user can open, no key is needed
        headers_in = request.headers
        caller = LOCAL if request.local else authenticate(headers_in, view.callers, gateway.digest)
        if caller.bounds is not None:
            caller.bounds.check(spoken.dialect.operation, request.peer)

        # dialect
        if b"content-encoding" in headers_in and headers_in[b"content-encoding"] != b"identity":
            raise InvalidRequest("the body is encoded; send it as it is", code="unsupported_encoding")
        call = spoken.parse(request.whole or await request.body())
        view = gateway.view  # a long upload may have outlived the one it began with

        # metering: from here on the exchange is settled exactly once, however it ends
        with Account(gateway.books, request_id, caller, call, request.received, [caller.explained]) as account:
            account.trace_id, trace = trace_context(headers_in) if b"traceparent" in headers_in else ("", b"")
            if b"x-penstock-tags" in headers_in:
                account.tags = tags.read(headers_in[b"x-penstock-tags"])

            # admission, given back when the account is settled
            route = _route(view, caller, call.model)
            model = route.model
            account.label = model.name
            deadline = request.received + model.total_s

            # ownership: what an upstream keeps is for its tenant alone, to be had there alone, and has not been counted
            claim = claim_of(call, caller.tenant, gateway.tags, route, view.places)
            call = account.call = call if claim is None else claim.call
            exchange = Exchange(spoken, id_line, headers, view, call, model, account, responder, trace, deadline)
            exchange.claim = claim
            exchange.heed(headers_in)
            if route.rules is not None:
                account.hold = hold = await gateway.admission.admit(route.rules, caller, call, request.peer)
                account.explanation.append(hold.explained)
                exchange.limit_lines = hold.lines(time.time() if spoken.like_anthropic else None)
                exchange.outage = hold.outage
                headers = exchange.headers()

            # exact cache: an answer that is kept needs no deployment and no money
            if route.cache is not None and await gateway.cache.answer(exchange, route.cache, headers_in):
                return gateway.books.metrics.responded(account.status)

            # routing
            plan = _plan(gateway, route, claim)
            account.explanation.append(plan.explained)
            account.estimate(plan.prices)

            # money, for the dearest deployment that may answer
            if route.purse is not None:
                account.reservation = reserved = await gateway.admission.reserve(
                    route.purse, caller, account.reserved_nano, account.at_ns
                )
                account.explanation.append(reserved.explained)
                exchange.limit_lines += reserved.lines()
                if reserved.outage is not None:
                    exchange.outage = Outage.strictest((reserved.outage, exchange.outage or reserved.outage))
            exchange.capped = route.capped
            gateway.shadows.watch(exchange, route.shadow, gateway.new_id)  # may copy it, once it is answered

            # upstream, and the answer on its way back
            try:
                if call.stream:
                    with KeepAlive(exchange, gateway.clock) as keep_alive:
                        stream = partial(relay_stream, keep_alive=keep_alive, clock=gateway.clock)
                        await gateway.dispatcher.run(exchange, plan, stream)
                else:
                    await gateway.dispatcher.run(exchange, plan, relay_whole)
            finally:
                headers = exchange.headers()
        gateway.books.metrics.responded(account.status)
    except PenstockError as error:
        await refuse(gateway.books.metrics, responder, _worded(spoken, request.path), error, headers)
    except asyncio.CancelledError:
        if gateway.draining and not responder.gone:
            gone = NoCapacity("the gateway is shutting down", retry_after=1)
            await refuse(gateway.books.metrics, responder, _worded(spoken, request.path), gone, headers)
        raise


async def _serve_rest(
    gateway: Gateway, view: View, request: Request, responder: Responder, request_id: str, headers: bytes
) -> None:
    """Answer what is not a call to a model: health, the listing of models, responses that are kept."""
    path = request.path
    if path.startswith(stored.PATH):
        caller = LOCAL if request.local else authenticate(request.headers, view.callers, gateway.digest)
        return await gateway.stored.serve(view, caller, request, responder, request_id, headers)
    if path not in ("/livez", "/readyz", _MODELS) and not path.startswith(_MODELS + "/"):
        raise UnknownPath(f"nothing is served at {path[:_MAX_ECHO]}")
    if request.method not in ("GET", "HEAD"):
        raise MethodNotAllowed(f"this path is called with GET, not {request.method}", allow="GET, HEAD")
    if path == "/livez":
        return await responder.send(_OK, _JSON, b'{"status": "live"}')
    if path == "/readyz":
        ready = view.ready and not gateway.draining
        verdict = b'{"status": "ready"}' if ready else b'{"status": "not ready"}'
        return await responder.send(_OK if ready else 503, _JSON + (b"" if ready else b"retry-after: 1\r\n"), verdict)
    caller = LOCAL if request.local else authenticate(request.headers, view.callers, gateway.digest)
    if path == _MODELS:
        listing = [_described(route.model) for name, route in view.routes.items() if caller.may_use(name)]
        ends = {"first_id": listing[0]["id"], "last_id": listing[-1]["id"]} if listing else {}
        answer: object = {"object": "list", "data": listing, "has_more": False, **ends}
    else:
        answer = _described(_route(view, caller, unquote(path.removeprefix(_MODELS + "/"))).model)
    gateway.books.metrics.responded(_OK)
    return await responder.send(_OK, headers + _JSON, msgspec.json.encode(answer))


def _route(view: View, caller: Caller, name: str) -> Route:
    """Return how a model is answered; one the caller may not use looks as if it did not exist."""
    route = view.routes.get(name)
    if route is None or not caller.may_use(name):
        raise ModelNotFound(
            f"The model '{name[:_MAX_ECHO]}' does not exist or you do not have access to it.", param="model"
        )
    return route


def _plan(gateway: Gateway, route: Route, claim: Claim | None) -> Plan:
    """Return which deployments to try: of a drawn target first, unless the exchange has a claim to another."""
    if claim is not None and claim.plan is not None:
        return claim.plan
    plan = gateway.dispatcher.choosing.draw(route)
    return plan if claim is None else claim.led(plan)


def _described(model: Model) -> Mapping[str, object]:
    """Say what a model is, with the fields that clients of OpenAI look for and with those of Anthropic's."""
    return {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": "penstock",
        "type": "model",
        "display_name": model.name,
        "created_at": datetime.fromtimestamp(model.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _worded(spoken: Spoken | None, path: str) -> Dialect:
    """Return the dialect in which a client is told of errors."""
    if spoken is not None:
        return spoken.dialect
    if path.startswith(_ANTHROPIC):
        return Dialect.MESSAGES
    return Dialect.RESPONSES if path.startswith(stored.PATH) else Dialect.CHAT
