"""The one place where settings become objects."""

from dataclasses import dataclass

from app.db.repositories import documents as document_rows
from app.db.session import Database
from app.domain.access import PUBLIC
from app.domain.ports import BlobStore, ChatModel, Embedder, LexicalIndex, VectorIndex
from app.engines.blobs.folder import FolderBlobStore
from app.engines.embedder.deterministic import HashEmbedder
from app.engines.embedder.sentence_transformer import SentenceTransformerEmbedder
from app.engines.embedder.universal import UniversalSentenceEncoder
from app.engines.index.faiss_index import FaissIndex
from app.engines.lexical.bm25 import Bm25Index
from app.engines.llm.openai_client import OpenAiChatModel
from app.services.access import Access
from app.services.answering import Answering
from app.services.documents import DEFAULT_COLLECTION, Documents
from app.services.generations import Generations
from app.services.retrieval import Retrieval
from app.services.search_index import SearchIndex
from app.settings import EmbedderSettings, Settings

DEFAULT_ASSISTANT = "opora"


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that the HTTP door uses."""

    settings: Settings
    database: Database
    access: Access
    documents: Documents
    blobs: BlobStore
    embedder: Embedder
    index: SearchIndex
    retrieval: Retrieval
    answering: Answering
    chat: ChatModel

    async def close(self) -> None:
        """Release connections."""
        await self.chat.close()
        await self.database.close()


def build_database(settings: Settings, url: str) -> Database:
    """A pool on a database URL."""
    return Database(url, settings.database.pool_size, settings.database.statement_timeout_s)


def build_embedder(settings: EmbedderSettings) -> Embedder:
    """The configured embedder; it loads its model on first use."""
    match settings.model:
        case "universal-sentence-encoder-multilingual-v3":
            return UniversalSentenceEncoder(threads=settings.threads)
        case "hash":
            return HashEmbedder()
        case model:
            return SentenceTransformerEmbedder(
                model,
                settings.revision,
                settings.query_prefix,
                settings.passage_prefix,
                settings.device,
                settings.threads,
            )


def build_blobs(settings: Settings) -> BlobStore:
    """The store of original bytes."""
    return FolderBlobStore(settings.data / "blobs")


def build_generations(settings: Settings, database: Database, embedder: Embedder) -> Generations:
    """Generations under the data directory."""
    fingerprint = embedder.fingerprint

    def new_legs() -> tuple[VectorIndex, LexicalIndex]:
        return FaissIndex(fingerprint.dimension), Bm25Index()

    return Generations(database, settings.data / "generations", fingerprint, new_legs)


def build_chat(settings: Settings) -> ChatModel:
    """The client of the model server: the configured one, or the one that `opora serve` starts."""
    own = f"http://127.0.0.1:{settings.llm.port}/v1"
    return OpenAiChatModel(settings.llm, settings.llm.base_url or own)


def build_services(settings: Settings, url: str) -> Services:
    """Wire the app's use cases on a database URL."""
    database = build_database(settings, url)
    embedder = build_embedder(settings.embedder)
    blobs = build_blobs(settings)
    index = build_generations(settings, database, embedder).search_index()
    retrieval = Retrieval(database, index, embedder, settings.retrieval)
    chat = build_chat(settings)
    return Services(
        settings=settings,
        database=database,
        access=Access(database),
        documents=Documents(database, blobs),
        blobs=blobs,
        embedder=embedder,
        index=index,
        retrieval=retrieval,
        answering=Answering(
            database,
            retrieval,
            embedder,
            chat,
            settings.answering,
            settings.http.max_concurrent_answers,
        ),
        chat=chat,
    )


async def prepare_database(settings: Settings, url: str) -> tuple[str | None, bool]:
    """Make what every start needs: the default collection and an admin key.

    Returns:
        The admin key where it is known, and whether the database holds no document yet.
    """
    database = build_database(settings, url)
    wanted = settings.admin_key.get_secret_value() if settings.admin_key else None
    try:
        async with database.transaction() as session:
            await document_rows.ensure_collection(session, DEFAULT_COLLECTION, [PUBLIC])
            is_new = await document_rows.is_untouched(session)
        return await Access(database).ensure_admin_key(settings.data, wanted), is_new
    finally:
        await database.close()
