"""Auth, as GoTrue speaks it: sign-up that answers with a session, password and refresh tokens, user, logout, admin users.

There is no mail server: an address counts as confirmed when it signs up, as with `mailer_autoconfirm`. One-time
passwords, OAuth and second factors are not here.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import jwt
import psycopg
from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from pydantic import BaseModel, BeforeValidator, Field

from argus_ray.local.supabase import auth_errors, passwords, users
from argus_ray.local.supabase.auth_errors import AuthProblem
from argus_ray.local.supabase.database import Connection
from argus_ray.local.supabase.gateway import bearer
from argus_ray.local.supabase.keys import AUDIENCE
from argus_ray.local.supabase.services import Caller, Here, Services

EMAIL = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,255}")
DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


class Tries:
    """Failed passwords of one address from one place, and of all addresses from one place."""

    def __init__(self) -> None:
        self.account = passwords.Tries(limit=10, window_s=300)
        self.place = passwords.Tries(limit=100, window_s=300)


class SignUp(BaseModel):
    email: str | None = None
    phone: str | None = None
    password: str | None = None
    data: dict[str, Any] | None = None


class Credentials(BaseModel):
    email: str | None = None
    phone: str | None = None
    password: str | None = None
    refresh_token: str | None = None


class UserChange(BaseModel):
    email: str | None = None
    password: str | None = None
    current_password: str | None = None
    data: dict[str, Any] | None = None


class AdminUser(BaseModel):
    id: UUID | None = None
    email: str | None = None
    phone: str | None = None
    password: str | None = None
    email_confirm: bool = False
    phone_confirm: bool = False
    user_metadata: dict[str, Any] | None = None
    app_metadata: dict[str, Any] | None = None
    role: Literal["", "anon", "authenticated", "service_role"] | None = None
    ban_duration: str | None = None


class Deletion(BaseModel):
    should_soft_delete: bool = False


class SignedIn(BaseModel):
    """Who a token with a session belongs to."""

    user_id: UUID = Field(alias="sub")
    session_id: UUID


def signed_in(here: Here, request: Request) -> SignedIn:
    """The session named by the token in `Authorization`; that it still exists is not checked here."""
    token = bearer(request.headers)
    if token is None:
        raise AuthProblem(401, "no_authorization", "This endpoint requires a Bearer token of a session")
    if token.startswith("sb_"):
        raise AuthProblem(403, "bad_jwt", "invalid claim: missing sub claim")
    try:
        return SignedIn.model_validate(here.keys.verify(token))
    except (jwt.InvalidTokenError, ValueError) as error:
        raise AuthProblem(403, "bad_jwt", "invalid JWT: the token is malformed, forged or has expired") from error


def administrator(caller: Caller) -> None:
    if caller["role"] != "service_role":
        raise AuthProblem(403, "not_admin", "User not allowed: this needs the secret key")


def api_key(here: Here, request: Request) -> None:
    here.gateway.role_of(request.headers.get("apikey", ""))


Me = Annotated[SignedIn, Depends(signed_in)]
# The official client sends both names with nothing after them when it is not told a page.
PageNumber = Annotated[int, Query(ge=1, le=1_000_000), BeforeValidator(lambda given: given or 1)]
PageSize = Annotated[int, Query(ge=1, le=1000), BeforeValidator(lambda given: given or 50)]
public = APIRouter()
router = APIRouter(dependencies=[Depends(api_key)])
admin = APIRouter(prefix="/admin/users", dependencies=[Depends(administrator)])


# -- facts ---------------------------------------------------------------------------------------


@public.get("/health")
async def health() -> dict[str, str]:
    return {"name": "GoTrue", "version": "argus-local", "description": "The part of Supabase Auth that Argus uses"}


@router.get("/settings")
async def settings() -> dict[str, Any]:
    return {
        "external": {"email": True, "phone": False, "anonymous_users": False},
        "disable_signup": False,
        "mailer_autoconfirm": True,
        "phone_autoconfirm": False,
        "sms_provider": "",
        "saml_enabled": False,
    }


@public.get("/.well-known/jwks.json")
async def jwks(here: Here, response: Response) -> dict[str, Any]:
    response.headers["Cache-Control"] = "public, max-age=600"
    return here.keys.jwks


# -- signing up, in and out ----------------------------------------------------------------------


@router.post("/signup")
async def sign_up(here: Here, request: Request, new: SignUp) -> dict[str, Any]:
    if new.phone and not new.email:
        raise AuthProblem(400, "phone_provider_disabled", "Phone signups are disabled")
    if not new.email and not new.password:
        raise AuthProblem(422, "anonymous_provider_disabled", "Anonymous sign-ins are disabled")
    if not new.password:
        raise AuthProblem(400, "validation_failed", "Signup requires a valid password")
    columns = {
        "email": _email(new.email),
        "encrypted_password": await _hashed(new.password),
        "email_confirmed_at": datetime.now(UTC),
        "raw_user_meta_data": new.data or {},
    }
    async with here.pool.connection() as connection, connection.transaction():
        user = await users.insert(connection, None, columns)
        if user is None:
            raise AuthProblem(422, "user_already_exists", "User already registered")
        session = await users.sign_in(connection, user["id"], *_where_from(request))
    return _session_json(here, session)


@router.post("/token")
async def token(here: Here, request: Request, grant_type: str, given: Credentials) -> dict[str, Any]:
    match grant_type:
        case "password":
            return await _password_grant(here, request, given)
        case "refresh_token":
            return await _refresh_grant(here, given.refresh_token or "")
        case _:
            raise AuthProblem(400, "invalid_credentials", f"unsupported_grant_type: {grant_type[:40]!r}")


async def _password_grant(here: Services, request: Request, given: Credentials) -> dict[str, Any]:
    if not given.email:
        raise AuthProblem(400, "validation_failed", "Sign in with an email and a password: phones are not supported")
    email, (user_agent, ip) = _email(given.email), _where_from(request)
    tries: Tries = request.app.state.tries
    if wait_s := max(tries.account.wait_s(f"{ip} {email}"), tries.place.wait_s(str(ip))):
        raise AuthProblem(
            429, "over_request_rate_limit", "Request rate limit reached", headers={"Retry-After": str(int(wait_s) + 1)}
        )
    async with here.pool.connection() as connection:
        user = await users.by_email(connection, email)
    matches = await passwords.password_matches(given.password or "", user["encrypted_password"] if user else None)
    if user is None or not matches:
        tries.account.failed(f"{ip} {email}")
        tries.place.failed(str(ip))
        raise AuthProblem(400, "invalid_credentials", "Invalid login credentials")
    tries.account.succeeded(f"{ip} {email}")
    if user["banned_until"] and user["banned_until"] > datetime.now(UTC):
        raise AuthProblem(400, "user_banned", "User is banned")
    if user["email_confirmed_at"] is None:
        raise AuthProblem(400, "email_not_confirmed", "Email not confirmed")
    async with here.pool.connection() as connection, connection.transaction():
        session = await users.sign_in(connection, user["id"], user_agent, ip)
    return _session_json(here, session)


async def _refresh_grant(here: Services, refresh_token: str) -> dict[str, Any]:
    async with here.pool.connection() as connection, connection.transaction():
        outcome = await users.refresh(connection, refresh_token, here.config.refresh_reuse_s)
    match outcome:
        case users.Session():
            return _session_json(here, outcome)
        case "not_found":
            raise AuthProblem(400, "refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found")
        case "already_used":
            raise AuthProblem(400, "refresh_token_already_used", "Invalid Refresh Token: Already Used")
        case "banned":
            raise AuthProblem(400, "user_banned", "Invalid Refresh Token: User Banned")


@router.post("/logout", status_code=204)
async def log_out(here: Here, me: Me, scope: Literal["global", "local", "others"] = "global") -> None:
    async with here.pool.connection() as connection, connection.transaction():
        await _existing(connection, me)
        await users.sign_out(connection, me.user_id, me.session_id, scope)


# -- the user ------------------------------------------------------------------------------------


@router.get("/user")
async def get_user(here: Here, me: Me) -> dict[str, Any]:
    async with here.pool.connection() as connection:
        return user_json(await _existing(connection, me))


@router.put("/user")
async def update_user(here: Here, me: Me, change: UserChange) -> dict[str, Any]:
    async with here.pool.connection() as connection:
        user = await _existing(connection, me)
    columns: dict[str, Any] = {}
    if change.email is not None:
        columns["email"] = _email(change.email)
    if change.data is not None:
        columns["raw_user_meta_data"] = _merged(user["raw_user_meta_data"], change.data)
    if change.password is not None:
        if change.current_password is not None and not await passwords.password_matches(
            change.current_password, user["encrypted_password"]
        ):
            raise AuthProblem(400, "invalid_credentials", "The current password is not right")
        if await passwords.password_matches(change.password, user["encrypted_password"]):
            raise AuthProblem(422, "same_password", "New password should be different from the old password.")
        columns["encrypted_password"] = await _hashed(change.password)
    async with here.pool.connection() as connection, connection.transaction():
        if "encrypted_password" in columns:  # whoever knew the old one is out
            await users.sign_out(connection, me.user_id, me.session_id, "others")
        return user_json(await _updated(connection, me.user_id, columns))


# -- administration ------------------------------------------------------------------------------


@admin.get("")
async def list_users(
    here: Here,
    response: Response,
    page: PageNumber = 1,
    per_page: PageSize = 50,
) -> dict[str, Any]:
    async with here.pool.connection() as connection:
        rows, total = await users.page(connection, page, per_page)
    response.headers["X-Total-Count"] = str(total)
    return {"users": [user_json(row) for row in rows], "aud": AUDIENCE}


@admin.post("")
async def create_user(here: Here, new: AdminUser) -> dict[str, Any]:
    columns = await _admin_columns(new)
    if "email" not in columns and "phone" not in columns:
        raise AuthProblem(400, "validation_failed", "Cannot create a user without either an email or phone")
    columns["raw_user_meta_data"] = new.user_metadata or {}
    columns["raw_app_meta_data"] = {"provider": "email", "providers": ["email"], **(new.app_metadata or {})}
    async with here.pool.connection() as connection, connection.transaction():
        user = await users.insert(connection, new.id, columns)
    if user is None:
        raise AuthProblem(422, "email_exists", "A user with this email address has already been registered")
    return user_json(user)


@admin.get("/{user_id}")
async def get_user_by_id(here: Here, user_id: UUID) -> dict[str, Any]:
    async with here.pool.connection() as connection:
        return user_json(_found(await users.by_id(connection, user_id)))


@admin.put("/{user_id}")
async def update_user_by_id(here: Here, user_id: UUID, change: AdminUser) -> dict[str, Any]:
    columns = await _admin_columns(change)
    async with here.pool.connection() as connection, connection.transaction():
        user = _found(await users.by_id(connection, user_id))
        if change.user_metadata is not None:
            columns["raw_user_meta_data"] = _merged(user["raw_user_meta_data"], change.user_metadata)
        if change.app_metadata is not None:
            columns["raw_app_meta_data"] = _merged(user["raw_app_meta_data"], change.app_metadata)
        return user_json(await _updated(connection, user_id, columns))


@admin.delete("/{user_id}")
async def delete_user(here: Here, user_id: UUID, how: Deletion | None = None) -> dict[str, Any]:
    keep_row = how is not None and how.should_soft_delete
    async with here.pool.connection() as connection, connection.transaction():
        if not await users.delete(connection, user_id, keep_row=keep_row):
            raise AuthProblem(404, "user_not_found", "User not found")
    return {}


def create(here: Services) -> FastAPI:
    app = FastAPI(openapi_url=None)
    app.state.services, app.state.tries = here, Tries()
    auth_errors.install(app)
    for routes in (public, router, admin):
        app.include_router(routes)
    return app


# -- shapes --------------------------------------------------------------------------------------


def user_json(user: Mapping[str, Any]) -> dict[str, Any]:
    """A user as GoTrue shows it. The one identity, of provider `email`, follows from the row."""
    moments = {name: _moment(user[name]) for name in (
        "created_at", "updated_at", "confirmed_at", "email_confirmed_at", "phone_confirmed_at", "last_sign_in_at",
        "invited_at", "banned_until",
    )}  # fmt: skip
    identity = {
        "id": str(user["id"]),
        "identity_id": str(user["id"]),
        "user_id": str(user["id"]),
        "identity_data": {"sub": str(user["id"]), "email": user["email"], "email_verified": True},
        "provider": "email",
        "email": user["email"],
        **{name: moments[name] for name in ("created_at", "updated_at", "last_sign_in_at")},
    }
    return {
        "id": str(user["id"]),
        "aud": user["aud"],
        "role": user["role"],
        "email": user["email"] or "",
        "phone": user["phone"] or "",
        "app_metadata": user["raw_app_meta_data"],
        "user_metadata": user["raw_user_meta_data"],
        "identities": [identity] if user["email"] else [],
        "is_anonymous": user["is_anonymous"],
        "is_sso_user": user["is_sso_user"],
        **{name: moment for name, moment in moments.items() if moment},
    }


def _session_json(here: Services, session: users.Session) -> dict[str, Any]:
    now = int(time.time())
    user, expires_at = session.user, now + here.config.access_token_expires_s
    claims = {
        "iss": here.config.issuer,
        "sub": str(user["id"]),
        "aud": AUDIENCE,
        "exp": expires_at,
        "iat": now,
        "email": user["email"] or "",
        "phone": user["phone"] or "",
        "app_metadata": user["raw_app_meta_data"],
        "user_metadata": user["raw_user_meta_data"],
        "role": user["role"],
        "aal": "aal1",
        "amr": [{"method": "password", "timestamp": int(session.began.timestamp())}],
        "session_id": str(session.id),
        "is_anonymous": user["is_anonymous"],
    }
    return {
        "access_token": here.keys.sign(claims),
        "token_type": "bearer",
        "expires_in": here.config.access_token_expires_s,
        "expires_at": expires_at,
        "refresh_token": session.refresh_token,
        "user": user_json(user),
        "weak_password": None,
    }


def _moment(value: datetime | None) -> str | None:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if value else None


def _merged(old: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Top-level keys are replaced, and null removes one."""
    return {name: value for name, value in {**old, **change}.items() if value is not None}


