"""Asks Opora with the real clients and prints a table: `make test-clients`.

Each client is installed from PyPI into an environment of its own, 2.7 GB in all, once. The model
server is the one of the end-to-end tests, which answers with the first sentence of the evidence.
"""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import SubprocessError
from typing import Any

import aiohttp

from tests.clients.environments import ENVIRONMENTS, ClientEnvironment
from tests.clients.open_webui import open_webui
from tests.conftest import open_folder
from tests.e2e.model_server import echo_server
from tests.e2e.running import Client, environment, ready, running, until
from tests.faults.server import free_port

ADMIN_KEY = "opora_admin-key-of-the-clients"
SECRET = "what-open-webui-signs-its-users-header-with"
LEAVE = "Сотруднику полагается 28 календарных дней отпуска в год."
QUESTION = "Сколько дней отпуска полагается сотруднику?"
SAFE = "Сейф Барсук открывается кодом 5519."
SAFE_QUESTION = "Каким кодом открывается сейф Барсук?"
PERSON = "ann@house.example"
TIMEOUT_S = 120.0
_FAILURES = (AssertionError, OSError, ValueError, SubprocessError, aiohttp.ClientError)
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Trial:
    """A running Opora, and a key that may ask."""

    admin: Client
    key: str
    folder: Path

    async def run(self, python: Path, *arguments: str, **more: str) -> str:
        """Run a client, and return what it prints."""
        settings = {
            "BASE_URL": f"{self.admin.base_url}/v1",
            "API_KEY": self.key,
            "QUESTION": QUESTION,
            "PYTHONUTF8": "1",
        }
        process = await asyncio.create_subprocess_exec(
            *(str(python), *arguments),
            env=os.environ | settings | more,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, complaint = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
        assert process.returncode == 0, complaint.decode()[-2000:]
        return said.decode()


def check_noted(text: str) -> None:
    """The answer is right, and its citation survived."""
    assert "28" in text and "[1]" in text and "«" in text, text


async def ask_openai(trial: Trial, python: Path) -> str:
    found = json.loads(await trial.run(python, str(HERE / "ask_openai.py")))
    check_noted(found["whole"])
    assert found["streamed"] == found["whole"]
    assert found["models"] == ["opora"]
    assert found["citations"] and found["usage"]
    assert found["error"] == "not_found"
    return "whole, streamed with usage, annotations, models, errors"


async def ask_langchain(trial: Trial, python: Path) -> str:
    found = json.loads(await trial.run(python, str(HERE / "ask_langchain.py")))
    check_noted(found["whole"])
    assert found["streamed"] == found["whole"]
    assert found["usage"]
    return "whole with usage, streamed, notes"


async def ask_llm(trial: Trial, python: Path) -> str:
    home = trial.folder / "llm"
    home.mkdir()
    address = {"api_base": f"{trial.admin.base_url}/v1", "api_key_name": "opora"}
    model = {"model_id": "opora", "model_name": "opora", **address}
    (home / "extra-openai-models.yaml").write_text(json.dumps([model]))
    for options in ((), ("--no-stream",)):
        arguments = ("-m", "llm", "-m", "opora", "--key", trial.key, *options, QUESTION)
        check_noted(await trial.run(python, *arguments, LLM_USER_PATH=str(home)))
    return "whole, streamed, notes"


async def ask_open_webui(trial: Trial, python: Path) -> str:
    home = trial.folder / "open-webui"
    home.mkdir()
    async with open_webui(python, home, trial.admin.base_url, trial.key, SECRET) as web:
        await web.sign_up(PERSON)
        assert "opora" in await web.models()
        check_noted((await web.ask(QUESTION))["choices"][0]["message"]["content"])
        streamed = await web.ask_streamed(QUESTION)
        assert "28" in streamed and '"source"' in streamed, streamed
        safe = (await web.ask(SAFE_QUESTION))["choices"][0]["message"]["content"]
        assert "5519" in safe, safe  # which the front end's own key may not read
    body = {"question": SAFE_QUESTION}
    own = await trial.admin.with_key(trial.key).post("/v1/ask", body)
    assert "5519" not in own.raw.decode()
    return "model chosen, whole, streamed with sources, the person's own rights"


CLIENTS: dict[str, Callable[[Trial, Path], Awaitable[str]]] = {
    "openai-2": ask_openai,
    "openai-3": ask_openai,
    "langchain": ask_langchain,
    "llm": ask_llm,
    "open-webui": ask_open_webui,
}


async def prepared(admin: Client, folder: Path) -> Trial:
    """Put two documents in, one of them for one person, and make the front end's key."""
    for content, reader in ((LEAVE, "public"), (SAFE, f"user:{PERSON}")):
        document_id = await admin.ingest(content, readers=[reader])
        await admin.find(content.split()[1], document_id)
    body = {"user_id": "front-end", "scopes": ["ask"]}
    made: Any = (await admin.post("/v1/admin/api-keys", body)).json
    return Trial(admin, made["key"], folder)


@contextmanager
def folders() -> Iterator[tuple[Path, Path]]:
    """A data directory for PostgreSQL, and one for everything else."""
    with open_folder() as data, tempfile.TemporaryDirectory() as other:
        yield data, Path(other)


async def attempt(trial: Trial, client: ClientEnvironment) -> tuple[bool, str]:
    """Ask with one client; say what worked, or what did not."""
    try:
        python = await asyncio.to_thread(client.prepare)
        return True, await CLIENTS[client.name](trial, python)
    except _FAILURES as error:
        return False, " ".join(f"{type(error).__name__}: {error}".split())[:2000]


async def main(wanted: list[str]) -> int:
    """Ask with the named clients, by default with all; 1 when one failed."""
    failures = 0
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    with folders() as (data, folder):
        async with (
            echo_server() as model_server,
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as http,
        ):
            port = free_port()
            settings = environment(
                data,
                admin_key=ADMIN_KEY,
                http__port=port,
                http__user_header_secret=SECRET,
                llm__base_url=model_server.base_url,
            )
            with running(("serve",), settings, folder / "serve.log") as opora:
                base_url = f"http://127.0.0.1:{port}"
                await ready(opora, base_url, http)
                opora.remember_family()

                async def is_ready() -> bool:
                    return "Opora is ready" in opora.output

                await until(is_ready, TIMEOUT_S)
                trial = await prepared(Client(base_url, ADMIN_KEY, http), folder)
                print("| client | version | result | what was asked |\n| --- | --- | --- | --- |")
                for client in ENVIRONMENTS:
                    if not wanted or client.name in wanted:
                        works, said = await attempt(trial, client)
                        failures += not works
                        result = "works" if works else "FAILS"
                        row = f"| {client.package} | {client.version} | {result} | {said} |"
                        print(row, flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
