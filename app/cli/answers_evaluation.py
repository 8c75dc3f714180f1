"""Runs an evaluation of answers and shows its report."""

import asyncio
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from app import __version__
from app.cli.evaluation import check_names, retrieval_settings, show_rejected
from app.cli.serve import MODEL_TIMEOUT_S, start_configured
from app.cli.throwaway import indexed
from app.domain.ports import ChatModel, ChatParams
from app.domain.prompts import PROMPT_VERSION, answer_prompt
from app.engines.llm.scripted import ScriptedChatModel, fixed
from app.quality.answer_scores import METRICS, Score
from app.quality.answers import (
    AnswersGroup,
    AnswersReport,
    AnswersResult,
    AnswerWay,
    ask_all,
    judge,
)
from app.quality.datasets import Dataset
from app.services.answering import Answering
from app.settings import Settings
from app.telemetry import configure_logging
from app.wiring import Services, build_answering


def measure_answers(
    settings: Settings,
    datasets: Sequence[Dataset],
    ways: Sequence[AnswerWay],
    at_once: int,
    console: Console,
) -> AnswersReport:
    """Index each dataset and ask its questions; progress goes to the console.

    Raises:
        EvaluationRefused: Two datasets have one name.
        OperatorError: PostgreSQL or the model server cannot be started.
    """
    check_names(datasets)
    configure_logging(settings.log.model_copy(update={"level": "warning"}))
    most = max(at_once, settings.http.max_concurrent_answers)
    http = settings.http.model_copy(update={"max_concurrent_answers": most})
    settings = settings.model_copy(update={"http": http})
    results, embedder = [], ""
    with _with_model_server(settings, console) as own:
        for dataset in datasets:
            result, embedder = asyncio.run(_measure(own, dataset, ways, at_once, console))
            results.append(result)
    return AnswersReport(
        __version__,
        embedder,
        settings.reranker.model,
        _chat_model(results),
        _settings(settings),
        results,
    )


def all_failed(report: AnswersReport) -> list[str]:
    """Name each way in which every question failed, with the errors."""
    lines = []
    for way in report.datasets[0].groups[0].failures:
        groups = [result.groups[0] for result in report.datasets]
        failures = [group.failures[way] for group in groups]
        asked = sum(group.answerable + group.unanswerable for group in groups)
        if sum(sum(of.values()) for of in failures) == asked:
            codes = sorted({code for of in failures for code in of})
            lines.append(f"{way}: every question failed: {', '.join(codes)}")
    return lines


def answer_tables(report: AnswersReport) -> Iterator[Table]:
    """One table for each dataset: rows are metrics, then abstentions and failures by reason."""
    for result in report.datasets:
        ways = list(result.groups[0].scores)
        title = f"{result.dataset}: {result.documents} documents, {result.questions} questions"
        table = Table("", "", *ways, title=title, caption=_caption(report, result))
        for group in result.groups:
            name = f"{group.language}\n{group.answerable} + {group.unanswerable}"
            for metric in METRICS:
                if any(metric in of for of in group.scores.values()):
                    cells = (_shown(metric, group.scores[way].get(metric)) for way in ways)
                    table.add_row(name, metric.replace("_", " "), *cells)
                    name = ""
            for what, row in _counted(group, ways):
                table.add_row("", what, *row)
            table.add_section()
        yield table


async def _measure(
    settings: Settings,
    dataset: Dataset,
    ways: Sequence[AnswerWay],
    at_once: int,
    console: Console,
) -> tuple[AnswersResult, str]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        indexing = progress.add_task(f"{dataset.name}: indexing", total=len(dataset.documents))
        asking = progress.add_task(
            f"{dataset.name}: asking", total=len(dataset.questions) * len(ways)
        )
        async with indexed(settings, dataset, lambda n: progress.advance(indexing, n)) as own:
            services, rejected = own
            show_rejected(rejected, console)
            if settings.llm.base_url is None:
                await _warm(services.chat, dataset)
            outcomes = await ask_all(
                {way: _answering(services, way) for way in ways},
                services.index.current.embedder,
                dataset,
                at_once,
                lambda n: progress.advance(asking, n),
            )
            fingerprint = (await services.recipes.serving()).fingerprint
            return judge(dataset, outcomes, len(rejected)), fingerprint


def _answering(services: Services, way: AnswerWay) -> Answering:
    if way is not AnswerWay.EXTRACTIVE:
        return services.answering
    silent = ScriptedChatModel(fixed("…"), model="none")  # an empty answer would be an error
    return build_answering(services.settings, services.database, services.retrieval, silent)


async def _warm(chat: ChatModel, dataset: Dataset) -> None:
    """Let our own model server read its instructions, so that no question is timed with them."""
    for language in sorted({question.language for question in dataset.questions} & {"en", "ru"}):
        await chat.complete(answer_prompt(language, "", "?"), ChatParams(max_tokens=1))


@contextmanager
def _with_model_server(settings: Settings, console: Console) -> Iterator[Settings]:
    """Start the model server that `opora serve` would, on a port of its own, where none is named.

    Yields:
        The settings that lead to it.
    """
    if settings.llm.base_url is not None:
        yield settings
        return
    llm = settings.llm.model_copy(update={"port": _free_port()})
    with tempfile.TemporaryDirectory(prefix="opora-", ignore_cleanup_errors=True) as folder:
        own = settings.model_copy(update={"data_dir": Path(folder), "llm": llm})
        server = start_configured(own, console)
        assert server is not None
        try:
            with console.status("the model server is loading"):
                server.wait_ready(MODEL_TIMEOUT_S)
            yield own
        finally:
            server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _chat_model(results: Sequence[AnswersResult]) -> str:
    outcomes = (
        outcome
        for result in results
        if result.per_question
        for outcome in result.per_question.outcomes[AnswerWay.OPORA]
    )
    return next((outcome.model for outcome in outcomes if outcome.model), "unknown")


def _settings(settings: Settings) -> dict[str, object]:
    """What of the settings decides over the metrics."""
    answering = settings.answering.model_dump(mode="json", exclude={"conversation_days"})
    return retrieval_settings(settings) | {"answering": answering, "prompts": PROMPT_VERSION}


def _counted(group: AnswersGroup, ways: Sequence[AnswerWay]) -> Iterator[tuple[str, list[str]]]:
    """Yield each reason of an abstention and each error with its counts."""
    for what, counts in (("abstained", group.abstentions), ("failed", group.failures)):
        for reason in sorted({reason for of in counts.values() for reason in of}):
            row = [str(counts[way].get(reason, 0)) for way in ways]
            yield f"{what}: {reason.replace('_', ' ')}", row


def _caption(report: AnswersReport, result: AnswersResult) -> str:
    notes = [
        f"chat model {report.chat_model}",
        f"embedder {report.embedder}",
        "answerable + unanswerable questions",
        "in brackets 95 % bootstrap intervals",
    ]
    if result.left_out:
        notes.append(f"{result.left_out} questions that gold does not judge left out")
    if result.rejected:
        notes.append(f"{result.rejected} documents could not be indexed")
    return "; ".join(notes)


def _shown(metric: str, score: Score | None) -> str:
    if score is None:
        return "–"
    digits = 0 if metric.endswith("tokens") else 1 if metric.startswith("seconds") else 3
    value, low, high = (f"{x:.{digits}f}" for x in (score.value, score.low, score.high))
    return f"{value} ({low} to {high})"
