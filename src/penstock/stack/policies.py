"""The `policies` of `penstock.yaml`: what an exchange must pass."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from penstock.pricing.period import Period
from penstock.stack import quantity, word
from penstock.stack.reader import Unfit
from penstock.stack.section import Section, at_most, default, distinct, one_as_list
from penstock.stack.units import Duration, Size
from penstock.types.priority import BY_WORD

_MOST = 1_000_000_000_000

PolicyName = Annotated[str, word.identifier("policy")]
PolicyRef = Annotated[str, word.reference("policy")]
Payer = Annotated[str, word.choice("key", "user", "tenant", "model")]
Subject = Annotated[str, word.choice("key", "user", "tenant", "model", "address")]


class Limit(Section):
    """How much each of those it counts for may ask of the models with this policy, all of them together."""

    per: Annotated[
        tuple[Subject, ...],
        AfterValidator(distinct),
        at_most(5),
        BeforeValidator(one_as_list, json_schema_input_type=str | list[str]),
    ] = Field(description="Whom it counts for: key, user, tenant, model or address; a list counts each combination.")
    requests_per_minute: Annotated[int | None, quantity.whole(1, _MOST)] = Field(
        default=None, description="Requests in any 60 seconds."
    )
    tokens_per_minute: Annotated[int | None, quantity.whole(1, _MOST)] = Field(
        default=None, description="Tokens, of prompts and answers together, in any 60 seconds."
    )
    concurrency: Annotated[int | None, quantity.whole(1, _MOST)] = Field(
        default=None, description="Exchanges in progress at once."
    )
    on_counters_outage: Annotated[str, word.choice("deny", "local_share", "allow")] = default(
        "local_share",
        "What to do while nobody can tell what is left: refuse, let each worker admit its even share, or admit all.",
    )

    @model_validator(mode="after")
    def _limits_something(self) -> Limit:
        if not self.per:
            raise Unfit("per: needs at least one of: key, user, tenant, model, address")
        if self.requests_per_minute is None and self.tokens_per_minute is None and self.concurrency is None:
            raise Unfit("needs requests_per_minute, tokens_per_minute or concurrency")
        return self


class Budget(Section):
    """How much each of those it counts for may spend on the models with this policy, all of them together."""

    per: Annotated[
        tuple[Payer, ...],
        AfterValidator(distinct),
        at_most(4),
        BeforeValidator(one_as_list, json_schema_input_type=str | list[str]),
    ] = Field(description="Whom it counts for: key, user, tenant or model; a list counts each combination.")
    amount_usd: Annotated[Decimal, quantity.amount()] = Field(description="USD of the period; 0 allows nothing.")
    period: Annotated[str, word.choice(*Period)] = Field(
        description="After which it begins anew, in UTC: day, week (from Monday), month; total never does."
    )
    on_counters_outage: Annotated[str, word.choice("deny", "local_share", "allow")] = default(
        "deny", "What to do while nobody can tell what is left: refuse, let each worker spend its share, or admit all."
    )

    @model_validator(mode="after")
    def _counts_for_somebody(self) -> Budget:
        if not self.per:
            raise Unfit("per: needs at least one of: key, user, tenant, model")
        return self


class Cache(Section):
    """Answers are kept, and given again to the same tenant for the same request."""

    ttl: Annotated[Duration, quantity.duration("1s", "30d")] = default("1h", "How long an answer is given again.")
    max_entry: Annotated[Size, quantity.size("1KiB", "16MiB")] = default(
        "256KiB", "Largest answer that is kept, a size."
    )


class Policy(Section):
    """What an exchange must pass."""

    planned = frozenset({"guards"})

    limits: Annotated[tuple[Limit, ...], at_most(16)] = Field(
        default=(), description="How much may be asked; all of them hold."
    )
    budgets: Annotated[tuple[Budget, ...], at_most(16)] = Field(
        default=(), description="How much may be spent; all of them hold."
    )
    priority: Annotated[str | None, word.choice(*BY_WORD)] = Field(
        default=None,
        description="Who goes first where exchanges wait: high, normal or low. Of several policies the lowest holds.",
    )

    cache: Cache | None = Field(
        default=None, description="Keep answers: of several policies the shortest time and the smallest size hold."
    )

    @model_validator(mode="after")
    def _each_once(self) -> Policy:
        seen: set[frozenset[str]] = set()
        for limit in self.limits:
            if frozenset(limit.per) in seen:
                raise Unfit(f"limits: there are two per {' and '.join(limit.per)}; one can hold all of them")
            seen.add(frozenset(limit.per))
        spending: set[tuple[frozenset[str], str]] = set()
        for budget in self.budgets:
            if (frozenset(budget.per), budget.period) in spending:
                raise Unfit(f"budgets: there are two per {' and '.join(budget.per)} and {budget.period}")
            spending.add((frozenset(budget.per), budget.period))
        return self
