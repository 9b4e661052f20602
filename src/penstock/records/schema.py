"""
The tables. Migrations make them; a test compares the two.

Money is integer nano-dollars and time integer nanoseconds since the epoch, both in 64 bits.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    false,
    text,
    true,
)

# An upstream or a client may name any number. This is far above every real one, and low enough for sums in 64 bits.
_MOST = 2**50

_TENANT_TAG = text("apart = 'tenant tag'")

metadata = MetaData(naming_convention={"pk": "pk_%(table_name)s", "ix": "ix_%(table_name)s_%(column_0_N_name)s"})

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("name", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("models", JSON(none_as_null=True)),  # null: all models
    Column("created_at_ns", BigInteger, nullable=False),
    Column("revoked_at_ns", BigInteger),
    Column("role", Text),  # of a key for the admin API
    Column("operations", JSON(none_as_null=True)),  # null: all
    Column("networks", JSON(none_as_null=True)),  # null: all
    Column("expires_at_ns", BigInteger),
    Column("lineage", Text, nullable=False, server_default=""),
    Column("owner", Text, nullable=False, server_default=""),
    Index(None, "created_at_ns", "id"),
    Index(None, "tenant", "created_at_ns", "id"),
)

tenants = Table(
    "tenants",
    metadata,
    Column("id", Text, primary_key=True),
    Column("models", JSON(none_as_null=True)),  # null: all models
    Column("created_at_ns", BigInteger, nullable=False),
    Column("suspended_at_ns", BigInteger),
)

ledger = Table(
    "ledger",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("at_ns", BigInteger, nullable=False),
    Column("key", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("deployment", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cache_read_tokens", BigInteger, nullable=False),
    Column("usage_source", Text, nullable=False),
    Column("cost_nano", BigInteger, nullable=False),
    Column("duration_ms", Float, nullable=False),
    Column("first_content_ms", Float),
    Column("explanation", JSON, nullable=False),  # [[step, decision], …]
    Column("trace_id", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("cache_write_tokens", BigInteger, nullable=False, server_default="0"),
    Column("cache_write_1h_tokens", BigInteger, nullable=False, server_default="0"),
    Column("reasoning_tokens", BigInteger, nullable=False, server_default="0"),
    Column("audio_input_tokens", BigInteger, nullable=False, server_default="0"),
    Column("audio_output_tokens", BigInteger, nullable=False, server_default="0"),
    Column("batch", Boolean, nullable=False, server_default=false()),
    Column("cost_known", Boolean, nullable=False, server_default=true()),  # else `cost_nano` is 0 and says nothing
    Column("price", Text, nullable=False, server_default=""),  # its version
    Column("user", Text, nullable=False, server_default=""),
    Column("tags", Text, nullable=False, server_default=""),  # `env=prod,team=search`
    Index(None, "at_ns", "request_id"),
)

usage_days = Table(  # sums of the ledger, without what was refused; kept in the same transaction
    "usage_days",
    metadata,
    Column("apart", Text, primary_key=True),  # what is kept apart besides days, see `penstock.records.usage`
    Column("tag", Text, primary_key=True),  # one of the exchange's, which is then in several rows
    Column("day", Integer, primary_key=True, autoincrement=False),  # of the exchange's arrival, UTC, since the epoch
    Column("tenant", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("deployment", Text, primary_key=True),
    Column("user", Text, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cache_read_tokens", BigInteger, nullable=False),
    Column("cost_nano", BigInteger, nullable=False),
    Column("unpriced", BigInteger, nullable=False),  # of the requests: those whose cost is not known
    Column("cache_write_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    # For `penstock.records.tags`, which asks with each batch what tags a tenant has had today.
    Index(None, "apart", "day", "tenant", "tag", sqlite_where=_TENANT_TAG, postgresql_where=_TENANT_TAG),
)

journal_offsets = Table(
    "journal_offsets",
    metadata,
    Column("segment", Text, primary_key=True),  # file name
    Column("position", BigInteger, nullable=False),  # bytes from the start; all before it is in the ledger
)

opened = Table(
    "opened",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("writer", Text, nullable=False),  # `Segment.writer`: the process that is to settle it
    Column("at_ns", BigInteger, nullable=False),
    Column("key", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("reserved_nano", BigInteger, nullable=False),
    Column("user", Text, nullable=False, server_default=""),
    Column("tags", Text, nullable=False, server_default=""),
    Index(None, "writer"),
)

hosts = Table(
    "hosts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("run", BigInteger, nullable=False),  # when its node started
    Column("seen_at_ns", BigInteger, nullable=False),
)

meta = Table(
    "meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)


def clean(text: str) -> str:
    """Return text as it is kept: without NUL, which clients may send and PostgreSQL refuses."""
    return text.replace("\0", "\ufffd") if "\0" in text else text


def bounded(number: int) -> int:
    """Return a count of tokens or nano-dollars as it is kept: absurd ones cut to a bound that columns and sums hold."""
    return number if 0 <= number <= _MOST else 0 if number < 0 else _MOST
