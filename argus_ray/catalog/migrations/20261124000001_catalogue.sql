-- The catalogue: what exists. Who may see it stands in the migration after this one.
-- Applies unchanged to a Supabase project, to RDS and to a plain server, PostgreSQL 15 to 18, with pgvector alone.

-- A migration runs as the owner of the database, which need be neither superuser nor exempt from row-level security.
-- Four roles of Argus: `argus_api` may only become anon or authenticated; `argus_worker` runs pipelines;
-- `argus_registrar` registers models; `argus_definer` owns the functions and tables that act for somebody else.
set local lock_timeout = '10s';  -- a migration that has to wait gives up, and is run again
set local statement_timeout = '10min';
do $$
declare
  wanted text;
begin
  foreach wanted in array array['anon', 'authenticated', 'argus_api', 'argus_worker', 'argus_registrar', 'argus_definer'] loop
    begin
      if not exists (select from pg_roles where rolname = wanted) then
        execute format('create role %I nologin noinherit', wanted);
      end if;
    exception when duplicate_object or unique_violation then
      null;  -- roles belong to the server: another database's migration was first
    end;
  end loop;
  grant anon, authenticated to argus_api;
  execute format('grant argus_definer, argus_registrar to %I', current_user);
end
$$;

create schema if not exists argus;
create schema if not exists extensions;
create extension if not exists vector with schema extensions;

grant usage on schema argus, extensions to anon, authenticated, argus_api, argus_worker, argus_registrar, argus_definer;
grant create on schema argus to argus_definer;
alter role argus_api set search_path = argus, extensions;
alter role argus_worker set search_path = argus, extensions;

set local search_path = argus, extensions;

-- Sorts by time of creation, so that new rows go to the end of an index (RFC 9562, version 7). Core has it from 18 on.
create function uuid_v7() returns uuid language sql volatile parallel safe set search_path = '' as $$
  select encode(
    set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
      placing substring(int8send(floor(extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6),
      52, 1), 53, 1), 'hex')::uuid
$$;

-- Projects and people ------------------------------------------------------------------------------

create table projects (
  id uuid primary key default uuid_v7(),
  name text not null check (length(name) between 1 and 200),
  sampling jsonb not null default '{"policy": "fps", "fps": 1.0}',
  settings jsonb not null default '{}' check (pg_column_size(settings) < 65536),
  created_by uuid,
  version integer not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  deleted_at timestamptz
);

create table members (
  id uuid primary key default uuid_v7(),
  project_id uuid not null references projects on delete cascade,
  user_id uuid,  -- null: invited, and has not signed in with this e-mail yet
  email text not null check (email = lower(email) and length(email) <= 320),
  role text not null check (role in ('owner', 'editor', 'annotator', 'viewer')),
  version integer not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  joined_at timestamptz check ((joined_at is null) = (user_id is null)),
  unique (project_id, email),
  unique (project_id, user_id)
);
create index members_of_user on members (user_id) include (project_id, role);
create index members_invited on members (email) where user_id is null;

create table user_settings (
  user_id uuid primary key,
  settings jsonb not null default '{}' check (pg_column_size(settings) < 65536),
  version integer not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);

create table api_keys (
  id uuid primary key default uuid_v7(),
  project_id uuid not null references projects on delete cascade,
  name text not null check (length(name) between 1 and 200),
  prefix text not null,
  key_hash bytea not null unique check (length(key_hash) = 32),
  role text not null check (role in ('editor', 'annotator', 'viewer')),
  scopes text[] not null check (scopes <@ array['read', 'write'] and cardinality(scopes) > 0),
  created_by uuid,
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  last_used_at timestamptz,
  revoked_at timestamptz
);
create index api_keys_of_project on api_keys (project_id);

-- Videos and uploads -------------------------------------------------------------------------------

