"""`opora doctor`: what works here and what does not, in plain words."""

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass

from app.cli.client import CallFailed, Client
from app.db.migrate import current_and_newest
from app.domain.errors import OporaError
from app.engines.llm import catalogue
from app.settings import Settings
from app.wiring import build_chat, build_embedder
from ingestion.parsers.tesseract import LANGUAGES, OcrUnavailable, check_available


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def examine(settings: Settings) -> list[Finding]:
    """Look at everything that Opora leans on."""
    checks: tuple[tuple[str, Callable[[Settings], str]], ...] = (
        ("data directory", _data),
        ("database", _database),
        ("embedder", _embedder),
        ("text in images", _ocr),
        ("default model", _model),
        ("model server", _model_server),
        ("app", _app),
    )
    return [_finding(name, check, settings) for name, check in checks]


def _finding(name: str, check: Callable[[Settings], str], settings: Settings) -> Finding:
    try:
        return Finding(name, True, check(settings))
    except OporaError as error:
        return Finding(name, False, error.message)
    except OSError as error:
        return Finding(name, False, f"{error.filename or ''} {error.strerror or error}".strip())


def _data(settings: Settings) -> str:
    settings.data.mkdir(parents=True, exist_ok=True)
    probe = settings.data / ".doctor"
    probe.write_bytes(b"ok")
    probe.unlink()
    free = shutil.disk_usage(settings.data).free
    if free < 500 * 1024**2:
        raise OporaError(f"only {free / 1e6:.0f} MB are free under {str(settings.data)!r}")
    return f"{settings.data} can be written, {free / 1e9:.0f} GB are free"


def _database(settings: Settings) -> str:
    if settings.database.url is None:
        if not (settings.data / "postgres" / "PG_VERSION").exists():
            return "embedded PostgreSQL, not made yet: the first `opora serve` makes it"
        from app.db.embedded import start_embedded

        postgres = start_embedded(settings.data)
        try:
            return _schema(postgres.get_uri(), "embedded PostgreSQL")
        finally:
            postgres.cleanup()
    return _schema(settings.database.url.get_secret_value(), "PostgreSQL")


def _schema(url: str, name: str) -> str:
    current, newest = current_and_newest(url)
    if current != newest:
        raise OporaError(f"{name} answers; its schema is {current}, not {newest}: `opora migrate`")
    return f"{name} answers, its schema is the newest ({newest})"


def _embedder(settings: Settings) -> str:
    embedder = build_embedder(settings.embedder)
    vectors = embedder.embed_queries(["проверка", "check"])
    return f"{embedder.fingerprint.model} gives vectors of {vectors.shape[1]} numbers"


def _ocr(_: Settings) -> str:
    try:
        version = check_available()
    except OcrUnavailable as error:
        return f"not read, nor are scans; for them, {error}"
    return f"Tesseract {version} reads {LANGUAGES}"


def _model(settings: Settings) -> str:
    if settings.llm.base_url is not None or settings.llm.server == "vllm":
        return "not needed: another model server is configured"
    model = catalogue.find_model(None)
    path = catalogue.cached(model.name, settings.models)
    if path is None:
        return f"{model.name} is not fetched yet: the first `opora serve` fetches it"
    return f"{model.name} is in {path}"


def _model_server(settings: Settings) -> str:
    async def look() -> str:
        chat = build_chat(settings)
        try:
            return await chat.check()
        finally:
            await chat.close()

    return f"serves {asyncio.run(look())!r}"


def _app(settings: Settings) -> str:
    client = Client(settings)
    try:
        state = client.call("GET", "/readyz")
    except CallFailed as error:
        raise OporaError(f"{client.url} answers, but is not ready: {error.message}") from error
    return f"{client.url} is ready, index {state['index']}"
