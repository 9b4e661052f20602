"""Entries of `model_list`, each turned into a deployment and what the routing of its model needs to know."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Context, Decimal, localcontext
from typing import Any, Final

import msgspec

from penstock.stack.litellm.address import Place, place
from penstock.stack.litellm.clouds import CLOUDS, READ, Asked
from penstock.stack.litellm.cursor import Cursor
from penstock.stack.litellm.document import variable_of
from penstock.stack.litellm.notes import Notes
from penstock.stack.litellm.parameters import MODES_NOT_SERVED, tell_rest
from penstock.stack.litellm.providers import NO_KEY, NOT_CARRIED, PROVIDERS, Provider, Upstream, split
from penstock.stack.litellm.variables import Variables
from penstock.stack.reader import PRINTABLE, shown

MOST = 1000  # deployments that a stack may have

_USUAL_ADDRESS = "https://api.openai.com/v1"  # the stack's, where there is no base_url
_NOT_SAYABLE = "the model's name has to be written out, in one line"
_LONGEST_NAME = 63
_LONGEST_MODEL = 256
_MOST_IN_FLIGHT = 65_536
_DEAREST_USD = 1_000_000  # per million tokens
_NOT_IN_NAMES = re.compile(r"[^a-z0-9._-]+")
_CREDENTIALS = ("azure_ad_token", "tenant_id", "client_id", "client_secret", "azure_username", "azure_password")
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
_COSTS: Final[Mapping[str, tuple[str, ...]]] = {
    "input_cost_per_token": ("input",),
    "output_cost_per_token": ("output",),
    "cache_read_input_token_cost": ("cache_read",),
    "cache_creation_input_token_cost": ("cache_write",),
    "cache_creation_input_token_cost_above_1hr": ("cache_write_1h",),
    "output_cost_per_reasoning_token": ("reasoning",),
    "input_cost_per_audio_token": ("audio", "input"),
    "output_cost_per_audio_token": ("audio", "output"),
    "input_cost_per_token_batches": ("batch", "input"),
    "output_cost_per_token_batches": ("batch", "output"),
}


class Member(msgspec.Struct, frozen=True):
    """
    One entry of `model_list`.

    Attributes:
        at: the entry.
        model: the name that clients ask for.
        id: of this entry, empty when it has none.
        deployment: what answers, by its name.
        params: `litellm_params`.
    """

    at: Cursor
    model: str
    id: str
    deployment: str
    params: Cursor

    def setting(self, key: str) -> Cursor | None:
        """Return a setting of the entry, which older files have beside `litellm_params`."""
        return self.params.get(key) or self.at.get(key)

    def info(self, key: str) -> Cursor | None:
        """Return what `model_info` says."""
        info = self.at.get("model_info")
        return info.get(key) if info is not None else None


class Deployments:
    """
    The deployments of one conversion.

    Attributes:
        values: of each, by its name, as the stack file has them.
        lines: of the entries that it comes from.
    """

    def __init__(self, credentials: Mapping[str, Cursor], variables: Variables, in_flight: Cursor | None) -> None:
        """Take `credential_list` by name, and the number of parallel requests that entries without their own have."""
        self.values: dict[str, dict[str, Any]] = {}
        self.lines: dict[str, list[int]] = {}
        self._credentials = credentials
        self._variables = variables
        self._in_flight = in_flight

    def add(self, entry: Cursor, notes: Notes) -> Member | None:
        """Add the deployment of an entry, unless there is an equal one; None, with a note, when it cannot be."""
        model, params = entry.get("model_name"), entry.get("litellm_params")
        name = model.text if model is not None else None
        if not name or params is None:
            notes.left_out(entry, "is no deployment: it needs a model_name and litellm_params with a model")
            return None
        found = self._read(entry, name, params, notes)
        if found is None:
            return None
        values, stem, identity = found
        same = next((known for known, item in self.values.items() if item == values), None)
        if same is None and len(self.values) >= MOST:
            notes.left_out(entry, f"a stack has at most {MOST} deployments")
            return None
        deployment = same or self._free(stem)
        self.values.setdefault(deployment, values)
        self.lines.setdefault(deployment, []).append(entry.line)
        tell_rest(entry, params, READ.get(values["provider"], frozenset()), notes)
        return Member(entry, name, identity, deployment, params)

    def _read(self, entry: Cursor, name: str, params: Cursor, notes: Notes) -> tuple[dict[str, Any], str, str] | None:
        """Return the values of the deployment, what it may be called, and the entry's id."""
        info = entry.get("model_info")
        model = params.get("model")
        mode = info.get("mode") if info is not None else None
        if mode is not None and mode.text in MODES_NOT_SERVED:
            notes.left_out(mode, f"Penstock has no route for {mode.text}")
            return None
        if model is None or model.text is None:
            notes.left_out(params, "is no deployment: litellm_params needs a model")
            return None
        if "*" in name or "*" in model.text:
            sentence = "a stack has no wildcards: list the models that clients ask for, each with its deployment"
            notes.left_out(model, sentence)
            return None
        if model.variable is not None:
            notes.left_out(model, "write the provider and the model's name out")
            return None
        custom = params.get("custom_llm_provider")
        kind, upstream = split(model.text, custom.text if custom is not None else None)
        provider, cloud = PROVIDERS.get(kind or ""), CLOUDS.get(kind or "")
        if provider is None and cloud is None:
            notes.left_out(model, _unknown(kind))
            return None
        if not _sayable(upstream):
            notes.left_out(model, _NOT_SAYABLE)
            return None
        given = info.get("id") if info is not None else None
        identity = (given.text if given is not None else None) or ""
        values: dict[str, Any] | None = None
        if provider is not None:
            of_route = provider.upstream(upstream, (mode.text if mode is not None else None) or "")
            values = self._hosted(of_route, params, provider, name, notes)
        elif cloud is not None and mode is not None and mode.text == "embedding":
            notes.left_out(mode, f"Penstock asks {kind} for chats only")
        elif cloud is not None:
            values = cloud(self._asked(model, upstream, params, name, notes))
        if values is None:
            return None
        if in_flight := self._parallel(params, notes):
            values["max_in_flight"] = in_flight
        if price := _price(params, info, notes):
            values["price"] = price
        if provider is not None and provider.remark:
            notes.remark(model, f"{kind} {provider.remark}")
        return values, _slug(identity or f"{kind}-{values['model'] if provider is not None else upstream}"), identity

    def _hosted(
        self, upstream: Upstream, params: Cursor, provider: Provider, name: str, notes: Notes
    ) -> dict[str, Any] | None:
        """Return the keys that say where it is and what it is asked with; None, with a note, when it cannot be."""
        at = params.get("model")
        base = self._setting(params, "api_base") or self._setting(params, "base_url")
        found = place(base, provider, params, notes)
        if found is None:
            return None
        model = found.deployment or upstream.model
        if not _sayable(model):
            notes.left_out(at, _NOT_SAYABLE)
            return None
        if model != upstream.model:
            notes.remark(base, "as with LiteLLM the deployment that the address names is asked, not the one in model:")
        values: dict[str, Any] = {"provider": provider.protocol}
        if found.base_url != _USUAL_ADDRESS:
            values["base_url"] = found.base_url
        if upstream.responses:
            values["speaks"] = ["responses"]
            told = (
                "LiteLLM translates chats to the Responses API for this model, which Penstock does not: it refuses them"
            )
            notes.left_out(at, f"{told}; write speaks: [chat, responses] where the model has chats too")
        values["model"] = model.replace("$", "$$")
        credential = self._credential(params, provider, found, name, notes)
        return None if credential is None else values | credential

    def _asked(self, model: Cursor, upstream: str, params: Cursor, name: str, notes: Notes) -> Asked:
        """Return the entry as the clouds read it."""

        def setting(key: str) -> Cursor | None:
            return self._setting(params, key)

        def secret(at: Cursor, content: str, ending: str) -> str:
            return self._secret(at, name, notes, content, ending)

        return Asked(model, upstream, setting, secret, notes)

    def _setting(self, params: Cursor, key: str) -> Cursor | None:
        """Return a setting of the entry, or of the credential that it names."""
        credential = params.get("litellm_credential_name")
        shared = self._credentials.get(credential.text or "") if credential is not None else None
        return params.get(key) or (shared.get(key) if shared is not None else None)

    def _credential(
        self, params: Cursor, provider: Provider, at: Place, name: str, notes: Notes
    ) -> dict[str, Any] | None:
        """Return the keys that say what it proves itself by, if any; None, with a note, where it needs one."""
        if entra := self._entra(params, provider, name, notes):
            if ".azure.com/" not in at.base_url:
                told = "another cloud of Azure issues tokens elsewhere: write its entra.authority and entra.scope"
                notes.remark(params, f"{told} if this is in one")
            return {"entra": entra}
        if key := self._key(params, provider, at, name, notes):
            return {"api_key": key}
        if provider.protocol == "azure":
            told = "it has neither an api_key nor all of tenant_id, client_id and client_secret"
            notes.left_out(params, f"{told}; give it an api_key, such as os.environ/{provider.key}")
            return None
        return {}

    def _key(self, params: Cursor, provider: Provider, at: Place, name: str, notes: Notes) -> str | None:
        key = self._setting(params, "api_key")
        if key is not None and key.variable is not None:
            return f"${{{key.variable}}}"
        if key is None:
            others = [found for name in _CREDENTIALS if (found := self._setting(params, name)) is not None]
            for other in others:
                notes.left_out(other, "this needs a credential that is fetched; give the deployment an api_key")
            if others or not provider.key:
                return None
            if at.own:
                return f"${{{provider.key}}}"
            if provider.protocol == "azure":
                return None  # without a credential there is no deployment, which the caller says
            told = f"there is no api_key; LiteLLM would send what {provider.key} holds, Penstock sends none"
            notes.remark(params, f"{told}: add api_key: ${{{provider.key}}} if this server is to get it")
            return None
        if key.text is None:
            notes.left_out(key, "an api_key is one word, or os.environ/NAME")
            return None
        if key.text.lower() in NO_KEY:
            notes.remark(key, "looks like a stand-in for no key, so the deployment has none")
            return None
        return self._secret(key, name, notes)

    def _entra(self, params: Cursor, provider: Provider, name: str, notes: Notes) -> dict[str, str] | None:
        """Return the application whose tokens Azure is asked with; None where there is a key, or not all of it."""
        if provider.protocol != "azure" or self._setting(params, "api_key") is not None:
            return None
        found = [self._setting(params, key) for key in ("tenant_id", "client_id", "client_secret")]
        tenant, client, secret = (each if each is not None and each.text else None for each in found)
        if tenant is None or client is None or secret is None:
            return None
        if tenant.variable is None and not _TENANT.fullmatch(tenant.text or ""):
            return None
        if client.variable is None and not _sayable(client.text or ""):
            return None
        return {
            "tenant": _said(tenant),
            "client_id": _said(client),
            "client_secret": self._secret(secret, name, notes),
        }

    def _secret(self, key: Cursor, name: str, notes: Notes, content: str | None = None, ending: str = "API_KEY") -> str:
        """
        Return a reference to the variable that holds a secret, or is to hold it.

        Args:
            content: the secret, where it is not the word at `key`.
            ending: of the variable's name, where it is a new one.
        """
        if key.variable is not None:
            return f"${{{key.variable}}}"
        variable = self._variables.holding(content if content is not None else key.text or "", name, ending)
        told = "the key stands in the file itself; it is copied nowhere: put it into the environment variable"
        notes.remark(key, f"{told} {variable}")
        return f"${{{variable}}}"

    def _parallel(self, params: Cursor, notes: Notes) -> int | None:
        given = params.get("max_parallel_requests") or self._in_flight
        if given is None:
            return None
        number = given.number
        if number is None or number != int(number) or not 1 <= number <= _MOST_IN_FLIGHT:
            notes.left_out(given, f"max_in_flight is a whole number from 1 to {_MOST_IN_FLIGHT}")
            return None
        return int(number)

    def _free(self, stem: str) -> str:
        name, number = stem, 1
        while name in self.values:
            number += 1
            name = f"{stem[: _LONGEST_NAME - 5]}-{number}"
        return name


