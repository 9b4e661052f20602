"""What of a model's answers may be kept, and what tells its present configuration from all others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b

import msgspec

from penstock.snapshot.config import Deployment, Model
from penstock.snapshot.fleet import Replica

_WITHOUT = ("price", "seats", "queue", "balance", "context", "references")  # what an answer does not depend on


class Rule(msgspec.Struct, frozen=True):
    """
    The cache policy of one model, compiled with a view.

    Attributes:
        ttl_s: seconds that an answer is given again for.
        max_entry: bytes of an answer.
        fingerprint: of all that decides how the model answers; another configuration has another one.
        targets: deployments whose answers are kept; one by a fallback is not to outlive what it stood in for.
        stores: some of its deployments keep responses, so that each is to have an id of its own.
    """

    ttl_s: float
    max_entry: int
    fingerprint: str
    targets: frozenset[str]
    stores: bool = False


def rule_of(
    model: Model,
    capped: bool,
    deployments: Mapping[str, Deployment],
    replicas: Mapping[str, Sequence[Replica]],
    *,
    stores: bool = False,
) -> Rule | None:
    """
    Return the rule of a model, or None where it has no cache.

    Args:
        capped: answers without a cap get one.
        replicas: of this host, by deployment; their versions say which weights answer.
        stores: as in `Rule`.
    """
    if model.cache is None:
        return None
    targets = frozenset(target.deployment for target in model.targets)
    names = sorted({*targets, *model.fallback})
    parts = [_described(deployments.get(name), replicas.get(name, ())) for name in names]
    whole = msgspec.json.encode((model.name, sorted(targets), model.fallback, capped, parts))
    fingerprint = blake2b(whole, digest_size=16).hexdigest()
    return Rule(model.cache.ttl_s, model.cache.max_entry, fingerprint, targets, stores)


def _described(deployment: Deployment | None, replicas: Iterable[Replica]) -> object:
    if deployment is None:
        return None
    # What is added to deployments later counts, unless it is named here.
    fields = {name: value for name, value in msgspec.to_builtins(deployment).items() if name not in _WITHOUT}
    return sorted(fields.items()), sorted({replica.version for replica in replicas})
