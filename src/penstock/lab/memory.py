"""What the lab upstream keeps of its responses, as OpenAI's API does for who goes on from one, and what it seals."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from collections import OrderedDict

import msgspec

from penstock.lab.asked import Asked
from penstock.lab.orders import Order
from penstock.types.errors import InvalidRequest, ResponseNotFound

MOST = 10_000
MOST_REQUEST = 16 * 1024  # bytes; the response to a longer one can be gone on from, and not be told again
_SEALED_IN = "gAAAA"  # how OpenAI's sealed items begin


class Told(msgspec.Struct, frozen=True):
    """
    What a response was made of, and can be made of again.

    Attributes:
        asked: as it was answered.
        number: that its ids are made of.
        request: the body.
    """

    asked: Asked
    order: Order
    number: str
    request: bytes


class _Kept(msgspec.Struct, frozen=True):
    tokens: int  # of its conversation so far
    told: Told | None


class Memory:
    """
    The responses of one upstream by their ids, the last ones.

    What it seals says nothing; that it was sealed here is all that it is asked.

    Attributes:
        seal: what it seals with.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self.seal = _SEALED_IN + urlsafe_b64encode(secrets.token_bytes(33)).decode()

    def recall(self, asked: Asked) -> Asked:
        """
        Return a request with what it goes on from, and with what its thoughts are to be sealed with.

        Raises:
            InvalidRequest: there is no such response; or an item of its input was sealed elsewhere.
        """
        if asked.previous is not None and asked.previous not in self._kept:
            raise InvalidRequest(
                f"Previous response with id '{asked.previous}' not found.",
                param="previous_response_id",
                code="previous_response_not_found",
            )
        for content in asked.sealed:
            if content != self.seal:
                raise InvalidRequest(
                    f"The encrypted content {content[:8]}... could not be verified.", code="invalid_encrypted_content"
                )
        before = 0 if asked.previous is None else self._kept[asked.previous].tokens
        return asked.going_on(before, self.seal if asked.seals else "")

    def keep(self, name: str, asked: Asked, told: Told | None = None) -> None:
        """Keep a response, if it is to be kept, and what it was made of, if that is not too much."""
        if asked.stored:
            small = told is not None and len(told.request) <= MOST_REQUEST
            self._kept[name] = _Kept(asked.prompt_tokens, told if small else None)
            if len(self._kept) > MOST:
                self._kept.popitem(last=False)

    def told(self, name: str) -> Told:
        """
        Return what a response was made of.

        Raises:
            ResponseNotFound: there is no such response, or its request was too long.
        """
        kept = self._kept.get(name)
        if kept is None or kept.told is None:
            raise ResponseNotFound(f"Response with id '{name}' not found.")
        return kept.told

    def forget(self, name: str) -> None:
        """Delete a response that there is."""
        del self._kept[name]
