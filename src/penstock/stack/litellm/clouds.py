"""
Entries of Vertex AI, Bedrock and SageMaker: what they have at the endpoints that Penstock speaks to.

LiteLLM asks most of these models by protocols of the clouds' own. Penstock asks by OpenAI's, so only those are carried
over that a cloud has there too:

- Vertex AI: Gemini, and the open and partner models that have a publisher in front. Sources: Google's "Using OpenAI
  libraries with Vertex AI" and "Use open models using Model as a Service", and LiteLLM's page on partner models,
  which names the others (Claude, Mistral, Jamba) beside their own protocols. Read on 2026-11-22.
- Bedrock: Chat Completions on `bedrock-runtime`. AWS says it of each model in its card (such as that of GPT-6 Sol),
  of gpt-oss in "Invoke a model with the OpenAI Chat Completions API", and of the families below in the notes of its
  sample connector (`bedrock-runtime-openai`); "API compatibility" excepts DeepSeek-R1 and Kimi K2 Thinking. Read on
  2026-11-22.
- SageMaker: what LiteLLM asks by the Messages API (`sagemaker_chat/`); every real-time endpoint has a path for it.

Variables that are read where a setting is missing, and the locations after them, are LiteLLM's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from penstock.stack import cloud
from penstock.stack.litellm.cursor import Cursor
from penstock.stack.litellm.notes import Notes
from penstock.stack.litellm.providers import NO_KEY

_PUBLISHERS: Final = (
    "deepseek-ai/",
    "google/",
    "meta/",
    "minimaxai/",
    "moonshotai/",
    "openai/gpt-oss-",
    "qwen/",
    "xai/",
    "zai-org/",
)
_ON_VERTEX: Final = re.compile(r"[\w./@:-]{1,200}", re.ASCII)
_NOT_FOR_CHATS: Final = re.compile(r"embedding|-(?:tts|live|image|audio)\b")
_ON_BEDROCK: Final = re.compile(
    r"(?:(?:apac|au|ca|eu|global|jp|us|us-gov)\.)?"  # an inference profile over several regions
    r"(?:openai\.gpt-oss-(?:20b|120b)-1:0|openai\.gpt-(?:5\.6|[6-9])[a-z0-9.:-]*|deepseek\.v3[a-z0-9.:-]*"
    r"|minimax\.minimax-[a-z0-9.:-]+|moonshotai\.kimi-[a-z0-9.:-]+|qwen\.qwen3-[a-z0-9.:-]+|zai\.glm-[a-z0-9.:-]+)"
)
_ROUTES: Final = ("converse/", "invoke/")  # of LiteLLM, before the model
_REGION: Final = re.compile(r"[a-z]{2,4}(?:-[a-z]+){1,2}-[0-9]")
_KEY_FILE: Final = re.compile(r"(?:~|\.{1,2})?/[\w ./@+=-]{1,512}|[\w ./@+=-]{1,507}\.json", re.ASCII)
_IDENTITIES: Final = ("aws_profile_name", "aws_role_name", "aws_web_identity_token")
_PROJECT: Final = "${VERTEXAI_PROJECT}"
_LOCATION: Final = "${VERTEXAI_LOCATION:-us-central1}"
_SERVICE_ACCOUNT: Final = "${VERTEXAI_CREDENTIALS}"
_AWS_REGION: Final = "${AWS_REGION_NAME:-us-west-2}"
_BY_HAND: Final = "see docs/providers.md"

_OF_AWS: Final = frozenset(
    {
        "aws_access_key_id",
        "aws_region_name",
        "aws_secret_access_key",
        "aws_session_name",
        "aws_session_token",
        "region_name",
        *_IDENTITIES,
    }
)
# Parameters that are read here, by what the stack calls the provider.
READ: Final[Mapping[str, frozenset[str]]] = {
    "bedrock": _OF_AWS,
    "sagemaker": _OF_AWS | {"model_id"},
    "vertex": frozenset(
        f"vertex_{middle}{name}" for middle in ("", "ai_") for name in ("credentials", "location", "project")
    ),
}


class Asked(msgspec.Struct, frozen=True):
    """
    An entry of a cloud. Made for one reading.

    Attributes:
        model: `model:`, to point at.
        upstream: the model's name after the provider's.
        setting: returns a setting of the entry, or of the credential that it names.
        secret: returns the reference to the variable that holds a secret, or is to hold it. Takes the setting, the
            secret itself, and what the variable's name is to end with.
    """

    model: Cursor
    upstream: str
    setting: Callable[[str], Cursor | None]
    secret: Callable[[Cursor, str, str], str]
    notes: Notes

    def first(self, *keys: str) -> Cursor | None:
        """Return the first of these settings that is there, and is not empty."""
        found = (self.setting(key) for key in keys)
        return next((given for given in found if given is not None and given.text != ""), None)

    def left_out(self, sentence: str) -> None:
        """Say that there will be no deployment, and why."""
        self.notes.left_out(self.model, sentence)

    def part(self, name: str, given: Cursor | None, default: str) -> str | None:
        """Return a part of the address as the stack has it; None, with a note, when it cannot be one."""
        if given is None:
            return default
        if given.variable is not None:
            return f"${{{given.variable}}}"
        if given.text is None or not cloud.fits(name, given.text):
            self.notes.left_out(given, f"this cannot be the {name} of an address, so there is no deployment")
            return None
        return given.text

    def held(self, key: str, ending: str) -> str | None:
        """Return the reference to a secret; None when it is not there, or stands for none."""
        given = self.setting(key)
        if given is None or given.text is None or given.text.lower() in NO_KEY:
            return None
        return self.secret(given, given.text, ending)


def _vertex(asked: Asked) -> dict[str, Any] | None:
    model = _vertex_model(asked)
    if model is None:
        return None
    if base := asked.first("api_base", "base_url"):
        told = f"LiteLLM speaks Gemini's own protocol there; add it by hand, as provider: vertex; {_BY_HAND}"
        asked.notes.left_out(base, told)
        return None
    if key := asked.first("api_key"):
        asked.notes.left_out(key, "Vertex AI is asked with a service account, not with a key")
    of_project = asked.first("vertex_project", "vertex_ai_project")
    project = asked.part("project", of_project, _PROJECT)
    location = asked.part("location", asked.first("vertex_location", "vertex_ai_location"), _LOCATION)
    if project is None or location is None:
        return None
    if of_project is None:
        told = "there is no vertex_project: put the project's id into VERTEXAI_PROJECT, also where the key file has it"
        asked.notes.remark(asked.model, told)
    told = "vertex_ai is asked at Google's OpenAI-compatible endpoint, and where it is written; LiteLLM asks models"
    asked.notes.remark(asked.model, f"{told} that are at the location global only there: write location: global")
    return {
        "provider": "vertex",
        "project": project,
        "location": location,
        "model": model,
        "service_account": _service_account(asked),
    }


def _vertex_model(asked: Asked) -> str | None:
    """Return the model's name at the OpenAI-compatible endpoint; None, with a note, when it is not there."""
    name = asked.upstream
    if _NOT_FOR_CHATS.search(name):
        asked.left_out("Penstock asks Vertex AI for chats only")
        return None
    if name.startswith(("gemini-", *_PUBLISHERS)) and _ON_VERTEX.fullmatch(name):
        return f"google/{name}" if name.startswith("gemini-") else name
    if name.removeprefix("openai/").removeprefix("gemini/").isdigit():
        told = "it is an endpoint of your own; where its container speaks like OpenAI, add it by hand, as provider:"
        asked.left_out(f"{told} vertex with endpoint: and the name that the container has for its model; {_BY_HAND}")
    elif name.startswith("claude"):
        told = "Vertex AI has Claude behind Anthropic's protocol only, which Penstock does not ask there"
        asked.left_out(f"{told}; add it as provider: anthropic with a key of Anthropic's")
    else:
        told = "Vertex AI's OpenAI-compatible endpoint is not known to have it; where it has, add it by hand, with its"
        asked.left_out(f"{told} publisher in front, as provider: vertex; {_BY_HAND}")
    return None


