"""
The service of the lab upstream: routes, authentication, and where an order comes from.

An order comes with the request (`x-lab: delay=1s`, or `x-lab-order: {"delay": "1s"}`), in its prompt (a last user
message that begins with `lab: {"delay": "1s"}`), or from the script; the first of these that speaks is followed.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Self, cast

from penstock.http.connection import Connection
from penstock.http.limits import Limits
from penstock.http.server import Handler, Refusal, Request, Responder, Server
from penstock.http.tls import ServerTls
from penstock.lab import stored
from penstock.lab.answer import Answer, answer_to, build, plain
from penstock.lab.asked import PROMPT, Asked, AskedError
from penstock.lab.delivery import Outlet, carry_out, open_outlet
from penstock.lab.desk import Desk
from penstock.lab.dialect import Dialect, Fault
from penstock.lab.dialects import DIALECTS, messages, models, responses, spoken
from penstock.lab.grammar import parse, parse_json
from penstock.lab.instant import Instant, Ready
from penstock.lab.line import Line, Sleep
from penstock.lab.memory import Memory, Told
from penstock.lab.orders import DEFAULT, Order, OrderError
from penstock.lab.script import Script
from penstock.lab.stats import Call, Received, Stats
from penstock.types.errors import (
    BodyTooLarge,
    ExchangeError,
    HeadersTooLarge,
    InvalidRequest,
    MethodNotAllowed,
    ModelNotFound,
    NoCapacity,
    RequestTimedOut,
    ResponseNotFound,
    Unauthenticated,
    UnknownPath,
)

MODELS = ("lab", "lab-embed")
IDLE_S = 3600.0

# The gateway under test has limits; the lab takes nearly everything.
_LIMITS = Limits(
    header_bytes=1024 * 1024,
    header_count=1000,
    max_body=256 * 1024 * 1024,
    head_s=60,
    body_s=3600,
    idle_s=IDLE_S,
    write_s=3600,
)
_STATUS: dict[type[ExchangeError], int] = {
    InvalidRequest: 400,
    Unauthenticated: 401,
    UnknownPath: 404,
    ModelNotFound: 404,
    ResponseNotFound: 404,
    MethodNotAllowed: 405,
    RequestTimedOut: 408,
    BodyTooLarge: 413,
    HeadersTooLarge: 431,
    NoCapacity: 503,
}
_JSON = b"content-type: application/json\r\n"
_MAX_ID = 128


class Upstream:
    """
    One lab upstream. Belongs to one event loop; `async with` listens on a free port of 127.0.0.1, or use `start`.

    Attributes:
        script: the rules in force; may be replaced at any time.
        stats: what was seen.
    """

    def __init__(
        self,
        *,
        script: Script | None = None,
        api_key: str | None = None,
        models: tuple[str, ...] = MODELS,
        idle_s: float = IDLE_S,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """
        Args:
            api_key: what `/v1/` demands as a bearer token or as its dialect has it; None demands nothing.
            models: what `/v1/models` lists. Any model is answered.
            idle_s: how long a connection may be idle.
            sleep: what waits, in seconds; a test passes one that it moves.
        """
        self.script = script if script is not None else Script()
        self.stats = Stats(time.monotonic, lambda: self._server.connections)
        self._key = api_key.encode() if api_key is not None else None
        self._models = models
        self._sleep = sleep
        self._numbers = 0
        self._stopping = False
        self._sockets: list[socket.socket] = []
        self._server = _Server(self._handle, refuse, replace(_LIMITS, idle_s=idle_s), self.stats.changed)
        self._instant = Instant()
        self._memory = Memory()
        self._desk = Desk(self.stats, self._replace_script)

    async def start(self, sock: socket.socket | None = None, *, tls: ServerTls | None = None) -> None:
        """Listen, on a socket that is bound already (TCP or Unix) or on a free port. May be called again."""
        if sock is None:
            sock = socket.create_server(("127.0.0.1", 0))
        self._sockets.append(sock)
        await self._server.listen(sock, tls=tls)

    async def stop(self, drain_s: float = 0.0) -> None:
        """Accept no more, let answers end for a while, cut the rest."""
        if drain_s:
            await self._server.drain(drain_s)
        self._stopping = True
        await self._server.drain(0)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def port(self) -> int:
        """The TCP port of the first listener."""
        return cast("int", self._sockets[0].getsockname()[1])

    @property
    def base_url(self) -> str:
        """What a client takes as its base address."""
        return f"http://127.0.0.1:{self.port}/v1"

    def _replace_script(self, script: Script) -> None:
        self.script = script

    # One request

    async def _handle(self, request: Request, responder: Responder) -> None:
        path = request.path
        if path.startswith("/lab/") or path == "/metrics":
            await self._desk.answer(request, responder)
            return
        call = self.stats.begin(self._number(request), path)
        status, outlet = 0, None
        try:
            status, outlet = await self._serve(request, responder, call)
        except ExchangeError as error:
            status = _status_of(error)
            raise _Objection(error, spoken(path, request.headers), call.id) from error
        finally:  # a cancelled task leaves the status at 0: its client has left, or the lab stops
            self.stats.end(call, status, left=not status and not self._stopping)
        if outlet is not None:
            await outlet.finish()

    async def _serve(self, request: Request, responder: Responder, call: Call) -> tuple[int, Outlet | None]:
        """Answer; returns the status, and what is to be finished then."""
        path = request.path
        dialect = DIALECTS.get(path)
        shown = dialect or spoken(path, request.headers)
        self._check(request, dialect, shown)
        order = _order_in_headers(request.headers) or self.script.before_body(path)
        body, line = await self._receive(request, responder, order, call)
        if order is None and body is not None and not len(self.script) and (ready := self._instant.get(path, body)):
            await _send_at_once(responder, ready, call)
            return 200, None
        asked = Asked()
        if dialect is not None:
            if body is not None:
                asked = self._memory.recall(_asked(dialect, body))
            call.model = asked.model
            if order is None:
                order, asked = self._order_in_prompt(path, asked)
                if order is DEFAULT and (made := self._instant.make(path, body or b"", dialect, asked)) is not None:
                    await _send_at_once(responder, made, call)
                    return 200, None
        order = order or self.script.after_body(path, "", "") or DEFAULT
        self._memory.keep(responses.PREFIX + call.id, asked, Told(asked, order, call.id, body or b""))
        answer = build(order, shown, call.id, lambda: self._ordinary(request, shown, asked, order, call.id))
        outlet, answer = open_outlet(responder, line, answer, order, shown.number_header, call, self._sleep)
        await carry_out(outlet, answer, order, shown.ping, call, self.stats, self._sleep)
        return order.status, outlet

    def _check(self, request: Request, dialect: Dialect | None, shown: Dialect) -> None:
        path, method = request.path, request.method
        if self._key is not None and path.startswith("/v1/") and not _holds(self._key, request.headers, shown):
            raise Unauthenticated("Incorrect API key provided.", code="invalid_api_key")
        post = dialect is not None
        if path.startswith(stored.PATH):
            stored.check(path, method)
            return
        if not post and path not in {"/v1/models", "/health"} and not path.startswith("/v1/models/"):
            raise UnknownPath(f"The lab has no {path}.")
        if method != ("POST" if post else "GET"):
            allow = "POST" if post else "GET"
            raise MethodNotAllowed(f"{path} is for {allow}.", allow=allow)
        if dialect is not None and dialect.check is not None:
            dialect.check(request.headers)

    async def _receive(
        self, request: Request, responder: Responder, order: Order | None, call: Call
    ) -> tuple[bytes | None, Line | None]:
        """Read the body as ordered; None where nothing of it is known. And the connection, if it was taken over."""
        body: bytes | None = None
        line: Line | None = None
        read = 0
        if order is not None and order.read_rate is not None:
            if request.length is None:
                raise InvalidRequest("The order `read_rate` needs a request with a content-length.")
            line = Line(responder.take_over(), self._sleep)
            read = await line.read_slowly(order.read_rate, request.length)
        elif order is None or order.read == "all":
            body = await request.body()
            read = len(body)
        size = request.length if body is None else read
        received = Received(
            call.id, request.method, request.path, request.query, request.headers, body or b"", size or 0
        )
        self.stats.keep(received, read)
        return body, line

    def _order_in_prompt(self, path: str, asked: Asked) -> tuple[Order, Asked]:
        """Return the order in the prompt, which is taken out of it, or of the script."""
        if not asked.text.startswith(PROMPT):
            return self.script.after_body(path, asked.model, asked.text) or DEFAULT, asked
        start = len(PROMPT) - 1
        try:
            _, end = json.JSONDecoder().raw_decode(asked.text, start)
            order = parse_json(asked.text[start:end])
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"The order in the prompt is not JSON: {error}", code="invalid_order") from error
        except OrderError as error:
            raise _refused(error) from error
        return order, asked.without_order(asked.text[end:].lstrip())

    def _ordinary(self, request: Request, dialect: Dialect, asked: Asked, order: Order, number: str) -> Answer:
        path = request.path
        if path.startswith(stored.PATH):
            return stored.answer(self._memory, path, request.method, request.query)
        if path in DIALECTS:
            return answer_to(dialect, asked, order, number)
        if path == "/health":
            return plain(order.status, b'{"status":"ok"}')
        anthropic = dialect is messages.DIALECT
        if path == "/v1/models":
            return plain(order.status, models.models_body(self._models, anthropic=anthropic))
        name = path.removeprefix("/v1/models/")
        if name not in self._models:
            raise ModelNotFound(f"The model '{name}' does not exist.", param="model", code="model_not_found")
        return plain(order.status, models.model_body(name, anthropic=anthropic))

    def _number(self, request: Request) -> str:
        given = request.headers.get(b"x-request-id")
        if given:
            return given[:_MAX_ID].decode("latin-1")
        self._numbers += 1
        return f"lab-{self._numbers}"


class _Server(Server):
    """Tells when connections come and go."""

    def __init__(
        self,
        handler: Handler,
        refuse_: Callable[[ExchangeError], Refusal],
        limits: Limits,
        changed: Callable[[], None],
    ) -> None:
        super().__init__(handler, refuse_, limits)
        self._changed = changed

    def admit(self, connection: Connection) -> bool:
        admitted = super().admit(connection)
        self._changed()
        return admitted

    def forget(self, connection: Connection) -> None:
        super().forget(connection)
        self._changed()


class _Objection(ExchangeError):
    """What the lab itself objects to in a request, with what its wording depends on."""

    def __init__(self, error: ExchangeError, dialect: Dialect, number: str) -> None:
        super().__init__(str(error))
        self.error = error
        self.dialect = dialect
        self.number = number


def refuse(error: ExchangeError) -> Refusal:
    """Word what the lab itself objects to as the dialect would; as OpenAI, where no request was understood."""
    dialect, number = spoken("", {}), ""
    if isinstance(error, _Objection):
        dialect, number, error = error.dialect, error.number, error.error
    status = _status_of(error)
    headers = _JSON
    if isinstance(error, MethodNotAllowed):
        headers += b"allow: %b\r\n" % error.allow.encode()
    if number:
        headers += b"%b: %b\r\n" % (dialect.number_header, number.encode("latin-1"))
    fault = Fault(str(error), status, code=error.code, param=error.param)
    return Refusal(status, headers, dialect.error(fault, number))


def _holds(key: bytes, headers: dict[bytes, bytes], dialect: Dialect) -> bool:
    """Tell whether a request holds the key, as a bearer token or as its dialect has it."""
    given = headers.get(b"authorization", b"")
    if hmac.compare_digest(given, b"Bearer " + key):
        return True
    name = dialect.key_header
    return name is not None and hmac.compare_digest(headers.get(name, b""), key)


def _status_of(error: ExchangeError) -> int:
    return next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)


async def _send_at_once(responder: Responder, ready: Ready, call: Call) -> None:
    body = ready.body(call.id)
    call.model, call.events, call.bytes = ready.model, 1, len(body)
    lines = b"%b%b: %b\r\n" % (_JSON, ready.number_header, call.id.encode("latin-1"))
    await responder.send(200, lines, body)


def _order_in_headers(headers: dict[bytes, bytes]) -> Order | None:
    short, whole = headers.get(b"x-lab"), headers.get(b"x-lab-order")
    if short is None and whole is None:
        return None
    try:
        if whole is not None:
            if short is not None:
                raise OrderError("give the order in `x-lab` or in `x-lab-order`, not in both")
            return parse_json(whole)
        return parse((short or b"").decode())
    except OrderError as error:
        raise _refused(error) from error
    except UnicodeDecodeError as error:
        raise InvalidRequest("The order in `x-lab` is not UTF-8.", code="invalid_order") from error


def _asked(dialect: Dialect, body: bytes) -> Asked:
    try:
        return dialect.read(body)
    except AskedError as error:
        raise InvalidRequest(str(error)) from error


def _refused(error: OrderError) -> InvalidRequest:
    return InvalidRequest(str(error), code="invalid_order")
