"""
Signatures against AWS's own test suite and against botocore.

`sigv4_suite.json` holds the requests and signatures of the suite in awslabs/aws-c-auth (Apache-2.0), all but the one
that leaves the session token unsigned.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.gateway.upstream.credentials.sigv4 import Keys, Signer

SUITE: list[dict[str, Any]] = json.loads((Path(__file__).parent / "sigv4_suite.json").read_text())
ID, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC).timestamp()


def headers_of(case: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    """The lines of a request; those of one name joined, as HTTP has it."""
    joined: dict[str, str] = {}
    for name, value in case["headers"]:
        folded = " ".join(value.split())
        joined[name.lower()] = f"{joined[name.lower()]},{folded}" if name.lower() in joined else folded
    return [(name.encode(), value.encode()) for name, value in joined.items()]


def signature(lines: bytes) -> str:
    return lines.decode().rpartition("Signature=")[2].strip()


@pytest.mark.parametrize("case", SUITE, ids=lambda case: case["name"])
def test_a_request_of_the_suite_gets_its_signature(case: dict[str, Any]) -> None:
    signer = Signer(Keys(ID, SECRET, case["token"]), "us-east-1", "service")
    headers, body = headers_of(case), case["body"].encode()
    if case["sign_body"]:
        headers.append((b"x-amz-content-sha256", sha256(body).hexdigest().encode()))
    lines = signer.header(
        case["method"].encode(), case["target"].encode(), headers, body, NOW, normalize=case["normalize"]
    )
    assert signature(lines) == case["signature"]


@pytest.mark.parametrize(
    "case",
    [case for case in SUITE if case["normalize"] and len(case["headers"]) == 1 and not case["body"]],
    ids=lambda case: case["name"],
)
def test_an_address_of_the_suite_gets_its_signature(case: dict[str, Any]) -> None:
    signer = Signer(Keys(ID, SECRET, case["token"]), "us-east-1", "service")
    target = signer.query(
        case["method"].encode(), b"example.amazonaws.com", case["target"].encode(), NOW, case["expires_s"]
    )
    assert target.rpartition("X-Amz-Signature=")[2] == case["query_signature"]


def test_the_lines_hold_date_session_token_and_signature() -> None:
    lines = Signer(Keys(ID, SECRET, "session"), "eu-west-1", "bedrock").header(
        b"POST", b"/x", [(b"host", b"h"), (b"content-type", b"application/json")], b"{}", NOW
    )
    date, token, authorization, end = lines.decode().split("\r\n")
    assert date == "x-amz-date: 20150830T123600Z"
    assert token == "x-amz-security-token: session"
    assert authorization.startswith(
        "authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/eu-west-1/bedrock/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature="
    )
    assert end == ""


def test_a_signer_follows_the_day() -> None:
    signer, later = Signer(Keys(ID, SECRET), "r", "s"), NOW + 86_400
    first = signer.header(b"GET", b"/", [(b"host", b"h")], b"", NOW)
    second = signer.header(b"GET", b"/", [(b"host", b"h")], b"", later)
    assert second == Signer(Keys(ID, SECRET), "r", "s").header(b"GET", b"/", [(b"host", b"h")], b"", later)
    assert signer.header(b"GET", b"/", [(b"host", b"h")], b"", NOW) == first


def test_keys_tell_nothing_of_themselves() -> None:
    assert repr(Keys(ID, SECRET, "session")) == "Keys(…)"


segment = st.text(st.characters(codec="utf-8", exclude_characters="/?#\r\n"), max_size=12).map(
    lambda text: quote(text, safe="~:@!$'()*,;=+")
)
secret = st.text("ABCDEFabcdef0123456789/+=", min_size=1, max_size=40)


@given(
    path=st.lists(segment, max_size=6),
    session=st.none() | secret,
    key=secret,
    region=st.sampled_from(["us-east-1", "eu-central-1"]),
    service=st.sampled_from(["bedrock", "sagemaker"]),
    body=st.binary(max_size=200),
)
@example(path=["0", "."], session=None, key="0", region="us-east-1", service="bedrock", body=b"")
@example(path=["0", "1", ".."], session=None, key="0", region="us-east-1", service="bedrock", body=b"")
def test_botocore_signs_the_same(
    path: list[str], session: str | None, key: str, region: str, service: str, body: bytes
) -> None:
    target = "/" + "/".join(path)
    signer = Signer(Keys(ID, key, session), region, service)
    headers = [(b"host", b"host.example"), (b"content-type", b"application/json")]
    request = AWSRequest("POST", f"https://host.example{target}", {"content-type": "application/json"}, body)
    SigV4Auth(Credentials(ID, key, session), service, region).add_auth(request)
    moment = datetime.strptime(request.context["timestamp"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    lines = signer.header(b"POST", target.encode(), headers, body, moment)
    assert lines.endswith(f"authorization: {request.headers['Authorization']}\r\n".encode())


@given(session=st.none() | secret, key=secret, expires_s=st.integers(1, 43_200))
def test_botocore_signs_an_address_the_same(session: str | None, key: str, expires_s: int) -> None:
    request = AWSRequest("POST", "https://sagemaker.amazonaws.com/", params={"Action": "CallWithBearerToken"})
    SigV4QueryAuth(Credentials(ID, key, session), "sagemaker", "eu-west-1", expires=expires_s).add_auth(request)
    moment = datetime.strptime(request.context["timestamp"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    signer = Signer(Keys(ID, key, session), "eu-west-1", "sagemaker")
    target = signer.query(b"POST", b"sagemaker.amazonaws.com", b"/?Action=CallWithBearerToken", moment, expires_s)
    assert f"https://sagemaker.amazonaws.com{target}" == request.url
