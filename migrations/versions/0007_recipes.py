"""Chunks and generations by recipe, so that a new embedder is prepared beside the serving one.

The vectors' embedder becomes a recipe with the chunk size that was the default; the one that most
vectors were made with serves.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "recipe",
        sa.Column("recipe_id", sa.SmallInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("dimension", sa.BigInteger(), nullable=False),
        sa.Column("embedder", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("chunk_tokens", sa.BigInteger(), nullable=False),
        sa.Column("chunking", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("recipe_id", name=op.f("pk_recipe")),
    )
    op.execute(
        """
        INSERT INTO recipe (recipe_id, fingerprint, dimension, chunk_tokens, chunking, state)
        OVERRIDING SYSTEM VALUE
        SELECT embedding_model_id, fingerprint, dimension, 160, 'chunks-1',
            CASE WHEN row_number() OVER (ORDER BY vectors DESC, embedding_model_id DESC) = 1
                THEN 'serving' ELSE 'kept' END
        FROM (SELECT m.*, (SELECT count(*) FROM embedding e
                WHERE e.embedding_model_id = m.embedding_model_id) AS vectors
            FROM embedding_model m) counted
        """
    )
    op.execute(
        "SELECT setval(pg_get_serial_sequence('recipe', 'recipe_id'), "
        "coalesce((SELECT max(recipe_id) FROM recipe), 0) + 1, false)"
    )
    op.create_index(
        "uq_recipe_serving",
        "recipe",
        ["state"],
        unique=True,
        postgresql_where=sa.text("state = 'serving'"),
    )
    op.create_index(
        "uq_recipe_fingerprint",
        "recipe",
        ["fingerprint", "chunk_tokens", "chunking"],
        unique=True,
    )
    op.add_column("chunk", sa.Column("recipe_id", sa.SmallInteger(), nullable=True))
    op.execute(
        "UPDATE chunk SET recipe_id = (SELECT e.embedding_model_id FROM embedding e "
        "JOIN recipe r ON r.recipe_id = e.embedding_model_id WHERE e.chunk_id = chunk.chunk_id "
        "ORDER BY r.state = 'serving' DESC, r.recipe_id DESC LIMIT 1)"
    )
    op.execute("DELETE FROM chunk WHERE recipe_id IS NULL")
    op.execute(
        "DELETE FROM embedding e USING chunk c "
        "WHERE e.chunk_id = c.chunk_id AND e.embedding_model_id <> c.recipe_id"
    )
    op.alter_column("chunk", "recipe_id", nullable=False)
    op.create_foreign_key("fk_chunk_recipe_id", "chunk", "recipe", ["recipe_id"], ["recipe_id"])
    op.alter_column("chunk", "version", nullable=True)
    op.drop_index("ix_chunk_document_id_version_ordinal", "chunk")
    op.create_index(
        "ix_chunk_document_id_recipe_id", "chunk", ["document_id", "recipe_id", "version"]
    )
    op.create_index("ix_chunk_recipe_id_chunk_id", "chunk", ["recipe_id", "chunk_id"])
    op.create_foreign_key(
        "fk_chunk_document_id",
        "chunk",
        "document",
        ["document_id"],
        ["document_id"],
        ondelete="CASCADE",
    )
    op.drop_constraint("pk_embedding", "embedding")
    op.drop_column("embedding", "embedding_model_id")
    op.create_primary_key("pk_embedding", "embedding", ["chunk_id"])
    # Vectors do not compress, and those of up to 2,000 dimensions fit into a page.
    op.execute("ALTER TABLE embedding ALTER COLUMN vector SET STORAGE EXTERNAL")
    op.execute("ALTER TABLE embedding SET (toast_tuple_target = 8160)")
    op.drop_constraint("fk_generation_embedding_model_id", "generation")
    op.alter_column("generation", "embedding_model_id", new_column_name="recipe_id")
    op.create_foreign_key(
        "fk_generation_recipe_id", "generation", "recipe", ["recipe_id"], ["recipe_id"]
    )
    op.drop_table("embedding_model")


def downgrade() -> None:
    op.create_table(
        "embedding_model",
        sa.Column(
            "embedding_model_id", sa.SmallInteger(), sa.Identity(always=False), nullable=False
        ),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("dimension", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("embedding_model_id", name=op.f("pk_embedding_model")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_embedding_model_fingerprint")),
    )
    # An earlier release has one way to cut a text: only what serves goes back.
    op.execute(
        "DELETE FROM generation WHERE recipe_id IN (SELECT recipe_id FROM recipe "
        "WHERE state <> 'serving')"
    )
    op.execute(
        "DELETE FROM chunk WHERE version IS NULL OR recipe_id IN "
        "(SELECT recipe_id FROM recipe WHERE state <> 'serving')"
    )
    op.execute(
        "INSERT INTO embedding_model (embedding_model_id, fingerprint, dimension) "
        "OVERRIDING SYSTEM VALUE SELECT recipe_id, fingerprint, dimension FROM recipe "
        "WHERE state = 'serving'"
    )
    op.execute(
        "SELECT setval(pg_get_serial_sequence('embedding_model', 'embedding_model_id'), "
        "coalesce((SELECT max(embedding_model_id) FROM embedding_model), 0) + 1, false)"
    )
    op.add_column("embedding", sa.Column("embedding_model_id", sa.SmallInteger(), nullable=True))
    op.execute(
        "UPDATE embedding SET embedding_model_id = "
        "(SELECT recipe_id FROM chunk c WHERE c.chunk_id = embedding.chunk_id)"
    )
    op.alter_column("embedding", "embedding_model_id", nullable=False)
    op.drop_constraint("pk_embedding", "embedding")
    op.create_primary_key("pk_embedding", "embedding", ["chunk_id", "embedding_model_id"])
    op.create_foreign_key(
        "fk_embedding_embedding_model_id",
        "embedding",
        "embedding_model",
        ["embedding_model_id"],
        ["embedding_model_id"],
    )
    op.drop_constraint("fk_generation_recipe_id", "generation")
    op.alter_column("generation", "recipe_id", new_column_name="embedding_model_id")
    op.create_foreign_key(
        "fk_generation_embedding_model_id",
        "generation",
        "embedding_model",
        ["embedding_model_id"],
        ["embedding_model_id"],
    )
    op.drop_constraint("fk_chunk_recipe_id", "chunk")
    op.drop_constraint("fk_chunk_document_id", "chunk")
    op.drop_index("ix_chunk_recipe_id_chunk_id", "chunk")
    op.drop_index("ix_chunk_document_id_recipe_id", "chunk")
    op.drop_column("chunk", "recipe_id")
    op.alter_column("chunk", "version", nullable=False)
    op.create_index(
        "ix_chunk_document_id_version_ordinal", "chunk", ["document_id", "version", "ordinal"]
    )
    op.drop_table("recipe")
