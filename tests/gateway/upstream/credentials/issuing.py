"""A token endpoint for tests: it keeps what it is sent and answers as it is told."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

from tests.http.origin import Origin, Peer, Request, reply


class Endpoint:
    """
    Attributes:
        requests: what came, in order.
        answers: status lines and bodies, the last of which stays.
    """

    def __init__(self, *answers: tuple[bytes, bytes]) -> None:
        self.requests: list[Request] = []
        self.answers = list(answers) or [token("granted")]
        self.origin = Origin(self._play)

    @property
    def forms(self) -> list[dict[str, str]]:
        """What was sent, decoded."""
        forms = []
        for request in self.requests:
            assert request.header(b"content-type") == [b"application/x-www-form-urlencoded"]
            fields = parse_qs(request.body.decode(), strict_parsing=True)
            forms.append({name: value for name, (value,) in fields.items()})
        return forms

    async def _play(self, peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            self.requests.append(request)
            status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            await peer.send(reply(body, b"content-type: application/json", status=status))


def token(value: str, lifetime: Any = 3600, **more: Any) -> tuple[bytes, bytes]:
    """An answer with a token."""
    body = {"access_token": value, "expires_in": lifetime, "token_type": "Bearer", **more}
    return b"200 OK", json.dumps(body).encode()
