"""Tenants; roles, scopes and ends of keys. Admin keys from before are for all tenants, as they were."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the table and the columns, and the tenants that keys name."""
    for column in (
        sa.Column("role", sa.Text),
        sa.Column("operations", sa.JSON),
        sa.Column("networks", sa.JSON),
        sa.Column("expires_at_ns", sa.BigInteger),
        sa.Column("lineage", sa.Text, nullable=False, server_default=""),
        sa.Column("owner", sa.Text, nullable=False, server_default=""),
    ):
        op.add_column("keys", column)
    op.create_index("ix_keys_tenant_created_at_ns_id", "keys", ["tenant", "created_at_ns", "id"])
    op.create_table(
        "tenants",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("models", sa.JSON),
        sa.Column("created_at_ns", sa.BigInteger, nullable=False),
        sa.Column("suspended_at_ns", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_tenants"),
    )
    op.execute("UPDATE keys SET role = 'admin', tenant = '*' WHERE kind = 'admin'")
    op.execute(
        "INSERT INTO tenants (id, created_at_ns) SELECT tenant, MIN(created_at_ns) FROM keys "
        "WHERE kind = 'client' GROUP BY tenant"
    )


def downgrade() -> None:
    """Take away what `upgrade` made. Keys with bounds that nobody would heed are revoked."""
    op.execute(
        "UPDATE keys SET revoked_at_ns = created_at_ns WHERE revoked_at_ns IS NULL AND ("
        "(kind = 'admin' AND (role <> 'admin' OR tenant <> '*')) "
        "OR expires_at_ns IS NOT NULL OR operations IS NOT NULL OR networks IS NOT NULL "
        "OR tenant IN (SELECT id FROM tenants WHERE suspended_at_ns IS NOT NULL OR models IS NOT NULL))"
    )
    op.execute("UPDATE keys SET tenant = 'default' WHERE tenant = '*'")
    op.drop_table("tenants")
    op.drop_index("ix_keys_tenant_created_at_ns_id", "keys")
    with op.batch_alter_table("keys") as keys:
        for name in ("role", "operations", "networks", "expires_at_ns", "lineage", "owner"):
            keys.drop_column(name)
