-- Concepts: labels, annotations, tracks, verdicts, what models answered, review, datasets; and the jobs that make them.
-- It only adds and widens: what ran before goes on beside it.
set local lock_timeout = '10s';  -- a migration that has to wait gives up, and is run again
set local statement_timeout = '10min';
set local search_path = argus, extensions;

-- Models of two families ---------------------------------------------------------------------------

alter table models drop constraint models_family_check;
alter table models add constraint models_family_check check (family in ('siglip2', 'sam3'));
alter table models alter column dim drop not null, alter column logit_scale drop not null, alter column logit_bias drop not null;
alter table models add column licence text check (length(licence) <= 1000);
alter table models add constraint models_vectors
  check ((family = 'siglip2') = (dim is not null and logit_scale is not null and logit_bias is not null));

-- Registers weights that make no vectors, once; says their number every time. Their name is the last that they were given.
create function register_weights(family text, uri text, weights_id text, image_size integer, licence text)
returns smallint language plpgsql volatile security definer set search_path = '' as $$
declare
  made smallint;
begin
  perform pg_advisory_xact_lock(hashtext('argus.register_model'));
  select m.number into made from argus.models m
  where m.family = register_weights.family and m.weights_id = register_weights.weights_id;
  if found then
    update argus.models m set uri = register_weights.uri where m.number = made and m.uri <> register_weights.uri;
  else
    insert into argus.models (number, family, uri, weights_id, image_size, licence)
    values ((select coalesce(max(m.number), 0) + 1 from argus.models m), family, uri, weights_id, image_size, licence)
    returning number into made;
  end if;
  return made;
end
$$;

-- Budgets ------------------------------------------------------------------------------------------

alter table projects add column gpu_seconds_per_month integer check (gpu_seconds_per_month >= 0);  -- null: no limit

create table gpu_usage (
  project_id uuid not null references projects on delete cascade,
  month date not null check (extract(day from month) = 1),
  kind text not null,
  gpu_seconds double precision not null default 0 check (gpu_seconds >= 0),
  frames bigint not null default 0,
  primary key (project_id, month, kind)
);

-- What work has taken here: the rates by which a job is estimated before it starts. `asked` counts frames times labels.
create table measured_rates (
  kind text not null,
  model_id uuid not null references models,
  device text not null,
  asked bigint not null default 0,
  seconds double precision not null default 0,
  updated_at timestamptz not null default now(),
  primary key (kind, model_id, device)
);

-- The ontology -------------------------------------------------------------------------------------

create table labels (
  project_id uuid not null references projects on delete cascade,
  id uuid not null default uuid_v7(),
  number integer not null default 0 check (number > 0),  -- see number_label; the category id of exports, never used again
  name text not null check (length(name) between 1 and 200),
  names jsonb not null default '{}' check (pg_column_size(names) < 65536),
  colour text not null check (colour ~ '^#[0-9a-f]{6}$'),
  prompts text[] not null check (cardinality(prompts) between 1 and 8),
  attributes jsonb not null default '[]' check (pg_column_size(attributes) < 262144),
  threshold real check (threshold between 0 and 1),
  learnt jsonb,
  archived_at timestamptz,
  merged_into uuid check (merged_into is null or merged_into <> id and archived_at is not null),
  version integer not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (project_id, id),
  unique (id),
  unique (project_id, number),
  foreign key (project_id, merged_into) references labels (project_id, id)
);
create unique index labels_by_name on labels (project_id, lower(name)) where archived_at is null;

-- Annotations and tracks ---------------------------------------------------------------------------

create table tracks (
  project_id uuid not null,
  id uuid not null default uuid_v7(),
  video_id uuid not null,
  number integer not null default 0 check (number > 0),  -- see number_track
  label_id uuid not null,
  attributes jsonb not null default '{}' check (pg_column_size(attributes) < 65536),
  start_us bigint not null default 0,  -- of its first and last keyframe, and how many there are: see count_keyframes
  end_us bigint not null default 0,
  keyframes integer not null default 0,
  source text not null check (source in ('human', 'model', 'import')),
  state text not null check (state in ('proposed', 'accepted', 'rejected')),
  reason text check (length(reason) <= 1000),
  score real,
  method text,                -- how a model has followed it: sam3-video or track-by-detection
  first_vector real[],        -- SigLIP vectors of its first and last appearance in a segment, for joining pieces
  last_vector real[],
  segment_number integer,     -- of the segment that made it, until the job's pieces are joined
  model_id uuid references models,
  job_id uuid,
  author text,
  version integer not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  deleted_at timestamptz,
  primary key (project_id, id),
  unique (id),
  unique (project_id, label_id, video_id, id),
  check (start_us <= end_us),
  foreign key (project_id, video_id) references videos (project_id, id) on delete cascade,
  foreign key (project_id, label_id) references labels (project_id, id)
) with (fillfactor = 80);
create unique index tracks_of_video on tracks (project_id, video_id, number);
create index tracks_by_time on tracks (project_id, video_id, start_us, end_us) where deleted_at is null;
create index tracks_of_job on tracks (job_id) where job_id is not null;

