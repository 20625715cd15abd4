"""Projects, their members, and people's own settings.

`versions` are those that the caller has seen (If-Match); None means any. A change that finds no row leaves it to the
caller of the statement to say why: not there, not visible, or another version by now. A row that is visible but beyond
the caller's role raises Forbidden, by the policies.
"""

from __future__ import annotations

from datetime import datetime
from typing import LiteralString
from uuid import UUID

from argus_ray.catalog.statement import Statement
from argus_ray.errors import NotFound
from argus_ray.schemas.common import JsonObject
from argus_ray.schemas.project import Me, Member, MemberInvite, Project, ProjectUpdate, Role

Versions = list[int] | None

# A key without the scope `write` is a viewer: as in my_projects.
_ROLE: LiteralString = """
    coalesce(
      (select m.role from members m where m.project_id = p.id and m.user_id = (select user_id())),
      case when (select claims()) #> '{argus,scopes}' ? 'write' then (select claims()) #>> '{argus,role}' else 'viewer' end
    ) as role
"""
_USED: LiteralString = """
    coalesce((select round(sum(u.gpu_seconds)::numeric, 3) from gpu_usage u
              where u.project_id = p.id and u.month = date_trunc('month', now() at time zone 'utc')::date), 0)
      as gpu_seconds_used,
"""
_PROJECT: LiteralString = (
    "p.id, p.name, p.sampling, p.settings, p.gpu_seconds_per_month, p.version, p.created_at, p.updated_at, "
    + _USED
    + _ROLE
)
_MEMBER: LiteralString = "id, project_id, user_id, email, role, version, created_at, joined_at"
_NO_PROJECT = NotFound("there is no such project, or it is not yours")
_NO_MEMBER = NotFound("there is no such member in this project")


# -- projects --------------------------------------------------------------------------------------


def create(name: str) -> Statement[Project]:
    """Make a project whose first owner is the caller, a person."""
    return Statement(
        Project,
        """
        select p.id, p.name, p.sampling, p.settings, p.version, p.created_at, p.updated_at, 'owner' as role
        from create_project(%(name)s) as p
        """,
        name=name,
    )


def get(project_id: UUID) -> Statement[Project]:
    return Statement(Project, f"select {_PROJECT} from projects p where p.id = %(id)s", id=project_id).or_raise(
        _NO_PROJECT
    )


def page(after: tuple[datetime, UUID] | None, rows: int) -> Statement[Project]:
    """The caller's projects, newest first."""
    created_at, project_id = after or (None, None)
    return Statement(
        Project,
        f"""
        select {_PROJECT} from projects p
        where %(created_at)s::timestamptz is null or (p.created_at, p.id) < (%(created_at)s, %(id)s::uuid)
        order by p.created_at desc, p.id desc limit %(rows)s
        """,
        created_at=created_at,
        id=project_id,
        rows=rows,
    )


def update(project_id: UUID, changes: ProjectUpdate, versions: Versions) -> Statement[Project]:
    """Change what is given; `sampling` and `settings` are replaced whole. Raises Forbidden where one who is no owner sets
    another budget.
    """
    return Statement(
        Project,
        f"""
        update projects p
        set name = coalesce(%(name)s, p.name),
            sampling = coalesce(%(sampling)s, p.sampling),
            settings = coalesce(%(settings)s, p.settings),
            gpu_seconds_per_month = case when %(has_budget)s then %(budget)s else p.gpu_seconds_per_month end
        where p.id = %(id)s and (%(versions)s::bigint[] is null or p.version = any(%(versions)s))
        returning {_PROJECT}
        """,
        id=project_id,
        name=changes.name,
        sampling=changes.sampling,
        settings=changes.settings,
        has_budget="gpu_seconds_per_month" in changes.model_fields_set,
        budget=changes.gpu_seconds_per_month,
        versions=versions,
    )


def delete(project_id: UUID, versions: Versions) -> Statement[bool]:
    """Delete the project and everything in it; a row comes back when that happened."""
    return Statement(
        bool,
        "select done from delete_project(%(id)s, %(versions)s::bigint[]) as done where done",
        id=project_id,
        versions=versions,
    )


# -- members ---------------------------------------------------------------------------------------


def join_invited() -> Statement[int]:
    """Take the places that were offered to the caller's e-mail; how many."""
    return Statement(int, "select join_invited()")


def members(project_id: UUID, after: tuple[datetime, UUID] | None, rows: int) -> Statement[Member]:
    """Everybody in the project and everybody invited, newest first."""
    created_at, member_id = after or (None, None)
    return Statement(
        Member,
        f"""
        select {_MEMBER} from members
        where project_id = %(project_id)s
          and (%(created_at)s::timestamptz is null or (created_at, id) < (%(created_at)s, %(id)s::uuid))
        order by created_at desc, id desc limit %(rows)s
        """,
        project_id=project_id,
        created_at=created_at,
        id=member_id,
        rows=rows,
    )


def member(project_id: UUID, member_id: UUID) -> Statement[Member]:
    return Statement(
        Member,
        f"select {_MEMBER} from members where project_id = %(project_id)s and id = %(id)s",
        project_id=project_id,
        id=member_id,
    ).or_raise(_NO_MEMBER)


def invite(project_id: UUID, invited: MemberInvite) -> Statement[Member]:
    """Offer a place to an e-mail; no row where it has one."""
    return Statement(
        Member,
        f"""
        insert into members (project_id, email, role) values (%(project_id)s, lower(%(email)s), %(role)s)
        on conflict (project_id, email) do nothing
        returning {_MEMBER}
        """,
        project_id=project_id,
        email=invited.email,
        role=invited.role,
    )


def change_role(project_id: UUID, member_id: UUID, role: Role, versions: Versions) -> Statement[Member]:
    return Statement(
        Member,
        f"""
        update members set role = %(role)s
        where project_id = %(project_id)s and id = %(id)s
          and (%(versions)s::bigint[] is null or version = any(%(versions)s))
        returning {_MEMBER}
        """,
        project_id=project_id,
        id=member_id,
        role=role,
        versions=versions,
    )


def remove(project_id: UUID, member_id: UUID) -> Statement[Member]:
    """End a membership or take an invitation back. No row for a caller who is neither an owner nor that member."""
    return Statement(
        Member,
        f"delete from members where project_id = %(project_id)s and id = %(id)s returning {_MEMBER}",
        project_id=project_id,
        id=member_id,
    )


# -- the person ------------------------------------------------------------------------------------


def me() -> Statement[Me]:
    """The caller as the database sees it; version 0 means that no settings were ever kept."""
    return Statement(
        Me,
        """
        select user_id() as user_id, claims() ->> 'email' as email,
               (claims() #>> '{argus,api_key_id}')::uuid as api_key_id,
               (claims() #>> '{argus,project_id}')::uuid as project_id,
               coalesce(s.settings, '{}') as settings, coalesce(s.version, 0) as version
        from (select) as nobody left join user_settings s on s.user_id = user_id()
        """,
    )


def update_me(settings: JsonObject, versions: Versions) -> Statement[Me]:
    """Replace the person's settings; no row when they are of another version by now."""
    return Statement(
        Me,
        """
        insert into user_settings as s (user_id, settings)
        select user_id(), %(settings)s
        where %(versions)s::bigint[] is null or 0 = any(%(versions)s) or exists (select from user_settings)
        on conflict (user_id) do update set settings = excluded.settings
          where %(versions)s::bigint[] is null or s.version = any(%(versions)s)
        returning s.user_id, claims() ->> 'email' as email, s.settings, s.version
        """,
        settings=settings,
        versions=versions,
    )
