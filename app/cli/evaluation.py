"""Runs an evaluation and shows its report."""

import asyncio
from collections.abc import Iterator, Sequence

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from app import __version__
from app.cli.throwaway import indexed
from app.domain.errors import EvaluationRefused
from app.domain.text import TEXT_FINGERPRINT
from app.quality.answers import AnswersReport
from app.quality.baseline import check_comparable
from app.quality.datasets import Dataset
from app.quality.evaluate import DatasetResult, Gain, Report, Way, evaluate
from app.quality.metrics import METRICS, Interval
from app.services.retrieval import RERANKED
from app.settings import Settings
from app.telemetry import configure_logging

_REASONS_SHOWN = 3


def measure(
    settings: Settings, datasets: Sequence[Dataset], baseline: Report | None, console: Console
) -> Report:
    """Index and measure each dataset; progress and unreadable documents go to the console.

    Raises:
        EvaluationRefused: Two datasets have one name, or the baseline measured something else.
        ConfigurationError: The embedded PostgreSQL is missing.
    """
    check_names(datasets)
    reranker = settings.reranker.model
    ways = [way for way in Way if reranker or way is not Way.RERANKED]
    if baseline:
        check_comparable(baseline, datasets, ways)
    configure_logging(settings.log.model_copy(update={"level": "warning"}))
    results, fingerprint = [], ""
    for dataset in datasets:
        result, fingerprint = asyncio.run(_measure(settings, dataset, ways, console))
        results.append(result)
    return Report(__version__, fingerprint, reranker, retrieval_settings(settings), results)


def check_names(datasets: Sequence[Dataset]) -> None:
    """Raise EvaluationRefused where two datasets have one name."""
    names = [dataset.name for dataset in datasets]
    if len(set(names)) < len(names):
        raise EvaluationRefused("two datasets have the same name: rename a folder")


def encoded(report: Report | AnswersReport, *, per_question: bool) -> bytes:
    """The report as a line of JSON, with or without what each question gave."""
    shown = msgspec.to_builtins(report)
    if not per_question:
        for result in shown["datasets"]:
            result["per_question"] = None
    return msgspec.json.encode(shown) + b"\n"


def tables(report: Report) -> Iterator[Table]:
    """One table for each dataset: rows are metrics, columns ways and what hybrid adds."""
    for result in report.datasets:
        title = f"{result.dataset}: {result.documents} documents, {result.questions} questions"
        ways = list(result.groups[0].scores)
        columns = ["", "", *ways, "hybrid over the better leg"]
        table = Table(*columns, title=title, caption=_caption(report, result))
        for group in result.groups:
            for metric in METRICS:
                scores = (_shown(group.scores[way][metric]) for way in ways)
                table.add_row(group.language, metric, *scores, _gain(group.gains[metric]))
            table.add_section()
        yield table


async def _measure(
    settings: Settings, dataset: Dataset, ways: Sequence[Way], console: Console
) -> tuple[DatasetResult, str]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        indexing = progress.add_task(f"{dataset.name}: indexing", total=len(dataset.documents))
        asking = progress.add_task(
            f"{dataset.name}: asking", total=len(dataset.questions) * len(ways)
        )
        async with indexed(settings, dataset, lambda n: progress.advance(indexing, n)) as own:
            services, rejected = own
            show_rejected(rejected, console)
            result = await evaluate(
                services.retrieval,
                dataset,
                ways,
                len(rejected),
                lambda n: progress.advance(asking, n),
            )
            return result, (await services.recipes.serving()).fingerprint


def show_rejected(rejected: Sequence[str], console: Console) -> None:
    """Say why the first documents could not be indexed, and how many more there are."""
    for reason in rejected[:_REASONS_SHOWN]:
        console.print(f"not indexed: {reason}", highlight=False, markup=False)
    if len(rejected) > _REASONS_SHOWN:
        console.print(f"not indexed: {len(rejected) - _REASONS_SHOWN} more")


def retrieval_settings(settings: Settings) -> dict[str, object]:
    """What of the settings decides over what is found."""
    return {
        "retrieval": settings.retrieval.model_dump(mode="json"),
        "rerank_candidates": RERANKED,
        "chunk_tokens": settings.ingestion.chunk_tokens,
        "text": TEXT_FINGERPRINT,
    }


def _caption(report: Report, result: DatasetResult) -> str:
    notes = [f"embedder {report.embedder}", "in brackets 95 % bootstrap intervals"]
    if result.left_out:
        notes.append(f"{result.left_out} questions without a relevant document left out")
    if result.rejected:
        notes.append(f"{result.rejected} documents could not be indexed")
    return "; ".join(notes)


def _shown(score: Interval) -> str:
    return f"{score.value:.3f} ({score.low:.3f} to {score.high:.3f})"


def _gain(gain: Gain) -> str:
    difference = gain.difference
    bounds = f"({difference.low:+.3f} to {difference.high:+.3f})"
    return f"{difference.value:+.3f} {bounds} {gain.better_leg}"
