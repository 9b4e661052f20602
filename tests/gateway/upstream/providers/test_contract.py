"""
What goes to a cloud, compared with what the vendor's own SDK sends for the same call.

The whole way is gone: a stack that names the provider, a worker with its snapshot, a request by the official SDK. Only
the other side's address is exchanged for one on this machine; its path stays.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

import msgspec
import openai
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from openai.providers.bedrock import bedrock

from penstock.snapshot.config import Deployment
from penstock.snapshot.credential import Entra
from penstock.stack import url
from penstock.stack.compile import config_of
from penstock.stack.load import parse
from tests.gateway.upstream.credentials.test_exchange import key_file
from tests.gateway.upstream.providers.capture import Capture, Captured
from tests.processes import PRICE, Front, Lab, eventually, model, provider

ID, SECRET, SESSION = "AKIDEXAMPLE", "hunter2/aws+", "hunter2session+/=="
ENVIRON = {
    "AZURE_KEY": "hunter2azure", "ENTRA_SECRET": "hunter2&entra", "BEDROCK_KEY": "bedrock-api-key-hunter2",
    "AWS_ID": ID, "AWS_SECRET": SECRET, "AWS_SESSION": SESSION,
}  # fmt: skip
AWS = "aws: {access_key_id: '${AWS_ID}', secret_access_key: '${AWS_SECRET}', session_token: '${AWS_SESSION}'}"
STACKS = {
    "azure": "provider: azure, resource: acme, api_key: '${AZURE_KEY}'",
    "entra": "provider: azure, resource: acme, entra: {tenant: t, client_id: c, client_secret: '${ENTRA_SECRET}'}",
    "vertex": "provider: vertex, project: p, location: europe-west4, service_account: 'file:google.json'",
    "bedrock": f"provider: bedrock, region: us-west-2, {AWS}",
    "bedrock-key": "provider: bedrock, region: us-west-2, api_key: '${BEDROCK_KEY}'",
    "sagemaker": f"provider: sagemaker, region: us-west-2, endpoint: qwen, {AWS}",
}
HOSTS = {
    "azure": "https://acme.openai.azure.com/openai/v1",
    "entra": "https://acme.openai.azure.com/openai/v1",
    "vertex": "https://europe-west4-aiplatform.googleapis.com/v1/projects/p/locations/europe-west4/endpoints/openapi",
    "bedrock": "https://bedrock-runtime.us-west-2.amazonaws.com/openai/v1",
    "bedrock-key": "https://bedrock-runtime.us-west-2.amazonaws.com/openai/v1",
    "sagemaker": "https://runtime.sagemaker.us-west-2.amazonaws.com/endpoints/qwen/openai/v1",
}
MESSAGES: list[openai.types.chat.ChatCompletionMessageParam] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Grüße, 世界 \U0001f600"},
]
MODEL = "publisher/model-1:0"


def deployment(name: str, directory: Path) -> Deployment:
    """The deployment as the stack has it, and where it is in truth."""
    text = f"version: 1\ndeployments: {{{name}: {{model: '{MODEL}', {STACKS[name]}}}}}\nmodels: {{{MODEL}: {name}}}\n"
    stack = parse(text.encode(), directory / "penstock.yaml", "penstock.yaml", ENVIRON)
    return msgspec.structs.replace(config_of(stack, 1, 0, 1).deployments[name], price=PRICE)


def moved(item: Deployment, capture: Capture) -> Deployment:
    """Exchange the address, and that of the issuer, for those of the capture."""
    assert item.address is not None
    here = {"host": "127.0.0.1", "port": capture.port, "tls": False}
    item = msgspec.structs.replace(item, address=msgspec.structs.replace(item.address, **here))
    if isinstance(item.credential, Entra):
        authority = msgspec.structs.replace(item.credential.authority, **here)
        item = msgspec.structs.replace(item, credential=msgspec.structs.replace(item.credential, authority=authority))
    return item


class Clouds:
    """A worker in front of the capture; each provider is a model."""

    def __init__(self, front: Front, capture: Capture) -> None:
        self.front = front
        self.capture = capture

    def ours(self, name: str, *, stream: bool) -> Captured:
        """What the provider gets when a client asks us."""
        return self._sent(openai.OpenAI(base_url=f"{self.front.url}/v1", api_key=self.front.key), name, stream)

    def theirs(self, client: openai.OpenAI, *, stream: bool) -> Captured:
        """What it gets from the vendor's SDK."""
        return self._sent(client, MODEL, stream)

    def base_url(self, name: str) -> str:
        """The vendor's address, moved to the capture."""
        return self.capture.url + re.sub(r"https://[^/]*", "", HOSTS[name])

    def _sent(self, client: openai.OpenAI, model: str, stream: bool) -> Captured:
        before = len(self.capture.requests)
        with client:
            if stream:
                usage: openai.types.chat.ChatCompletionStreamOptionsParam = {"include_usage": True}
                chunks = client.chat.completions.create(
                    model=model, messages=MESSAGES, stream=True, stream_options=usage, temperature=0.5
                )
                assert [chunk.choices[0].delta.content for chunk in chunks] == ["hi"]
            else:
                reply = client.chat.completions.create(model=model, messages=MESSAGES, temperature=0.5)
                assert reply.choices[0].message.content == "hi"
        (request,) = self.capture.requests[before:]
        return request


