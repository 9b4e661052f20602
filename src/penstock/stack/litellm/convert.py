"""A LiteLLM configuration as a stack. Pure: no file, no environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from penstock.stack import schema
from penstock.stack.litellm import settings
from penstock.stack.litellm.cursor import Cursor
from penstock.stack.litellm.deployments import Deployments, Member
from penstock.stack.litellm.document import Document, NotImported
from penstock.stack.litellm.fallbacks import with_aliases, with_fallbacks
from penstock.stack.litellm.models import models
from penstock.stack.litellm.notes import Note, Notes
from penstock.stack.litellm.variables import Variables
from penstock.stack.litellm.weights import strategy

_ROUTER_READ: Final = frozenset(
    {
        "default_fallbacks",
        "default_max_parallel_requests",
        "fallbacks",
        "model_group_alias",
        "redis_db",
        "redis_host",
        "redis_password",
        "redis_port",
        "redis_url",
        "routing_strategy",
        "stream_timeout",
        "timeout",
    }
)
# Penstock stores no prompt and no answer, so there is nothing to turn off.
_LITELLM_READ: Final = frozenset({"default_fallbacks", "fallbacks", "request_timeout", "turn_off_message_logging"})
_GENERAL_READ: Final = frozenset({"database_url", "master_key", "max_parallel_requests", "max_request_size_mb"})


class Imported(msgspec.Struct, frozen=True):
    """
    A configuration, converted.

    Attributes:
        stack: `penstock.yaml` as plain values; `penstock.stack.load` accepts it, given the variables it refers to.
        lines: of the source that a deployment or model comes from, by section and name.
        notes: in the order of their lines.
    """

    stack: dict[str, Any]
    lines: Mapping[tuple[str, str], tuple[int, ...]]
    notes: tuple[Note, ...]

    @property
    def left_out(self) -> int:
        """How many notes are about something that is not in the stack."""
        return sum(note.left_out for note in self.notes)


def convert(document: Document, file: str) -> Imported:
    """
    Turn a configuration into a stack.

    Args:
        file: the name to use in messages.
    Raises:
        NotImported: none of LiteLLM's sections is in it.
    """
    root = Cursor(document.root, (), 1)
    if not any(root.get(section) for section in settings.SECTIONS):
        raise NotImported(f"{file}: not a LiteLLM configuration: it has no model_list, and none of its other sections")
    notes = Notes()
    general, router, library = (root.get(f"{name}_settings") for name in ("general", "router", "litellm"))
    deployments, members = _deployments(root, document, router, general, notes)
    chosen = strategy(_from(router, "routing_strategy"), notes)
    found = models(members, _defaults(router, library), chosen, notes)
    found = with_aliases(found, _from(router, "model_group_alias"), notes)
    fallbacks = _from(router, "fallbacks") or _from(library, "fallbacks")
    default = _from(router, "default_fallbacks") or _from(library, "default_fallbacks")
    found = with_fallbacks(found, members, fallbacks, default, notes)
    if any("first_token" not in model.timeout for model in found.values()):
        told = "a stream that brings nothing for 30 seconds counts as failed where LiteLLM has no stream_timeout"
        notes.remark(None, f"{told}; models.NAME.timeout.first_token says otherwise")
    state = settings.state(general, router, notes)
    gateway = settings.gateway(general, notes)
    settings.tell_master_key(general, notes)
    settings.tell_variables(root.get("environment_variables"), notes)
    settings.tell_rest("router_settings", router, _ROUTER_READ, notes)
    settings.tell_rest("litellm_settings", library, _LITELLM_READ, notes)
    settings.tell_rest("general_settings", general, _GENERAL_READ, notes)
    settings.tell_sections(root, notes)
    used = {name for model in found.values() for name in (*model.everything, *model.fallback)}
    sections: dict[str, Any] = {
        "gateway": gateway,
        "state": state,
        "deployments": {name: values for name, values in deployments.values.items() if name in used},
        "models": {name: model.values() for name, model in found.items()},
    }
    lines = {("models", name): model.lines for name, model in found.items()}
    lines |= {("deployments", name): tuple(dict.fromkeys(at)) for name, at in deployments.lines.items()}
    stack = {"version": schema.VERSION, **{name: values for name, values in sections.items() if values}}
    return Imported(stack, lines, notes.all())


def _deployments(
    root: Cursor, document: Document, router: Cursor | None, general: Cursor | None, notes: Notes
) -> tuple[Deployments, list[Member]]:
    """Read `model_list` and the credentials that its entries name."""
    credentials: dict[str, Cursor] = {}
    listed = root.get("credential_list")
    for item in () if listed is None else listed.items():
        name, values = item.get("credential_name"), item.get("credential_values")
        if name is not None and name.text and values is not None:
            credentials[name.text] = values
    in_flight = _from(router, "default_max_parallel_requests") or _from(general, "max_parallel_requests")
    deployments = Deployments(credentials, Variables(document.variables), in_flight)
    entries = root.get("model_list")
    found = [deployments.add(entry, notes) for entry in (() if entries is None else entries.items())]
    members = [member for member in found if member is not None]
    if not members:
        notes.left_out(entries, "there is no deployment in it that a stack can have, so the stack has no models")
    return deployments, members


def _defaults(router: Cursor | None, library: Cursor | None) -> dict[str, Cursor]:
    """Return the time limits of entries without their own."""
    found = {"timeout": _from(router, "timeout") or _from(library, "request_timeout")}
    found["stream_timeout"] = _from(router, "stream_timeout")
    return {key: value for key, value in found.items() if value is not None}


def _from(section: Cursor | None, key: str) -> Cursor | None:
    return section.get(key) if section is not None else None
