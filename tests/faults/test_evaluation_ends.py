"""An evaluation that is ended from outside leaves no database of its own behind."""

import shutil
import signal
from pathlib import Path

import psutil

from tests.e2e.running import environment, running, until

DATASET = Path(__file__).parents[1] / "fixtures" / "answers"


async def test_sigterm_ends_the_throw_away_database_too(tmp_path: Path) -> None:
    dataset, scratch = tmp_path / "dataset", tmp_path / "scratch"
    shutil.copytree(DATASET, dataset)
    scratch.mkdir()
    first = (dataset / "corpus.jsonl").read_text(encoding="utf-8").splitlines()[0]
    with (dataset / "corpus.jsonl").open("a", encoding="utf-8") as corpus:  # to end it in between
        for number in range(2000):
            corpus.write(first.replace('"doc_id": "', f'"doc_id": "{number}-') + "\n")

    async def database() -> list[psutil.Process]:
        found = psutil.process_iter(["cmdline"])
        return [one for one in found if str(scratch) in " ".join(one.info["cmdline"] or ())]

    command = ("evaluate", "retrieval", "--dataset", str(dataset))
    settings = environment(tmp_path / "data") | {"TMPDIR": str(scratch)}
    with running(command, settings, tmp_path / "evaluate.log") as process:
        assert await until(database, 60), process.output
        assert process.popen.poll() is None, process.output
        assert process.stop(signal.SIGTERM) == 128 + signal.SIGTERM, process.output
        assert await database() == []
