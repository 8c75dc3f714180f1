"""The one place where settings become objects."""

import asyncio
from dataclasses import asdict, dataclass

from app.db.repositories import documents as document_rows
from app.db.session import Database
from app.domain.access import PUBLIC
from app.domain.errors import ConfigurationError
from app.domain.ports import (
    BlobStore,
    ChatModel,
    Embedder,
    EntailmentModel,
    LexicalIndex,
    Reranker,
    VectorIndex,
)
from app.domain.recipes import EmbedderSpec
from app.engines.blobs.folder import FolderBlobStore
from app.engines.embedder.deterministic import HashEmbedder
from app.engines.embedder.openai_http import OpenAiEmbedder
from app.engines.embedder.sentence_transformer import SentenceTransformerEmbedder
from app.engines.embedder.universal import UniversalSentenceEncoder
from app.engines.entailment.cross_encoder import CrossEncoderEntailment
from app.engines.index.faiss_index import FaissIndex
from app.engines.lexical.bm25 import Bm25Index
from app.engines.llm.openai_client import OpenAiChatModel
from app.engines.oidc import OidcProvider
from app.engines.reranker.cross_encoder import CrossEncoderReranker
from app.engines.reranker.http import HttpReranker
from app.engines.reranker.overlap import OverlapReranker
from app.services.access import Access
from app.services.answering import Answering
from app.services.assistants import Assistants
from app.services.audit import Audit
from app.services.documents import DEFAULT_COLLECTION, Documents
from app.services.generations import Generations
from app.services.glossary import LiveGlossary
from app.services.live_index import LiveIndex
from app.services.principals import Principals
from app.services.recipes import Recipes
from app.services.reindexing import Reindexes
from app.services.retention import Retention
from app.services.retrieval import Retrieval
from app.services.rewriting import Rewriter
from app.services.secrets import SecretBox
from app.services.sources import Sources
from app.services.verification import Verification
from app.settings import EmbedderSettings, Settings


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that the HTTP door uses."""

    settings: Settings
    database: Database
    access: Access
    principals: Principals
    documents: Documents
    sources: Sources
    blobs: BlobStore
    recipes: Recipes
    reindexes: Reindexes
    generations: Generations
    index: LiveIndex
    glossary: LiveGlossary
    retrieval: Retrieval
    assistants: Assistants
    answering: Answering
    chat: ChatModel
    audit: Audit
    retention: Retention

    async def close(self) -> None:
        """Release connections."""
        await asyncio.to_thread(self.retrieval.close)
        await self.chat.close()
        await self.database.close()


def build_embedder(settings: EmbedderSettings) -> Embedder:
    """The configured embedder; it loads its model on first use."""
    if settings.base_url is not None:
        return OpenAiEmbedder(
            settings.base_url,
            settings.model,
            settings.api_key.get_secret_value() if settings.api_key else None,
            settings.revision,
            settings.query_prefix or "",
            settings.passage_prefix or "",
        )
    match settings.model:
        case "universal-sentence-encoder-multilingual-v3":
            return UniversalSentenceEncoder(threads=settings.threads)
        case "hash":
            return HashEmbedder()
        case model if model.startswith("hash:"):
            return HashEmbedder(int(model.removeprefix("hash:")))
        case model:
            return SentenceTransformerEmbedder(
                model,
                settings.revision,
                settings.query_prefix,
                settings.passage_prefix,
                settings.device,
                settings.threads,
            )


def build_reranker(settings: Settings) -> Reranker | None:
    """The configured reranker; None where no model is named."""
    model, base_url = settings.reranker.model, settings.reranker.base_url
    if model is None:
        return None
    if base_url is not None:
        key = settings.reranker.api_key
        secret = key.get_secret_value() if key else None
        return HttpReranker(base_url, model, secret, settings.reranker.timeout_s)
    if model == "overlap":
        return OverlapReranker()
    return CrossEncoderReranker(model, settings.embedder.device, settings.embedder.threads)


def build_blobs(settings: Settings) -> BlobStore:
    """The store of original bytes."""
    return FolderBlobStore(settings.data / "blobs")


def build_recipes(settings: Settings, database: Database) -> Recipes:
    """Recipes, whose embedders use this machine's device, threads and key."""

    def build(spec: EmbedderSpec) -> Embedder:
        return build_embedder(settings.embedder.model_copy(update=asdict(spec)))

    configured = EmbedderSpec(**settings.embedder.model_dump(include={*EmbedderSpec.__slots__}))
    return Recipes(database, build, configured, settings.ingestion.chunk_tokens)