def _where_from(request: Request) -> tuple[str | None, str | None]:
    return request.headers.get("user-agent", "")[:500] or None, request.client.host if request.client else None


# -- checks --------------------------------------------------------------------------------------


def _email(given: str | None) -> str:
    email = (given or "").strip().lower()
    if not EMAIL.fullmatch(email) or len(email) > 255:
        raise AuthProblem(400, "validation_failed", "Unable to validate email address: invalid format")
    return email


async def _hashed(password: str) -> str:
    if len(password) < passwords.MIN_LENGTH:
        raise AuthProblem(
            422,
            "weak_password",
            f"Password should be at least {passwords.MIN_LENGTH} characters.",
            weak_password={"reasons": ["length"]},
        )
    if len(password.encode()) > passwords.MAX_BYTES:
        raise AuthProblem(400, "validation_failed", f"Password cannot be longer than {passwords.MAX_BYTES} bytes")
    return await passwords.hash_password(password)


async def _admin_columns(given: AdminUser) -> dict[str, Any]:
    """The columns that an administrator's body names, metadata aside."""
    now = datetime.now(UTC)
    columns: dict[str, Any] = {}
    if given.email is not None:
        columns["email"] = _email(given.email)
    if given.phone is not None:
        columns["phone"] = given.phone
    if given.password is not None:
        columns["encrypted_password"] = await _hashed(given.password)
    if given.email_confirm:
        columns["email_confirmed_at"] = now
    if given.phone_confirm:
        columns["phone_confirmed_at"] = now
    if given.role:
        columns["role"] = given.role
    if given.ban_duration is not None:
        columns["banned_until"] = None if given.ban_duration == "none" else now + _duration(given.ban_duration)
    return columns


