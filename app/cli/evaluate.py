"""`opora evaluate`: how well Opora finds and answers, measured on a dataset."""

import signal
import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from app.cli.output import Json, err, out
from app.settings import load_settings

commands = typer.Typer(help="Measure Opora on your own documents and questions.")

_Folders = Annotated[list[Path], typer.Option(help="Folder of a dataset; repeat for several.")]
_Hard = Annotated[bool, typer.Option("--hard", help="Use corpus_noq.jsonl.")]
_Rewritten = Annotated[
    bool, typer.Option("--rewritten", help="Ask follow-ups in their stand-alone form.")
]
_Questions = Annotated[Path | None, typer.Option(help="In place of queries.jsonl.")]
_Limit = Annotated[int | None, typer.Option(min=1, help="Ask the first so many questions.")]
_Spread = Annotated[int | None, typer.Option(min=1, help="Ask so many questions, evenly spread.")]
_Baseline = Annotated[
    Path | None, typer.Option(help="An earlier report: exit 1 where a metric fell.")
]
_Output = Annotated[
    Path | None, typer.Option(help="Write the report here, with what each question gave.")
]


class Comparison(StrEnum):
    """A column for scale beside Opora's answers."""

    ORACLE = "oracle"
    EXTRACTIVE = "extractive"


@commands.callback()
def evaluate() -> None:
    """Measure Opora on your own documents and questions."""
    # The throw-away database and the model server end with the command, whoever ends it.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


@commands.command()
def retrieval(
    dataset: _Folders,
    split: Annotated[str, typer.Option(help="Which qrels of a BEIR dataset.")] = "test",
    hard: _Hard = False,
    rewritten: _Rewritten = False,
    questions: _Questions = None,
    limit: _Limit = None,
    baseline: _Baseline = None,
    output: _Output = None,
    as_json: Json = False,
) -> None:
    """Index each dataset in a throw-away database, search in every way and print the metrics."""
    from app.cli.evaluation import encoded, measure, tables
    from app.quality.baseline import falls, read_report
    from app.quality.datasets import read_dataset
    from app.quality.evaluate import Report

    settings = load_settings()
    before = read_report(baseline, Report) if baseline else None
    datasets = [
        read_dataset(
            folder, split=split, hard=hard, rewritten=rewritten, questions=questions, limit=limit
        )
        for folder in dataset
    ]
    report = measure(settings, datasets, before, err)
    if output:
        output.write_bytes(encoded(report, per_question=True))
    _show(encoded(report, per_question=False) if as_json else tables(report))
    _end(map(str, falls(report, before) if before else []))


@commands.command()
def answers(
    dataset: _Folders,
    beside: Annotated[
        list[Comparison] | None,
        typer.Option(
            "--with",
            help="A column for scale; repeat for both: `oracle` reads the gold documents alone, "
            "`extractive` quotes the nearest sentence without a chat model.",
        ),
    ] = None,
    hard: _Hard = False,
    rewritten: _Rewritten = False,
    abstain_split: Annotated[
        bool,
        typer.Option("--abstain-split", help="Leave the documents of abstain_split.json out."),
    ] = False,
    questions: _Questions = None,
    limit: _Spread = None,
    at_once: Annotated[int, typer.Option(min=1, help="Questions asked side by side.")] = 1,
    baseline: _Baseline = None,
    output: _Output = None,
    as_json: Json = False,
) -> None:
    """Index each dataset in a throw-away database, ask its questions and judge the answers.

    Where no chat model is configured, the one that `opora serve` would start is started.
    """
    from app.cli.answers_evaluation import all_failed, answer_tables, measure_answers
    from app.cli.evaluation import encoded
    from app.quality.answers import AnswersReport, AnswerWay
    from app.quality.answers_baseline import check_comparable, falls
    from app.quality.baseline import read_report
    from app.quality.datasets import read_dataset

    settings = load_settings()
    wanted = {AnswerWay.OPORA, *map(AnswerWay, beside or [])}
    ways = [way for way in AnswerWay if way in wanted]
    before = read_report(baseline, AnswersReport) if baseline else None
    datasets = [
        read_dataset(
            folder,
            hard=hard,
            rewritten=rewritten,
            questions=questions,
            limit=limit,
            for_answers=True,
            abstain_split=abstain_split,
        )
        for folder in dataset
    ]
    if before:
        check_comparable(before, datasets, ways)
    report = measure_answers(settings, datasets, ways, at_once, err)
    if output:
        output.write_bytes(encoded(report, per_question=True))
    _show(encoded(report, per_question=False) if as_json else answer_tables(report))
    fallen = falls(report, before, datasets) if before else []
    _end([*all_failed(report), *map(str, fallen)])


def _show(report: bytes | Iterable[Table]) -> None:
    if isinstance(report, bytes):
        sys.stdout.write(report.decode())
    else:
        for table in report:
            out.print(table)


def _end(complaints: Iterable[str]) -> None:
    """Print them, and end with exit code 1 if there are any."""
    lines = list(complaints)
    for line in lines:
        err.print(line, style="red", highlight=False, soft_wrap=True)
    if lines:
        raise typer.Exit(1)
