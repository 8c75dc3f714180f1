"""The page at `/docs`: the API's own description, readable without any foreign script."""

from html import escape
from typing import Any


def render(openapi: dict[str, Any]) -> str:
    """An HTML page of all operations of an OpenAPI document."""
    rows = [
        _row(method, path, operation)
        for path, operations in openapi["paths"].items()
        for method, operation in operations.items()
    ]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{escape(openapi['info']['title'])} API</title>"
        '<link rel="stylesheet" href="/static/style.css"><body class="reference">'
        f"<h1>{escape(openapi['info']['title'])} {escape(openapi['info']['version'])}</h1>"
        f"<p>{escape(openapi['info']['description'])} Send <code>Authorization: Bearer KEY</code>. "
        'The schemas of all bodies: <a href="/openapi.json">openapi.json</a>.</p>'
        f"<table><tr><th>call</th><th>what</th><th>parameters</th></tr>{''.join(rows)}</table>"
    )


def _row(method: str, path: str, operation: dict[str, Any]) -> str:
    names = [parameter["name"] for parameter in operation.get("parameters", ())]
    bodies = operation.get("requestBody", {}).get("content", {})
    names += [
        body["schema"]["$ref"].rpartition("/")[2] if "$ref" in body["schema"] else kind
        for kind, body in bodies.items()
    ]
    return (
        f"<tr><td><code>{method.upper()} {escape(path)}</code></td>"
        f"<td>{escape(operation.get('description', ''))}</td>"
        f"<td>{escape(', '.join(names))}</td></tr>"
    )
