"""The sections beside `model_list`: what of them is part of a stack, and what becomes of the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from penstock.stack.litellm.cursor import Cursor
from penstock.stack.litellm.notes import Notes

SECTIONS: Final = frozenset(
    {
        "credential_list",
        "environment_variables",
        "general_settings",
        "litellm_settings",
        "model_list",
        "router_settings",
    }
)

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_MOST_VARIABLES = 50  # named in a sentence
_LARGEST_BODY_MIB = 1024

_AWAY: Final = "Penstock has no such setting"
_TRIES: Final = (
    "a stack does not say how often to try again, or when to leave a deployment alone: Penstock does both by itself, "
    "and tries a model's fallback"
)
_ONLY_FAILURES: Final = (
    "a fallback is for a deployment that fails; a request that is refused as too long or as "
    "against a policy is the client's to change"
)
_CACHE: Final = "a policy with cache: keeps answers, of the models that name it"
_CALLBACKS: Final = (
    "Penstock calls nobody; it has /metrics on the ops port, and `penstock usage` and `penstock explain`"
)
_BUDGET: Final = "a policy's budgets are per key, user, tenant or model; see docs/money.md"
_LOGS: Final = "PENSTOCK_LOG_LEVEL sets what is logged, and logs are JSON lines"
_WHO: Final = "keys and tenants are made with `penstock keys create` and `penstock tenants create`"
_REDIS: Final = "put the server's address into REDIS_URL, such as redis://:PASSWORD@HOST:6379/0"

_ROUTER: Final[Mapping[str, str]] = {
    "allowed_fails": _TRIES,
    "allowed_fails_policy": _TRIES,
    "content_policy_fallbacks": _ONLY_FAILURES,
    "context_window_fallbacks": _ONLY_FAILURES,
    "cache_kwargs": _CACHE,
    "cache_responses": _CACHE,
    "caching_groups": _CACHE,
    "cooldown_time": _TRIES,
    "default_litellm_params": "Penstock sends a client's parameters as they are, and adds none",
    "disable_cooldowns": _TRIES,
    "enable_pre_call_checks": (
        "Penstock has no limits per deployment and does not look up how long a prompt may be; "
        "limit a model with a policy: limits: [{per: model, requests_per_minute: …}]"
    ),
    "enable_tag_filtering": "no route of a stack goes by tags",
    "max_fallbacks": _TRIES,
    "model_group_retry_policy": _TRIES,
    "num_retries": _TRIES,
    "provider_budget_config": _BUDGET,
    "retry_after": _TRIES,
    "retry_policy": _TRIES,
    "routing_strategy_args": "the routes of a stack have no such arguments",
    "set_verbose": _LOGS,
    "debug_level": _LOGS,
}
_LITELLM: Final[Mapping[str, str]] = {
    **{key: told for key, told in _ROUTER.items() if told in {_TRIES, _ONLY_FAILURES}},
    "budget_duration": _BUDGET,
    "cache": _CACHE,
    "cache_params": _CACHE,
    "callbacks": _CALLBACKS,
    "drop_params": (
        "Penstock drops only what a translation to another dialect has no words for, and names it in x-penstock-dropped"
    ),
    "failure_callback": _CALLBACKS,
    "json_logs": _LOGS,
    "max_budget": _BUDGET,
    "modify_params": "Penstock sends a client's parameters as they are",
    "service_callback": _CALLBACKS,
    "service_callbacks": _CALLBACKS,
    "set_verbose": _LOGS,
    "success_callback": _CALLBACKS,
}
_GENERAL: Final[Mapping[str, str]] = {
    "alerting": "Penstock calls nobody; alert on /metrics of the ops port",
    "custom_auth": _WHO,
    "enable_jwt_auth": _WHO,
    "global_max_parallel_requests": (
        "limit the models with a policy that they share: limits: [{per: tenant, concurrency: …}]"
    ),
    "store_model_in_db": ("models that were added through LiteLLM's API are in its database; add them to the stack"),
}
_TOP: Final[Mapping[str, str]] = {
    "callback_settings": _CALLBACKS,
    "guardrails": "this version of Penstock has no guards",
    "include": "import each of these files by itself, or paste them into one",
    "mcp_servers": "Penstock serves models, not tools",
}


def tell_rest(section: str, at: Cursor | None, read: frozenset[str], notes: Notes) -> None:
    """Say of each setting of a section that is not among those read, and not off, why it is not in the stack."""
    known = {"router_settings": _ROUTER, "litellm_settings": _LITELLM, "general_settings": _GENERAL}[section]
    for key, value in () if at is None else at.entries():
        if key not in read and not value.off:
            notes.left_out(value, known.get(key, _AWAY))


def tell_sections(root: Cursor, notes: Notes) -> None:
    """Say of each section that LiteLLM may have, and a stack has not, why it is not in it."""
    for key, value in root.entries():
        if key not in SECTIONS and not key.startswith("x-") and not value.off:  # x- holds anchors, by custom
            notes.left_out(value, _TOP.get(key, "Penstock knows no such section"))


def tell_variables(at: Cursor | None, notes: Notes) -> None:
    """Say which variables LiteLLM would set for itself. Their values are told to nobody."""
    names = [key for key, _ in at.entries() if _VARIABLE.fullmatch(key)] if at is not None else []
    if names:
        told = ", ".join(names[:_MOST_VARIABLES]) + (" and others" if len(names) > _MOST_VARIABLES else "")
        notes.remark(at, f"a stack sets no variables: set those that it refers to before Penstock starts ({told})")


def state(general: Cursor | None, router: Cursor | None, notes: Notes) -> dict[str, Any]:
    """Return `state:` of the stack: the database and the counters, where the source has them in the environment."""
    found: dict[str, Any] = {}
    database = general.get("database_url") if general is not None else None
    if database is not None and database.variable is not None:
        found["database"] = f"${{{database.variable}}}"
        told = f"let {database.variable} name a PostgreSQL database of Penstock's own"
        notes.remark(database, f"{told}: keys, teams and spend of LiteLLM's are not carried over")
    elif database is not None:
        told = "it may hold a password: put it into an environment variable"
        notes.left_out(database, f"{told} and write state: {{database: ${{NAME}}}}, else there is an SQLite file")
    server = (router.get("redis_url") or router.get("redis_host")) if router is not None else None
    if server is not None:
        _counters(server, found, notes)
    return found


def _counters(server: Cursor, found: dict[str, Any], notes: Notes) -> None:
    """Take a Redis as the counters' server, which is told one address as a whole."""
    if server.variable is not None and server.path[-1] == "redis_url":
        found["counters"] = f"${{{server.variable}}}"
        notes.remark(server, f"limits of all hosts are counted in the Redis that {server.variable} names")
    elif server.variable is not None:
        found["counters"] = "${REDIS_URL}"
        notes.remark(server, f"limits of all hosts are counted in one Redis: {_REDIS}")
    else:
        notes.left_out(server, f"{_REDIS}, and write state: {{counters: ${{REDIS_URL}}}}")


def gateway(general: Cursor | None, notes: Notes) -> dict[str, Any]:
    """Return `gateway:` of the stack: the largest request."""
    size = general.get("max_request_size_mb") if general is not None else None
    if size is None:
        return {}
    mib = size.number
    if mib is None or mib != int(mib) or not 1 <= mib <= _LARGEST_BODY_MIB:
        notes.left_out(size, f"max_body is a whole number of MiB up to {_LARGEST_BODY_MIB}")
        return {}
    return {"max_body": f"{int(mib)}MiB"}


def tell_master_key(general: Cursor | None, notes: Notes) -> None:
    """Say what takes the master key's place."""
    key = general.get("master_key") if general is not None else None
    if key is not None:
        told = "PENSTOCK_ADMIN_KEY sets an admin key for the admin API; clients get keys from `penstock keys create`"
        notes.left_out(key, told)