def _duration(text: str) -> timedelta:
    """A duration as Go writes it: 24h, 1h30m."""
    found = DURATION.fullmatch(text)
    if not text or found is None:
        raise AuthProblem(
            400, "validation_failed", f"invalid format for ban duration: {text[:40]!r}, write 24h or none"
        )
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    try:
        return timedelta(hours=hours, minutes=minutes, seconds=seconds)
    except OverflowError as error:
        raise AuthProblem(400, "validation_failed", "the ban duration is too long") from error


async def _existing(connection: Connection, me: SignedIn) -> users.Row:
    """The user of a session that has not been ended."""
    user = await users.by_id(connection, me.user_id)
    if user is None:
        raise AuthProblem(403, "user_not_found", "User from sub claim in JWT does not exist")
    if not await users.session_exists(connection, me.session_id, me.user_id):
        raise AuthProblem(403, "session_not_found", "Session from session_id claim in JWT does not exist")
    return user


async def _updated(connection: Connection, user_id: UUID, columns: dict[str, Any]) -> users.Row:
    try:
        return _found(await users.update(connection, user_id, columns))
    except psycopg.errors.UniqueViolation as error:
        raise AuthProblem(422, "email_exists", "A user with this email address has already been registered") from error


def _found(user: users.Row | None) -> users.Row:
    if user is None:
        raise AuthProblem(404, "user_not_found", "User not found")
    return user
