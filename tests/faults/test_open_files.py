"""The limit of open files: raised to what the setting needs, or named where it cannot be."""

import subprocess
import sys

import pytest

CODE = """
import resource, sys
from app.serving import allow_open_files
from app.settings import HttpSettings
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
allow_open_files(HttpSettings(max_concurrent_answers=100))
print("limit", resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""
NEEDED = 100 * 2 + 100 * 8 + 256


@pytest.mark.parametrize(
    ("soft", "hard", "left", "is_told"),
    [(300, 5000, NEEDED, False), (300, 600, 600, True)],
)
def test_limit_of_open_files(soft: int, hard: int, left: int, is_told: bool) -> None:
    command = [sys.executable, "-c", CODE, str(soft), str(hard)]
    said = subprocess.run(command, capture_output=True, check=True, timeout=120, text=True)
    assert f"limit {left}\n" in said.stdout
    assert ("open_files.too_few" in said.stdout) is is_told
    assert (f"needed={NEEDED}" in said.stdout) is is_told
