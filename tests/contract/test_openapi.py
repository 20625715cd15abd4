"""The OpenAPI document is a promise: requests made from it, sound and unsound, are answered as it says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import CHECKS, load_all_checks

from argus_ray.errors import Unavailable
from argus_ray.settings import Settings
from serve_apps.api.app import create_app
from tests.library import Library, library

load_all_checks()
# neither `positive_data_acceptance` nor its opposite: we put ids and a credential of our own into what was generated
CHECKED = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "unsupported_method",
        "ignored_auth",
    ]
)


NEED_A_MODEL = {
    "GET /readyz",
    "POST /v1/projects/{project_id}/search",
    "POST /v1/projects/{project_id}/concepts:preview",
    "POST /v1/projects/{project_id}/jobs",
    "POST /v1/frames/{frame_id}:predict",
    "POST /v1/tracks/{track_id}:retrack",
}


class AbsentModel:
    """As when the deployment has scaled to zero and does not come up."""

    async def info(self) -> Any:
        raise Unavailable("the model does not answer: try again in a moment")

    embed_texts = embed_images = info


@pytest.fixture(scope="module")
def place(postgres, s3) -> Iterator[Library]:
    with library(postgres, s3, siglip2=AbsentModel(), publishable_key="sb_publishable_x") as place:
        yield place


@pytest.fixture(scope="module")
def ids(place) -> dict[str, str]:
    """Things that are there, so that requests come further than a 404."""
    with place.person("fuzz@example.org") as client:
        project = place.project(client)
        job = place.bring(client, project)
        place.make_ready(job, 0, 1_000_000)
        member = client.get(f"/v1/projects/{project}/members").json()["items"][0]
        key = client.post(f"/v1/projects/{project}/api-keys", json={"name": "x"}).json()
        frame = client.get(f"/v1/videos/{job['video_id']}/frames").json()["items"][0]
        upload = place.sql("select id from uploads limit 1")[0]["id"]
        label = client.post(f"/v1/projects/{project}/labels", json={"name": "car"}).json()
        keyframe = {"pts_us": 0, "box": {"x": 0, "y": 0, "w": 1, "h": 1}}
        track = client.post(
            f"/v1/videos/{job['video_id']}/tracks", json={"label_id": label["id"], "keyframes": [keyframe]}
        ).json()
        annotation = client.get(f"/v1/videos/{job['video_id']}/annotations").json()["items"][0]
        (link,) = place.sql(
            "insert into track_links (project_id, video_id, track_id, border_us) values (%s, %s, %s, 5) returning id",
            project, job["video_id"], track["id"],
        )  # fmt: skip
    return {
        "project_id": str(project), "video_id": job["video_id"], "job_id": job["id"], "member_id": member["id"],
        "key_id": key["id"], "frame_id": frame["id"], "upload_id": str(upload), "label_id": label["id"],
        "track_id": track["id"], "annotation_id": annotation["id"], "link_id": str(link["id"]),
    }  # fmt: skip


DOCUMENT: dict[str, Any] = create_app(Settings(), siglip2=AbsentModel()).openapi()
promises = schemathesis.openapi.from_dict(DOCUMENT)


@pytest.fixture(scope="module")
def document(place) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{place.url}/openapi.json").raise_for_status().json()
    return found


@promises.parametrize()
@settings(
    max_examples=8, derandomize=True, database=None, deadline=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
def test_every_request_is_answered_as_the_document_says(case, place, ids):
    if case.path_parameters and case.meta.generation.mode is schemathesis.GenerationMode.POSITIVE:
        case.path_parameters.update({name: ids[name] for name in case.path_parameters if name in ids})

    token = place.issuer.token("fuzz@example.org")
    answer = case.call(base_url=place.url, headers={"Authorization": f"Bearer {token}"})

    if answer.status_code == 503:  # the model is absent
        assert case.operation.label in NEED_A_MODEL, answer.text
        assert answer.headers["retry-after"]
        return
    case.validate_response(answer, checks=CHECKED)
    assert answer.headers["x-request-id"]
    if answer.status_code >= 400:
        assert answer.json()["type"].startswith("/problems/")


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def test_the_document_is_one_that_clients_are_made_from(document):
    assert document["openapi"].startswith("3.1")
    assert set(document["components"]["securitySchemes"]) == {"bearer", "apiKey"}
    names = [operation["operationId"] for _, _, operation in _operations(document)]
    assert len(names) == len(set(names))
    for method, path, operation in _operations(document):
        where = f"{method} {path}"
        assert re.fullmatch(r"[a-z]+(_[a-z0-9]+)*", operation["operationId"]), where
        assert operation["tags"], where
        assert operation["summary"], where
        if path.startswith("/v1/"):
            assert operation["security"], where
            assert "401" in operation["responses"], where


def test_every_refusal_in_the_document_is_a_problem(document):
    for method, path, operation in _operations(document):
        for status, answer in operation["responses"].items():
            if status >= "400" and path != "/readyz":
                assert list(answer["content"]) == ["application/problem+json"], f"{method} {path} {status}"
    assert document["components"]["schemas"]["Problem"]["properties"].keys() >= {"type", "title", "status", "detail"}
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_every_reference_in_the_document_leads_somewhere(document):
    for reference in set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document))):
        assert reference in document["components"]["schemas"], reference
