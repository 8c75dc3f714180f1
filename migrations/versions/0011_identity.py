"""Roles, and who somebody is at the identity provider; the editors of collections.

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_TEXTS = postgresql.ARRAY(sa.Text())


def upgrade() -> None:
    op.add_column("principal", sa.Column("roles", _TEXTS, server_default="{}", nullable=False))
    op.add_column(
        "principal", sa.Column("implicit", sa.Boolean(), server_default="true", nullable=False)
    )
    op.add_column("principal", sa.Column("issuer", sa.Text(), nullable=True))
    op.add_column("principal", sa.Column("subject", sa.Text(), nullable=True))
    op.add_column("principal", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    op.create_unique_constraint(
        op.f("uq_principal_issuer_subject"), "principal", ["issuer", "subject"]
    )
    op.add_column("collection", sa.Column("editors", _TEXTS, server_default="{}", nullable=False))


def downgrade() -> None:
    op.drop_column("collection", "editors")
    op.drop_constraint(op.f("uq_principal_issuer_subject"), "principal", type_="unique")
    for column in ("deleted_at", "subject", "issuer", "implicit", "roles"):
        op.drop_column("principal", column)
