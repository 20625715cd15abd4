"""The part of Supabase's wire protocol that Argus uses, over the real Postgres and the real S3.

Auth, Realtime and Storage as the official clients speak them, in one process, so that a laptop needs no account and no
container: `python -m argus_ray.local.supabase`. What is here behaves as Supabase's own servers do, down to the shape of
an error; what is not (one-time passwords, OAuth, image transformation, `postgres_changes`, PostgREST) says so.

State is in Postgres (schemas `auth`, `storage`, `realtime`: `bootstrap.sql`) and in S3. In memory are only the open
sockets and who is present on them, which end with the process.
"""
