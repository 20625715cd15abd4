"""Earlier versions of labels, tracks and annotations: triggers keep them, `restore` of each subject brings one back."""

from __future__ import annotations

from uuid import UUID

from argus_ray.catalog.statement import Statement
from argus_ray.schemas.annotation import HistoryEntry


def page(subject_id: UUID, *, after: int | None, rows: int) -> Statement[HistoryEntry]:
    """The versions before the present one, latest first; `actor` is who replaced it, `at` when. Places are versions."""
    return Statement(
        HistoryEntry,
        """
        select version, row, actor, at from history
        where subject_id = %(subject_id)s and (%(after)s::integer is null or version < %(after)s)
        order by version desc limit %(rows)s
        """,
        subject_id=subject_id,
        after=after,
        rows=rows,
    )


def entry(subject_id: UUID, version: int) -> Statement[HistoryEntry]:
    """One earlier version. No row: there is none, or it is not the caller's to see."""
    return Statement(
        HistoryEntry,
        "select version, row, actor, at from history where subject_id = %(subject_id)s and version = %(version)s",
        subject_id=subject_id,
        version=version,
    )