@pytest.fixture(scope="module")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clouds]:
    directory = tmp_path_factory.mktemp("clouds")
    with Capture() as capture, Front(directory / "home", environ=ENVIRON) as front:
        (directory / "google.json").write_bytes(key_file(token_uri=f"{capture.url}/token"))
        items = [moved(deployment(name, directory), capture) for name in STACKS]
        front.publish(items, [model(name, name) for name in STACKS])
        yield Clouds(front, capture)


def sdk(clouds: Clouds, name: str) -> openai.OpenAI:
    """The vendor's SDK as its documentation configures it, but for the address."""
    base_url = clouds.base_url(name)
    match name:
        case "bedrock":
            return openai.OpenAI(
                provider=bedrock(
                    endpoint="runtime",
                    region="us-west-2",
                    base_url=base_url,
                    access_key_id=ID,
                    secret_access_key=SECRET,
                    session_token=SESSION,
                )
            )
        case "bedrock-key":
            return openai.OpenAI(
                provider=bedrock(
                    endpoint="runtime", region="us-west-2", base_url=base_url, api_key=ENVIRON["BEDROCK_KEY"]
                )
            )
    return openai.OpenAI(base_url=base_url, api_key="granted")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", STACKS)
def test_method_path_and_body_are_those_of_the_vendors_sdk(clouds: Clouds, name: str, stream: bool) -> None:
    ours, theirs = clouds.ours(name, stream=stream), clouds.theirs(sdk(clouds, name), stream=stream)
    assert (ours.method, ours.target) == (theirs.method, theirs.target)
    assert ours.body == theirs.body
    assert ours.headers["content-type"] == theirs.headers["content-type"]
    assert ours.headers["host"] == theirs.headers["host"]


@pytest.mark.parametrize("name", STACKS)
def test_the_address_is_the_one_that_the_vendor_documents(name: str, tmp_path: Path) -> None:
    address = deployment(name, tmp_path).address
    assert address is not None
    assert url.written(address) == HOSTS[name]


def test_the_address_of_bedrock_is_that_of_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    with openai.OpenAI(provider=bedrock(endpoint="runtime", region="us-west-2", api_key="x")) as client:
        assert str(client.base_url).rstrip("/") == HOSTS["bedrock"]


def test_azure_gets_its_key_in_the_header_that_its_sdk_uses(clouds: Clouds) -> None:
    client = openai.AzureOpenAI(
        base_url=clouds.base_url("azure"), api_key=ENVIRON["AZURE_KEY"], api_version="2024-10-21"
    )
    ours, theirs = clouds.ours("azure", stream=False), clouds.theirs(client, stream=False)
    assert ours.headers["api-key"] == theirs.headers["api-key"] == "hunter2azure"
    assert "authorization" not in ours.headers
    assert "authorization" not in theirs.headers


@pytest.mark.parametrize("name", ["entra", "vertex", "bedrock-key"])
def test_a_bearer_token_goes_where_the_sdk_puts_it(clouds: Clouds, name: str) -> None:
    ours, theirs = clouds.ours(name, stream=False), clouds.theirs(sdk(clouds, name), stream=False)
    assert ours.headers["authorization"] == theirs.headers["authorization"]
    assert "api-key" not in ours.headers


def test_tokens_are_exchanged_once(clouds: Clouds) -> None:
    for _ in range(3):
        for name in ("entra", "vertex"):
            clouds.ours(name, stream=False)
    forms = [parse_qs(request.body.decode()) for request in clouds.capture.exchanges]
    assert [request.target for request in clouds.capture.exchanges].count("/t/oauth2/v2.0/token") == 1
    assert sorted(form["grant_type"][0] for form in forms) == [
        "client_credentials",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
    ]


