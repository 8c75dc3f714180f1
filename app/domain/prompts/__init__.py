"""Versioned prompts: one text file per purpose and language, none inside functions."""

from functools import lru_cache
from pathlib import Path

PROMPT_VERSION = "answer-1"


@lru_cache
def prompt(name: str, language: str) -> str:
    """The text of `name.language.txt`, without its last newline."""
    path = Path(__file__).with_name(f"{name}.{language}.txt")
    return path.read_text(encoding="utf-8").rstrip("\n")
