"""Opora over a database of the test's own."""

from pathlib import Path

import pytest

from app.wiring import Services
from tests.integration.house import House


@pytest.fixture
def house(services: Services, tmp_path: Path) -> House:
    """An empty house."""
    return House(services, tmp_path / "uploads")
