"""Open WebUI, installed from PyPI, in front of a running Opora."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.e2e.running import until
from tests.faults.server import free_port

START_TIMEOUT_S = 300.0
_SERVE = "from open_webui import app; app()"
_PASSWORD = "password-of-the-tests"


class OpenWebUi:
    """A running Open WebUI, and the person who is signed in."""

    def __init__(self, base_url: str, session: aiohttp.ClientSession) -> None:
        self.base_url = base_url
        self._session = session
        self._headers: dict[str, str] = {}

    async def sign_up(self, email: str) -> None:
        """Make the first user, who is its administrator, and sign in."""
        body = {"name": email, "email": email, "password": _PASSWORD}
        signed = await self._call("POST", "/api/v1/auths/signup", body)
        self._headers = {"Authorization": f"Bearer {signed['token']}"}

    async def models(self) -> list[str]:
        """The models that it offers."""
        return [model["id"] for model in (await self._call("GET", "/api/models"))["data"]]

    async def ask(self, question: str) -> Any:
        """Ask with the model `opora`, as its page does."""
        message = {"role": "user", "content": question}
        body = {"model": "opora", "messages": [message], "stream": False}
        return await self._call("POST", "/api/chat/completions", body)

    async def ask_streamed(self, question: str) -> str:
        """Ask for a stream; return it as it came."""
        message = {"role": "user", "content": question}
        body = {"model": "opora", "messages": [message], "stream": True}
        url = self.base_url + "/api/chat/completions"
        async with self._session.post(url, json=body, headers=self._headers) as response:
            assert response.status == 200, await response.text()
            return await response.text()

    async def _call(self, method: str, path: str, body: object = None) -> Any:
        async with self._session.request(
            method, self.base_url + path, json=body, headers=self._headers
        ) as response:
            assert response.status == 200, (path, response.status, await response.text())
            return await response.json()


@asynccontextmanager
async def open_webui(
    python: Path, folder: Path, opora_url: str, key: str, secret: str
) -> AsyncIterator[OpenWebUi]:
    """Start it with its data in a folder, and end it afterwards."""
    port = free_port()
    own = {name: value for name, value in os.environ.items() if not name.startswith("OPORA_")}
    environment = own | {
        "DATA_DIR": str(folder),
        "WEBUI_SECRET_KEY": "secret-of-the-tests-of-32-letters-",
        "OPENAI_API_BASE_URL": f"{opora_url}/v1",
        "OPENAI_API_KEY": key,
        "ENABLE_OLLAMA_API": "false",
        "ENABLE_FORWARD_USER_INFO_HEADERS": "true",
        "FORWARD_USER_INFO_HEADER_JWT_SECRET": secret,
        "ENABLE_TITLE_GENERATION": "false",
        "ENABLE_TAGS_GENERATION": "false",
        "ENABLE_FOLLOW_UP_GENERATION": "false",
        "OFFLINE_MODE": "true",
        "RAG_EMBEDDING_ENGINE": "openai",  # else it wants a model of its own from a hub
        "ANONYMIZED_TELEMETRY": "false",
        "DO_NOT_TRACK": "true",
        "SCARF_NO_ANALYTICS": "true",
    }
    command = [str(python), "-c", _SERVE, "serve", "--host", "127.0.0.1", "--port", str(port)]
    timeout = aiohttp.ClientTimeout(total=120)
    with (folder / "open-webui.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stdout=log, stderr=log, cwd=folder
        )
    try:
        async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
            base_url = f"http://127.0.0.1:{port}"

            async def is_up() -> bool:
                assert process.returncode is None, (folder / "open-webui.log").read_text()[-3000:]
                try:
                    async with session.get(f"{base_url}/health") as response:
                        return response.status == 200
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(1)
                    return False

            await until(is_up, START_TIMEOUT_S)
            yield OpenWebUi(base_url, session)
    finally:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 30)
        except TimeoutError:
            process.kill()
            await process.wait()
