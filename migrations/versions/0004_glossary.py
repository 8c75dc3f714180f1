"""The glossary: all entries in one row.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "glossary",
        sa.Column("glossary_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("entries", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("glossary_id = 1", name=op.f("ck_glossary_one_row")),
        sa.PrimaryKeyConstraint("glossary_id", name=op.f("pk_glossary")),
    )


def downgrade() -> None:
    op.drop_table("glossary")
