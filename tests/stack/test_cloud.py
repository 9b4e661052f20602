"""The keys that only clouds have: addresses, credentials, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from penstock.auth.secrets import SecretRef
from penstock.snapshot.config import Deployment
from penstock.snapshot.credential import Aws, Entra, Google
from penstock.stack import url
from penstock.stack.compile import config_of
from penstock.stack.load import parse
from penstock.types.address import Address
from tests.stack.reading import read, refused

PAGE = (Path(__file__).parents[2] / "docs" / "providers.md").read_text()
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
AWS = "aws: {access_key_id: '${ID}', secret_access_key: '${SECRET}'}"
ENTRA = "entra: {tenant: t.example, client_id: c, client_secret: 'file:s'}"


def text(body: str) -> str:
    return f"version: 1\ndeployments:\n  d: {{model: m, {body}}}\nmodels: {{chat: d}}\n"


def deployment(body: str) -> Deployment:
    return config_of(read(text(body)), 1, 0, 1).deployments["d"]


@pytest.mark.parametrize(
    ("body", "base_url"),
    [
        ("provider: azure, resource: acme, api_key: '${K}'", "https://acme.openai.azure.com/openai/v1"),
        (
            f"provider: azure, base_url: 'https://acme.openai.azure.us/openai/v1/', {ENTRA}",
            "https://acme.openai.azure.us/openai/v1",
        ),
        (
            "provider: vertex, project: p-1, location: europe-west4, service_account: 'file:k'",
            "https://europe-west4-aiplatform.googleapis.com/v1/projects/p-1/locations/europe-west4/endpoints/openapi",
        ),
        (
            "provider: vertex, project: p-1, location: global, endpoint: '123', service_account: '${K}'",
            "https://aiplatform.googleapis.com/v1/projects/p-1/locations/global/endpoints/123",
        ),
        (
            "provider: vertex, project: p-1, location: eu, service_account: '${K}'",
            "https://aiplatform.eu.rep.googleapis.com/v1/projects/p-1/locations/eu/endpoints/openapi",
        ),
        (f"provider: bedrock, region: us-west-2, {AWS}", "https://bedrock-runtime.us-west-2.amazonaws.com/openai/v1"),
        (
            "provider: vertex, project: 'acme.com:p', location: l, service_account: '${K}'",
            "https://l-aiplatform.googleapis.com/v1/projects/acme.com:p/locations/l/endpoints/openapi",
        ),
        (
            f"provider: bedrock, region: cn-north-1, {AWS}",
            "https://bedrock-runtime.cn-north-1.amazonaws.com.cn/openai/v1",
        ),
        (
            "provider: bedrock, base_url: 'https://bedrock-mantle.us-west-2.api.aws/v1', api_key: '${K}'",
            "https://bedrock-mantle.us-west-2.api.aws/v1",
        ),
        (
            f"provider: bedrock, base_url: 'https://vpce-1.example/openai/v1', region: us-west-2, {AWS}",
            "https://vpce-1.example/openai/v1",
        ),
        (
            f"provider: sagemaker, region: us-west-2, endpoint: e-1, {AWS}",
            "https://runtime.sagemaker.us-west-2.amazonaws.com/endpoints/e-1/openai/v1",
        ),
        (
            "provider: sagemaker, region: us-west-2, endpoint: e-1, inference_component: c, api_key: '${K}'",
            "https://runtime.sagemaker.us-west-2.amazonaws.com/endpoints/e-1/inference-components/c/openai/v1",
        ),
    ],
)
def test_the_address_follows_from_its_parts_or_is_the_one_that_is_written(body: str, base_url: str) -> None:
    address = deployment(body).address
    assert address is not None
    assert url.written(address) == base_url


def test_parts_may_come_from_the_environment() -> None:
    stack = read(text(f"provider: bedrock, region: '${{REGION}}', {AWS}"), {"REGION": "eu-west-1"})
    assert stack.origin["deployments.d.region"].variables == ("REGION",)
    address = config_of(stack, 1, 0, 1).deployments["d"].address
    assert address is not None
    assert address.host == "bedrock-runtime.eu-west-1.amazonaws.com"


def test_credentials_are_compiled_as_references() -> None:
    azure = deployment(f"provider: azure, resource: r, {ENTRA}")
    assert azure.api_key is None
    assert azure.credential == Entra(
        "t.example",
        "c",
        SecretRef(file="/srv/stack/s"),
        Address(host="login.microsoftonline.com", port=443, tls=True),
        "https://cognitiveservices.azure.com/.default",
    )
    vertex = deployment("provider: vertex, project: p, location: l, service_account: 'file:k'")
    assert vertex.credential == Google(SecretRef(file="/srv/stack/k"))
    bedrock = deployment(f"provider: bedrock, region: r, {AWS}")
    assert bedrock.credential == Aws(SecretRef(env="ID"), SecretRef(env="SECRET"), "r", "bedrock")
    mantle = deployment(f"provider: bedrock, base_url: 'https://bedrock-mantle.r.api.aws/v1', region: r, {AWS}")
    assert mantle.credential == Aws(SecretRef(env="ID"), SecretRef(env="SECRET"), "r", "bedrock-mantle")
    session = AWS.replace("}'}", "}', session_token: '${T}'}")
    sagemaker = deployment(f"provider: sagemaker, region: r, endpoint: e, {session}")
    assert sagemaker.credential == Aws(
        SecretRef(env="ID"), SecretRef(env="SECRET"), "r", "sagemaker", bearer=True, session_token=SecretRef(env="T")
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("provider: azure, api_key: '${K}'", ": provider: azure needs resource, or a base_url"),
        ("provider: azure, resource: r", ": provider: azure needs api_key or entra"),
        (f"provider: azure, resource: r, api_key: '${{K}}', {ENTRA}",
         ": provider: azure needs api_key or entra, and not both"),
        (f"provider: azure, resource: r, {AWS}",
         ": aws does not go with provider: azure, which takes: api_key, entra, resource"),
        ("provider: azure, resource: r, base_url: 'https://h/v1', api_key: '${K}'",
         ": resource says where it is, and so does base_url; leave out one of them"),
        ("provider: azure, resource: r.example/x, api_key: '${K}'",
         ".resource: a name here has 1 to 63 letters, digits and '-', and begins and ends with a letter or digit"),
        ("provider: azure, resorce: r, api_key: '${K}'", ".resorce: unknown key, did you mean 'resource'?"),
        ("provider: azure, resource: r, entra: {tenant: t, client_id: c}", ".entra.client_secret: is required"),
        ("provider: azure, resource: r, entra: {tenant: a/b, client_id: c, client_secret: '${S}'}",
         ".entra.tenant: a name of a tenant is its id or a domain"),
        ("provider: vertex, service_account: '${K}'",
         ": provider: vertex needs project and location, or a base_url"),
        ("provider: vertex, project: p, location: l", ": provider: vertex needs service_account"),
        ("provider: vertex, project: p, location: l, api_key: '${K}'",
         ": api_key does not go with provider: vertex, which takes: endpoint, location, project, service_account"),
        ("provider: bedrock, region: r", ": provider: bedrock needs api_key or aws"),
        (f"provider: bedrock, base_url: 'https://h/v1', {AWS}", ": aws needs region, for which signatures are made"),
        ("provider: bedrock, region: r, aws: {access_key_id: AKIA, secret_access_key: '${S}'}",
         (".aws.access_key_id: a secret does not belong in this file: put it in an environment variable and write "
          "${NAME}, or in a file and write file:/path")),
        (f"provider: sagemaker, region: r, {AWS}", ": provider: sagemaker needs endpoint, or a base_url"),
        (f"provider: sagemaker, region: r, endpoint: e, base_url: 'https://h/v1', {AWS}",
         ": endpoint says where it is, and so does base_url; leave out one of them"),
        ("provider: openai, region: r", ": region does not go with provider: openai, which takes: api_key"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(body: str, message: str) -> None:
    assert refused(text(body)) == [f"3: deployments.d{message}"]


def test_secrets_that_are_missing_or_could_be_read_on_their_way_give_warnings() -> None:
    body = f"provider: azure, base_url: 'http://10.0.0.1/v1', {ENTRA}, price: {{input: 0, output: 0}}"
    body = body.replace("'file:s'", "'${S}', authority: 'http://10.0.0.2'")
    assert [str(warning.sentence) for warning in read(text(body)).warnings] == [
        "the environment variable S is not set",
        "the credential travels unencrypted over http://",
        "the credential travels unencrypted over http://",
    ]


def test_what_is_in_force_lists_only_the_keys_of_the_provider() -> None:
    values = {item.path: item.value for item in read(text("provider: azure, resource: r, api_key: '${K}'")).effective}
    assert values["deployments.d.base_url"] == "https://r.openai.azure.com/openai/v1"
    assert not {"deployments.d.region", "deployments.d.aws"} & values.keys()


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_every_block_of_the_page_is_a_valid_stack(number: int) -> None:
    parse(BLOCKS[number].encode(), Path("/srv/penstock.yaml"), f"docs/providers.md block {number}", {})


def test_the_page_has_blocks() -> None:
    assert len(BLOCKS) >= 4
