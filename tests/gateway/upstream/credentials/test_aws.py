"""Keys of AWS: a signature for each request, or a token signed ahead."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from penstock.auth.secrets import SecretMissing, SecretRef
from penstock.gateway.upstream.credentials.aws import BearerToken, Signatures
from penstock.gateway.upstream.credentials.sigv4 import Keys, Signer
from penstock.snapshot.credential import Aws
from tests.http.origin import Clock

ENVIRON = {"ID": "AKIDEXAMPLE", "SECRET": "hunter2", "SESSION": "session/token+="}
GIVEN = Aws(SecretRef(env="ID"), SecretRef(env="SECRET"), "eu-west-1", "bedrock")
HEADERS = [(b"host", b"host"), (b"content-type", b"application/json")]


def lines(credential: Signatures) -> bytes:
    return asyncio.run(credential.lines(b"POST", b"host", b"/openai/v1/chat/completions", b"{}", 0))


def expected(keys: Keys, now: float) -> bytes:
    return Signer(keys, "eu-west-1", "bedrock").header(b"POST", b"/openai/v1/chat/completions", HEADERS, b"{}", now)


def test_each_request_is_signed_for_its_moment() -> None:
    clock, wall = Clock(), Clock()
    credential = Signatures(GIVEN, ENVIRON, clock, wall)
    first = lines(credential)
    assert first == expected(Keys("AKIDEXAMPLE", "hunter2"), wall.now)
    wall.now += 1
    assert lines(credential) != first


def test_a_session_has_its_token_signed_too() -> None:
    given = msgspec.structs.replace(GIVEN, session_token=SecretRef(env="SESSION"))
    credential = Signatures(given, ENVIRON, Clock(), Clock())
    assert lines(credential) == expected(Keys("AKIDEXAMPLE", "hunter2", "session/token+="), 1000.0)
    assert b"x-amz-security-token: session/token+=\r\n" in lines(credential)


def test_keys_that_were_renewed_in_their_files_count_after_a_minute(tmp_path: Path) -> None:
    path, clock = tmp_path / "secret", Clock()
    path.write_text("first")
    given = msgspec.structs.replace(GIVEN, secret_access_key=SecretRef(file=str(path)))
    credential = Signatures(given, ENVIRON, clock, Clock())
    path.write_text("second")
    assert lines(credential) == expected(Keys("AKIDEXAMPLE", "first"), 1000.0)
    clock.now += 60
    assert lines(credential) == expected(Keys("AKIDEXAMPLE", "second"), 1000.0)
    path.unlink()
    clock.now += 60
    assert lines(credential) == expected(Keys("AKIDEXAMPLE", "second"), 1000.0)


def test_keys_are_looked_at_when_they_were_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("first")
    given = msgspec.structs.replace(GIVEN, secret_access_key=SecretRef(file=str(path)))
    credential = Signatures(given, ENVIRON, Clock(), Clock())
    path.write_text("second")
    credential.refused()
    assert lines(credential) == expected(Keys("AKIDEXAMPLE", "second"), 1000.0)


def test_keys_that_are_missing_are_found_before_they_are_needed() -> None:
    with pytest.raises(SecretMissing, match="the environment variable SECRET is empty or unusable"):
        Signatures(GIVEN, {"ID": "x"}, Clock(), Clock())


@pytest.mark.parametrize("session", [None, "session/token+="])
def test_the_token_is_that_of_aws_own_generator(session: str | None) -> None:
    request = AWSRequest(
        "POST",
        "https://sagemaker.amazonaws.com/",
        headers={"host": "sagemaker.amazonaws.com"},
        params={"Action": "CallWithBearerToken"},
    )
    SigV4QueryAuth(Credentials("AKIDEXAMPLE", "hunter2", session), "sagemaker", "eu-west-1", expires=900).add_auth(
        request
    )
    text = f"{request.url.removeprefix('https://')}&Version=1"
    want = f"authorization: Bearer sagemaker-api-key-{base64.b64encode(text.encode()).decode()}\r\n"

    wall = Clock()
    wall.now = datetime.strptime(request.context["timestamp"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    given = msgspec.structs.replace(GIVEN, service="sagemaker", bearer=True)
    given = given if session is None else msgspec.structs.replace(given, session_token=SecretRef(env="SESSION"))
    assert lines(BearerToken(given, ENVIRON, Clock(), wall)) == want.encode()


def test_a_token_that_was_refused_is_made_anew() -> None:
    wall = Clock()
    credential = BearerToken(msgspec.structs.replace(GIVEN, service="sagemaker", bearer=True), ENVIRON, Clock(), wall)
    before = lines(credential)
    wall.now += 3600  # the clock was wrong, and has been set
    assert lines(credential) == before
    credential.refused()
    assert lines(credential) != before


def test_a_token_is_made_anew_well_before_it_ends_and_when_the_keys_change(tmp_path: Path) -> None:
    path, clock, wall = tmp_path / "secret", Clock(), Clock()
    path.write_text("first")
    given = msgspec.structs.replace(
        GIVEN, service="sagemaker", bearer=True, secret_access_key=SecretRef(file=str(path))
    )
    credential = BearerToken(given, ENVIRON, clock, wall)
    tokens = [lines(credential)]
    for seconds in (599, 1):
        clock.now, wall.now = clock.now + seconds, wall.now + seconds
        tokens.append(lines(credential))
    assert tokens[0] == tokens[1] != tokens[2]
    path.write_text("second")
    clock.now += 60
    assert lines(credential) != tokens[2]
