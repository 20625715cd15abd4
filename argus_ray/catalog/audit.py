"""The audit: who did what, when, from where. Triggers write it; owners read it."""

from __future__ import annotations

from uuid import UUID

from argus_ray.catalog.statement import Statement
from argus_ray.schemas.project import AuditEntry


def page(project_id: UUID, before: int | None, rows: int) -> Statement[AuditEntry]:
    """The project's entries, newest first."""
    return Statement(
        AuditEntry,
        """
        select id, project_id, at, actor, role, action, subject, subject_id, changes, ip, request_id
        from audit
        where project_id = %(project_id)s and (%(before)s::bigint is null or id < %(before)s)
        order by id desc limit %(rows)s
        """,
        project_id=project_id,
        before=before,
        rows=rows,
    )
