"""Under which key an answer is kept: whose it is, and everything that it depends on."""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from penstock.gateway.dialects.call import Call
from penstock.types.dialect import Dialect

_WITHOUT = frozenset({"model", "stream", "user", "metadata", "safety_identifier", "prompt_cache_key"})
"""
Fields that an answer does not depend on, or that are in the key in another form: the model with its configuration, and
`stream` as what it means. Everything else counts, whoever may have invented it.
"""

_REPEATED = frozenset({"model", "stream"})
"""The same for Responses, whose answers repeat the others: metadata of one user is not for the next one."""

_STATEFUL = ("background", "conversation")  # of Responses: work to be asked after, and something that the call adds to
_NOTHING = (b"null", b"false")
_encode = msgspec.json.Encoder().encode


def stateful(call: Call) -> str:
    """
    Return the field by which a call does more than to be answered, or depends on more than itself, so that no kept
    answer will do, and no other deployment's; or nothing.
    """
    if call.previous is not None:
        return "previous_response_id"
    fields = call.document.fields
    for name in _STATEFUL:
        if name in fields and bytes(fields[name]) not in _NOTHING:
            return name
    return call.names


class Keys:
    """
    Makes keys. One per worker.

    A key is the tenant's name, a slash, which no such name has, and a keyed hash of constant length. So keys of two
    tenants differ whatever they ask, and nobody without the installation's secret can tell the key of a request.

    Args:
        pepper: that secret; all workers of an installation have the same.
    """

    def __init__(self, pepper: bytes) -> None:
        self._keyed = blake2b(key=pepper, digest_size=32, person=b"penstock-cache")

    def of(self, tenant: str, fingerprint: str, call: Call, features: bytes) -> bytes:
        """
        Return the key of a call.

        Fields count as the bytes they came in, in whichever order, with whatever blanks between them.

        Args:
            fingerprint: of the model's configuration, see `rule.Rule`.
            features: header lines of the client's that go to the upstream, but for those of its trace.
        """
        without = _REPEATED if call.dialect is Dialect.RESPONSES else _WITHOUT
        fields = sorted(item for item in call.document.fields.items() if item[0] not in without)
        hashed = self._keyed.copy()
        hashed.update(_encode((fingerprint, call.dialect.value, call.stream, features, fields)))
        return b"%b/%b" % (tenant.encode(), hashed.digest())
