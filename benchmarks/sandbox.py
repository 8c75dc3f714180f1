"""What the sandbox costs a small file: `python -m benchmarks.sandbox` prints CPU-ms a file."""

import resource
import tempfile
from pathlib import Path

from app.domain.documents import MediaType
from app.settings import IngestionSettings
from ingestion.parsers.sandbox import SERVERS, parse_in_sandbox

_FILES = 200


def main() -> None:
    """Parse one line of text again and again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.txt"
        path.write_text("Слово и дело.\n")
        for _ in range(_FILES):
            parse_in_sandbox(path, MediaType.TEXT, IngestionSettings())
    SERVERS.close()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = children.ru_utime + children.ru_stime
    print(f"{spent / _FILES * 1000:.1f} CPU-ms a file, the start of their parent included")


if __name__ == "__main__":
    main()