def _service_account(asked: Asked) -> str:
    """Return where the key file is."""
    given = asked.first("vertex_credentials", "vertex_ai_credentials")
    text = given.text.strip() if given is not None and given.text is not None else ""
    if given is None:
        told = "there are no vertex_credentials: put the content of a service account's key file into"
        more = "or write service_account: file:/path; Penstock does not find credentials by itself"
        asked.notes.remark(asked.model, f"{told} VERTEXAI_CREDENTIALS, {more}")
    elif given.variable is not None:
        told = f"the variable {given.variable} has to hold the content of the key file; where it holds the path"
        asked.notes.remark(given, f"{told}, write service_account: file:/path")
        return f"${{{given.variable}}}"
    elif _kind_of_key(given) != "service_account":
        told = "Penstock takes the key of a service account, which this is not: put the content of such a key file into"
        asked.notes.left_out(given, f"{told} VERTEXAI_CREDENTIALS")
    elif _KEY_FILE.fullmatch(text):
        if not text.startswith(("/", "~")):
            told = "the path is taken from the directory of the stack file; LiteLLM takes it from where it was started"
            asked.notes.remark(given, told)
        return f"file:{text}"
    else:
        document = msgspec.json.encode({key: value.text for key, value in given.entries()}).decode()
        return asked.secret(given, text or document, "SERVICE_ACCOUNT")
    return _SERVICE_ACCOUNT


class _Key(msgspec.Struct):
    """What a credential of Google's says that it is; one that says nothing counts as the key of a service account."""

    type: str = "service_account"


def _kind_of_key(given: Cursor) -> str:
    """Return what a key is of. The path of a file counts as one too, as it is not opened."""
    if given.text is None:
        found = given.get("type")
        return _Key().type if found is None else found.text or ""
    try:
        return msgspec.json.decode(given.text.encode(errors="replace"), type=_Key).type
    except (msgspec.DecodeError, RecursionError):
        return _Key().type