def _unknown(kind: str | None) -> str:
    if kind is None:
        return "nothing says its provider; write it as provider/model"
    if kind in NOT_CARRIED:
        return NOT_CARRIED[kind]
    told = f"Penstock has no provider {shown(kind)}"
    return f"{told}; where it has an OpenAI-compatible address, write provider: openai and its base_url"


def _sayable(upstream: str) -> bool:
    """Tell whether a model's name can stand in a stack file; there, `os.environ/NAME` would be read as a variable."""
    well_formed = 0 < len(upstream) <= _LONGEST_MODEL and PRINTABLE.fullmatch(upstream) is not None
    return well_formed and variable_of(upstream) is None


def _said(at: Cursor) -> str:
    """Return a value as the stack has it: written out, or a reference to its variable."""
    return f"${{{at.variable}}}" if at.variable is not None else (at.text or "").replace("$", "$$")


def _slug(text: str) -> str:
    """Return a name that a deployment may have."""
    return _NOT_IN_NAMES.sub("-", text.lower()).lstrip("._-")[:_LONGEST_NAME].rstrip("._-") or "deployment"


def _price(params: Cursor, info: Cursor | None, notes: Notes) -> dict[str, Any]:
    """Return what the entry says it costs, in USD per million tokens."""
    price: dict[str, Any] = {}
    for key, path in _COSTS.items():
        given = params.get(key) or (info.get(key) if info is not None else None)
        if given is None:
            continue
        usd = _per_million(given.number)
        if usd is None:
            told = f"a price is from 0 to {_DEAREST_USD} USD per million tokens"
            notes.left_out(given, f"{told}, with at most nine decimal places")
            continue
        within = price
        for step in path[:-1]:
            within = within.setdefault(step, {})
        within[path[-1]] = usd
    return price


def _per_million(per_token: Decimal | None) -> Decimal | None:
    if per_token is None:
        return None
    with localcontext(Context(prec=200)):
        usd = per_token * 1_000_000
        if not usd <= _DEAREST_USD or usd != round(usd, 9):
            return None
        return round(usd, 9).normalize()