create table annotations (
  project_id uuid not null,
  video_id uuid not null,
  pts_us bigint not null,
  id uuid not null default uuid_v7(),
  label_id uuid not null,
  track_id uuid,                                     -- a keyframe of it
  kind text not null check (kind in ('box', 'polygon', 'mask', 'points', 'tag')),
  x double precision, y double precision,            -- the box around it, of every kind but a tag
  w double precision, h double precision,
  polygon jsonb,                                     -- parts, of each the ring around it and its holes
  points jsonb,
  counts text,                                       -- COCO compressed RLE of the size of the video as displayed
  area_px integer,
  end_us bigint,
  outside boolean not null default false,            -- from here on it is not to be seen, until the next keyframe
  occluded boolean not null default false,
  attributes jsonb not null default '{}' check (pg_column_size(attributes) < 65536),
  source text not null check (source in ('human', 'model', 'import')),
  state text not null check (state in ('proposed', 'accepted', 'rejected')),
  reason text check (length(reason) <= 1000),
  score real check (score between 0 and 1),
  presence real check (presence between 0 and 1),
  method text,
  model_id uuid references models,
  job_id uuid,
  author text,
  reviewed_by text,
  reviewed_at timestamptz,
  version integer not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  deleted_at timestamptz,
  primary key (project_id, video_id, pts_us, id),
  check ((kind = 'tag') = (x is null and y is null and w is null and h is null)),
  check (kind = 'tag' or (x >= 0 and y >= 0 and w >= 0 and h >= 0 and x + w <= 1.000001 and y + h <= 1.000001)),
  check ((kind = 'polygon') = (polygon is not null)),
  check ((kind = 'points') = (points is not null)),
  check ((kind = 'mask') = (counts is not null)),
  check (end_us is null or (kind = 'tag' and end_us > pts_us)),
  check (not outside or track_id is not null),
  foreign key (project_id, video_id) references videos (project_id, id) on delete cascade,
  foreign key (project_id, label_id) references labels (project_id, id),
  -- a keyframe has the label of its track, and follows it
  foreign key (project_id, label_id, video_id, track_id) references tracks (project_id, label_id, video_id, id)
    on update cascade on delete cascade
) with (fillfactor = 90);
create unique index annotations_by_id on annotations (id);
-- one at a time; those that are deleted are here too, since a deleted track looks for them
create unique index annotations_keyframes on annotations (project_id, track_id, pts_us, deleted_at) nulls not distinct
  where track_id is not null;
create index annotations_lasting on annotations (project_id, video_id, end_us) where end_us is not null;
create index annotations_of_label on annotations (project_id, label_id, state) where deleted_at is null;
create index annotations_of_job on annotations (job_id) where job_id is not null;
create index annotations_doubtful on annotations (project_id, label_id, model_id, score)
  where state = 'proposed' and deleted_at is null;

-- Where a job has joined two pieces of a track, and why. `from_us` and `to_us` are where the pieces end and begin.
create table track_links (
  project_id uuid not null,
  id uuid not null default uuid_v7(),
  video_id uuid not null,
  job_id uuid,
  track_id uuid not null,
  border_us bigint not null,
  iou real,
  similarity real,
  score real,
  state text not null default 'joined' check (state in ('joined', 'cut')),
  other_track_id uuid,       -- of a cut link: the track that what comes after it belongs to now
  author text,
  created_at timestamptz not null default now(),
  primary key (project_id, id),
  unique (id),
  foreign key (project_id, video_id) references videos (project_id, id) on delete cascade,
  foreign key (project_id, track_id) references tracks (project_id, id) on delete cascade
);
create index track_links_of_track on track_links (project_id, track_id);
create index track_links_of_video on track_links (project_id, video_id);

-- A person's word on one (frame, label).
create table verdicts (
  project_id uuid not null,
  video_id uuid not null,
  pts_us bigint not null,
  label_id uuid not null,
  verdict text not null check (verdict in ('exhaustive_present', 'exhaustive_absent', 'partial')),
  author text,
  version integer not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (project_id, video_id, pts_us, label_id),
  foreign key (project_id, video_id) references videos (project_id, id) on delete cascade,
  foreign key (project_id, label_id) references labels (project_id, id)
);
create index verdicts_of_label on verdicts (project_id, label_id);

-- A model's word: asked for this label here, it found so many, none included.
create table answers (
  project_id uuid not null,
  video_id uuid not null,
  pts_us bigint not null,
  label_id uuid not null,
  model_id uuid not null references models,
  found integer not null check (found >= 0),
  presence real,
  job_id uuid,
  at timestamptz not null default now(),
  primary key (project_id, video_id, pts_us, label_id, model_id),
  foreign key (project_id, video_id) references videos (project_id, id) on delete cascade,
  foreign key (project_id, label_id) references labels (project_id, id)
);
create index answers_of_label on answers (project_id, label_id);

-- Earlier versions of annotations, tracks and labels, and who replaced them.
create table history (
  id bigint generated always as identity primary key,
  project_id uuid not null,
  subject text not null check (subject in ('annotations', 'tracks', 'labels')),
  subject_id uuid not null,
  video_id uuid,
  version integer not null,
  row jsonb not null,
  actor text,
  at timestamptz not null default clock_timestamp()
);
create index history_of_subject on history (subject_id, version);
create index history_of_video on history (project_id, video_id);

-- Review: who looks at a frame or a segment now, and what people have finished with. One person at a time looks at a
-- moment: whoever takes, gives or ends an item locks the project's queue first, see catalog/reviews.py.
create table reviews (
  project_id uuid not null,
  video_id uuid not null,
  pts_us bigint not null,
  end_us bigint not null check (end_us > pts_us),  -- before which it ends; of a frame pts_us + 1
  assignee text,                                   -- user:… or key:…; null: nobody
  assigned_by text,
  until timestamptz,                               -- null: an assignment that does not lapse
  state text not null default 'open' check (state in ('open', 'accepted', 'rejected')),
  reason text check (length(reason) <= 1000),
  looked jsonb not null default '{}' check (pg_column_size(looked) < 65536),  -- by label, when a person last finished here
  version integer not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (project_id, video_id, pts_us, end_us),
  foreign key (project_id, video_id) references videos (project_id, id) on delete cascade
);
create index reviews_held on reviews (project_id, assignee) where state = 'open' and assignee is not null;
create index reviews_by_change on reviews (project_id, updated_at desc, video_id, pts_us, end_us);

-- Datasets -----------------------------------------------------------------------------------------