create table videos (
  id uuid primary key default uuid_v7(),
  project_id uuid not null references projects on delete cascade,
  name text not null check (length(name) between 1 and 200),
  state text not null default 'awaiting_upload'
    check (state in ('awaiting_upload', 'uploaded', 'processing', 'ready', 'failed', 'deleted')),
  reason jsonb check ((reason is not null) = (state = 'failed')),
  warnings jsonb not null default '[]',
  source_uri text,  -- s3://bucket/key of an imported original; null: the object named by the ids
  size_bytes bigint check (size_bytes > 0),
  content_type text,
  sha256 text check (sha256 ~ '^[0-9a-f]{64}$'),
  sampling jsonb,  -- null: the project's
  metadata jsonb not null default '{}' check (pg_column_size(metadata) < 65536),
  container text,
  codec text,
  width integer,
  height integer,
  duration_us bigint,
  start_us bigint,
  frame_rate double precision,
  variable_frame_rate boolean,
  probe jsonb,
  poster boolean not null default false,
  frames_kept integer not null default 0,
  frames_dropped integer not null default 0,
  progress real not null default 0 check (progress between 0 and 1),
  created_by uuid,
  version integer not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  uploaded_at timestamptz,
  ready_at timestamptz,
  deleted_at timestamptz check ((deleted_at is not null) = (state = 'deleted')),
  unique (project_id, id)
) with (fillfactor = 80);
create index videos_of_project on videos (project_id, created_at desc, id desc) where state <> 'deleted';
create index videos_by_bytes on videos (project_id, sha256) where sha256 is not null and state <> 'deleted';
create index videos_by_metadata on videos using gin (metadata jsonb_path_ops);
create index videos_without_poster on videos (id) where state = 'ready' and not poster;
create index videos_deleted on videos (deleted_at) where state = 'deleted';

create table uploads (
  id uuid primary key default uuid_v7(),
  project_id uuid not null,
  video_id uuid not null,
  kind text not null check (kind in ('put', 'multipart')),
  state text not null default 'open' check (state in ('open', 'completed', 'aborted')),
  s3_upload_id text check ((s3_upload_id is not null) = (kind = 'multipart')),
  part_size_bytes bigint check ((part_size_bytes is not null) = (kind = 'multipart')),
  part_count integer check ((part_count is not null) = (kind = 'multipart')),
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  foreign key (project_id, video_id) references videos (project_id, id) on delete cascade
);
create unique index uploads_one_open on uploads (video_id) where state = 'open';
create index uploads_of_video on uploads (project_id, video_id);
create index uploads_to_sweep on uploads (expires_at) where state = 'open';

-- Objects that nothing names any more: the sweeper deletes them at S3 and Storage, then the row.
create table doomed_objects (
  id bigint generated always as identity primary key,
  project_id uuid not null,
  store text not null check (store in ('s3', 's3-prefix', 's3-upload', 'thumbnails')),
  key text not null,
  s3_upload_id text check ((s3_upload_id is not null) = (store = 's3-upload')),
  attempts integer not null default 0,
  not_before timestamptz not null default now(),
  created_at timestamptz not null default now()
);
create index doomed_objects_next on doomed_objects (not_before, id);

-- The queue ----------------------------------------------------------------------------------------

create table runs (
  pool text primary key,            -- one run of a pool is alive at a time
  id uuid not null unique,
  kind text not null,
  ray_job_id text,
  lease_until timestamptz not null,
  started_at timestamptz not null default now(),
  accepts_until timestamptz not null  -- takes nothing new after this
) with (fillfactor = 50);

