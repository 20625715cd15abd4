"""The API's own page: every operation of the OpenAPI document, readable without the internet.

The usual viewers are loaded from elsewhere or do not know OpenAPI 3.1; the document itself is at /openapi.json.
"""

from __future__ import annotations

import html
import json
from typing import Any

from fastapi import APIRouter
from fastapi.requests import Request
from fastapi.responses import HTMLResponse

from serve_apps.api.problems import page

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """Every operation, by tag."""
    document = request.app.openapi()
    sections: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            sections.setdefault(operation["tags"][0], []).append(_operation(method, path, operation, document))
    body = '<p>The whole document is <a href="/openapi.json">openapi.json</a>; errors are <a href="/problems">problems</a>.'
    for tag, items in sections.items():
        body += f"<h2>{html.escape(tag)}</h2>" + "".join(items)
    return HTMLResponse(page("Argus API", body))


def _operation(method: str, path: str, operation: dict[str, Any], document: dict[str, Any]) -> str:
    rows = [
        f"<code>{html.escape(found['name'])}</code> ({found['in']}{', required' if found.get('required') else ''}) "
        f"{html.escape(found.get('description', ''))}"
        for found in operation.get("parameters", [])
    ]
    body = operation.get("requestBody", {}).get("content", {})
    rows += [f"body: {_schema(content['schema'], document)}" for content in body.values()]
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            rows += [
                f"{status}: {_schema(content['schema'], document)}" for content in answer.get("content", {}).values()
            ]
    problems = " ".join(status for status in operation["responses"] if not status.startswith("2"))
    return (
        f'<details id="{operation["operationId"]}"><summary><code>{method.upper()} {html.escape(path)}</code></summary>'
        f"<p>{html.escape(operation.get('description', operation['summary']))}<ul>{''.join(f'<li>{row}' for row in rows)}</ul>"
        f"<p>Problems: {problems or 'none'}</details>"
    )


def _schema(schema: dict[str, Any], document: dict[str, Any]) -> str:
    name = schema.get("$ref", "").rsplit("/", 1)[-1]
    found = document["components"]["schemas"].get(name, schema)
    return f"<details><summary>{html.escape(name or 'JSON')}</summary><pre>{html.escape(json.dumps(found, indent=1))}</pre></details>"
