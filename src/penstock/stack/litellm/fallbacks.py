"""What is tried when a model fails, and the other names of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from penstock.stack.litellm.cursor import Cursor
from penstock.stack.litellm.deployments import Member
from penstock.stack.litellm.models import MOST, Model, well_named
from penstock.stack.litellm.notes import Notes
from penstock.stack.reader import shown
from penstock.stack.source import Entries, Items

_SHAPE = "fallbacks are written as a list of {MODEL: [OTHER, …]}"
_ANY = "*"  # stands for every model that has no fallbacks of its own, as default_fallbacks do


def with_fallbacks(
    found: Mapping[str, Model],
    members: Iterable[Member],
    fallbacks: Cursor | None,
    default: Cursor | None,
    notes: Notes,
) -> dict[str, Model]:
    """
    Return the models with the deployments of their fallbacks.

    Args:
        fallbacks: a list of `{model: [other, …]}`; another may be named by the id of one of its entries.
        default: a list of models for those without.
    """
    ids = {member.id: member.deployment for member in members if member.id}
    named: dict[str, tuple[str, ...]] = {}
    if fallbacks is not None and not isinstance(fallbacks.node, Items):
        notes.left_out(fallbacks, _SHAPE)
    for item in () if fallbacks is None else fallbacks.items():
        if not isinstance(item.node, Entries):
            notes.left_out(item, _SHAPE)
        for model, others in item.entries():
            if model not in found and model != _ANY:
                notes.left_out(others, f"there is no model {shown(model)} in the stack")
                continue
            named[model] = (*named.get(model, ()), *_deployments(others, found, ids, notes))
    usual = named.pop(_ANY, ()) + (_deployments(default, found, ids, notes) if default is not None else ())
    return {
        name: msgspec.structs.replace(model, fallback=named.get(name) or named.get(model.alias_of) or usual)
        for name, model in found.items()
    }


def with_aliases(found: Mapping[str, Model], aliases: Cursor | None, notes: Notes) -> dict[str, Model]:
    """
    Return the models, and each once more under its other names.

    Args:
        aliases: `{alias: model}` or `{alias: {model: …, hidden: …}}`.
    """
    models = dict(found)
    if aliases is not None and not isinstance(aliases.node, Entries):
        notes.left_out(aliases, "aliases are written {ALIAS: MODEL}")
    for alias, target in () if aliases is None else aliases.entries():
        name = target.get("model") or target
        model = found.get(name.text or "")
        if model is None:
            notes.left_out(target, "what it stands for is no model of the stack")
        elif alias in found or not well_named(alias) or len(models) >= MOST:
            told = "there is a model of that name" if alias in found else "it cannot be the name of a model"
            notes.left_out(target, told)
        else:
            hidden = target.get("hidden")
            if hidden is not None and hidden.on:
                notes.left_out(hidden, "Penstock lists every model that a key may use")
            models[alias] = msgspec.structs.replace(model, lines=(target.line,), alias_of=name.text or "")
    return models


def _deployments(others: Cursor, found: Mapping[str, Model], ids: Mapping[str, str], notes: Notes) -> tuple[str, ...]:
    """Return the deployments behind a list of models, or of ids of entries."""
    names: list[str] = []
    words: Sequence[Cursor] = tuple(others.words())
    for word in words:
        text = word.text or ""
        if text in found:
            names.extend(found[text].everything)
        elif text in ids:
            names.append(ids[text])
        else:
            notes.left_out(word, f"there is no model {shown(text)} in the stack")
    if len(words) < sum(1 for _ in others.items()) or not words:
        notes.left_out(others, "a fallback is the name of a model, which gets the same request")
    return tuple(dict.fromkeys(names))
