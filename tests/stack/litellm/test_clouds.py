"""Models of Vertex AI, Bedrock and SageMaker become deployments where Penstock can ask for them, else a note."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from penstock.stack.deployments import Provider
from penstock.stack.litellm import writer
from penstock.stack.load import parse as load
from tests.stack.litellm.importing import imported, left_out, stack_of, told

GEMINI = "model: vertex_ai/gemini-2.5-pro"
OSS = "model: 'bedrock/openai.gpt-oss-120b-1:0'"
OWN = "model: sagemaker_chat/qwen3"
IN_EUROPE = "vertex_project: acme, vertex_location: europe-west4, vertex_credentials: /run/k.json"
KEYS = "aws_access_key_id: os.environ/KEY_ID, aws_secret_access_key: os.environ/KEY"
GIVEN = {"access_key_id": "${KEY_ID}", "secret_access_key": "${KEY}"}
OF_ENVIRONMENT = {"access_key_id": "${AWS_ACCESS_KEY_ID}", "secret_access_key": "${AWS_SECRET_ACCESS_KEY}"}


def one(params: str, more: str = "") -> str:
    """Return a configuration of one entry, with its parameters in flow style."""
    return f"model_list: [{{model_name: m, litellm_params: {{{params}}}{more}}}]\n"


def vertex(model: str = "google/gemini-2.5-pro", **others: str) -> dict[str, object]:
    usual = {
        "project": "${VERTEXAI_PROJECT}",
        "location": "${VERTEXAI_LOCATION:-us-central1}",
        "service_account": "${VERTEXAI_CREDENTIALS}",
    }
    return {"provider": "vertex", "model": model, **usual, **others}


def bedrock(model: str, **others: object) -> dict[str, object]:
    usual = {"region": "${AWS_REGION_NAME:-us-west-2}", "aws": OF_ENVIRONMENT}
    return {"provider": "bedrock", "model": model, **usual, **others}


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (
            f"{GEMINI}, {IN_EUROPE}",
            vertex(project="acme", location="europe-west4", service_account="file:/run/k.json"),
        ),
        (GEMINI, vertex()),
        (f"{GEMINI}, vertex_project: '', vertex_location: '', vertex_credentials: '', api_base: ''", vertex()),
        ("model: vertex_ai_beta/gemini-2.5-pro", vertex()),
        ("model: gemini-2.5-pro, custom_llm_provider: vertex_ai", vertex()),
        (
            f"{GEMINI}, vertex_ai_project: 123456, vertex_ai_location: global, vertex_ai_credentials: ./k.json",
            vertex(project="123456", location="global", service_account="file:./k.json"),
        ),
        (
            f"{GEMINI}, vertex_project: os.environ/PROJECT, vertex_location: os.environ/LOCATION",
            vertex(project="${PROJECT}", location="${LOCATION}"),
        ),
        (f"{GEMINI}, vertex_credentials: os.environ/KEY_FILE", vertex(service_account="${KEY_FILE}")),
        ("model: vertex_ai/meta/llama-3.3-70b-instruct-maas", vertex("meta/llama-3.3-70b-instruct-maas")),
        ("model: vertex_ai/openai/gpt-oss-120b-maas", vertex("openai/gpt-oss-120b-maas")),
        ("model: vertex_ai/google/gemma-4-26b-a4b-it-maas", vertex("google/gemma-4-26b-a4b-it-maas")),
        (OSS, bedrock("openai.gpt-oss-120b-1:0")),
        (f"{OSS}, {KEYS}", bedrock("openai.gpt-oss-120b-1:0", aws=GIVEN)),
        (
            f"{OSS}, {KEYS}, aws_session_token: os.environ/SESSION, aws_region_name: eu-west-1",
            bedrock(
                "openai.gpt-oss-120b-1:0",
                region="eu-west-1",
                aws={**GIVEN, "session_token": "${SESSION}"},
            ),
        ),
        (
            "model: 'bedrock/converse/global.openai.gpt-6-sol', aws_region_name: os.environ/AWS_REGION_NAME",
            bedrock("global.openai.gpt-6-sol", region="${AWS_REGION_NAME}"),
        ),
        ("model: 'bedrock/us-gov-west-1/qwen.qwen3-32b-v1:0'", bedrock("qwen.qwen3-32b-v1:0", region="us-gov-west-1")),
        (
            "model: 'bedrock/us-east-1/qwen.qwen3-32b-v1:0', aws_region_name: us-east-2",
            bedrock("qwen.qwen3-32b-v1:0", region="us-east-2"),
        ),
        ("model: bedrock_converse/deepseek.v3.2", bedrock("deepseek.v3.2")),
    ],
)
def test_where_a_model_is(params: str, expected: dict[str, object]) -> None:
    found = imported(one(params))
    assert list(found.stack["deployments"].values()) == [expected]
    assert left_out(found) == []
    stack_of(found)


def test_a_token_goes_before_keys() -> None:
    found = imported(one(f"{OSS}, {KEYS}, api_key: os.environ/AWS_BEARER_TOKEN_BEDROCK"))
    values = found.stack["deployments"]["bedrock-openai.gpt-oss-120b-1-0"]
    assert values["api_key"] == "${AWS_BEARER_TOKEN_BEDROCK}"
    assert "aws" not in values
    stack_of(found)


def test_an_endpoint_of_sagemaker() -> None:
    found = imported(one(f"{OWN}, aws_region_name: eu-west-1, model_id: part-2, {KEYS}"))
    assert found.stack["deployments"] == {
        "sagemaker_chat-qwen3": {
            "provider": "sagemaker",
            "region": "eu-west-1",
            "endpoint": "qwen3",
            "inference_component": "part-2",
            "model": "qwen3",
            "aws": GIVEN,
        }
    }
    assert left_out(found) == []
    deployment = stack_of(found).deployments["sagemaker_chat-qwen3"]
    assert isinstance(deployment, Provider)
    assert deployment.base_url.path == "/endpoints/qwen3/inference-components/part-2/openai/v1"


def test_what_a_credential_says_counts() -> None:
    values = "{vertex_project: acme, vertex_location: us-east5, vertex_credentials: k.json}"
    found = imported(
        one(f"{GEMINI}, litellm_credential_name: c, vertex_location: global")
        + f"credential_list: [{{credential_name: c, credential_values: {values}}}]"
    )
    expected = vertex(project="acme", location="global", service_account="file:k.json")
    assert list(found.stack["deployments"].values()) == [expected]


def test_what_the_environment_does_not_say_is_as_with_litellm() -> None:
    text = writer.text(imported(one(GEMINI)), "config.yaml").encode()
    environ = {"VERTEXAI_PROJECT": "acme", "VERTEXAI_CREDENTIALS": "{}"}
    deployment = load(text, Path("/srv/penstock.yaml"), "penstock.yaml", environ).deployments[
        "vertex_ai-gemini-2.5-pro"
    ]
    assert isinstance(deployment, Provider)
    assert deployment.base_url.host == "us-central1-aiplatform.googleapis.com"
    assert deployment.base_url.path == "/v1/projects/acme/locations/us-central1/endpoints/openapi"


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ("model: vertex_ai/claude-haiku-5-5", "model: Vertex AI has Claude behind Anthropic's protocol only"),
        ("model: vertex_ai/mistral-large@2411", "model: Vertex AI's OpenAI-compatible endpoint is not known to have"),
        ("model: vertex_ai/mystery", "model: Vertex AI's OpenAI-compatible endpoint is not known to have it"),
        ("model: 'vertex_ai/gemini-2.5-$'", "model: Vertex AI's OpenAI-compatible endpoint is not known to have it"),
        ("model: vertex_ai/openai/5464397967697903616", "model: it is an endpoint of your own"),
        ("model: vertex_ai/gemini/5464397967697903616", "model: it is an endpoint of your own"),
        ("model: vertex_ai/gemini-embedding-001", "model: Penstock asks Vertex AI for chats only"),
        ("model: vertex_ai/gemini-2.5-flash-tts", "model: Penstock asks Vertex AI for chats only"),
        (f"{GEMINI}, api_base: 'https://proxy.example'", "api_base: LiteLLM speaks Gemini's own protocol there"),
        (f"{GEMINI}, vertex_project: 'no project'", "vertex_project: this cannot be the project of an address"),
        (f"{GEMINI}, vertex_location: evil.example/", "vertex_location: this cannot be the location of an address"),
        ("model: 'bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0'", "model: Bedrock has Claude behind protocols"),
        (
            "model: 'bedrock/amazon.nova-pro-v1:0'",
            "model: Bedrock's OpenAI-compatible endpoint is not known to have it",
        ),
        ("model: 'bedrock/deepseek.r1-v1:0'", "model: Bedrock's OpenAI-compatible endpoint is not known to have it"),
        ("model: 'bedrock/openai.gpt-5.5'", "model: Bedrock's OpenAI-compatible endpoint is not known to have it"),
        (
            "model: 'bedrock/arn:aws:bedrock:us-east-1:1:x/y'",
            "model: Bedrock's OpenAI-compatible endpoint is not known",
        ),
        (f"{OSS}, api_base: 'https://vpce.example'", "api_base: LiteLLM may speak Bedrock's own protocol there"),
        (f"{OSS}, aws_bedrock_runtime_endpoint: os.environ/E", "aws_bedrock_runtime_endpoint: LiteLLM may speak"),
        (f"{OSS}, aws_region_name: evil.example/", "aws_region_name: this cannot be the region of an address"),
        ("model: bedrock_mantle/openai.gpt-oss-120b", "base_url: https://bedrock-mantle.REGION.api.aws/v1"),
        ("model: sagemaker/llama", "model: sagemaker is asked by the protocol of its container"),
        ("model: sagemaker_nova/mine", "model: sagemaker_nova is asked by the protocol of its container"),
        ("model: sagemaker_chat/not_a_name", "model: this is not the name of an endpoint"),
        (f"{OWN}, api_base: 'https://x.example'", "api_base: SageMaker is asked at AWS's own address"),
        (f"{OWN}, model_id: a b", "model_id: this cannot be the inference_component of an address"),
    ],
)
def test_what_a_cloud_has_behind_other_protocols_is_left_out(params: str, sentence: str) -> None:
    found = imported(one(params))
    assert any(sentence in line for line in left_out(found)), told(found)
    assert "deployments" not in found.stack


@pytest.mark.parametrize("model", [GEMINI, OSS, OWN])
def test_embeddings_are_left_out(model: str) -> None:
    found = imported(one(model, ", model_info: {mode: embedding}"))
    assert any("mode: Penstock asks" in line for line in left_out(found))
    assert "deployments" not in found.stack


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        (f"{OSS}, aws_role_name: r", "aws_role_name: Penstock takes no roles and reads no profiles"),
        (f"{OWN}, aws_profile_name: p", "aws_profile_name: Penstock takes no roles and reads no profiles"),
        (f"{OSS}, aws_web_identity_token: t", "aws_web_identity_token: Penstock takes no roles"),
        (f"{OSS}, {KEYS}, aws_role_name: r", "aws_access_key_id: these keys are for getting those of another identity"),
        (f"{OSS}, aws_access_key_id: AKIA", "aws_access_key_id: these keys are not complete"),
        (f"{OWN}, aws_session_token: os.environ/S", "aws_session_token: these keys are not complete"),
    ],
)
def test_what_aws_is_asked_with_instead(params: str, sentence: str) -> None:
    found = imported(one(params))
    assert any(sentence in line for line in left_out(found)), told(found)
    assert [item["aws"] for item in found.stack["deployments"].values()] == [OF_ENVIRONMENT]
    stack_of(found)


@pytest.mark.parametrize(
    "credential", [{"type": "authorized_user", "refresh_token": "planted"}, {"type": "external_account"}, {"type": ""}]
)
@pytest.mark.parametrize("written", [json.dumps, lambda credential: json.dumps(json.dumps(credential))])
def test_a_credential_of_another_kind_is_left_out(credential: dict[str, str], written: object) -> None:
    assert callable(written)
    found = imported(one(f"{GEMINI}, vertex_credentials: {written(credential)}"))
    assert any("vertex_credentials: Penstock takes the key of a service account" in line for line in left_out(found))
    assert list(found.stack["deployments"].values()) == [vertex()]
    assert "planted" not in str(told(found)) + str(found.stack)


@pytest.mark.parametrize(
    "written",
    [
        '{type: service_account, private_key: "planted-1"}',
        json.dumps(json.dumps({"type": "service_account", "private_key": "planted-1"})),
        "planted-1",
        "'" + '{"a":' * 60_000 + "planted-1'",
    ],
    ids=["mapping", "text", "something", "deep"],
)
def test_a_key_in_the_file_becomes_a_variable(written: str) -> None:
    entry = f"{{model_name: m, litellm_params: {{{GEMINI}, vertex_credentials: {written}}}}}"
    found = imported(f"model_list: [{entry}, {entry.replace('m,', 'n,', 1).replace('2.5', '3.5')}]")
    values = list(found.stack["deployments"].values())
    assert [item["service_account"] for item in values] == ["${M_SERVICE_ACCOUNT}", "${M_SERVICE_ACCOUNT}"]
    assert any(
        "it is copied nowhere: put it into the environment variable M_SERVICE_ACCOUNT" in line for line in told(found)
    )
    assert "planted" not in writer.text(found, "config.yaml") + str(told(found))


def test_different_keys_become_different_variables() -> None:
    entries = [
        f"{{model_name: m, litellm_params: {{{GEMINI}, vertex_credentials: {{private_key: planted-{number}}}}}}}"
        for number in (1, 2)
    ]
    found = imported(f"model_list: [{', '.join(entries)}]")
    keys = [item["service_account"] for item in found.stack["deployments"].values()]
    assert keys == ["${M_SERVICE_ACCOUNT}", "${M_SERVICE_ACCOUNT_2}"]


def test_keys_of_aws_in_the_file_become_variables() -> None:
    found = imported(
        one(f"{OSS}, aws_access_key_id: planted-1, aws_secret_access_key: planted-2, aws_session_token: planted-3")
    )
    assert found.stack["deployments"]["bedrock-openai.gpt-oss-120b-1-0"]["aws"] == {
        "access_key_id": "${M_AWS_ACCESS_KEY_ID}",
        "secret_access_key": "${M_AWS_SECRET_ACCESS_KEY}",
        "session_token": "${M_AWS_SESSION_TOKEN}",
    }
    assert "planted" not in writer.text(found, "config.yaml") + str(told(found))
    stack_of(found)


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        (GEMINI, "model: there is no vertex_project: put the project's id into VERTEXAI_PROJECT"),
        (GEMINI, "model: there are no vertex_credentials: put the content of a service account's key file into"),
        (GEMINI, "model: vertex_ai is asked at Google's OpenAI-compatible endpoint"),
        (f"{GEMINI}, vertex_credentials: os.environ/K", "vertex_credentials: the variable K has to hold the content"),
        (
            f"{GEMINI}, vertex_credentials: k.json",
            "vertex_credentials: the path is taken from the directory of the stack",
        ),
        (OSS, "model: there is no aws_region_name: AWS_REGION_NAME says it, else us-west-2 is asked"),
        (OSS, "write api_key: ${AWS_BEARER_TOKEN_BEDROCK} instead"),
        (OSS, "model: bedrock is asked by Chat Completions on bedrock-runtime"),
        (OWN, "model: sagemaker_chat is asked at its endpoint's path"),
    ],
)
def test_what_is_to_be_done_is_told(params: str, sentence: str) -> None:
    assert any(sentence in line for line in told(imported(one(params))))


def test_settings_of_a_cloud_are_told_where_it_is_not_asked() -> None:
    found = imported(one("model: openai/x, aws_region_name: eu-west-1, vertex_project: acme"))
    assert [line.split(": ")[1].rpartition(".")[2] for line in left_out(found)] == ["aws_region_name", "vertex_project"]
