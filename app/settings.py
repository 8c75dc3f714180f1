"""All settings, read once from `OPORA_*` variables; docs/configuration.md lists them."""

import os
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.domain.errors import ConfigurationError

PREFIX = "OPORA_"


class Group(BaseModel):
    """A group of settings for one subsystem."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class HttpSettings(Group):
    """Where the app listens and what it takes."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=1, le=65535, description="TCP port to listen on.")
    max_upload_bytes: int = Field(
        200 * 1024**2, gt=0, description="Largest upload, in bytes; more is answered 413."
    )
    max_body_bytes: int = Field(
        1024**2, gt=0, description="Largest body of any other request, in bytes."
    )
    max_question_chars: int = Field(
        4000, gt=0, description="Longest question or search query, in characters."
    )
    max_concurrent_answers: int = Field(
        16,
        gt=0,
        description="Answers in the making per process, three quarters of them for one caller; 8 "
        "times as many questions wait in turn, and one more is answered 429.",
    )
    user_header_secret: SecretStr | None = Field(
        None,
        description="What a front end signs its users' header with (JWT, HS256), at least 32 "
        "characters; rights then follow the person. Unset: that header counts for nothing.",
    )


class OidcSettings(Group):
    """The provider whose access tokens are let in; off unless both are set."""

    issuer: str | None = Field(
        None,
        description="The provider's issuer, as its tokens name it: an https address. Its keys are "
        "fetched from there.",
    )
    audience: str | None = Field(
        None, description="What a token must name among its audiences to be meant for Opora."
    )


class DatabaseSettings(Group):
    """PostgreSQL."""

    url: SecretStr | None = Field(
        None,
        description="PostgreSQL 15 or later, as `postgresql://user:password@host/name`. "
        "Unset: Opora starts its own under the data directory.",
    )


class LlmSettings(Group):
    """The chat model's server."""

    base_url: str | None = Field(
        None,
        description="An OpenAI-compatible server, ending in `/v1`. Unset: `opora serve` starts "
        "vLLM where it finds a GPU, else llama.cpp.",
    )
    model: str | None = Field(
        None, description="Name of the served model. Unset: the first one that the server lists."
    )
    api_key: SecretStr | None = Field(None, description="Bearer key for the model server.")
    server: Literal["auto", "llamacpp", "vllm"] = Field(
        "auto", description="What `opora serve` starts when `base_url` is unset."
    )
    port: int = Field(8081, ge=1, le=65535, description="Port of the model server that it starts.")
    first_token_timeout_s: float = Field(
        120, gt=0, description="Longest wait for the first token, in seconds."
    )
    between_tokens_timeout_s: float = Field(
        30, gt=0, description="Longest silence in mid-answer, in seconds."
    )
    context_tokens: int = Field(
        4096, ge=1024, description="Context window of the model server that Opora starts, tokens."
    )
    parallel: int = Field(
        1, gt=0, description="Answers that the llama.cpp server generates side by side."
    )


class EmbedderSettings(Group):
    """The embedding model."""

    model: str = Field(
        "universal-sentence-encoder-multilingual-v3",
        description="The default's name, or a folder or hub id for sentence-transformers.",
    )
    base_url: str | None = Field(
        None,
        description="An OpenAI-compatible server of embeddings, ending in `/v1`; `model` is then "
        "the name of its model.",
    )
    api_key: SecretStr | None = Field(None, description="Bearer key for that server.")
    revision: str = Field(
        "main", description="Revision of a sentence-transformers model; stored with each vector."
    )
    query_prefix: str | None = Field(
        None,
        description="Put before each question. Unset: the `query` prompt in the configuration of a "
        "sentence-transformers model, else nothing.",
    )
    passage_prefix: str | None = Field(
        None, description="Put before each passage. Unset: its `document` or `passage` prompt."
    )
    device: str = Field(
        "auto",
        description="`cuda`, `cuda:N`, `openvino` (the CPU, in bfloat16 where it has that), `cpu` "
        "(float32), or `auto`: the first of them that is there.",
    )
    threads: int = Field(1, gt=0, description="CPU threads of the embedder per process.")


class RerankerSettings(Group):
    """The model that reads question and passage together; off unless `model` is set."""

    model: str | None = Field(
        None, description="A folder or hub id of a CrossEncoder, or with `base_url` a served name."
    )
    base_url: str | None = Field(
        None, description="A server that answers `POST <base_url>/rerank`, as vLLM does."
    )
    api_key: SecretStr | None = Field(None, description="Bearer key for that server.")
    timeout_s: float = Field(
        5, gt=0, description="Longest wait for it, in seconds; then its order is left out."
    )


class RetrievalSettings(Group):
    """Search."""

    dense_weight: float = Field(
        0.25, ge=0, le=1, description="Share of the dense score in the fused score."
    )
    joined_tokens: int = Field(
        320,
        ge=0,
        description="Longest passage made of found neighbours, in the embedder's tokens; 0 joins "
        "none.",
    )
    exact_up_to: int = Field(
        100_000,
        gt=0,
        description="Vectors up to which every search is exact; a generation above it is built "
        "as IVF with SQ8.",
    )
    rewrite_timeout_s: float = Field(
        4,
        ge=0,
        description="Longest wait for the chat model to rewrite a follow-up or to translate a "
        "question, in seconds; then search does without. 0 never asks it.",
    )
    follow_interval_s: float = Field(
        1.0, gt=0, description="Longest time between two looks at the index log, in seconds."
    )