def build_generations(settings: Settings, database: Database) -> Generations:
    """Generations under the data directory."""

    def new_legs(dimension: int) -> tuple[VectorIndex, LexicalIndex]:
        return FaissIndex(dimension, exact_up_to=settings.retrieval.exact_up_to), Bm25Index()

    return Generations(database, settings.data / "generations", new_legs)


def build_retrieval(
    settings: Settings, database: Database, index: LiveIndex, glossary: LiveGlossary
) -> Retrieval:
    """Search over an index."""
    return Retrieval(
        database,
        index,
        settings.retrieval,
        build_reranker(settings),
        settings.reranker,
        glossary.expansions,
    )


def build_chat(settings: Settings) -> ChatModel:
    """The client of the model server: the configured one, or the one that `opora serve` starts."""
    own = f"http://127.0.0.1:{settings.llm.port}/v1"
    return OpenAiChatModel(settings.llm, settings.llm.base_url or own)


def has_chosen_model(settings: Settings) -> bool:
    """Whether an operator chose the chat model; the default one is small and runs on llama.cpp."""
    return settings.llm.base_url is not None or settings.llm.model is not None


def build_rewriter(settings: Settings, chat: ChatModel) -> Rewriter:
    """Rewriting asks for a better model than the small default, whose texts were unusable."""
    rewrites = has_chosen_model(settings)
    return Rewriter(chat, settings.retrieval.rewrite_timeout_s, rewrites=rewrites)


def build_verification(settings: Settings) -> Verification:
    """The check of each sentence, with the entailment model that lies among the models, if any."""
    folder = settings.models / "entailment"
    entailment: EntailmentModel | None = None
    if folder.is_dir():
        entailment = CrossEncoderEntailment(
            folder, settings.embedder.device, settings.embedder.threads
        )
    return Verification(settings.answering.min_support, entailment)


def build_answering(
    settings: Settings,
    database: Database,
    retrieval: Retrieval,
    chat: ChatModel,
    audit: Audit | None = None,
) -> Answering:
    """Answers over a search, written by a chat model."""
    return Answering(
        database,
        retrieval,
        chat,
        build_rewriter(settings, chat),
        build_verification(settings),
        settings.answering,
        settings.http.max_concurrent_answers,
        canonical_order=has_chosen_model(settings),
        audit=audit,
    )


def build_access(settings: Settings, database: Database) -> Access:
    """The check of credentials, with the configured front end's secret and identity provider.

    Raises:
        ConfigurationError: One of issuer and audience is missing, or one of all is no good.
    """
    secret = settings.http.user_header_secret
    issuer, audience = settings.oidc.issuer, settings.oidc.audience
    if bool(issuer) != bool(audience):
        raise ConfigurationError(
            "OPORA_OIDC__ISSUER and OPORA_OIDC__AUDIENCE go together: set both"
        )
    provider = OidcProvider(issuer, audience) if issuer and audience else None
    return Access(
        database,
        secret.get_secret_value() if secret else None,
        provider.identify if provider else None,
    )


def build_services(settings: Settings, url: str) -> Services:
    """Wire the app's use cases on a database URL."""
    database = Database(url)
    blobs = build_blobs(settings)
    recipes = build_recipes(settings, database)
    generations = build_generations(settings, database)
    index = LiveIndex(database, recipes, generations)
    glossary = LiveGlossary(database)
    retrieval = build_retrieval(settings, database, index, glossary)
    chat = build_chat(settings)
    audit = Audit(database, settings.audit)
    return Services(
        settings=settings,
        database=database,
        access=build_access(settings, database),
        principals=Principals(database),
        documents=Documents(database, blobs),
        sources=Sources(database, SecretBox(settings.data)),
        blobs=blobs,
        recipes=recipes,
        reindexes=Reindexes(database, generations),
        generations=generations,
        index=index,
        glossary=glossary,
        retrieval=retrieval,
        assistants=Assistants(database),
        answering=build_answering(settings, database, retrieval, chat, audit),
        chat=chat,
        audit=audit,
        retention=Retention(database, settings.answering.conversation_days, audit),
    )


async def prepare_database(settings: Settings, url: str) -> tuple[str | None, bool]:
    """Make what every start needs: the default collection and an admin key.

    Returns:
        The admin key where it is known, and whether the database holds no document yet.
    """
    database = Database(url)
    wanted = settings.admin_key.get_secret_value() if settings.admin_key else None
    try:
        async with database.transaction() as session:
            await document_rows.ensure_collection(session, DEFAULT_COLLECTION, [PUBLIC])
            is_new = await document_rows.is_untouched(session)
        return await Access(database).ensure_admin_key(settings.data, wanted), is_new
    finally:
        await database.close()
