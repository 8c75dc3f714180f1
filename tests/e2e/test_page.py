"""The page at `/` in a real browser, from the login to the marked quote."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

playwright = pytest.importorskip("playwright.async_api")

if TYPE_CHECKING:
    from playwright.async_api import ConsoleMessage, Page, Request

CHROMIUM = Path("/usr/bin/chromium")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not CHROMIUM.exists(), reason=f"no {CHROMIUM}; install Debian's package chromium"
    ),
]

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
QUESTION = "How many days of leave do employees get?"
WITNESS = """
window.violations = [];
addEventListener("securitypolicyviolation", (e) => {
  violations.push(`${e.violatedDirective} ${e.blockedURI}`);
});
"""


@dataclass
class Visit:
    """A browser's page and what it did behind the reader's back."""

    page: "Page"
    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)
    asked: list[dict[str, object]] = field(default_factory=list)

    async def log_in(self, key: str) -> None:
        await self.page.get_by_label("API key").fill(key)
        await self.page.get_by_role("button", name="Log in").click()

    async def ask(self, question: str) -> None:
        """Ask, and wait for the end of the answer."""
        await self.page.get_by_label("Ask a question").fill(question)
        await self.page.keyboard.press("Enter")
        end = ".turn:last-child .feedback, .turn.failed:last-child .again"
        await self.page.locator(end).locator("visible=true").wait_for(timeout=120_000)


@pytest.fixture
async def visit(base_url: str) -> AsyncIterator[Visit]:
    """A new English browser profile at the page."""
    async with playwright.async_playwright() as started:
        browser = await started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await browser.new_page(locale="en-GB")
        seen = Visit(page)

        def on_request(request: "Request") -> None:
            url = urlsplit(request.url)
            if url.scheme != "blob":
                seen.hosts.add(url.netloc)
            if url.path == "/v1/ask":
                seen.asked.append(json.loads(request.post_data or ""))

        def on_console(message: "ConsoleMessage") -> None:
            if message.type in ("error", "warning"):
                seen.complaints.append(message.text)

        page.on("request", on_request)
        page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        page.on("console", on_console)
        await page.add_init_script(WITNESS)
        await page.goto(base_url)
        yield seen
        assert await page.evaluate("violations") == []
        assert seen.hosts == {urlsplit(base_url).netloc}
        await browser.close()


async def test_wrong_key_gets_one_sentence(visit: Visit) -> None:
    await visit.log_in("not-a-key-of-this-house")
    refused = visit.page.get_by_role("alert")
    await refused.wait_for()
    assert await refused.inner_text() == "This key is wrong, expired or revoked."
    assert await visit.page.locator("#composer").is_hidden()
    assert await visit.page.evaluate("sessionStorage.length") == 0
    assert all("401" in complaint for complaint in visit.complaints)  # Chromium's own note


async def test_answer_leads_to_the_marked_quote(visit: Visit, admin_key: str) -> None:
    page = visit.page
    await visit.log_in(admin_key)
    await visit.ask(QUESTION)
    assert visit.asked[0] == {"question": QUESTION, "conversation_id": None, "stream": True}
    assert "28" in await page.locator(".turn .text").inner_text()

    quote = await page.locator(".sources q").first.text_content()
    marker = page.locator(".turn .text .marker").first
    await marker.click()
    mark = page.locator("#panel mark")
    await mark.wait_for()
    assert await mark.text_content() == quote
    assert quote is not None and "28" in quote
    assert await mark.evaluate(
        "mark => { const {top, bottom} = mark.getBoundingClientRect();"
        " return top >= 0 && bottom <= innerHeight }"
    )
    assert await page.locator("#panel-note").is_hidden()

    async with page.expect_download() as download:
        await page.get_by_role("button", name="Download the original").click()
    saved = await (await download.value).path()
    assert Path(saved).stat().st_size > 0  # noqa: ASYNC240
    await page.keyboard.press("Escape")
    assert await page.locator("#panel").is_hidden()
    assert visit.complaints == []


async def test_behind_a_proxy_that_signs_in_it_asks_for_no_key(
    visit: Visit, admin_key: str
) -> None:
    assert await visit.page.locator("#login").is_visible()
    await visit.page.set_extra_http_headers({"Authorization": f"Bearer {admin_key}"})
    await visit.page.reload()
    await visit.ask(QUESTION)
    assert "28" in await visit.page.locator(".turn .text").inner_text()
    assert await visit.page.locator("#login").is_hidden()
    assert await visit.page.locator("#logout").is_hidden()
    assert await visit.page.evaluate("sessionStorage.length") == 0
    assert visit.complaints == []


async def test_next_question_stays_in_the_conversation(visit: Visit, admin_key: str) -> None:
    await visit.log_in(admin_key)
    await visit.ask(QUESTION)
    await visit.ask(QUESTION)
    assert visit.asked[1]["conversation_id"] is not None
    await visit.page.get_by_role("button", name="Good answer").last.click()
    await visit.page.get_by_text("Thank you").wait_for()
    await visit.page.get_by_role("button", name="New conversation").click()
    assert await visit.page.locator(".turn").count() == 0
    await visit.ask(QUESTION)
    assert visit.asked[2]["conversation_id"] is None
    assert visit.complaints == []


async def test_logging_out_leaves_nothing(visit: Visit, admin_key: str) -> None:
    page = visit.page
    await visit.log_in(admin_key)
    await visit.ask(QUESTION)
    assert await page.evaluate("localStorage.length") == 0
    await page.get_by_role("button", name="Русский").click()
    await page.get_by_role("button", name="Выйти").click()
    assert await page.get_by_label("Ключ API").is_visible()
    assert await page.locator(".turn").count() == 0
    assert await page.evaluate("sessionStorage.length") == 0
    await page.reload()
    assert await page.get_by_label("Ключ API").is_visible()
    assert visit.complaints == []