class AnsweringSettings(Group):
    """Prompts and answers."""

    evidence_tokens: int = Field(
        260,
        gt=0,
        description="Budget for the excerpts that one search puts into the prompt, in the model's "
        "tokens where its server counts them, else estimated.",
    )
    max_passages: int = Field(
        8, gt=0, description="Passages that the excerpts of one search are taken from at most."
    )
    max_answer_tokens: int = Field(220, gt=0, description="Longest answer, in tokens.")
    min_evidence: float = Field(
        0.28, ge=0, le=1, description="Evidence score below which Opora abstains unasked."
    )
    min_support: float = Field(
        0.25,
        ge=0,
        le=1,
        description="Support below which a sentence does not leave the house; docs/verification.md "
        "says what share of unsupported sentences each value lets through.",
    )
    conversation_days: int = Field(
        0, ge=0, description="Days after its last turn that a conversation is kept; 0 is for ever."
    )


class IngestionSettings(Group):
    """The worker and its parser sandbox."""

    concurrency: int = Field(2, gt=0, description="Jobs that one worker runs side by side.")
    chunk_tokens: int = Field(160, ge=32, description="Largest chunk, in the embedder's tokens.")
    parser_memory_bytes: int = Field(
        2 * 1024**3, gt=0, description="Address space of a parser process, in bytes."
    )
    parser_cpu_s: int = Field(600, gt=0, description="CPU time of a parser process, in seconds.")
    parser_wall_s: float = Field(900, gt=0, description="Wall time of a parser process, seconds.")
    max_text_chars: int = Field(50_000_000, gt=0, description="Longest parsed text, in characters.")
    max_blocks: int = Field(
        500_000, gt=0, description="Most headings, paragraphs and tables in one document."
    )
    compact_after: int = Field(
        200, gt=0, description="Index log rows after which the worker builds a new generation."
    )
    held_out: Path | None = Field(
        None,
        description="JSON lines of questions with their documents; a re-index that finds these "
        "worse is refused.",
    )
    stalled_after_s: float = Field(
        10, gt=0, description="Silence after which a job of a dead worker is taken back, seconds."
    )


class AuditSettings(Group):
    """The trail of who did, asked and read what."""

    texts: bool = Field(
        False, description="Keep the words of questions and searches in the trail too."
    )
    days: int = Field(0, ge=0, description="Days that an event is kept; 0 is for ever.")


class LogSettings(Group):
    """Logs."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level.")


class Settings(BaseSettings):
    """Every setting of Opora."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    data_dir: Path = Field(
        Path("data"), description="Everything that Opora writes, the models cache apart."
    )
    models_dir: Path = Field(
        Path("~/.cache/opora/models"), description="Cache of downloaded models."
    )
    models_source: Path | None = Field(
        None,
        description="Folder with model files carried in by hand; looked at before any network.",
    )
    admin_key: SecretStr | None = Field(
        None, description="The first admin key, for unattended installs; at least 20 characters."
    )
    http: HttpSettings = HttpSettings()
    oidc: OidcSettings = OidcSettings()
    database: DatabaseSettings = DatabaseSettings()
    llm: LlmSettings = LlmSettings()
    embedder: EmbedderSettings = EmbedderSettings()
    reranker: RerankerSettings = RerankerSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    answering: AnsweringSettings = AnsweringSettings()
    ingestion: IngestionSettings = IngestionSettings()
    audit: AuditSettings = AuditSettings()
    log: LogSettings = LogSettings()

    @cached_property
    def data(self) -> Path:
        """The data directory as an absolute path."""
        return self.data_dir.expanduser().resolve()

    @cached_property
    def models(self) -> Path:
        """The models cache as an absolute path."""
        return self.models_dir.expanduser().resolve()


def setting_names() -> dict[str, tuple[str, object, str]]:
    """Return each variable's name with its type's name, default and description."""
    names: dict[str, tuple[str, object, str]] = {}
    for name, top in Settings.model_fields.items():
        groups = [top.annotation, *get_args(top.annotation)]
        group = next((g for g in groups if isinstance(g, type) and issubclass(g, Group)), None)
        fields = group.model_fields if group else {"": top}
        for inner, info in fields.items():
            variable = PREFIX + "__".join(part for part in (name, inner) if part).upper()
            kind = getattr(info.annotation, "__name__", str(info.annotation))
            names[variable] = (kind, info.default, info.description or "")
    return names


def load_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        ConfigurationError: A variable is unknown (a misspelt one too) or its value is no good.
    """
    known = setting_names()
    unknown = sorted(n for n in os.environ if n.upper().startswith(PREFIX) and n not in known)
    if unknown:
        raise ConfigurationError(
            f"unknown setting {unknown[0]}; docs/configuration.md lists the {len(known)} known ones"
        )
    try:
        settings = Settings()
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        name = PREFIX + "__".join(str(part) for part in first["loc"]).upper()
        raise ConfigurationError(f"{name}: {first['msg']}") from None
    key = settings.admin_key
    if key is not None and len(key.get_secret_value()) < 20:
        raise ConfigurationError("OPORA_ADMIN_KEY: must have at least 20 characters")
    return settings
