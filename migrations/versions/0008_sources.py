"""Sources, what their syncs did, and which document came from where.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TEXT = sa.Text()
_TIME = sa.DateTime(timezone=True)
_ORIGIN = ("source_id", "source_key", "source_mark")


def upgrade() -> None:
    for name in _ORIGIN:
        op.add_column("document", sa.Column(name, _TEXT, nullable=True))
    op.create_index(
        "uq_document_source_id_source_key",
        "document",
        ["source_id", "source_key"],
        unique=True,
        postgresql_where=sa.text("source_id IS NOT NULL"),
    )
    op.create_table(
        "source",
        sa.Column("source_id", _TEXT, nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("url", _TEXT, nullable=False),
        sa.Column("options", postgresql.JSONB(), nullable=False),
        sa.Column("secrets", sa.LargeBinary(), nullable=True),
        sa.Column("collection", _TEXT, nullable=False),
        sa.Column("readers", postgresql.ARRAY(_TEXT), nullable=False),
        sa.Column("owner", _TEXT, nullable=False),
        sa.Column("schedule", _TEXT, nullable=True),
        sa.Column("next_sync_at", _TIME, nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["collection"], ["collection.name"], name=op.f("fk_source_collection")
        ),
        sa.PrimaryKeyConstraint("source_id", name=op.f("pk_source")),
        sa.UniqueConstraint("name", name=op.f("uq_source_name")),
    )
    op.create_index(op.f("ix_source_next_sync_at"), "source", ["next_sync_at"])
    op.create_table(
        "source_sync",
        sa.Column("job_id", _TEXT, nullable=False),
        sa.Column("source_id", _TEXT, nullable=False),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column("report", postgresql.JSONB(), nullable=False),
        sa.Column("finished_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["source_id"],
            ["source.source_id"],
            name=op.f("fk_source_sync_source_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_source_sync")),
    )
    op.create_index(op.f("ix_source_sync_source_id"), "source_sync", ["source_id"])
    op.create_table(
        "skipped_file",
        sa.Column("source_id", _TEXT, nullable=False),
        sa.Column("key", _TEXT, nullable=False),
        sa.Column("mark", _TEXT, nullable=True),
        sa.Column("reason", _TEXT, nullable=False),
        sa.PrimaryKeyConstraint("source_id", "key", name=op.f("pk_skipped_file")),
    )


def downgrade() -> None:
    for table in ("skipped_file", "source_sync", "source"):
        op.drop_table(table)
    op.drop_index("uq_document_source_id_source_key", "document")
    for name in _ORIGIN:
        op.drop_column("document", name)