create table datasets (
  project_id uuid not null references projects on delete cascade,
  id uuid not null default uuid_v7(),
  name text not null check (length(name) between 1 and 200),
  query jsonb not null check (pg_column_size(query) < 8388608),
  splits jsonb not null,
  version integer not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  deleted_at timestamptz,
  primary key (project_id, id),
  unique (id)
);
create unique index datasets_by_name on datasets (project_id, lower(name)) where deleted_at is null;

-- Immutable for everyone: see keep_frozen.
create table dataset_versions (
  project_id uuid not null,
  id uuid not null default uuid_v7(),
  dataset_id uuid not null,
  number integer not null check (number > 0),
  parent_id uuid,
  job_id uuid,
  schema_version integer not null,
  content_hash text not null check (content_hash ~ '^[0-9a-f]{64}$'),
  manifest_key text not null,
  query jsonb not null,
  ontology jsonb not null,
  counts jsonb not null,
  warnings jsonb not null default '[]',
  author text,
  created_at timestamptz not null default now(),
  primary key (project_id, id),
  unique (id),
  unique (project_id, dataset_id, number),
  unique (job_id),  -- a job makes one, however often it is run
  foreign key (project_id, dataset_id) references datasets (project_id, id),
  foreign key (project_id, parent_id) references dataset_versions (project_id, id)
);
create index dataset_versions_of_parent on dataset_versions (project_id, parent_id);

-- Which split a video belongs to in a dataset, for good: a version never moves it.
create table dataset_splits (
  project_id uuid not null,
  dataset_id uuid not null,
  video_id uuid not null,
  split text not null check (split in ('train', 'val', 'test')),
  component integer not null,  -- videos that share near-duplicates share it
  primary key (project_id, dataset_id, video_id),
  foreign key (project_id, dataset_id) references datasets (project_id, id) on delete cascade
);

-- The queue, for more kinds of work ----------------------------------------------------------------

do $$
declare
  name text;
begin
  for name in select conname from pg_constraint
              where conrelid = 'argus.jobs'::regclass and contype = 'c' and pg_get_constraintdef(oid) like '%kind%' loop
    execute format('alter table argus.jobs drop constraint %I', name);
  end loop;
end
$$;
alter table jobs add constraint jobs_kind_check
  check (kind in ('ingest', 'autolabel', 'track', 'freeze', 'export', 'import'));
alter table jobs add constraint jobs_ingest_has_video check (kind <> 'ingest' or video_id is not null);
alter table jobs add column spec jsonb not null default '{}' check (pg_column_size(spec) < 8388608);
alter table jobs add column estimate jsonb;
alter table jobs add column resumed_at_progress real not null default 0;  -- what was done before it was last queued

alter table segments alter column video_id drop not null;
alter table segments add column kind text not null default 'ingest';
alter table segments add constraint segments_ingest_has_video check (kind <> 'ingest' or video_id is not null);
alter table segments add column frames_total integer;                              -- frames it is about
alter table segments add column compute_s double precision not null default 0;     -- seconds of the device, committed
alter table segments add column found integer not null default 0;                  -- objects, committed

drop index segments_queued, segments_queued_of_project, segments_queued_turns;
create index segments_queued on segments (kind, priority desc, turn, job_id, number) where state = 'queued';
create index segments_queued_of_project on segments (project_id, kind, turn) where state = 'queued';
create index segments_queued_turns on segments (kind, turn) where state = 'queued';

-- Each kind of work has its own line to wait in.
create or replace function take_turn() returns trigger language plpgsql security definer set search_path = '' as $$
declare
  before text := coalesce(current_setting('argus.turn', true), '');
  mine text := new.project_id || '/' || new.kind;
begin
  new.turn := greatest(
    (select min(s.turn) from argus.segments s where s.state = 'queued' and s.kind = new.kind),
    (select max(s.turn) + 1 from argus.segments s
     where s.state = 'queued' and s.kind = new.kind and s.project_id = new.project_id),
    case when split_part(before, ' ', 1) = mine then split_part(before, ' ', 2)::bigint + 1 end,
    0);
  perform set_config('argus.turn', mine || ' ' || new.turn, true);
  return new;
end
$$;

