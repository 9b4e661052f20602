"""The keys of hosted models that only clouds have: the parts of their addresses, and what they take for credentials."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from penstock.auth.secrets import SecretRef
from penstock.snapshot import credential
from penstock.stack import place, word
from penstock.stack.keypath import KeyPath
from penstock.stack.reader import Unfit
from penstock.stack.section import Section, default
from penstock.types.address import Address

# The parts of each one's address, those that may be left out last.
PARTS: Mapping[str, tuple[str, ...]] = {
    "azure": ("resource",),
    "bedrock": ("region",),
    "sagemaker": ("region", "endpoint", "inference_component"),
    "vertex": ("project", "location", "endpoint"),
}
_OF_ANTHROPIC = "https://api.anthropic.com/v1"
_OPTIONAL = frozenset({("vertex", "endpoint"), ("sagemaker", "inference_component")})
_CREDENTIALS: Mapping[str, tuple[str, ...]] = {
    "azure": ("api_key", "entra"),
    "bedrock": ("api_key", "aws"),
    "sagemaker": ("api_key", "aws"),
    "vertex": ("service_account",),
}
_KEYS = frozenset({"entra", "aws", "service_account", *(part for parts in PARTS.values() for part in parts)})
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"  # what may stand between the dots of a host name
_PROJECT = r"[A-Za-z0-9_-][A-Za-z0-9_.:-]{0,62}"  # old ones have a domain in front: `example.com:name`
_FORMS = {"project": re.compile(_PROJECT)}
_WHOLE_LABEL = re.compile(_LABEL)
_MANTLE = "bedrock-mantle"
_MULTI_REGIONS = ("eu", "us")  # of Vertex: each has a host whose data stays there
_RULE = "has 1 to 63 letters, digits and '-', and begins and ends with a letter or digit"

_Part = Annotated[str | None, word.name(_LABEL, f"here {_RULE}")]


class Aws(Section):
    """Keys of AWS."""

    access_key_id: Annotated[SecretRef, place.secret()] = Field(description="Where the key's id is.")
    secret_access_key: Annotated[SecretRef, place.secret()] = Field(description="Where the key's secret is.")
    session_token: Annotated[SecretRef | None, place.secret()] = Field(
        default=None, description="Where the session's token is, for keys that are of a session."
    )


class Entra(Section):
    """An application in Microsoft Entra that may use the resource."""

    tenant: Annotated[str, word.name(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})", "of a tenant is its id or a domain")] = (
        Field(description="The directory, by its id or one of its domains.")
    )
    client_id: Annotated[str, word.text(256)] = Field(description="The application's id.")
    client_secret: Annotated[SecretRef, place.secret()] = Field(description="Where the application's secret is.")
    authority: Annotated[Address, place.base_url()] = default(
        "https://login.microsoftonline.com", "Where tokens are issued."
    )
    scope: Annotated[str, word.text(256)] = default(
        "https://cognitiveservices.azure.com/.default", "What the token is for."
    )


class Cloud(Section):
    """What some providers have, each its own."""

    resource: _Part = Field(default=None, description="Azure: the resource's name.")
    region: _Part = Field(default=None, description="Bedrock and SageMaker: the region.")
    endpoint: _Part = Field(
        default=None, description="SageMaker: the endpoint's name. Vertex: of a model that was deployed, its endpoint."
    )
    inference_component: _Part = Field(default=None, description="SageMaker: one of several models of the endpoint.")
    project: Annotated[str | None, word.name(_PROJECT, "of a project is its id")] = Field(
        default=None, description="Vertex: the project's id."
    )
    location: _Part = Field(default=None, description="Vertex: the region, or global.")
    entra: Entra | None = Field(default=None, description="Azure: the application whose tokens are used.")
    aws: Aws | None = Field(default=None, description="Bedrock and SageMaker: the keys that requests are signed with.")
    service_account: Annotated[SecretRef | None, place.secret()] = Field(
        default=None, description="Vertex: where the key file (JSON) of the service account is."
    )

    @model_validator(mode="before")
    @classmethod
    def _address_of_parts(cls, data: object) -> object:
        return _with_address(data) if isinstance(data, dict) else data


def check(provider: str, given: set[str]) -> None:
    """
    Refuse keys that go with another provider, and say which ones are wanted.

    Args:
        given: the keys that were written, and `base_url` where it follows from them.
    Raises:
        Unfit: see above.
    """
    own = {*PARTS.get(provider, ()), *_CREDENTIALS.get(provider, ("api_key",))}
    for key in sorted(given & (_KEYS | {"api_key"})):
        if key not in own:
            raise Unfit(f"{key} does not go with provider: {provider}, which takes: {', '.join(sorted(own))}")
    if provider not in PARTS:
        return
    parts = [part for part in PARTS[provider] if (provider, part) not in _OPTIONAL]
    if "base_url" not in given:
        missing = [part for part in parts if part not in given]
        raise Unfit(f"provider: {provider} needs {' and '.join(missing)}, or a base_url")
    known = _CREDENTIALS[provider]
    chosen = [key for key in known if key in given]
    if len(chosen) != 1:
        raise Unfit(f"provider: {provider} needs {' or '.join(known)}" + (", and not both" if chosen else ""))
    if chosen == ["aws"] and "region" not in given:
        raise Unfit("aws needs region, for which signatures are made")


def fits(part: str, value: str) -> bool:
    """Tell whether a value can be that part of an address."""
    return _FORMS.get(part, _WHOLE_LABEL).fullmatch(value) is not None


def credential_of(provider: str, address: Address, item: Cloud) -> credential.Credential | None:
    """Compile what is more than a header line."""
    if item.aws is not None:
        assert item.region is not None, "check() has seen it"
        return credential.Aws(
            access_key_id=item.aws.access_key_id,
            secret_access_key=item.aws.secret_access_key,
            session_token=item.aws.session_token,
            region=item.region,
            service=_MANTLE if address.host.startswith(f"{_MANTLE}.") else provider,
            bearer=provider == "sagemaker",  # the only thing that its OpenAI-compatible path takes
        )
    if item.service_account is not None:
        return credential.Google(item.service_account)
    if item.entra is not None:
        entra = item.entra
        return credential.Entra(entra.tenant, entra.client_id, entra.client_secret, entra.authority, entra.scope)
    return None


def secrets_of(item: Cloud) -> Iterator[tuple[KeyPath, SecretRef]]:
    """Yield where secrets are, with the keys below the deployment."""
    if item.aws is not None:
        yield ("aws", "access_key_id"), item.aws.access_key_id
        yield ("aws", "secret_access_key"), item.aws.secret_access_key
        if item.aws.session_token is not None:
            yield ("aws", "session_token"), item.aws.session_token
    if item.entra is not None:
        yield ("entra", "client_secret"), item.entra.client_secret
    if item.service_account is not None:
        yield ("service_account",), item.service_account


def _with_address(data: dict[str, Any]) -> dict[str, Any]:
    """
    Add the base_url that follows from the parts. What is not well-formed gets a problem of its own later.

    Raises:
        Unfit: there is a base_url beside parts that say the same.
    """
    provider = data.get("provider")
    if provider == "anthropic" and data.get("base_url") is None:
        return {**data, "base_url": _OF_ANTHROPIC}
    names = PARTS.get(provider, ()) if isinstance(provider, str) else ()
    parts = {name: data[name] for name in names if data.get(name) is not None}
    if data.get("base_url") is not None:
        beside = [name for name in parts if name != "region"]
        if beside:
            raise Unfit(f"{beside[0]} says where it is, and so does base_url; leave out one of them")
        return data
    well = all(isinstance(value, str) and fits(name, value) for name, value in parts.items())
    complete = all(name in parts or (provider, name) in _OPTIONAL for name in names)
    if not (names and well and complete):
        return data
    return {**data, "base_url": _base_url(str(provider), parts)}


def _base_url(provider: str, parts: Mapping[str, str]) -> str:
    match provider:
        case "azure":
            return f"https://{parts['resource']}.openai.azure.com/openai/v1"
        case "bedrock":
            return f"https://bedrock-runtime.{parts['region']}.{_aws_domain(parts['region'])}/openai/v1"
        case "sagemaker":
            component = parts.get("inference_component")
            below = f"/inference-components/{component}" if component else ""
            where = f"https://runtime.sagemaker.{parts['region']}.{_aws_domain(parts['region'])}"
            return f"{where}/endpoints/{parts['endpoint']}{below}/openai/v1"
    location = parts["location"]
    host = f"{location}-aiplatform.googleapis.com"
    if location == "global":
        host = "aiplatform.googleapis.com"
    elif location in _MULTI_REGIONS:
        host = f"aiplatform.{location}.rep.googleapis.com"
    path = f"/v1/projects/{parts['project']}/locations/{location}/endpoints/{parts.get('endpoint', 'openapi')}"
    return f"https://{host}{path}"


def _aws_domain(region: str) -> str:
    """Of the partitions that anybody can have an account in; others are reached by a base_url."""
    if region.startswith("cn-"):
        return "amazonaws.com.cn"
    return "amazonaws.eu" if region.startswith("eusc-") else "amazonaws.com"
