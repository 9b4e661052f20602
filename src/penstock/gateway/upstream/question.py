"""What an upstream is asked in one attempt, in words that it understands, and with what credential."""

from __future__ import annotations

import re

import msgspec

from penstock.gateway.exchange import Exchange
from penstock.gateway.upstream.credentials.credential import Credential
from penstock.gateway.upstream.endpoint import Endpoint
from penstock.gateway.view import Place
from penstock.http.pool import Timeouts
from penstock.types.errors import InvalidRequest, UpstreamTimeout

_CONNECT_S = 5.0
_PLAIN = re.compile(r"[A-Za-z0-9_.-]{1,64}")  # names of fields are whatever a client may send


class Question(msgspec.Struct, frozen=True):
    """
    One request to an upstream.

    Attributes:
        target: below the base path of its address.
        headers: ready-made lines; a credential that has to be made for each request is not among them.
        admits: ready-made header line of the answer that says what of the request was left out, or nothing.
    """

    target: bytes
    headers: bytes
    body: bytes
    admits: bytes = b""


def question_of(exchange: Exchange, place: Place) -> Question:
    """
    Word an exchange as its deployment understands it, and note in the exchange how its answer is to be read.

    Raises:
        InvalidRequest: the deployment has no such operation, or its dialect no words for what is asked.
    """
    call, provider, account = exchange.call, place.provider, exchange.account
    assert provider is not None, "a place without a provider has no endpoint"
    account.provider = provider.name
    exchange.counts_first_choice = place.engine and call.choices > 1
    exchange.translation = None
    way = place.ways.get(call.dialect)
    if way is None:
        raise InvalidRequest(f"the deployment {place.name} has no such operation", code="unsupported_operation")
    headers = place.headers + exchange.id_line + exchange.trace
    if way.translation is None:
        body = exchange.spoken.for_upstream(call, place.model, place.cap_name if exchange.capped else None)
        return Question(provider.target(way.dialect), headers + exchange.features, body)
    exchange.translation = translation = way.translation(call, place.model, place.cap_name, exchange.capped)
    body = translation.request()
    admits = b""
    if translation.dropped:
        account.explain("translation", f"left out for {place.name}: {', '.join(translation.dropped)}")
        told = ", ".join(name for name in translation.dropped if _PLAIN.fullmatch(name))
        admits = b"x-penstock-dropped: %b\r\n" % told.encode()
    return Question(provider.target(way.dialect), headers, body, admits)


async def signed(
    credential: Credential, question: Question, exchange: Exchange, endpoint: Endpoint, now: float
) -> bytes:
    """
    Return the header lines of a credential that is made for each request.

    Raises:
        UpstreamUnreachable: there is none.
        UpstreamTimeout: it could not be had in time.
    """
    target = endpoint.address.path.encode() + question.target
    left_s = first_s(exchange, now)
    return await credential.lines(b"POST", endpoint.pool.host, target, question.body, left_s)


def first_s(exchange: Exchange, now: float) -> float:
    """
    Return how long the beginning of an answer may still take.

    Raises:
        UpstreamTimeout: the time is over.
    """
    left = (exchange.first_token_deadline if exchange.call.stream else exchange.attempt_deadline) - now
    if left <= 0:
        raise UpstreamTimeout("the deadline passed before the upstream could be asked")
    return left


def timeouts_of(exchange: Exchange, now: float) -> Timeouts:
    """
    Return how long each part of an answer may take.

    Raises:
        UpstreamTimeout: the time is over.
    """
    stream, left = exchange.call.stream, first_s(exchange, now)
    return Timeouts(
        connect_s=min(_CONNECT_S, left),
        first_byte_s=None,
        head_s=left,
        idle_s=exchange.model.first_token_s if stream else None,
        total_s=(exchange.deadline if stream else exchange.attempt_deadline) - now,
    )
