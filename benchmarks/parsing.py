"""How much of real files the parsers keep: `python -m benchmarks.parsing DIR...`.

Each folder holds `files.jsonl` in the schema of the evaluation sets (`path`, `format`,
`must_contain`). A line counts as kept if it is found in the parsed text when both are reduced to
lower-cased letters and digits. Files of types that Opora does not read are listed, not scored.
"""

import argparse
import json
import re
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from app.domain.errors import DocumentRejected, UnsupportedMedia
from app.services.media_types import sniff
from app.settings import IngestionSettings
from ingestion.chunking import chunk
from ingestion.parsers.sandbox import parse_in_sandbox


@dataclass
class Score:
    """Sums over the files of one format."""

    files: int = 0
    lines: int = 0
    kept: int = 0
    share_sum: float = 0.0
    seconds: float = 0.0


def fold(text: str) -> str:
    """Reduce text to lower-cased letters and digits, ё as е."""
    return re.sub(r"[\W_]+", "", text.lower().replace("ё", "е"))


def measure(folder: Path, *, verbose: bool) -> None:
    """Parse a folder's files and print the share of expected lines for each format."""
    scores: dict[str, Score] = defaultdict(Score)
    with (folder / "files.jsonl").open(encoding="utf-8") as listing:
        entries = [json.loads(line) for line in listing]
    for entry in entries:
        path = folder / entry["path"]
        started = perf_counter()
        try:
            parsed = parse_in_sandbox(path, sniff(path, path.name), IngestionSettings())
        except (UnsupportedMedia, DocumentRejected) as error:
            print(f"  not read: {path.name}: {error.code}: {error.message[:110]}")
            if isinstance(error, UnsupportedMedia):
                continue
            text = ""
        else:
            text = parsed.text
            chunk(parsed, lambda text: len(text.split()), 160)
        score = scores[entry["format"]]
        score.seconds += perf_counter() - started
        score.files += 1
        folded = fold(text)
        missed = [line for line in entry["must_contain"] if fold(line) not in folded]
        total = len(entry["must_contain"])
        score.lines += total
        score.kept += total - len(missed)
        score.share_sum += 1 - len(missed) / max(1, total)
        if verbose and missed:
            print(f"  {path.name}: {len(missed)} of {total} missed: {missed[:6]!r}")
    print(f"{folder.name}: format, files, lines kept, share of lines, mean share per file, s/file")
    for name, one in sorted(scores.items()):
        print(
            f"  {name:5} {one.files:3} {one.kept:5}/{one.lines:<5} {one.kept / one.lines:.3f} "
            f"{one.share_sum / one.files:.3f} {one.seconds / one.files:.2f}"
        )
    every = list(scores.values())
    mean = sum(one.share_sum for one in every) / sum(one.files for one in every)
    print(f"  mean share per file: {mean:.3f}")


def main() -> int:
    """Measure every folder that exists."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("folders", nargs="+", type=Path)
    arguments.add_argument("--verbose", action="store_true", help="name the missed lines")
    chosen = arguments.parse_args()
    for folder in chosen.folders:
        if (folder / "files.jsonl").exists():
            measure(folder, verbose=chosen.verbose)
        else:
            print(f"{folder}: skipped, there is no files.jsonl in it", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
