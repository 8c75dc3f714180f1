"""`opora evaluate`: how well Opora finds, measured on a dataset."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from app.settings import load_settings

commands = typer.Typer(help="Measure Opora on your own documents and questions.")

_Folders = Annotated[list[Path], typer.Option(help="Folder of a dataset; repeat for several.")]
_Limit = Annotated[int | None, typer.Option(min=1, help="Ask the first so many questions.")]


@commands.callback()
def evaluate() -> None:
    """Measure Opora on your own documents and questions."""


@commands.command()
def retrieval(
    dataset: _Folders,
    split: Annotated[str, typer.Option(help="Which qrels of a BEIR dataset.")] = "test",
    hard: Annotated[bool, typer.Option("--hard", help="Use corpus_noq.jsonl.")] = False,
    rewritten: Annotated[
        bool, typer.Option("--rewritten", help="Ask follow-ups in their stand-alone form.")
    ] = False,
    questions: Annotated[Path | None, typer.Option(help="In place of queries.jsonl.")] = None,
    limit: _Limit = None,
    baseline: Annotated[
        Path | None, typer.Option(help="An earlier report: exit 1 where a metric fell.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the report here, with each question's values.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Index each dataset in a throw-away database, search in every way and print the metrics."""
    from app.cli.evaluation import encoded, measure, tables
    from app.quality.baseline import falls, read_report
    from app.quality.datasets import read_dataset

    out, err = Console(), Console(stderr=True)
    settings = load_settings()
    before = read_report(baseline) if baseline else None
    datasets = [
        read_dataset(
            folder, split=split, hard=hard, rewritten=rewritten, questions=questions, limit=limit
        )
        for folder in dataset
    ]
    report = measure(settings, datasets, before, err)
    if output:
        output.write_bytes(encoded(report, per_question=True) + b"\n")
    if as_json:
        sys.stdout.write(encoded(report, per_question=False).decode() + "\n")
    else:
        for table in tables(report):
            out.print(table)
    fallen = falls(report, before) if before else []
    for fall in fallen:
        err.print(str(fall), style="red", highlight=False, soft_wrap=True)
    if fallen:
        raise typer.Exit(1)
