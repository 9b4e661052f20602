"""Every refusal of the admin API, in the same shape as the data port's: `{"error": {message, type, param, code}}`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from penstock.records import database

_CODES = {
    HTTPStatus.UNAUTHORIZED: "invalid_api_key",
    HTTPStatus.FORBIDDEN: "permission_denied",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "request_too_large",
    HTTPStatus.INTERNAL_SERVER_ERROR: "internal_error",
    HTTPStatus.SERVICE_UNAVAILABLE: "database_busy",
}
_RETRY_AFTER_S = 2

_log = logging.getLogger(__name__)


class Refused(HTTPException):
    """
    A request that is answered with an error. One of the framework's exceptions, so that it passes through its layers.

    Attributes:
        param: the field at fault, if one is.
    """

    def __init__(self, status: HTTPStatus, message: str, param: str | None = None) -> None:
        super().__init__(status, message)
        self.param = param


class Problem(BaseModel):
    """What went wrong, in one sentence and for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The body of every error."""

    error: Problem


def answer(
    status: int,
    message: str,
    param: str | None = None,
    headers: dict[str, str] | None = None,
    code: str | None = None,
) -> JSONResponse:
    """Return an error as a response."""
    known = HTTPStatus(status)
    kind = "server_error" if known >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    problem = Problem(message=message, type=kind, param=param, code=code or _CODES.get(known))
    extra = {"www-authenticate": "Bearer"} if known is HTTPStatus.UNAUTHORIZED else {}
    return JSONResponse(ErrorBody(error=problem).model_dump(), known, {**(headers or {}), **extra})


def refusal(error: Refused) -> JSONResponse:
    """Return a refusal as a response."""
    return answer(error.status_code, error.detail, error.param)


def unexpected() -> JSONResponse:
    """Return the answer to a request that failed for a reason of ours."""
    return answer(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error; the log of control says more")


def failed(error: SQLAlchemyError) -> JSONResponse:
    """Log why the database cannot be asked, and return the answer to the request that needed it."""
    if database.busy(error):
        _log.warning("the database is busy: another program has locked it, or it does not answer")
        busy = "the database is busy: another program has locked it, or it does not answer; try again"
        return answer(HTTPStatus.SERVICE_UNAVAILABLE, busy, None, {"retry-after": str(_RETRY_AFTER_S)})
    _log.error("the database cannot be asked", exc_info=error)
    return unexpected()


async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer whoever asks while this control cannot lead, so that nobody waits for it."""
    text = "this control waits: another one leads, or the database cannot be reached"
    wait = {"retry-after": str(_RETRY_AFTER_S)}
    await answer(HTTPStatus.SERVICE_UNAVAILABLE, text, None, wait, "not_leading")(scope, receive, send)


def _sentence(error: Mapping[str, Any]) -> str:
    """Say what a field wants: in our words where we check it, else in pydantic's."""
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    text: str = error["msg"]
    return text[:1].lower() + text[1:]


def install(app: FastAPI) -> None:
    """Make `app` answer all errors in our shape: ours, the framework's, and those nobody expected."""

    @app.exception_handler(Refused)
    async def refused(_request: Request, error: Refused) -> JSONResponse:
        return refusal(error)

    @app.exception_handler(HTTPException)
    async def framework(request: Request, error: HTTPException) -> JSONResponse:
        match error.status_code:
            case HTTPStatus.NOT_FOUND:
                text = f"nothing is served at {request.method} {request.url.path}"
            case HTTPStatus.METHOD_NOT_ALLOWED:
                text = f"{request.url.path} does not take {request.method}"
            case _:
                text = str(error.detail)
        return answer(error.status_code, text, None, dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        # The first part says where to look (body, query, path); a number there is a position in the JSON text.
        place = [str(part) for part in first["loc"][1:]]
        if first["type"] == "json_invalid":
            return answer(HTTPStatus.BAD_REQUEST, f"the body is not valid JSON: {first['ctx']['error']}")
        param = ".".join(place) or None
        return answer(HTTPStatus.BAD_REQUEST, f"{param or first['loc'][0]}: {_sentence(first)}", param)

    @app.exception_handler(SQLAlchemyError)
    async def database_failed(_request: Request, error: SQLAlchemyError) -> JSONResponse:
        return failed(error)

    @app.exception_handler(Exception)
    async def fault(_request: Request, _error: Exception) -> JSONResponse:
        return unexpected()  # the server logs what it was