-- The frames of ready videos that a target names: see schemas/job.py. Run by a person it sees what they see.
create function target_frames(of_project uuid, target jsonb)
returns table (video_id uuid, pts_us bigint) language sql stable set search_path = '' as $$
  with wanted as (
    select target -> 'filter' as f,
      (select array_agg(v::uuid) from jsonb_array_elements_text(nullif(target #> '{filter,video_ids}', 'null')) v) as videos,
      (select array_agg(v::uuid) from jsonb_array_elements_text(nullif(target -> 'frame_ids', 'null')) v) as frames,
      (select array_agg(v) from jsonb_array_elements_text(nullif(target #> '{filter,why}', 'null')) v) as why
  )
  select f.video_id, f.pts_us
  from wanted t, argus.frames f join argus.videos v on v.project_id = f.project_id and v.id = f.video_id
  where f.project_id = of_project and v.state = 'ready'
    and (t.videos is null or f.video_id = any (t.videos))
    and (t.frames is null or f.id = any (t.frames))
    and (t.why is null or f.why = any (t.why))
    and ((t.f ->> 'from_us') is null or f.pts_us >= (t.f ->> 'from_us')::bigint)
    and ((t.f ->> 'to_us') is null or f.pts_us < (t.f ->> 'to_us')::bigint)
    and (nullif(t.f -> 'metadata', 'null') is null or v.metadata @> (t.f -> 'metadata'))
    and ((t.f ->> 'uploaded_after') is null or v.uploaded_at >= (t.f ->> 'uploaded_after')::timestamptz)
    and ((t.f ->> 'uploaded_before') is null or v.uploaded_at < (t.f ->> 'uploaded_before')::timestamptz)
$$;

-- The segments of tracking through the whole of each video that the target names: block b has the times 56 b to
-- 56 b + 63, of the kept frames, or of a grid of spec.fps times a second (then `pts_us` is null, and the video is read
-- for the pictures shown at them).
create function track_blocks(of_project uuid, spec jsonb)
returns table (video_id uuid, block bigint, start_us bigint, end_us bigint, pts_us jsonb, frames bigint)
language sql stable set search_path = '' as $$
  with named as materialized (
    select distinct t.video_id from argus.target_frames(of_project, spec -> 'target') t
  ), kept as (
    select f.video_id, f.pts_us, row_number() over (partition by f.video_id order by f.pts_us) - 1 as place,
      count(*) over (partition by f.video_id) as times
    from named n join argus.frames f on f.project_id = of_project and f.video_id = n.video_id
    where (spec ->> 'fps') is null
  ), long as (
    select n.video_id, (spec ->> 'fps')::float8 as fps, greatest(ceil(v.duration_us * (spec ->> 'fps')::float8 / 1e6), 1) as times
    from named n join argus.videos v on v.project_id = of_project and v.id = n.video_id
    where (spec ->> 'fps') is not null and v.duration_us is not null
  )
  select k.video_id, b.block, min(k.pts_us), max(k.pts_us), jsonb_agg(k.pts_us order by k.pts_us), count(*)
  from kept k cross join lateral generate_series(
    greatest((k.place - 8) / 56, 0), least(k.place / 56, greatest((k.times - 8 + 55) / 56, 1) - 1)) as b (block)
  group by k.video_id, b.block
  union all
  select l.video_id, b.block, round(b.block * 56 * 1e6 / l.fps)::bigint,
    round((least(b.block * 56 + 64, l.times) - 1) * 1e6 / l.fps)::bigint, null, least(64, l.times - b.block * 56)::bigint
  from long l cross join lateral generate_series(0, greatest(ceil((l.times - 8) / 56), 1)::bigint - 1) as b (block)
$$;

-- What a job is cut into, when it is queued. An ingest starts as one segment that covers the whole video, not yet
-- planned. Autolabel takes 48 frames of one video at a time. Tracking takes 64 times of one video, of which 8 are also
-- the next segment's, so that what both have seen can be joined. The rest is one piece.
-- Queued again, what is done stays done; an ingest begins anew.
create or replace function first_segment() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  if tg_op = 'UPDATE' and new.kind <> 'ingest' then
    update argus.segments s set state = 'queued', run_id = null, attempts = 0, preemptions = 0, started_at = null,
      started_on = null, reason = null, not_before = now(), turn = new.turn + s.number
    where s.job_id = new.id and s.state in ('failed', 'cancelled');
    if found then
      perform pg_notify('argus_jobs', new.kind);
      return null;
    end if;
  end if;
  delete from argus.segments s where s.job_id = new.id;
  if new.kind = 'autolabel' then
    insert into argus.segments (project_id, job_id, kind, video_id, number, plan, priority, turn, frames_total)
    select new.project_id, new.id, new.kind, b.video_id, row_number() over (order by b.video_id, b.block) - 1,
      jsonb_build_object('start_us', b.start_us, 'end_us', b.end_us, 'pts_us', b.pts_us), new.priority,
      new.turn + row_number() over (order by b.video_id, b.block) - 1, b.frames
    from (
      select f.video_id, f.block, min(f.pts_us) as start_us, max(f.pts_us) as end_us,
        jsonb_agg(f.pts_us order by f.pts_us) as pts_us, count(*) as frames
      from (select t.video_id, t.pts_us, (row_number() over (partition by t.video_id order by t.pts_us) - 1) / 48 as block
            from argus.target_frames(new.project_id, new.spec -> 'target') t) f
      group by f.video_id, f.block
    ) b;
  elsif new.kind = 'track' and new.spec ->> 'kind' = 'track' then
    insert into argus.segments (project_id, job_id, kind, video_id, number, plan, priority, turn, frames_total)
    select new.project_id, new.id, new.kind, b.video_id, row_number() over (order by b.video_id, b.block) - 1,
      jsonb_strip_nulls(jsonb_build_object('start_us', b.start_us, 'end_us', b.end_us, 'pts_us', b.pts_us)), new.priority,
      new.turn + row_number() over (order by b.video_id, b.block) - 1, b.frames
    from argus.track_blocks(new.project_id, new.spec) b;
  else
    insert into argus.segments (project_id, job_id, kind, video_id, number, priority, turn)
    values (new.project_id, new.id, new.kind, new.video_id, 0, new.priority, new.turn);
  end if;
  if not exists (select from argus.segments s where s.job_id = new.id) then
    raise data_exception using message = 'no frame of a ready video is what this job asks for: nothing was queued';
  end if;
  perform pg_notify('argus_jobs', new.kind);
  return null;
end
$$;

-- A cancelled job's segments end with it, and lose their fence. A video whose ingest it was has failed then; other work
-- keeps what it has committed.
create or replace function cancel_segments() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  update argus.segments s set state = 'cancelled', fence = s.fence + 1
  where s.job_id = new.id and s.state in ('queued', 'running');
  if new.kind <> 'ingest' then
    return null;
  end if;
  update argus.videos v
  set state = 'failed', progress = 0, frames_kept = 0, frames_dropped = 0,
      reason = coalesce(new.reason,
        '{"type": "job-cancelled", "detail": "the ingest was cancelled: retry the job to go on"}')
  where v.project_id = new.project_id and v.id = new.video_id and v.state in ('uploaded', 'processing');
  if found then
    perform argus.doom_frames(new.project_id, new.video_id, null, null);
  end if;
  return null;
end
$$;

-- What people may do -------------------------------------------------------------------------------

-- A label's number is the next of its project, a track's the next of its video.
create function number_label() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform pg_advisory_xact_lock(hashtext('argus.labels'), hashtext(new.project_id::text));
  new.number := (select coalesce(max(l.number), 0) + 1 from argus.labels l where l.project_id = new.project_id);
  return new;
end
$$;
create trigger number_label before insert on labels for each row execute function number_label();

create function number_track() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform pg_advisory_xact_lock(hashtext('argus.tracks'), hashtext(new.video_id::text));
  new.number := (select coalesce(max(t.number), 0) + 1 from argus.tracks t
                 where t.project_id = new.project_id and t.video_id = new.video_id);
  return new;
end
$$;
create trigger number_track before insert on tracks for each row execute function number_track();

-- Whoever is signed in is the author, whatever a statement says.
create function sign_author() returns trigger language plpgsql set search_path = '' as $$
begin
  if current_user = 'authenticated' then
    new.author := argus.caller();
  end if;
  return new;
end
$$;
create trigger sign_author before insert on annotations for each row execute function sign_author();
create trigger sign_author before insert on tracks for each row execute function sign_author();
create trigger sign_author before insert or update on verdicts for each row execute function sign_author();

create trigger touch before update on labels for each row execute function touch();
create trigger touch before update on tracks for each row execute function touch();
create trigger touch before update on annotations for each row execute function touch();
create trigger touch before update on verdicts for each row execute function touch();
create trigger touch before update on reviews for each row execute function touch();
create trigger touch before update on datasets for each row execute function touch();

-- What a person replaces is kept, and so is what a pipeline removes of a person's; proposals that nobody touched are not.
create function keep_history() returns trigger language plpgsql security definer set search_path = '' as $$
declare
  replaced_by constant text := argus.caller();  -- once, and not for every row
begin
  if tg_op = 'UPDATE' then
    insert into argus.history (project_id, subject, subject_id, video_id, version, row, actor)
    select b.project_id, tg_table_name, b.id, (o.row ->> 'video_id')::uuid, b.version, o.row, replaced_by
    from before b join after a on a.id = b.id, lateral (select to_jsonb(b) as row) o where a.version <> b.version;
  else
    insert into argus.history (project_id, subject, subject_id, video_id, version, row, actor)
    select b.project_id, tg_table_name, b.id, b.video_id, b.version, to_jsonb(b), replaced_by
    from before b where b.version > 1 or b.state <> 'proposed';
  end if;
  return null;
end
$$;
create trigger keep_history after update on labels referencing old table as before new table as after
  for each statement execute function keep_history();
create trigger keep_history after update on tracks referencing old table as before new table as after
  for each statement execute function keep_history();
create trigger keep_history_of_deleted after delete on tracks referencing old table as before
  for each statement execute function keep_history();
create trigger keep_history after update on annotations referencing old table as before new table as after
  for each statement execute function keep_history();
create trigger keep_history_of_deleted after delete on annotations referencing old table as before
  for each statement execute function keep_history();

-- Where a track begins and ends is what its keyframes say. No version grows by it: nobody has edited the track.
create function count_keyframes() returns trigger language plpgsql security definer set search_path = '' as $$
declare
  touched uuid[];
begin
  case tg_op
    when 'INSERT' then
      select array_agg(distinct a.track_id) into touched from after a where a.track_id is not null;
    when 'DELETE' then
      select array_agg(distinct b.track_id) into touched from before b where b.track_id is not null;
    else
      select array_agg(distinct t.id) into touched
      from before b join after a on a.id = b.id, lateral (values (b.track_id), (a.track_id)) t (id)
      where t.id is not null
        and (a.track_id, a.pts_us, a.deleted_at) is distinct from (b.track_id, b.pts_us, b.deleted_at);
  end case;
  if touched is null then
    return null;
  end if;
  -- Held before they are counted: the statement after this one sees what others have committed meanwhile. Not `for update`,
  -- which the references of two writers' new keyframes would make a deadlock.
  perform from argus.tracks t where t.id = any (touched) order by t.id for no key update;
  update argus.tracks t
  set start_us = coalesce(k.start_us, 0), end_us = coalesce(k.end_us, 0), keyframes = k.keyframes
  from (select n.project_id, n.id, min(a.pts_us) as start_us, max(a.pts_us) as end_us, count(a.id) as keyframes
        from argus.tracks n left join argus.annotations a
          on a.project_id = n.project_id and a.track_id = n.id and a.deleted_at is null
        where n.id = any (touched) group by n.project_id, n.id) k
  where t.project_id = k.project_id and t.id = k.id
    and (t.start_us, t.end_us, t.keyframes)
        is distinct from (coalesce(k.start_us, 0), coalesce(k.end_us, 0), k.keyframes::integer);
  return null;
end
$$;
create trigger count_keyframes_of_new after insert on annotations referencing new table as after
  for each statement execute function count_keyframes();
create trigger count_keyframes after update on annotations referencing old table as before new table as after
  for each statement execute function count_keyframes();
create trigger count_keyframes_of_deleted after delete on annotations referencing old table as before
  for each statement execute function count_keyframes();

-- Who has reviewed an annotation, and when. What a threshold accepts says `auto`, and is nobody's word.
create function sign_review() returns trigger language plpgsql set search_path = '' as $$
begin
  if current_user = 'authenticated' then
    if new.reviewed_by is distinct from 'auto' or old.reviewed_by is not distinct from 'auto' then
      new.reviewed_by := argus.caller();
    end if;
    new.reviewed_at := now();
  elsif current_user = 'argus_worker' then
    new.version := old.version + 1;  -- as by a person: what was before is kept, and who has seen that is told
  end if;
  return new;
end
$$;
create trigger sign_review before update of state on annotations
  for each row when (new.state <> old.state) execute function sign_review();

-- Whether people have said that a label is on a frame: by annotations that they have made or accepted.
create function is_seen(of_project uuid, of_video uuid, at_us bigint, of_label uuid) returns boolean
language sql stable set search_path = '' as $$
  select exists (
    select from argus.annotations a
    where a.project_id = of_project and a.video_id = of_video and a.pts_us = at_us and a.label_id = of_label
      and a.state = 'accepted' and a.deleted_at is null and not a.outside)
$$;

-- Nobody says both that a label is on a frame and that it is not: the word of absence is refused where it is seen, and is
-- `partial` once it is.
create function absence_is_empty() returns trigger language plpgsql set search_path = '' as $$
begin
  if argus.is_seen(new.project_id, new.video_id, new.pts_us, new.label_id) then
    raise check_violation using constraint = 'verdict_of_absence',
      message = format('the frame at %s us has accepted annotations of that label: reject or delete them first', new.pts_us);
  end if;
  return new;
end
$$;
create trigger absence_is_empty before insert or update of verdict on verdicts
  for each row when (new.verdict = 'exhaustive_absent') execute function absence_is_empty();

create function end_absence() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  update argus.verdicts v set verdict = 'partial', version = v.version + 1
  from (select distinct a.project_id, a.video_id, a.pts_us, a.label_id from after a
        where a.state = 'accepted' and a.deleted_at is null and not a.outside) s
  where v.project_id = s.project_id and v.video_id = s.video_id and v.pts_us = s.pts_us and v.label_id = s.label_id
    and v.verdict = 'exhaustive_absent';
  return null;
end
$$;
create trigger end_absence_by_new after insert on annotations referencing new table as after
  for each statement execute function end_absence();
create trigger end_absence after update on annotations referencing new table as after
  for each statement execute function end_absence();

-- A label that is merged into another gives it what was said of it: see catalog/labels.py. Where people have a word on
-- both, the same stays, of present and absent present, and of anything with partial, partial.
create function give_words() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  insert into argus.verdicts (project_id, video_id, pts_us, label_id, verdict, author, created_at)
  select v.project_id, v.video_id, v.pts_us, new.merged_into,
    case when v.verdict = 'exhaustive_absent' and argus.is_seen(v.project_id, v.video_id, v.pts_us, new.merged_into)
         then 'partial' else v.verdict end, v.author, v.created_at
  from argus.verdicts v where v.project_id = new.project_id and v.label_id = new.id
  on conflict (project_id, video_id, pts_us, label_id) do update set
    verdict = case when 'partial' in (verdicts.verdict, excluded.verdict) then 'partial' else 'exhaustive_present' end,
    version = verdicts.version + 1
  where verdicts.verdict <> excluded.verdict;
  delete from argus.verdicts v where v.project_id = new.project_id and v.label_id = new.id;
  insert into argus.answers (project_id, video_id, pts_us, label_id, model_id, found, presence, job_id, at)
  select a.project_id, a.video_id, a.pts_us, new.merged_into, a.model_id, a.found, a.presence, a.job_id, a.at
  from argus.answers a where a.project_id = new.project_id and a.label_id = new.id
  on conflict (project_id, video_id, pts_us, label_id, model_id) do update set
    found = answers.found + excluded.found, presence = greatest(answers.presence, excluded.presence);
  delete from argus.answers a where a.project_id = new.project_id and a.label_id = new.id;
  return null;
end
$$;
create trigger give_words after update of merged_into on labels
  for each row when (new.merged_into is not null and old.merged_into is null) execute function give_words();

create function keep_frozen() returns trigger language plpgsql set search_path = '' as $$
begin
  raise check_violation using message = 'a dataset version never changes: make a new one', constraint = 'dataset_version_frozen';
end
$$;
create trigger keep_frozen before update or delete on dataset_versions for each row execute function keep_frozen();

-- A budget is an owner's to set.
create function budget_by_owner() returns trigger language plpgsql set search_path = '' as $$
begin
  if current_user in ('authenticated', 'anon') and new.id not in (select argus.my_projects('owner')) then
    raise insufficient_privilege using message = 'only an owner can set gpu_seconds_per_month: ask one';
  end if;
  return new;
end
$$;
create trigger budget_by_owner before update of gpu_seconds_per_month on projects
  for each row when (old.gpu_seconds_per_month is distinct from new.gpu_seconds_per_month)
  execute function budget_by_owner();

-- Audit --------------------------------------------------------------------------------------------

do $$
declare
  audited text;
begin
  foreach audited in array array['labels', 'datasets', 'dataset_versions', 'verdicts', 'reviews', 'track_links'] loop
    execute format('create trigger record_change after insert or update or delete on argus.%I
      for each row execute function argus.record_change()', audited);
  end loop;
end
$$;

-- The same for what people change by the thousand, a statement at a time. A pipeline's proposals say which job made them.
-- A shape is told by its hash: history has it whole.
create function record_changes() returns trigger language plpgsql security definer set search_path = '' as $$
declare
  quiet constant text[] := array['updated_at', 'version', 'counts', 'polygon', 'points', 'first_vector', 'last_vector'];
  actor constant text := argus.caller();  -- once, and not for every row
  acts_as constant text := coalesce(argus.claims() ->> 'role', session_user);
begin
  if tg_op = 'UPDATE' then
    insert into argus.audit (project_id, actor, role, action, subject, subject_id, changes, ip, request_id)
    select c.project_id, actor, acts_as, 'update', tg_table_name, c.id, c.changes,
      nullif(current_setting('request.ip', true), ''), nullif(current_setting('request.id', true), '')
    from (
      select n.project_id, n.id, (
        select jsonb_object_agg(v.key, jsonb_build_array(b.was -> v.key, v.value))
        from jsonb_each(to_jsonb(n) - quiet || jsonb_build_object('shape', md5(concat(to_jsonb(n) -> 'counts', to_jsonb(n) -> 'polygon',
          to_jsonb(n) -> 'points')))) v
        where v.value is distinct from b.was -> v.key
      ) as changes
      from after n join before o on o.id = n.id
      cross join lateral (select to_jsonb(o) - quiet || jsonb_build_object('shape', md5(concat(to_jsonb(o) -> 'counts',
        to_jsonb(o) -> 'polygon', to_jsonb(o) -> 'points'))) as was
        offset 0) b  -- else it would be worked out again for every column
    ) c
    where c.changes is not null;
  else
    insert into argus.audit (project_id, actor, role, action, subject, subject_id, ip, request_id)
    select n.project_id, actor, acts_as, lower(tg_op), tg_table_name, n.id,
      nullif(current_setting('request.ip', true), ''), nullif(current_setting('request.id', true), '')
    from after n;
  end if;
  return null;
end
$$;
do $$
declare
  audited text;
begin
  foreach audited in array array['annotations', 'tracks'] loop
    execute format('create trigger record_inserted after insert on argus.%I referencing new table as after
      for each statement when (current_user = ''authenticated'') execute function argus.record_changes()', audited);
    execute format('create trigger record_updated after update on argus.%I referencing old table as before new table as after
      for each statement when (current_user = ''authenticated'') execute function argus.record_changes()', audited);
    execute format('create trigger record_deleted after delete on argus.%I referencing old table as after
      for each statement when (current_user = ''authenticated'') execute function argus.record_changes()', audited);
  end loop;
end
$$;

-- Realtime -----------------------------------------------------------------------------------------

-- One message a statement and video (of labels: a statement): which times have changed, and which rows where they are few.
-- Its arguments are columns: of the video, the times, the id. Owned by whoever migrates, as tell_project is; it reads the
-- statement's own rows and no table.
create function tell_changes() returns trigger language plpgsql security definer set search_path = '' as $$
declare
  one record;
  message jsonb;
begin
  for one in execute format(
    'select project_id, %1$s as video_id, min(%2$s) as from_us, max(%3$s) as to_us, count(*) as changed,
       case when count(*) <= 100 then jsonb_agg(%4$s) end as ids
     from changed group by project_id, %1$s', tg_argv[0], tg_argv[1], tg_argv[2], tg_argv[3])
  loop
    message := jsonb_strip_nulls(jsonb_build_object('project_id', one.project_id, 'video_id', one.video_id,
      'from_us', one.from_us, 'to_us', one.to_us, 'changed', one.changed, 'ids', one.ids,
      'action', lower(tg_op), 'at', now()));
    if to_regprocedure('realtime.send(jsonb, text, text, boolean)') is not null then
      execute 'select realtime.send($1, $2, $3, true)' using message, tg_table_name::text, 'project:' || one.project_id;
    else
      insert into argus.broadcasts (topic, event, payload) values ('project:' || one.project_id, tg_table_name, message);
      perform pg_notify('argus_broadcasts', '');
    end if;
  end loop;
  return null;
end
$$;
do $$
declare
  told text[];
begin
  foreach told slice 1 in array array[['labels', 'null::uuid', 'null::bigint', 'null::bigint', 'id'],
                                      ['tracks', 'video_id', 'start_us', 'end_us', 'id'],
                                      ['annotations', 'video_id', 'pts_us', 'coalesce(end_us, pts_us)', 'id'],
                                      ['verdicts', 'video_id', 'pts_us', 'pts_us', 'pts_us']] loop
    execute format('create trigger tell_inserted after insert on argus.%I referencing new table as changed
      for each statement execute function argus.tell_changes(%L, %L, %L, %L)', variadic told);
    execute format('create trigger tell_updated after update on argus.%I referencing new table as changed
      for each statement execute function argus.tell_changes(%L, %L, %L, %L)', variadic told);
    execute format('create trigger tell_deleted after delete on argus.%I referencing old table as changed
      for each statement execute function argus.tell_changes(%L, %L, %L, %L)', variadic told);
  end loop;
end
$$;

-- Deletion -----------------------------------------------------------------------------------------

create function forget_annotations() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  delete from argus.annotations a where a.project_id = new.project_id and a.video_id = new.id;
  delete from argus.tracks t where t.project_id = new.project_id and t.video_id = new.id;
  delete from argus.verdicts v where v.project_id = new.project_id and v.video_id = new.id;
  delete from argus.answers a where a.project_id = new.project_id and a.video_id = new.id;
  delete from argus.reviews r where r.project_id = new.project_id and r.video_id = new.id;
  delete from argus.history h where h.project_id = new.project_id and h.video_id = new.id;
  return null;
end
$$;
create trigger forget_annotations after update of state on videos
  for each row when (new.state = 'deleted' and old.state <> 'deleted') execute function forget_annotations();

-- Who may do what ----------------------------------------------------------------------------------

do $$
declare
  name text;
begin
  foreach name in array array['gpu_usage', 'labels', 'tracks', 'annotations', 'track_links', 'verdicts', 'answers',
                              'history', 'reviews', 'datasets', 'dataset_versions', 'dataset_splits'] loop
    execute format('alter table argus.%I enable row level security', name);
    execute format('alter table argus.%I force row level security', name);
    execute format('create policy "Definer functions act for their callers" on argus.%I to argus_definer using (true) with check (true)', name);
    execute format('grant select, insert, update, delete on argus.%I to argus_definer', name);
    execute format('create policy "Workers do the jobs" on argus.%I to argus_worker using (true) with check (true)', name);
    execute format('create policy "Members see their project''s" on argus.%I for select to authenticated using (project_id in (select argus.my_projects()))', name);
    execute format('grant select on argus.%I to authenticated, argus_worker', name);
  end loop;
end
$$;
alter table measured_rates enable row level security;
alter table measured_rates force row level security;
create policy "Workers measure" on measured_rates to argus_worker using (true) with check (true);
create policy "Everybody who is signed in sees rates" on measured_rates for select to authenticated using (true);
grant select on measured_rates to authenticated;
grant select, insert, update on measured_rates to argus_worker;
grant select (gpu_seconds_per_month), update (gpu_seconds_per_month) on projects to authenticated;
grant select (gpu_seconds_per_month, settings) on projects to argus_worker;

create policy "Editors add labels" on labels for insert to authenticated
  with check (project_id in (select my_projects('editor')));
create policy "Editors change labels" on labels for update to authenticated
  using (project_id in (select my_projects())) with check (project_id in (select my_projects('editor')));
grant insert (project_id, name, names, colour, prompts, attributes),
      update (name, names, colour, prompts, attributes, threshold, learnt, archived_at, merged_into) on labels to authenticated;

create policy "Annotators add annotations" on annotations for insert to authenticated
  with check (project_id in (select my_projects('annotator'))
              and (source = 'human' or source = 'model' and state = 'proposed'));
create policy "Annotators change annotations" on annotations for update to authenticated
  using (project_id in (select my_projects())) with check (project_id in (select my_projects('annotator')));
grant insert (project_id, video_id, pts_us, id, label_id, track_id, kind, x, y, w, h, polygon, points, counts, area_px, end_us,
              outside, occluded, attributes, source, state, score, presence, method, model_id),
      update (label_id, track_id, kind, x, y, w, h, polygon, points, counts, area_px, end_us, outside, occluded, attributes,
              source, state, reason, reviewed_by, reviewed_at, deleted_at) on annotations to authenticated;

create policy "Annotators add tracks" on tracks for insert to authenticated
  with check (project_id in (select my_projects('annotator')) and source = 'human');
create policy "Annotators change tracks" on tracks for update to authenticated
  using (project_id in (select my_projects())) with check (project_id in (select my_projects('annotator')));
grant insert (project_id, id, video_id, label_id, attributes, source, state),
      update (label_id, attributes, source, state, reason, deleted_at) on tracks to authenticated;

create policy "Annotators cut and join links" on track_links for update to authenticated
  using (project_id in (select my_projects())) with check (project_id in (select my_projects('annotator')));
grant update (state, track_id, other_track_id, author) on track_links to authenticated;

create policy "Annotators give verdicts" on verdicts for insert to authenticated
  with check (project_id in (select my_projects('annotator')));
create policy "Annotators change verdicts" on verdicts for update to authenticated
  using (project_id in (select my_projects())) with check (project_id in (select my_projects('annotator')));
create policy "Annotators take verdicts back" on verdicts for delete to authenticated
  using (project_id in (select my_projects('annotator')));
grant insert (project_id, video_id, pts_us, label_id, verdict), update (verdict), delete on verdicts to authenticated;

create policy "Annotators take frames to review, editors give them" on reviews for insert to authenticated
  with check (project_id in (select my_projects('annotator'))
              and (assignee is null or assignee = (select caller()) or project_id in (select my_projects('editor'))));
create policy "Annotators review what nobody else holds" on reviews for update to authenticated
  using (project_id in (select my_projects())
         and (assignee is null or assignee = (select caller()) or state <> 'open' or until < now()
              or project_id in (select my_projects('editor'))))
  with check (project_id in (select my_projects('annotator'))
              and (assignee is null or assignee = (select caller()) or project_id in (select my_projects('editor'))));
grant insert (project_id, video_id, pts_us, end_us, assignee, assigned_by, until, state, reason, looked),
      update (assignee, assigned_by, until, state, reason, looked) on reviews to authenticated;

create policy "Editors make datasets" on datasets for insert to authenticated
  with check (project_id in (select my_projects('editor')));
create policy "Editors change datasets" on datasets for update to authenticated
  using (project_id in (select my_projects())) with check (project_id in (select my_projects('editor')));
grant insert (project_id, name, query, splits), update (name, query, splits, deleted_at) on datasets to authenticated;

drop policy "Editors ask for work" on jobs;
create policy "Editors ask for work" on jobs for insert to authenticated
  with check (project_id in (select my_projects('editor')) and state = 'queued');
create policy "Annotators have what they corrected tracked again" on jobs for insert to authenticated
  with check (project_id in (select my_projects('annotator')) and state = 'queued' and kind = 'track'
              and spec ->> 'kind' = 'retrack');
grant insert (spec, estimate) on jobs to authenticated;
grant update (resumed_at_progress) on jobs to argus_worker;

grant insert, update, delete on gpu_usage, tracks, annotations, track_links, answers, dataset_splits to argus_worker;
grant insert on dataset_versions, labels to argus_worker;
grant update (threshold, learnt) on labels to argus_worker;
grant insert, update on verdicts to argus_worker;

grant execute on function register_weights to argus_registrar;
grant execute on function target_frames, track_blocks to authenticated, argus_worker, argus_definer;
grant execute on function is_seen, absence_is_empty, sign_author, sign_review, keep_frozen, budget_by_owner to authenticated, argus_worker, argus_definer;
revoke all on function register_weights, target_frames, track_blocks, number_label, number_track, sign_author, sign_review, keep_history, record_changes,
  keep_frozen, count_keyframes, is_seen, absence_is_empty, end_absence, give_words, budget_by_owner, tell_changes, forget_annotations from public;

alter function register_weights owner to argus_definer;
alter function number_label owner to argus_definer;
alter function number_track owner to argus_definer;
alter function keep_history owner to argus_definer;
alter function record_changes owner to argus_definer;
alter function count_keyframes owner to argus_definer;
alter function end_absence owner to argus_definer;
alter function give_words owner to argus_definer;
alter function forget_annotations owner to argus_definer;
