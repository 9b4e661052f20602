"""Telling a client that there is no answer."""

from __future__ import annotations

from penstock.gateway.dialects import errors
from penstock.gateway.metering.metrics import Metrics
from penstock.http.server import Responder
from penstock.types.dialect import Dialect
from penstock.types.errors import PenstockError

_OK = 200


async def refuse(
    metrics: Metrics, responder: Responder, dialect: Dialect, error: PenstockError, headers: bytes
) -> None:
    """
    Answer with an error: with its status, or in-band where the stream's 200 is out already.

    Args:
        headers: lines that come first.
    """
    if responder.ended:  # what was sent as complete could not be settled, which is in the log
        return
    if responder.started:
        metrics.responded(_OK)
        responder.put(errors.event(error, dialect))
        await responder.end()
    else:
        refusal = errors.refusal(error, headers, dialect)
        metrics.responded(refusal.status)
        await responder.send(refusal.status, refusal.headers, refusal.body)