def _bedrock(asked: Asked) -> dict[str, Any] | None:
    name = asked.upstream
    for route in _ROUTES:
        name = name.removeprefix(route)
    first, slash, rest = name.partition("/")
    region = first if slash and _REGION.fullmatch(first) else None
    name = rest if region else name
    if "anthropic.claude" in name:
        told = "Bedrock has Claude behind protocols of its own and of Anthropic, which Penstock does not ask there"
        asked.left_out(f"{told}; add it as provider: anthropic with a key of Anthropic's")
        return None
    if not _ON_BEDROCK.fullmatch(name):
        told = "Bedrock's OpenAI-compatible endpoint is not known to have it; where the model's card at AWS says Chat"
        asked.left_out(f"{told} Completions on bedrock-runtime, add it by hand, as provider: bedrock; {_BY_HAND}")
        return None
    if base := asked.first("api_base", "base_url", "aws_bedrock_runtime_endpoint"):
        told = "LiteLLM may speak Bedrock's own protocol there; add it by hand, as provider: bedrock with its region"
        asked.notes.left_out(base, f"{told} and base_url: …/openai/v1; {_BY_HAND}")
        return None
    found = _region(asked, region)
    if found is None:
        return None
    told = "bedrock is asked by Chat Completions on bedrock-runtime, which the model's card at AWS has to name"
    asked.notes.remark(asked.model, f"{told}; LiteLLM asks many models by the Converse API")
    return {"provider": "bedrock", "region": found, "model": name, **_aws(asked, "AWS_BEARER_TOKEN_BEDROCK")}


def _sagemaker(asked: Asked) -> dict[str, Any] | None:
    if not cloud.fits("endpoint", asked.upstream):
        asked.left_out("this is not the name of an endpoint: letters, digits and '-'")
        return None
    if base := asked.first("api_base", "base_url", "sagemaker_base_url"):
        told = "SageMaker is asked at AWS's own address; where this one speaks like OpenAI, add it by hand"
        asked.notes.left_out(base, f"{told}, as provider: openai with its base_url")
        return None
    region = _region(asked, None)
    if region is None:
        return None
    values: dict[str, Any] = {"provider": "sagemaker", "region": region, "endpoint": asked.upstream}
    if given := asked.first("model_id"):
        component = asked.part("inference_component", given, "")
        if component is None:
            return None
        values["inference_component"] = component
    told = "sagemaker_chat is asked at its endpoint's path …/openai/v1; keys need sagemaker:CallWithBearerToken for it;"
    more = "model is the endpoint's name, as LiteLLM sends it: write the container's own where it refuses this"
    asked.notes.remark(asked.model, f"{told} {more}")
    return {**values, "model": asked.upstream, **_aws(asked, None)}


def _region(asked: Asked, of_model: str | None) -> str | None:
    """Return the region; None, with a note, when what is written cannot be one."""
    given = asked.first("aws_region_name", "region_name")
    if given is None and of_model is None:
        told = "there is no aws_region_name: AWS_REGION_NAME says it, else us-west-2 is asked; LiteLLM reads AWS_REGION"
        asked.notes.remark(asked.model, f"{told} and AWS's own files too")
    return asked.part("region", given, of_model or _AWS_REGION)


def _aws(asked: Asked, bearer: str | None) -> dict[str, Any]:
    """
    Return the keys that say what AWS is asked with.

    Args:
        bearer: the variable that LiteLLM takes a token from before it looks for keys, where there is one.
    """
    if key := asked.held("api_key", "API_KEY"):
        return {"api_key": key}
    others = [found for name in _IDENTITIES if (found := asked.first(name)) is not None]
    for other in others:
        told = "Penstock takes no roles and reads no profiles: put keys of that identity into AWS_ACCESS_KEY_ID and"
        asked.notes.left_out(other, f"{told} AWS_SECRET_ACCESS_KEY, and add session_token where they are of a session")
    given = {name: asked.setting(f"aws_{name}") for name in ("access_key_id", "secret_access_key", "session_token")}
    keys = {name: found for name, found in given.items() if found is not None and found.text}
    if not others and {"access_key_id", "secret_access_key"} <= keys.keys():
        return {"aws": {name: asked.secret(at, at.text or "", f"AWS_{name.upper()}") for name, at in keys.items()}}
    for at in keys.values():
        told = "these keys are not complete" if not others else "these keys are for getting those of another identity"
        asked.notes.left_out(at, f"{told}; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are used")
    if not others and not keys:
        told = "there are no keys in it: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are used"
        instead = f"; write api_key: ${{{bearer}}} instead if that is what you have" if bearer else ""
        asked.notes.remark(asked.model, f"{told}, and nothing else that AWS's SDK would find{instead}")
    return {"aws": {"access_key_id": "${AWS_ACCESS_KEY_ID}", "secret_access_key": "${AWS_SECRET_ACCESS_KEY}"}}


CLOUDS: Final[Mapping[str, Callable[[Asked], dict[str, Any] | None]]] = {
    "bedrock": _bedrock,
    "bedrock_converse": _bedrock,
    "sagemaker_chat": _sagemaker,
    "vertex_ai": _vertex,
    "vertex_ai_beta": _vertex,
}
