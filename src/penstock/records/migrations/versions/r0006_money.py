"""
Which price was in force, what kinds of tokens were used, whose key it was and what it was for; sums of these.

What is there was charged at a price whose version nobody noted, and counts as known. Its user is that of its key.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_TOKENS = (
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
)
_OLD_GROUP = ("apart", "day", "tenant", "key", "model", "deployment")
_OLD_SUMS = ("requests", "errors", "input_tokens", "output_tokens", "cache_read_tokens", "cost_nano")
_GROUP = ("apart", "tag", *_OLD_GROUP[1:], "user")
_SUMS = (*_OLD_SUMS, "unpriced", "cache_write_tokens", "reasoning_tokens")
_USER = (
    "COALESCE((SELECT CASE WHEN keys.owner = '' THEN ledger.key ELSE keys.tenant || '/' || keys.owner END "
    "FROM keys WHERE keys.id = ledger.key), ledger.key)"
)


def upgrade() -> None:
    """Add the columns, and make the sums anew with them."""
    for name in _TOKENS:
        op.add_column("ledger", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("ledger", sa.Column("batch", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("ledger", sa.Column("cost_known", sa.Boolean, nullable=False, server_default=sa.true()))
    for table, names in (("ledger", ("price", "user", "tags")), ("opened", ("user", "tags"))):
        for name in names:
            op.add_column(table, sa.Column(name, sa.Text, nullable=False, server_default=""))
    op.execute(f'UPDATE ledger SET "user" = {_USER}')  # noqa: S608  # of the names above
    _make(_GROUP, _SUMS)
    op.execute(
        """
        INSERT INTO usage_days
        SELECT apart, '', day, tenant, key, model, deployment, '', requests, errors, input_tokens, output_tokens,
            cache_read_tokens, cost_nano, 0, 0, 0
        FROM usage_days_before WHERE apart <> 'all'
        """
    )
    for apart, others in (("all", "key, model, deployment"), ("user", "'', '', ''")):
        op.execute(
            f"""
            INSERT INTO usage_days
            SELECT '{apart}', '', CAST(at_ns / 86400000000000 AS INTEGER), tenant, {others}, "user", COUNT(*),
                SUM(CASE WHEN outcome IN ('failed', 'lost') THEN 1 ELSE 0 END),
                SUM(input_tokens), SUM(output_tokens), SUM(cache_read_tokens), SUM(cost_nano), 0, 0, 0
            FROM ledger WHERE outcome <> 'refused'
            GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
            """  # noqa: S608  # of the names above
        )
    op.drop_table("usage_days_before")
    alone = sa.text("apart = 'tenant tag'")
    columns = ["apart", "day", "tenant", "tag"]
    op.create_index(
        "ix_usage_days_apart_day_tenant_tag", "usage_days", columns, sqlite_where=alone, postgresql_where=alone
    )


def downgrade() -> None:
    """Take away what `upgrade` made; the sums that there were stay."""
    op.drop_index("ix_usage_days_apart_day_tenant_tag", "usage_days")
    _make(_OLD_GROUP, _OLD_SUMS)
    op.execute(
        """
        INSERT INTO usage_days
        SELECT apart, day, tenant, key, model, deployment, SUM(requests), SUM(errors), SUM(input_tokens),
            SUM(output_tokens), SUM(cache_read_tokens), SUM(cost_nano)
        FROM usage_days_before WHERE apart NOT IN ('user', 'tag', 'tenant tag', 'tag key', 'tag model')
        GROUP BY 1, 2, 3, 4, 5, 6
        """
    )
    op.drop_table("usage_days_before")
    with op.batch_alter_table("opened") as opened:
        for name in ("user", "tags"):
            opened.drop_column(name)
    with op.batch_alter_table("ledger") as ledger:
        for name in (*_TOKENS, "batch", "cost_known", "price", "user", "tags"):
            ledger.drop_column(name)


def _make(group: tuple[str, ...], sums: tuple[str, ...]) -> None:
    """Put a new table of sums in the place of the one that there is, which is renamed."""
    op.rename_table("usage_days", "usage_days_before")
    if op.get_bind().dialect.name == "postgresql":  # where the name of a key is taken in the whole schema
        op.execute("ALTER INDEX pk_usage_days RENAME TO pk_usage_days_before")
    op.create_table(
        "usage_days",
        *(sa.Column(name, sa.Integer if name == "day" else sa.Text, nullable=False) for name in group),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in sums),
        sa.PrimaryKeyConstraint(*group, name="pk_usage_days"),
    )
