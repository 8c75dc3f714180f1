"""The reference pages, made from the code: `python -m tests.architecture.reference` writes them."""

from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from app import telemetry
from app.api import errors as api_errors
from app.domain import errors
from app.main import ROUTES
from app.settings import setting_names

DOCS = Path(__file__).parents[2] / "docs"


def configuration() -> str:
    """Every setting."""
    lines = [
        "# Configuration",
        "",
        "Opora reads environment variables only. An unknown `OPORA_*` name stops the start, so",
        "that a misspelt one cannot go unnoticed. Secrets are never logged.",
        "",
        "| variable | type | default | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for name, (kind, default, description) in setting_names().items():
        shown = "unset" if default is None else f"`{default}`"
        lines.append(f"| `{name}` | {kind.replace('|', 'or')} | {shown} | {description} |")
    return "\n".join(lines) + "\n"


def reference() -> str:
    """Every route, error code and metric."""
    lines = ["# Reference", "", "## Routes", "", "| call | what |", "| --- | --- |"]
    for module in ROUTES:
        for route in module.router.routes:
            methods = ", ".join(sorted(getattr(route, "methods", ())))
            summary = (getattr(route, "endpoint").__doc__ or "").strip().splitlines()[0]  # noqa: B009
            lines.append(f"| `{methods} {getattr(route, 'path')}` | {summary} |")  # noqa: B009
    lines += ["", "## Error codes", "", "| code | HTTP status | meaning |", "| --- | --- | --- |"]
    for kind in sorted(_error_classes(errors.OporaError), key=lambda kind: kind.code):
        status = _status(kind)
        lines.append(f"| `{kind.code}` | {status} | {(kind.__doc__ or '').splitlines()[0]} |")
    lines += [
        "",
        "— stands for codes that are seen in a job's `error` or at the start of a command, not as",
        "the answer to a request.",
        "",
        "## Metrics",
        "",
        "| metric | labels | meaning |",
        "| --- | --- | --- |",
    ]
    for value in vars(telemetry).values():
        if isinstance(value, MetricWrapperBase):
            labels = ", ".join(f"`{label}`" for label in value._labelnames)
            suffix = "_total" if value._type == "counter" else ""
            lines.append(f"| `{value._name}{suffix}` | {labels} | {value._documentation} |")
    return "\n".join(lines) + "\n"


def _error_classes(kind: type[errors.OporaError]) -> list[type[errors.OporaError]]:
    below = [
        c
        for k in kind.__subclasses__()
        if k.__module__ == errors.__name__
        for c in _error_classes(k)
    ]
    return [kind, *below]


def _status(kind: type[errors.OporaError]) -> str:
    if issubclass(kind, errors.DocumentRejected | errors.JobCancelled | errors.OperatorError):
        return "—"
    return str(api_errors.status_of(kind.__new__(kind))[0])


PAGES = {"configuration.md": configuration, "reference.md": reference}


if __name__ == "__main__":
    for name, render in PAGES.items():
        (DOCS / name).write_text(render(), encoding="utf-8")
