"""Sums of the ledger by day, so that a look at what was used does not read every exchange."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table, and sum up what is there."""
    op.create_table(
        "usage_days",
        sa.Column("apart", sa.Text, nullable=False),
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("deployment", sa.Text, nullable=False),
        sa.Column("requests", sa.BigInteger, nullable=False),
        sa.Column("errors", sa.BigInteger, nullable=False),
        sa.Column("input_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger, nullable=False),
        sa.Column("cache_read_tokens", sa.BigInteger, nullable=False),
        sa.Column("cost_nano", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("apart", "day", "tenant", "key", "model", "deployment", name="pk_usage_days"),
    )
    for apart, names in (
        ("all", ("tenant", "key", "model", "deployment")),
        ("day", ()),
        ("tenant", ("tenant",)),
        ("key", ("tenant", "key")),
        ("model", ("model",)),
        ("deployment", ("deployment",)),
    ):
        columns = ", ".join(name if name in names else "''" for name in ("tenant", "key", "model", "deployment"))
        op.execute(
            f"""
            INSERT INTO usage_days
            SELECT '{apart}', CAST(at_ns / 86400000000000 AS INTEGER), {columns}, COUNT(*),
                SUM(CASE WHEN outcome IN ('failed', 'lost') THEN 1 ELSE 0 END),
                SUM(input_tokens), SUM(output_tokens), SUM(cache_read_tokens), SUM(cost_nano)
            FROM ledger WHERE outcome <> 'refused'
            GROUP BY 1, 2, 3, 4, 5, 6
            """  # noqa: S608  # of the names above
        )


def downgrade() -> None:
    """Take away what `upgrade` made."""
    op.drop_table("usage_days")
