"""From the stack to the snapshot documents. Pure: no clock, no file, no environment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b

import msgspec

from penstock.auth.secrets import SecretRef
from penstock.pricing.period import Period
from penstock.pricing.price import NANO_PER_USD, Price
from penstock.snapshot.config import (
    Balance,
    Budget,
    Cache,
    Config,
    Deployment,
    GatewaySettings,
    Limit,
    Measure,
    Model,
    Outage,
    Shadow,
    Target,
    Tls,
)
from penstock.snapshot.fleet import Desired, EngineSpec
from penstock.stack import cloud, policies, schema
from penstock.stack.deployments import Engine, Provider
from penstock.stack.policies import Policy
from penstock.stack.stack import Stack
from penstock.types.dialect import Dialect
from penstock.types.priority import BY_WORD, Priority

_OF_ENGINES = (Dialect.CHAT, Dialect.COMPLETIONS, Dialect.EMBEDDINGS, Dialect.COUNT)
_SUBJECTS = ("key", "user", "tenant", "model", "address")


def config_of(stack: Stack, version: int, created: int, workers: int) -> Config:
    """
    Compile what gateways need.

    Args:
        version: of the document; the caller lets it grow.
        created: seconds since the epoch that `/v1/models` tells for each model.
        workers: gateway workers among which seats and limits are shared out, should nobody keep them for all.
    """
    return Config(
        version=version,
        deployments={
            name: _deployment(name, item, stack.prices[name].price) for name, item in stack.deployments.items()
        },
        models={name: _model(name, item, created, stack) for name, item in stack.models.items()},
        gateway=_settings(stack, workers),
    )


def desired_of(stack: Stack, version: int) -> Desired:
    """Compile the engines that the node is to run, those with no replica included."""
    engines = ((name, item) for name, item in stack.deployments.items() if isinstance(item, Engine))
    return Desired(version=version, engines=tuple(_spec(name, engine) for name, engine in engines))


def _deployment(name: str, item: Engine | Provider, price: Price | None) -> Deployment:
    if isinstance(item, Engine):
        return Deployment(
            name=name,
            provider="openai",  # the protocol that every engine speaks on its socket
            model=name,
            engine=True,
            price=price,
            seats=item.parallel,
            queue=item.queue,
            balance=Balance(item.balance),
            prompt_cache=item.prompt_cache,
            speaks=_OF_ENGINES,
            context=item.context,
        )
    address = msgspec.structs.replace(item.base_url, ca=item.ca)
    if item.provider == "anthropic" and not address.path:  # as Anthropic's own SDKs take it
        address = msgspec.structs.replace(address, path="/v1")
    return Deployment(
        name=name,
        provider=item.provider,
        model=item.model,
        engine=False,
        price=price,
        seats=item.max_in_flight,
        queue=item.queue,
        address=address,
        api_key=item.api_key,
        credential=cloud.credential_of(item.provider, item.base_url, item),
        speaks=tuple(dialect for dialect in Dialect if dialect.value in item.speaks),
        context=item.context,
        references=item.references == "allow",
        zone=item.zone or "",
    )


def _model(name: str, model: schema.Model, created: int, stack: Stack) -> Model:
    timeout = model.timeout
    return Model(
        name=name,
        targets=tuple(Target(deployment, float(weight)) for deployment, weight in model.weighted.items()),
        fallback=model.fallback,
        first_token_s=min(timeout.first_token, timeout.total).seconds,
        total_s=timeout.total.seconds,
        created=created,
        limits=tuple(limit for name in model.policies for limit in _limits(name, stack.policies[name])),
        budgets=tuple(budget for name in model.policies for budget in _budgets(name, stack)),
        priority=_priority([stack.policies[name].priority for name in model.policies]),
        cache=_cache([cache for name in model.policies if (cache := stack.policies[name].cache) is not None]),
        shadow=None if model.shadow is None else Shadow(model.shadow.deployment, model.shadow.share.fraction),
        adaptive=model.weights == "adaptive",
    )


def _cache(said: Sequence[policies.Cache]) -> Cache | None:
    """Return the strictest of what the policies say; all of them hold."""
    if not said:
        return None
    return Cache(min(each.ttl for each in said).seconds, int(min(each.max_entry for each in said)))


def _priority(said: Sequence[str | None]) -> Priority:
    """Return the lowest that the policies say; all of them hold."""
    return max((BY_WORD[word] for word in said if word is not None), default=Priority.NORMAL)


def _limits(name: str, policy: Policy) -> Iterator[Limit]:
    for limit in policy.limits:
        per = tuple(subject for subject in _SUBJECTS if subject in limit.per)
        for measure, most in (
            (Measure.REQUESTS, limit.requests_per_minute),
            (Measure.TOKENS, limit.tokens_per_minute),
            (Measure.CONCURRENCY, limit.concurrency),
        ):
            if most is not None:
                yield Limit(name, per, measure, most, Outage(limit.on_counters_outage))


def _budgets(name: str, stack: Stack) -> Iterator[Budget]:
    models = tuple(sorted(model for model, item in stack.models.items() if name in item.policies))
    together = blake2b(msgspec.json.encode(models), digest_size=6).hexdigest()
    for budget in stack.policies[name].budgets:
        per = tuple(subject for subject in _SUBJECTS if subject in budget.per)
        yield Budget(
            id=f"{name} {'+'.join(per)} {budget.period} {together}",
            policy=name,
            per=per,
            period=Period(budget.period),
            models=models,
            most_nano=int(budget.amount_usd * NANO_PER_USD),
            on_outage=Outage(budget.on_counters_outage),
        )


def _settings(stack: Stack, workers: int) -> GatewaySettings:
    gateway, tls = stack.gateway, stack.gateway.tls
    counters, shared_cache = stack.state.counters, stack.state.cache
    return GatewaySettings(
        max_body=int(gateway.max_body),
        drain_s=gateway.drain.seconds,
        notice_s=gateway.notice.seconds,
        commit_after_s=gateway.commit_after.seconds,
        tls=None if tls is None else Tls(certificate=tls.certificate, key=tls.key),
        workers=max(1, workers),
        counters=counters if isinstance(counters, SecretRef) else None,
        cache=int(gateway.cache),
        shared_cache=shared_cache if isinstance(shared_cache, SecretRef) else None,
    )


def _spec(name: str, engine: Engine) -> EngineSpec:
    spec = EngineSpec(
        deployment=name,
        version="",
        engine=engine.engine,
        weights=engine.weights.path,
        replicas=0,
        context=engine.context,
        parallel=engine.parallel,
        threads=engine.threads,
    )
    version = blake2b(msgspec.json.encode(spec), digest_size=4).hexdigest()
    return msgspec.structs.replace(spec, version=version, replicas=engine.replicas)