create table jobs (
  id uuid primary key default uuid_v7(),
  project_id uuid not null references projects on delete cascade,
  kind text not null check (kind in ('ingest')),
  state text not null default 'queued' check (state in ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
  video_id uuid,
  priority smallint not null default 0 check (priority between -100 and 100),
  turn bigint not null default 0,  -- set when it is queued: see take_turn
  attempts integer not null default 0,
  progress real not null default 0 check (progress between 0 and 1),
  reason jsonb check ((reason is not null) <= (state in ('failed', 'cancelled'))),
  result jsonb,
  cancel_requested_at timestamptz,
  created_by uuid,
  created_at timestamptz not null default now(),
  started_at timestamptz,
  finished_at timestamptz check ((finished_at is not null) = (state in ('succeeded', 'failed', 'cancelled'))),
  foreign key (project_id, video_id) references videos (project_id, id) on delete cascade,
  check ((kind = 'ingest') = (video_id is not null))
) with (fillfactor = 70);
create index jobs_of_project on jobs (project_id, created_at desc, id desc);
create index jobs_of_video on jobs (project_id, video_id);
create unique index jobs_one_ingest on jobs (video_id) where kind = 'ingest' and state in ('queued', 'running');
create index jobs_queued on jobs (kind) where state = 'queued';
create index jobs_ended on jobs (finished_at) where state in ('succeeded', 'failed', 'cancelled');

-- A time range of one video: the unit of work, retry and resume. queued -> running -> done | failed | cancelled;
-- running without started_at is claimed by a run and waits for an extractor. The fence grows with every claim.
create table segments (
  id uuid primary key default uuid_v7(),
  project_id uuid not null,
  job_id uuid not null references jobs on delete cascade,
  video_id uuid not null,
  number integer not null check (number >= 0),
  plan jsonb,                            -- null: covers the whole video and is not planned yet
  state text not null default 'queued' check (state in ('queued', 'running', 'done', 'failed', 'cancelled')),
  priority smallint not null default 0,  -- the job's
  turn bigint not null,                  -- the job's + number: a long video queues as many short ones would
  not_before timestamptz not null default now(),
  run_id uuid check ((run_id is not null) >= (state = 'running')),
  fence bigint not null default 0,
  attempts integer not null default 0,
  preemptions integer not null default 0,
  claimed_at timestamptz,
  started_at timestamptz,
  started_on text,                         -- the Ray node, to tell a crash from a node that was lost
  progressed_at timestamptz,
  progress real not null default 0 check (progress between 0 and 1),
  chunks integer[] not null default '{}',  -- numbers of the chunks that are committed
  chunk_count integer,                     -- known when the last chunk has been seen
  frames_kept integer not null default 0,
  frames_dropped integer not null default 0,
  warnings jsonb not null default '[]',
  reason jsonb check ((reason is not null) <= (state in ('failed', 'cancelled'))),
  foreign key (project_id, video_id) references videos (project_id, id) on delete cascade,
  unique (job_id, number)
) with (fillfactor = 60);
create index segments_queued on segments (priority desc, turn, job_id, number) where state = 'queued';
create index segments_queued_of_project on segments (project_id, turn) where state = 'queued';
create index segments_queued_turns on segments (turn) where state = 'queued';
create index segments_held on segments (run_id) where state = 'running';

-- What a run's reader has yielded, in order: a retried reader says it again first, since Ray drops by position.
create table claims (
  run_id uuid not null,
  no integer not null,
  segment_id uuid not null,
  fence bigint not null,
  claimed_at timestamptz not null default now(),
  primary key (run_id, no)
);

-- Frames and vectors -------------------------------------------------------------------------------

create table frames (
  project_id uuid not null,
  video_id uuid not null,
  pts_us bigint not null,
  id uuid not null,       -- a function of (video_id, pts_us)
  job_id uuid not null,   -- the ingest that last named it
  segment_number integer not null,
  width integer not null check (width > 0),
  height integer not null check (height > 0),
  size_bytes integer not null check (size_bytes > 0),
  why text not null check (why in ('fps', 'keyframes', 'scenes', 'uniform', 'every_frame')),
  created_at timestamptz not null default now(),
  primary key (project_id, video_id, pts_us)
);
create unique index frames_by_id on frames (id);

create table models (
  id uuid primary key default uuid_v7(),
  number smallint not null unique check (number > 0),
  family text not null check (family in ('siglip2')),
  uri text not null,
  weights_id text not null,
  dim smallint not null check (dim between 1 and 4000),
  image_size smallint not null check (image_size > 0),
  logit_scale double precision not null,
  logit_bias double precision not null,
  created_at timestamptz not null default now(),
  unique (family, weights_id)
);

-- A partition a model, made by register_model; in it one part with an index and a recent part without, which COPY
-- fills at full speed, search scans exactly, and a run of jobs/fold.py empties into the indexed one.
create table embeddings (
  project_id uuid not null,
  video_id uuid not null,
  pts_us bigint not null,
  model_number smallint not null,
  indexed boolean not null default false,
  embedding halfvec not null,
  primary key (project_id, video_id, pts_us, model_number, indexed)
) partition by list (model_number);

-- Around them --------------------------------------------------------------------------------------

create table audit (
  id bigint generated always as identity primary key,
  project_id uuid,
  at timestamptz not null default clock_timestamp(),
  actor text,
  role text not null,
  action text not null check (action in ('insert', 'update', 'delete')),
  subject text not null,
  subject_id text,
  changes jsonb,
  ip text,
  request_id text
);
create index audit_of_project on audit (project_id, id desc);

create table idempotency_keys (
  caller text not null,
  key text not null check (length(key) between 1 and 255),
  request_hash bytea not null,
  status smallint not null,
  response jsonb,        -- null: empty, or with a secret that is shown once
  headers jsonb not null default '{}',
  created_at timestamptz not null default now(),
  primary key (caller, key)
);
create index idempotency_keys_age on idempotency_keys (created_at);

-- Messages for Realtime where the database cannot send them itself (no realtime.send): the dispatcher posts them.
create table broadcasts (
  id bigint generated always as identity primary key,
  topic text not null,
  event text not null,
  payload jsonb not null,
  created_at timestamptz not null default now()
);