def verify(request: Captured, where: str, service: str) -> None:
    """Sign again what was signed, with botocore, and compare."""
    authorization = request.headers["authorization"]
    signed = authorization.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    again = AWSRequest(
        request.method,
        f"{where}{request.target}",
        {name: request.headers[name] for name in signed if name != "host"},
        request.body,
    )
    again.context["timestamp"] = request.headers["x-amz-date"]
    auth = SigV4Auth(Credentials(ID, SECRET, SESSION), service, "us-west-2")
    expected = auth.signature(auth.string_to_sign(again, auth.canonical_request(again)), again)
    assert authorization.startswith(f"AWS4-HMAC-SHA256 Credential={ID}/")
    assert authorization.endswith(f"Signature={expected}")
    assert request.headers["x-amz-security-token"] == SESSION
    assert {"host", "content-type", "x-amz-date", "x-amz-security-token"} <= set(signed)


@pytest.mark.parametrize("stream", [False, True])
def test_bedrock_gets_a_signature_that_botocore_makes_too(clouds: Clouds, stream: bool) -> None:
    verify(clouds.ours("bedrock", stream=stream), clouds.capture.url, "bedrock")
    verify(clouds.theirs(sdk(clouds, "bedrock"), stream=stream), clouds.capture.url, "bedrock")


def test_sagemaker_gets_a_token_of_the_published_form(clouds: Clouds) -> None:
    kind, _, token = clouds.ours("sagemaker", stream=False).headers["authorization"].partition(" ")
    assert (kind, token[:18]) == ("Bearer", "sagemaker-api-key-")
    host, _, query = base64.b64decode(token[18:]).decode().partition("/?")
    fields = parse_qs(query, strict_parsing=True)
    assert host == "sagemaker.amazonaws.com"
    assert fields["Action"] == ["CallWithBearerToken"]
    assert fields["X-Amz-Credential"][0].endswith("/us-west-2/sagemaker/aws4_request")
    assert fields["X-Amz-Security-Token"] == [SESSION]


def test_without_a_token_the_fallback_answers_and_nothing_tells_the_secret(tmp_path: Path) -> None:
    with Capture() as capture, Lab() as lab, Front(tmp_path / "home", environ=ENVIRON) as front:
        capture.refuse_tokens = True
        front.publish(
            [moved(deployment("entra", tmp_path), capture), provider("lab", lab.address())],
            [model("chat", "entra", fallback=("lab",)), model("alone", "entra")],
        )
        response = front.chat()
        assert response.status_code == 200
        assert response.headers["x-penstock-deployment"] == "lab"
        explanation = str(front.settled(response.headers["x-request-id"]).explanation)
        assert "no token of Entra for c: 127.0.0.1 refuses it with status 401 (invalid_client)" in explanation
        alone = front.chat(model="alone")
        assert alone.status_code == 503
        assert alone.json()["error"]["code"] == "upstream_unreachable"
        assert int(alone.headers["retry-after"]) >= 1
        assert capture.requests == []
        assert "hunter2" not in explanation + alone.text + front.log() + str(front.journal())
        capture.refuse_tokens = False
        eventually(lambda: front.chat(model="alone").status_code == 200, "the next fetch")


def test_an_answer_401_is_not_the_clients_fault(tmp_path: Path) -> None:
    with Capture() as capture, Front(tmp_path / "home", environ=ENVIRON) as front:
        capture.refuse = 401
        front.publish([moved(deployment("entra", tmp_path), capture)], [model("chat", "entra")])
        assert [front.chat().status_code for _ in range(3)] == [502, 502, 502]
        assert len(capture.exchanges) == 1, "a fresh token is not fetched again for every refusal"
        capture.refuse = 0
        assert front.chat().status_code == 200


def test_a_missing_secret_stops_its_deployment_alone(tmp_path: Path) -> None:
    with Lab() as lab, Front(tmp_path / "home") as front:
        broken = [deployment(name, tmp_path) for name in ("entra", "vertex", "bedrock")]
        front.publish(
            [*broken, provider("lab", lab.address())], [model(d.name, d.name) for d in broken] + [model("chat", "lab")]
        )
        assert front.chat().status_code == 200
        for name, said in (("entra", "ENTRA_SECRET"), ("vertex", "google.json"), ("bedrock", "AWS_ID")):
            response = front.chat(model=name)
            assert response.status_code == 503
            assert said not in response.text
            assert said in str(front.settled(response.headers["x-request-id"]).explanation)
