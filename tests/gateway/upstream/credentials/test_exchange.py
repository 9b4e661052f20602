"""Google's and Entra's exchange of what we have for a token, against a token endpoint on this machine."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from google.auth import jwt
from google.oauth2 import service_account

from penstock.auth.secrets import SecretMissing, SecretRef
from penstock.gateway.upstream.credentials import google
from penstock.gateway.upstream.credentials.keyring import Keyring
from penstock.snapshot.credential import Credential, Entra, Google
from penstock.types.errors import UpstreamUnreachable
from tests.gateway.upstream.credentials.issuing import Endpoint, token
from tests.http.origin import Clock, run

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
NOW = 1_700_000_000.5
EMAIL = "robot@project.iam.gserviceaccount.com"


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def key_file(**changes: Any) -> bytes:
    """A service account's key file as Google writes it."""
    content = {
        "type": "service_account", "project_id": "project", "private_key_id": "k1", "private_key": pem(KEY),
        "client_email": EMAIL, "client_id": "1", "token_uri": "https://oauth2.googleapis.com/token",
        "universe_domain": "googleapis.com",
    }  # fmt: skip
    return json.dumps({**content, **changes}, indent=2).encode()


def of_google(folder: Path, content: bytes) -> Google:
    path = folder / "google.json"
    path.write_bytes(content)
    return Google(SecretRef(file=str(path)))


def of_entra(endpoint: Endpoint) -> Entra:
    scope = "https://cognitiveservices.azure.com/.default"
    return Entra("t.example", "client", SecretRef(env="SECRET"), endpoint.origin.address, scope)


Body = Callable[[Keyring, Endpoint], Awaitable[None]]


def case(body: Body, *answers: tuple[bytes, bytes], environ: dict[str, str] | None = None) -> Clock:
    clock = Clock()

    async def main() -> None:
        endpoint = Endpoint(*answers)
        async with endpoint.origin:
            keyring = Keyring({"SECRET": "hunter2+&="} if environ is None else environ, clock, lambda: NOW)
            try:
                await body(keyring, endpoint)
            finally:
                await keyring.aclose()

    run(main())
    return clock


async def lines(keyring: Keyring, wanted: Credential) -> bytes:
    return await keyring.get(wanted).lines(b"POST", b"host", b"/x", b"{}", 20)


def test_entra_gives_a_token_for_the_secret_of_an_application() -> None:
    async def body(keyring: Keyring, endpoint: Endpoint) -> None:
        wanted = of_entra(endpoint)
        assert await lines(keyring, wanted) == b"authorization: Bearer granted\r\n"
        assert await lines(keyring, wanted) == b"authorization: Bearer granted\r\n"
        (request,) = endpoint.requests
        assert request.line == b"POST /t.example/oauth2/v2.0/token HTTP/1.1"
        assert endpoint.forms == [
            {
                "grant_type": "client_credentials", "client_id": "client", "client_secret": "hunter2+&=",
                "scope": "https://cognitiveservices.azure.com/.default",
            }
        ]  # fmt: skip

    case(body)


def test_google_gives_a_token_for_an_assertion_that_the_key_has_signed(tmp_path: Path) -> None:
    async def body(keyring: Keyring, endpoint: Endpoint) -> None:
        uri = f"http://127.0.0.1:{endpoint.origin.port}/token"
        wanted = of_google(tmp_path, key_file(token_uri=uri))
        assert await lines(keyring, wanted) == b"authorization: Bearer granted\r\n"
        (request,), (form,) = endpoint.requests, endpoint.forms
        assert request.line == b"POST /token HTTP/1.1"
        assert form.keys() == {"grant_type", "assertion"}
        assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        text, _, signature = form["assertion"].encode().rpartition(b".")
        KEY.public_key().verify(
            base64.urlsafe_b64decode(signature + b"=" * (-len(signature) % 4)),
            text,
            padding.PKCS1v15(),
            hashes.SHA256(),
        )
        header, claims = (json.loads(base64.urlsafe_b64decode(part + b"==")) for part in text.split(b"."))
        assert header == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
        assert claims == {
            "iss": EMAIL, "aud": uri, "scope": "https://www.googleapis.com/auth/cloud-platform",
            "iat": 1_700_000_000, "exp": 1_700_003_600,
        }  # fmt: skip

    case(body)


