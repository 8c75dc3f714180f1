"""Documents, chunks, vectors, index log, rights, jobs, answers.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_key",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_api_key")),
        sa.UniqueConstraint("sha256", name=op.f("uq_api_key_sha256")),
    )
    op.create_table(
        "audit_event",
        sa.Column("number", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit_event")),
    )
    op.create_table(
        "collection",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("readers", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_collection")),
    )
    op.create_table(
        "conversation",
        sa.Column("conversation_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("conversation_id", name=op.f("pk_conversation")),
    )
    op.create_index(
        "ix_conversation_user_id_conversation_id",
        "conversation",
        ["user_id", "conversation_id"],
        unique=False,
    )
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
    op.create_table(
        "index_log",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("document_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_index_log")),
    )
    op.create_table(
        "job",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("document_id", sa.Text(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("queue_id", sa.BigInteger(), nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_job")),
    )
    op.create_index("ix_job_document_id", "job", ["document_id"], unique=False)
    op.create_index(
        "ix_job_open",
        "job",
        ["state"],
        unique=False,
        postgresql_where=sa.text("state IN ('queued', 'running')"),
    )
    op.create_table(
        "principal",
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("principal", name=op.f("pk_principal")),
    )
    op.create_table(
        "answer",
        sa.Column("answer_id", sa.Text(), nullable=False),
        sa.Column("conversation_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("adapter", sa.Text(), nullable=True),
        sa.Column("generation_id", sa.Text(), nullable=False),
        sa.Column("prompt_version", sa.Text(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("timings_ms", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversation.conversation_id"],
            name=op.f("fk_answer_conversation_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("answer_id", name=op.f("pk_answer")),
    )
    op.create_index(
        "ix_answer_conversation_id_answer_id",
        "answer",
        ["conversation_id", "answer_id"],
        unique=False,
    )
    op.create_table(
        "document",
        sa.Column("document_id", sa.Text(), nullable=False),
        sa.Column("collection", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("title_is_given", sa.Boolean(), nullable=False),
        sa.Column("source_uri", sa.Text(), nullable=True),
        sa.Column("readers", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("latest_version", sa.BigInteger(), nullable=False),
        sa.Column("live_version", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["collection"], ["collection.name"], name=op.f("fk_document_collection")
        ),
        sa.PrimaryKeyConstraint("document_id", name=op.f("pk_document")),
    )
    op.create_index(
        "ix_document_collection_document_id",
        "document",
        ["collection", "document_id"],
        unique=False,
    )
    op.create_index(
        "ix_document_readers", "document", ["readers"], unique=False, postgresql_using="gin"
    )
    op.create_table(
        "generation",
        sa.Column("generation_id", sa.Text(), nullable=False),
        sa.Column("embedding_model_id", sa.SmallInteger(), nullable=False),
        sa.Column("text_fingerprint", sa.Text(), nullable=False),
        sa.Column("log_number", sa.BigInteger(), nullable=False),
        sa.Column("chunks", sa.BigInteger(), nullable=False),
        sa.Column("manifest_sha256", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("activated_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["embedding_model_id"],
            ["embedding_model.embedding_model_id"],
            name=op.f("fk_generation_embedding_model_id"),
        ),
        sa.PrimaryKeyConstraint("generation_id", name=op.f("pk_generation")),
    )
    op.create_table(
        "membership",
        sa.Column("member", sa.Text(), nullable=False),
        sa.Column("group", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["group"], ["principal.principal"], name=op.f("fk_membership_group"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["member"],
            ["principal.principal"],
            name=op.f("fk_membership_member"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("member", "group", name=op.f("pk_membership")),
    )
    op.create_index(op.f("ix_membership_group"), "membership", ["group"], unique=False)
    op.create_table(
        "answer_citation",
        sa.Column("answer_id", sa.Text(), nullable=False),
        sa.Column("ordinal", sa.BigInteger(), nullable=False),
        sa.Column("marker", sa.BigInteger(), nullable=False),
        sa.Column("chunk_id", sa.BigInteger(), nullable=False),
        sa.Column("document_id", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("source_uri", sa.Text(), nullable=True),
        sa.Column("pages", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("quote", sa.Text(), nullable=False),
        sa.Column("char_start", sa.BigInteger(), nullable=False),
        sa.Column("char_end", sa.BigInteger(), nullable=False),
        sa.Column("answer_start", sa.BigInteger(), nullable=False),
        sa.Column("answer_end", sa.BigInteger(), nullable=False),
        sa.Column("support", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["answer_id"],
            ["answer.answer_id"],
            name=op.f("fk_answer_citation_answer_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("answer_id", "ordinal", name=op.f("pk_answer_citation")),
    )
    op.create_table(
        "answer_passage",
        sa.Column("answer_id", sa.Text(), nullable=False),
        sa.Column("rank", sa.BigInteger(), nullable=False),
        sa.Column("chunk_id", sa.BigInteger(), nullable=False),
        sa.Column("document_id", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("char_start", sa.BigInteger(), nullable=False),
        sa.Column("char_end", sa.BigInteger(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["answer_id"],
            ["answer.answer_id"],
            name=op.f("fk_answer_passage_answer_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("answer_id", "rank", name=op.f("pk_answer_passage")),
    )
    op.create_table(
        "document_version",
        sa.Column("document_id", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("language", sa.Text(), nullable=True),
        sa.Column("pages", sa.BigInteger(), nullable=True),
        sa.Column("chunks", sa.BigInteger(), nullable=False),
        sa.Column("flags", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["document_id"],
            ["document.document_id"],
            name=op.f("fk_document_version_document_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("document_id", "version", name=op.f("pk_document_version")),
    )
    op.create_index("ix_document_version_sha256", "document_version", ["sha256"], unique=False)
    op.create_table(
        "feedback",
        sa.Column("feedback_id", sa.Text(), nullable=False),
        sa.Column("answer_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("rating", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("correction", sa.Text(), nullable=True),
        sa.Column("reasons", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["answer_id"],
            ["answer.answer_id"],
            name=op.f("fk_feedback_answer_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("feedback_id", name=op.f("pk_feedback")),
    )
    op.create_index(op.f("ix_feedback_answer_id"), "feedback", ["answer_id"], unique=False)
    op.create_table(
        "chunk",
        sa.Column("chunk_id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("document_id", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("ordinal", sa.BigInteger(), nullable=False),
        sa.Column("char_start", sa.BigInteger(), nullable=False),
        sa.Column("char_end", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("context", sa.Text(), nullable=False),
        sa.Column("heading_path", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("pages", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("content_sha256", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["document_id", "version"],
            ["document_version.document_id", "document_version.version"],
            name=op.f("fk_chunk_document_id_version"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("chunk_id", name=op.f("pk_chunk")),
    )
    op.create_index(
        "ix_chunk_document_id_version_ordinal",
        "chunk",
        ["document_id", "version", "ordinal"],
        unique=False,
    )
    op.create_table(
        "parsed_text",
        sa.Column("document_id", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("blocks", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["document_id", "version"],
            ["document_version.document_id", "document_version.version"],
            name=op.f("fk_parsed_text_document_id_version"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("document_id", "version", name=op.f("pk_parsed_text")),
    )
    op.create_table(
        "embedding",
        sa.Column("chunk_id", sa.BigInteger(), nullable=False),
        sa.Column("embedding_model_id", sa.SmallInteger(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["chunk_id"], ["chunk.chunk_id"], name=op.f("fk_embedding_chunk_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["embedding_model_id"],
            ["embedding_model.embedding_model_id"],
            name=op.f("fk_embedding_embedding_model_id"),
        ),
        sa.PrimaryKeyConstraint("chunk_id", "embedding_model_id", name=op.f("pk_embedding")),
    )


def downgrade() -> None:
    op.drop_table("embedding")
    op.drop_table("parsed_text")
    op.drop_index("ix_chunk_document_id_version_ordinal", table_name="chunk")
    op.drop_table("chunk")
    op.drop_index(op.f("ix_feedback_answer_id"), table_name="feedback")
    op.drop_table("feedback")
    op.drop_index("ix_document_version_sha256", table_name="document_version")
    op.drop_table("document_version")
    op.drop_table("answer_passage")
    op.drop_table("answer_citation")
    op.drop_index(op.f("ix_membership_group"), table_name="membership")
    op.drop_table("membership")
    op.drop_table("generation")
    op.drop_index("ix_document_readers", table_name="document", postgresql_using="gin")
    op.drop_index("ix_document_collection_document_id", table_name="document")
    op.drop_table("document")
    op.drop_index("ix_answer_conversation_id_answer_id", table_name="answer")
    op.drop_table("answer")
    op.drop_table("principal")
    op.drop_index(
        "ix_job_open", table_name="job", postgresql_where=sa.text("state IN ('queued', 'running')")
    )
    op.drop_index("ix_job_document_id", table_name="job")
    op.drop_table("job")
    op.drop_table("index_log")
    op.drop_table("embedding_model")
    op.drop_index("ix_conversation_user_id_conversation_id", table_name="conversation")
    op.drop_table("conversation")
    op.drop_table("collection")
    op.drop_table("audit_event")
    op.drop_table("api_key")
