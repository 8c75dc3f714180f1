"""What the docs say is what the code does."""

import re
from pathlib import Path

import pytest

from tests.architecture.reference import DOCS, PAGES

ROOT = DOCS.parent


@pytest.mark.parametrize("name", PAGES)
def test_reference_page_is_up_to_date(name: str) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")
    assert page == PAGES[name](), f"run `python -m tests.architecture.reference` for docs/{name}"


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]
    dead = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text("utf-8"))
        if not (page.parent / target).exists()
    ]
    assert dead == []


def test_make_targets_in_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)`", (ROOT / "README.md").read_text("utf-8")))
    assert named and named <= targets


def test_documentation_names_no_place_of_a_machine() -> None:
    pages = [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]
    for page in pages:
        assert not re.search(r"(?<![\w.])/(?:root|work|home)/", page.read_text("utf-8")), page


def source_files() -> list[Path]:
    return [
        p for folder in ("app", "ingestion", "migrations") for p in (ROOT / folder).rglob("*.py")
    ]


@pytest.mark.parametrize("path", source_files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_is_one_idea(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 420, "split it by idea"
    assert not lines or lines[0].startswith('"""'), "say in a docstring what the file is"


def test_broad_excepts_stand_in_three_places_only() -> None:
    found = {
        str(path.relative_to(ROOT))
        for path in source_files()
        if re.search(r"except Exception\b", path.read_text(encoding="utf-8"))
    }
    assert found <= {"ingestion/tasks.py", "ingestion/parsers/child.py", "app/api/errors.py"}


def test_the_environment_is_read_in_few_places() -> None:
    found = {
        str(path.relative_to(ROOT))
        for path in source_files()
        if re.search(r"os\.(environ|getenv)", path.read_text(encoding="utf-8"))
    }
    # The others hand the environment on to child processes.
    assert found <= {
        "app/settings.py",
        "app/cli/serve.py",
        "app/engines/llm/catalogue.py",
        "app/engines/llm/launch.py",
        "ingestion/parsers/sandbox.py",
    }
