"""Messages for Realtime where the database cannot send them itself: triggers queue them, the dispatcher posts them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from argus_ray.catalog.statement import Statement


@dataclass(frozen=True)
class Broadcast:
    id: int
    topic: str
    event: str
    payload: dict[str, Any]


def take(limit: int) -> Statement[Broadcast]:
    """The oldest messages, taken off the queue when the transaction commits: post them before that."""
    return Statement(
        Broadcast,
        """
        with taken as (
          delete from broadcasts where id in (select id from broadcasts order by id limit %(limit)s)
          returning id, topic, event, payload
        )
        select id, topic, event, payload from taken order by id
        """,
        limit=limit,
    )


def drop_old(age_s: float) -> Statement[None]:
    """Forget what nobody could be told in time: a message is about the present."""
    return Statement(
        type(None),
        "delete from broadcasts where created_at < now() - make_interval(secs => %(age_s)s)",
        age_s=age_s,
    )
