"""Installs what only the tests need, once: `python -m tests.prepare`, which `make test` runs.

Each part is left alone when it is there already. Everything else comes from requirements/dev.txt.
`PIP_FIND_LINKS` or `PIP_EXTRA_INDEX_URL` has to lead pip to the +cpu build of torch.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from ingestion.parsers.tesseract import OcrUnavailable, check_available
from tests.environments import keep_environment
from tests.identity import provider
from tests.vllm import server as vllm

REPOSITORY = Path(__file__).resolve().parents[1]
SENTENCE_TRANSFORMERS_LOCK = REPOSITORY / "requirements" / "sentence-transformers.txt"
CHROMIUM = Path("/usr/bin/chromium")
CHROMIUM_PACKAGES = ("chromium", "fonts-dejavu-core")
FONT = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")
OCR_PACKAGES = ("tesseract-ocr", "tesseract-ocr-rus", "fonts-dejavu-core")


def main() -> int:
    """Prepare every part; 1 when one failed, after the others have been tried."""
    parts: tuple[tuple[str, Callable[[], str]], ...] = (
        ("chromium", prepare_chromium),
        ("tesseract", prepare_tesseract),
        ("sentence-transformers", prepare_sentence_transformers),
        ("identity provider", prepare_identity_provider),
        ("vllm", prepare_vllm),
    )
    failures = 0
    for name, prepare in parts:
        try:
            said = prepare()
        except (subprocess.CalledProcessError, OSError) as error:
            failures += 1
            said = f"FAILED: {error}"
        print(f"{name}: {said}", flush=True)
    return 1 if failures else 0


def prepare_identity_provider() -> str:
    """Node.js (61 MB) and npm's oidc-provider for tests/identity."""
    return f"ready in {provider.prepare()}"


def prepare_vllm() -> str:
    """The environment and the model of tests/e2e/test_vllm.py."""
    return f"ready in {vllm.prepare()}"


def sentence_transformers_environment() -> Path:
    """Where the environment of the sentence-transformers tests lies."""
    return vllm.cache_folder().with_name("st-env")


def prepare_sentence_transformers() -> str:
    """The environment of the `embedding_models` tests: the default one has no torch."""
    folder = sentence_transformers_environment()
    keep_environment(folder, SENTENCE_TRANSFORMERS_LOCK)
    return f"ready in {folder}"


def prepare_chromium() -> str:
    """Debian's browser for tests/e2e/test_page.py, where this process may install it."""
    return _prepare_packages(CHROMIUM_PACKAGES, CHROMIUM.exists)


def prepare_tesseract() -> str:
    """Debian's Tesseract, its Russian data and a font for tests/integration/test_ocr.py."""
    return _prepare_packages(OCR_PACKAGES, _can_recognise)


def _can_recognise() -> bool:
    try:
        check_available()
    except OcrUnavailable:
        return False
    return FONT.exists()


def _prepare_packages(packages: tuple[str, ...], is_ready: Callable[[], bool]) -> str:
    if is_ready():
        return "ready"
    apt = shutil.which("apt-get")
    wanted = " ".join(packages)
    if apt is None or os.geteuid() != 0:
        return f"missing; its tests are skipped (as root: apt-get install {wanted})"
    print(f"installing Debian's {wanted}", flush=True)
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run([apt, "update", "-qq"], check=True, env=quiet)
    install = [apt, "install", "-y", "-qq", "--no-install-recommends", *packages]
    subprocess.run(install, check=True, env=quiet, stdout=subprocess.DEVNULL)
    return "ready"


if __name__ == "__main__":
    sys.exit(main())
