"""Which credentials live for how long."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import pytest

from penstock.auth.secrets import SecretRef
from penstock.gateway.upstream.credentials.keyring import Keyring
from penstock.snapshot.credential import Aws, Credential, Entra, Google
from penstock.types.address import Address
from penstock.types.errors import UpstreamUnreachable
from tests.gateway.upstream.credentials.issuing import Endpoint
from tests.http.origin import Clock, run, turns

AWS = Aws(SecretRef(env="ID"), SecretRef(env="SECRET"), "eu-west-1", "bedrock")
ENTRA = Entra("t", "c", SecretRef(env="SECRET"), Address(host="127.0.0.1", port=1), "s")
ENVIRON = {"ID": "x", "SECRET": "hunter2"}


def case(body: Callable[[Keyring, Clock], Awaitable[None]]) -> None:
    async def main() -> None:
        clock = Clock()
        keyring = Keyring(ENVIRON, clock)
        try:
            await body(keyring, clock)
        finally:
            await keyring.aclose()

    run(main())


def test_the_same_credential_is_shared_and_outlives_a_change_of_the_stack() -> None:
    async def body(keyring: Keyring, clock: Clock) -> None:
        first = keyring.get(AWS)
        keyring.keep([AWS], 60)
        assert keyring.get(msgspec.structs.replace(AWS)) is first
        assert keyring.get(msgspec.structs.replace(AWS, region="us-east-1")) is not first

    case(body)


def test_one_that_is_no_longer_named_serves_the_exchanges_that_know_it() -> None:
    async def body(keyring: Keyring, clock: Clock) -> None:
        endpoint = Endpoint()
        async with endpoint.origin:
            wanted = msgspec.structs.replace(ENTRA, authority=endpoint.origin.address)
            credential = keyring.get(wanted)
            keyring.keep([wanted], 60)
            keyring.keep([], 1)
            clock.now += 59
            keyring.sweep()
            assert await credential.lines(b"POST", b"h", b"/", b"", 20) == b"authorization: Bearer granted\r\n"
            clock.now += 4000
            keyring.sweep()
            await turns()
            with pytest.raises(UpstreamUnreachable, match="no longer used"):
                await credential.lines(b"POST", b"h", b"/", b"", 20)
            assert len(endpoint.requests) == 1

    case(body)


@pytest.mark.parametrize("credential", [AWS, ENTRA, Google(SecretRef(file="/x"))])
def test_a_credential_travels_in_a_snapshot_as_a_reference(credential: Credential) -> None:
    text = msgspec.json.encode(credential)
    assert b"hunter2" not in text
    assert msgspec.json.decode(text, type=Credential) == credential
