"""What an upstream is asked in one attempt, in words that it understands, and with what credential."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from penstock.gateway.exchange import Exchange
from penstock.gateway.place import Place, Way
from penstock.gateway.translation.translation import Translation
from penstock.gateway.upstream.credentials.credential import Credential
from penstock.gateway.upstream.endpoint import Endpoint
from penstock.http.pool import Timeouts
from penstock.types.dialect import Dialect
from penstock.types.errors import InvalidRequest, UpstreamTimeout

_CONNECT_S = 5.0
_MAX_ECHO = 200  # characters of a client's text that an error repeats
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


class Wording(msgspec.Struct, frozen=True):
    """
    An exchange in the words of a deployment, for one attempt.

    Attributes:
        place: the deployment, as it was then.
        translation: None where it speaks the client's dialect.
        body: the translated request, or nothing.
    """

    place: Place
    way: Way
    translation: Translation | None
    body: bytes


def wording_of(exchange: Exchange, place: Place) -> Wording:
    """
    Find the words that a deployment understands.

    Raises:
        InvalidRequest: it has no such operation, its dialect no words for what is asked, or its account keeps things
            that nobody may name.
    """
    call = exchange.call
    way = place.ways.get(call.dialect)
    if way is None:
        raise InvalidRequest(
            f"the deployment {place.name} has no such operation, {call.dialect.value}", code="unsupported_operation"
        )
    if way.translation is not None:
        translation = way.translation(call, place.model, place.cap_name, exchange.capped)
        return Wording(place, way, translation, translation.request())
    if call.reference and not place.references:
        raise InvalidRequest(
            f"'{call.reference[:_MAX_ECHO]}' names what is kept at the provider for all who use this deployment; send"
            " the content itself.",
            param=call.reference,
            code="unsupported_parameter",
        )
    return Wording(place, way, None, b"")


def question_of(exchange: Exchange, wording: Wording, endpoint: str) -> Question:
    """
    Ask an exchange's deployment in its words, and note in the exchange how the answer is to be read.

    Args:
        endpoint: the one of its endpoints that is asked, by name.
    Raises:
        InvalidRequest: it cannot be asked without what another endpoint keeps.
    """
    call, place, way, provider = exchange.call, wording.place, wording.way, wording.place.provider
    assert provider is not None, "a place without a provider has no endpoint"
    exchange.account.provider = provider.name
    exchange.counts_first_choice = place.engine and call.choices > 1
    exchange.translation, exchange.stamp = wording.translation, None
    target, headers = provider.target(way.dialect), place.headers + exchange.id_line + exchange.trace
    if wording.translation is not None:
        return Question(target, headers, wording.body, _admitted(exchange, place, wording.translation.dropped))
    admits = b""
    if exchange.claim is not None and call.dialect is Dialect.RESPONSES:
        exchange.stamp = exchange.claim.stamp(endpoint)
        call, left_out = exchange.claim.call_for(call, endpoint, references=place.references)
        admits = _admitted(exchange, place, left_out)
    body = exchange.spoken.for_upstream(call, place.model, place.cap_name if exchange.capped else None)
    return Question(target, headers + exchange.features, body, admits)


def _admitted(exchange: Exchange, place: Place, left_out: Sequence[str]) -> bytes:
    """Explain what was left out of a request, and return the header line that admits it, if anything was."""
    if not left_out:
        return b""
    step = "ownership" if exchange.translation is None else "translation"
    exchange.account.explain(step, f"left out for {place.name}: {', '.join(left_out)}")
    told = ", ".join(name for name in left_out if _PLAIN.fullmatch(name))
    return b"x-penstock-dropped: %b\r\n" % told.encode()


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