def test_the_assertion_says_what_that_of_googles_library_says() -> None:
    file = msgspec.json.decode(key_file(), type=google.KeyFile)
    theirs = service_account.Credentials.from_service_account_info(json.loads(key_file()), scopes=[google.SCOPE])
    certificate = KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assertion = theirs._make_authorization_grant_assertion()
    want = jwt.decode(assertion, certs=certificate)
    have = jwt.decode(google.assertion(file, time.time()), certs=certificate)
    assert have.keys() == want.keys()
    assert {name: have[name] for name in ("iss", "aud", "scope")} == {n: want[n] for n in ("iss", "aud", "scope")}
    assert have["exp"] - have["iat"] == want["exp"] - want["iat"]
    assert jwt.decode_header(google.assertion(file, NOW)) == jwt.decode_header(assertion)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            (
                b"401 Unauthorized",
                b'{"error":"invalid_client","error_description":"hunter2+&=","error_codes":[7000215]}',
            ),
            r"refuses it with status 401 \(invalid_client, AADSTS7000215\)",
        ),
        ((b"400 Bad Request", b'{"error":"hunter2+&="}'), "refuses it with status 400$"),
        ((b"500 Oops", b"<html>hunter2+&=</html>"), "refuses it with status 500$"),
        ((b"200 OK", b"<html>hunter2+&=</html>"), "holds no token"),
        ((b"200 OK", b'{"token":"hunter2+&="}'), "holds no token"),
        ((b"200 OK", b"\xff"), "holds no token"),
        (token("a b"), "holds no usable token"),
        (token("a\r\nx-evil: 1"), "holds no usable token"),
        (token("é"), "holds no usable token"),
        (token(""), "holds no usable token"),
        (token("x" * 16_385), "holds no usable token"),
        (token("granted", 0), "holds no token"),
        (token("granted", -3600), "holds no token"),
        ((b"200 OK", b" " * 70_000), "over 65536 bytes"),
        ((b"302 Found", b""), "refuses it with status 302$"),
    ],
)
def test_what_is_not_a_token_is_told_without_any_secret(
    answer: tuple[bytes, bytes], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(keyring: Keyring, endpoint: Endpoint) -> None:
        with pytest.raises(UpstreamUnreachable, match=said) as caught:
            await lines(keyring, of_entra(endpoint))
        assert "hunter2" not in f"{caught.value!r}{caught.value}{caplog.text}{caplog.records[0].__dict__}"

    case(body, answer)


@pytest.mark.parametrize("lifetime", [3600, "3600", 3600.0])
def test_a_lifetime_may_be_written_as_text(lifetime: object) -> None:
    async def body(keyring: Keyring, endpoint: Endpoint) -> None:
        assert await lines(keyring, of_entra(endpoint)) == b"authorization: Bearer granted\r\n"

    case(body, token("granted", lifetime))


def test_an_issuer_that_is_away_is_told_so() -> None:
    async def body(keyring: Keyring, endpoint: Endpoint) -> None:
        wanted = of_entra(endpoint)
        endpoint.origin._server.close()
        with pytest.raises(UpstreamUnreachable, match=r"no token of Entra for client: The upstream .* refuses"):
            await lines(keyring, wanted)

    case(body)


def test_a_secret_that_was_renewed_in_its_file_counts(tmp_path: Path) -> None:
    path = tmp_path / "secret"

    async def body(keyring: Keyring, endpoint: Endpoint) -> None:
        path.write_text("first")
        wanted = msgspec.structs.replace(of_entra(endpoint), client_secret=SecretRef(file=str(path)))
        credential = keyring.get(wanted)
        path.write_text("second\n")
        await credential.lines(b"POST", b"host", b"/x", b"{}", 20)
        assert [form["client_secret"] for form in endpoint.forms] == ["second"]

    case(body)


def test_a_secret_that_is_gone_is_told_by_its_reference(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("first")

    async def body(keyring: Keyring, endpoint: Endpoint) -> None:
        wanted = msgspec.structs.replace(of_entra(endpoint), client_secret=SecretRef(file=str(path)))
        credential = keyring.get(wanted)
        path.unlink()
        with pytest.raises(UpstreamUnreachable, match=f"the file {path} cannot be read"):
            await credential.lines(b"POST", b"host", b"/x", b"{}", 20)

    case(body)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty or too long"),
        (b" " * 70_000, "is empty or too long"),
        (b"hunter2", "not that of a service account"),
        (b'{"type": "authorized_user", "refresh_token": "hunter2"}', "not that of a service account"),
        (key_file(type="external_account"), "not that of a service account"),
        (key_file(private_key="hunter2"), "not in PEM form"),
        (key_file(private_key=pem(ec.generate_private_key(ec.SECP256R1()))), "is no RSA key"),
        (key_file(token_uri="http://oauth2.example/token"), "token_uri is not an https:// address"),
        (key_file(token_uri="https://oauth2.example/token?x=1"), "token_uri is not an https:// address"),
        (key_file(token_uri="https://oauth2.example/token\r\nx: y"), "token_uri is not an https:// address"),
        (key_file(token_uri="file:///etc/passwd"), "token_uri is not an https:// address"),
    ],
)
def test_a_key_file_that_is_none_is_found_before_it_is_needed(tmp_path: Path, content: bytes, said: str) -> None:
    async def body(keyring: Keyring, endpoint: Endpoint) -> None:
        with pytest.raises(SecretMissing, match=said) as caught:
            keyring.get(of_google(tmp_path, content))
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is None

    case(body)


def test_a_missing_secret_is_found_before_it_is_needed() -> None:
    async def body(keyring: Keyring, endpoint: Endpoint) -> None:
        with pytest.raises(SecretMissing, match="the environment variable SECRET is empty"):
            keyring.get(of_entra(endpoint))

    case(body, environ={})


def test_a_key_file_tells_nothing_of_its_key() -> None:
    assert "PRIVATE" not in repr(msgspec.json.decode(key_file(), type=google.KeyFile))
