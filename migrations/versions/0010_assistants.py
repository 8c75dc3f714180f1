"""Assistants; the one that answers has its name in the answer, beside the answer's form and data.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "assistant",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("instructions", sa.Text(), nullable=False),
        sa.Column("tone", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=True),
        sa.Column("collections", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("json_schema", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("adapter", sa.Text(), nullable=True),
        sa.Column("temperature", sa.Float(), nullable=False),
        sa.Column("stages", sa.BigInteger(), nullable=False),
        sa.Column("unsupported", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_assistant")),
    )
    op.execute(
        """
        INSERT INTO assistant (name, instructions, tone, collections, format, temperature, stages,
            unsupported, created_at, updated_at)
        VALUES ('opora', '', '', '{}', 'text', 0, 1, 'remove', now(), now())
        """
    )
    op.add_column(
        "answer", sa.Column("assistant", sa.Text(), server_default="opora", nullable=False)
    )
    op.add_column("answer", sa.Column("format", sa.Text(), server_default="text", nullable=False))
    op.add_column(
        "answer", sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=True)
    )


def downgrade() -> None:
    op.drop_column("answer", "data")
    op.drop_column("answer", "format")
    op.drop_column("answer", "assistant")
    op.drop_table("assistant")
