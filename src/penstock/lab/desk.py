"""The lab's own paths: what it saw, its script, its metrics. They need no key and take no orders."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs

import msgspec

from penstock.http.server import Request, Responder
from penstock.lab.orders import OrderError
from penstock.lab.script import Script, read
from penstock.lab.stats import MAX_REQUESTS, Stats
from penstock.types.errors import InvalidRequest, MethodNotAllowed, UnknownPath

_JSON = b"content-type: application/json\r\n"
_TEXT = b"content-type: text/plain; version=0.0.4; charset=utf-8\r\n"
_MAX_SCRIPT = 1024 * 1024
_METHODS = {
    "/lab/stats": "GET",
    "/lab/requests": "GET",
    "/lab/script": "POST",
    "/lab/reset": "POST",
    "/metrics": "GET",
}


class Desk:
    """Answers what is under `/lab/`, and `/metrics`. One per upstream."""

    def __init__(self, stats: Stats, replace_script: Callable[[Script], None]) -> None:
        self._stats = stats
        self._replace_script = replace_script

    async def answer(self, request: Request, responder: Responder) -> None:
        """
        Answer one request.

        Raises:
            ExchangeError: no such path or method, or the script is not one.
        """
        method = _METHODS.get(request.path)
        if method is None:
            raise UnknownPath(f"The lab has no {request.path}.")
        if request.method != method:
            raise MethodNotAllowed(f"{request.path} is for {method}.", allow=method)
        body = await request.body()
        match request.path:
            case "/lab/stats":
                shown: object = self._stats.as_json()
            case "/lab/requests":
                shown = self._requests(request.query)
            case "/lab/script":
                shown = self._take_script(body)
            case "/lab/reset":
                self._stats.reset()
                self._replace_script(Script())
                shown = {"reset": True}
            case _:
                await responder.send(200, _TEXT, self._metrics())
                return
        await responder.send(200, _JSON, msgspec.json.encode(shown))

    def _requests(self, query: str) -> object:
        last = parse_qs(query).get("last", ["10"])[0]
        if not last.isascii() or not last.isdigit() or not 1 <= int(last) <= MAX_REQUESTS:
            raise InvalidRequest(f"`last` is a number from 1 to {MAX_REQUESTS}.", param="last")
        return [received.as_json() for received in list(self._stats.received)[-int(last) :]]

    def _take_script(self, body: bytes) -> object:
        if len(body) > _MAX_SCRIPT:
            raise InvalidRequest(f"A script has at most {_MAX_SCRIPT} bytes.")
        try:
            script = read(body)
        except OrderError as error:
            raise InvalidRequest(f"The script was not taken: {error}", code="invalid_script") from error
        self._replace_script(script)
        return {"rules": len(script)}

    def _metrics(self) -> bytes:
        stats = self._stats
        samples = (
            ("lab_requests_total", "counter", stats.requests),
            ("lab_answered_total", "counter", stats.answered),
            ("lab_aborted_total", "counter", stats.aborted),
            ("lab_requests_in_progress", "gauge", stats.in_progress),
            ("lab_open_connections", "gauge", stats.open_connections),
        )
        return "".join(f"# TYPE {name} {kind}\n{name} {value}\n" for name, kind, value in samples).encode()
