"""One running Opora for all end-to-end tests that do not break it."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import ADMIN_KEY
from tests.e2e.model_server import EchoServer, echo_server
from tests.e2e.running import Client, Process, environment, ready, running, until
from tests.faults.server import free_port

LEAVE_RU = (
    "Каждому сотруднику полагается 28 календарных дней отпуска в год. "
    "Заявление на отпуск подаётся за 14 дней.\n"
)
LEAVE_EN = (
    "Employees get 28 calendar days of leave a year. "
    "The request for leave is handed in 14 days before.\n"
)
MOST_UPLOAD_BYTES = 2_000_000
MOST_BODY_BYTES = 100_000
MOST_QUESTION_CHARS = 300
USER_HEADER_SECRET = "what-front-ends-sign-with-in-the-tests" * 2
MOST_ANSWERS = 2
FIRST_TOKEN_TIMEOUT_S = 3


@pytest.fixture(scope="session")
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client session; every call has a time limit."""
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
        yield session


@pytest.fixture(scope="session")
async def model_server() -> AsyncIterator[EchoServer]:
    """The model server of the running Opora."""
    async with echo_server() as server:
        yield server


@pytest.fixture
def healthy(model_server: EchoServer) -> Iterator[EchoServer]:
    """The model server in good health at the start of the test and after it."""
    model_server.requests.clear()
    yield model_server
    model_server.fault = None


@pytest.fixture(scope="session")
async def opora(
    tmp_path_factory: pytest.TempPathFactory,
    new_database: Callable[[], str],
    model_server: EchoServer,
    http: aiohttp.ClientSession,
) -> AsyncIterator[Process]:
    """`opora serve` with the default embedder, small limits and two documents."""
    folder = tmp_path_factory.mktemp("opora")
    documents = folder / "first"
    documents.mkdir()
    (documents / "polozhenie-ob-otpuskah.txt").write_text(LEAVE_RU)
    (documents / "leave-policy.txt").write_text(LEAVE_EN)
    settings = environment(
        folder / "data",
        admin_key=ADMIN_KEY,
        http__port=free_port(),
        http__max_upload_bytes=MOST_UPLOAD_BYTES,
        http__max_body_bytes=MOST_BODY_BYTES,
        http__max_question_chars=MOST_QUESTION_CHARS,
        http__max_concurrent_answers=MOST_ANSWERS,
        http__user_header_secret=USER_HEADER_SECRET,
        database__url=new_database(),
        llm__base_url=model_server.base_url,
        llm__first_token_timeout_s=FIRST_TOKEN_TIMEOUT_S,
        llm__between_tokens_timeout_s=2,
        ingestion__parser_memory_bytes=512 * 1024**2,
        ingestion__parser_cpu_s=10,
        ingestion__max_text_chars=1_000_000,
        retrieval__follow_interval_s=0.2,
    )
    command = ("serve", "--first-documents", str(documents))
    with running(command, settings, folder / "serve.log") as process:
        base = f"http://127.0.0.1:{settings['OPORA_HTTP__PORT']}"
        await ready(process, base, http)
        process.remember_family()
        process.base_url = base
        client = Client(base, ADMIN_KEY, http)
        await _first_documents_are_live(client, process)
        yield process
        crashes = [line for line in logs(folder / "data").splitlines() if "Traceback" in line]
        assert not crashes, crashes[0][-3000:]


async def _first_documents_are_live(client: Client, process: Process) -> None:
    async def look() -> bool:
        assert process.popen.poll() is None, process.output
        return "Opora is ready" in process.output

    await until(look, 90)
    live = (await client.get("/v1/documents?status=live")).json
    assert len(live["items"]) == 2, process.output


def logs(data: Path) -> str:
    """What app and worker wrote."""
    return "".join(path.read_text(errors="replace") for path in (data / "logs").glob("*.log"))


@pytest.fixture(scope="session")
def base_url(opora: Process) -> str:
    """Where the running Opora listens; two documents about leave are live there."""
    return opora.base_url


@pytest.fixture(scope="session")
def admin_key() -> str:
    """The running Opora's admin key."""
    return ADMIN_KEY


@pytest.fixture
def admin(
    base_url: str, admin_key: str, http: aiohttp.ClientSession, healthy: EchoServer
) -> Client:
    """A caller who may do everything."""
    return Client(base_url, admin_key, http)
