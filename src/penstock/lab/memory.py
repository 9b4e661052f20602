"""What the lab upstream keeps of its responses, as OpenAI's API does for who goes on from one, and what it seals."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from collections import OrderedDict

from penstock.lab.asked import Asked
from penstock.types.errors import InvalidRequest

MOST = 10_000
_SEALED_IN = "gAAAA"  # how OpenAI's sealed items begin


class Memory:
    """
    The responses of one upstream by their ids, the last ones; each with the tokens of its conversation so far.

    What it seals says nothing; that it was sealed here is all that it is asked.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, int] = OrderedDict()
        self._seal = _SEALED_IN + urlsafe_b64encode(secrets.token_bytes(33)).decode()

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
            if content != self._seal:
                raise InvalidRequest(
                    f"The encrypted content {content[:8]}... could not be verified.", code="invalid_encrypted_content"
                )
        before = 0 if asked.previous is None else self._kept[asked.previous]
        return asked.going_on(before, self._seal if asked.seals else "")

    def keep(self, name: str, asked: Asked) -> None:
        """Keep a response, if it is to be kept."""
        if asked.stored:
            self._kept[name] = asked.prompt_tokens
            if len(self._kept) > MOST:
                self._kept.popitem(last=False)
