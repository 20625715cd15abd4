-- What the catalogue does by itself: who the caller is, turns, first segments, versions, audit, messages, deletion.
set local lock_timeout = '10s';  -- a migration that has to wait gives up, and is run again
set local statement_timeout = '10min';
set local search_path = argus, extensions;

-- The caller ---------------------------------------------------------------------------------------

create function claims() returns jsonb language sql stable parallel safe set search_path = '' as $$
  select coalesce(nullif(current_setting('request.jwt.claims', true), '')::jsonb, '{}'::jsonb)
$$;

create function user_id() returns uuid language sql stable parallel safe set search_path = '' as $$
  select case when argus.claims() ->> 'role' = 'authenticated' then (argus.claims() ->> 'sub')::uuid end
$$;

-- A person's id, or that of the API key that acts: as audit and idempotency keys name the caller.
create function caller() returns text language sql stable parallel safe set search_path = '' as $$
  select coalesce('user:' || argus.user_id(), 'key:' || (argus.claims() #>> '{argus,api_key_id}'))
$$;

create function role_rank(role text) returns smallint language sql immutable parallel safe set search_path = '' as $$
  select case role when 'owner' then 4 when 'editor' then 3 when 'annotator' then 2 when 'viewer' then 1 else 0 end::smallint
$$;

-- The projects in which the caller is at least this. Policies ask it once for a statement:
-- `project_id in (select my_projects('editor'))`. A key without the scope `write` is a viewer.
create function my_projects(at_least text default 'viewer') returns setof uuid
language sql stable security definer set search_path = '' as $$
  select m.project_id from argus.members m
  where m.user_id = argus.user_id() and argus.role_rank(m.role) >= argus.role_rank(at_least)
  union all
  select k.project_id from argus.api_keys k
  where k.id = (argus.claims() #>> '{argus,api_key_id}')::uuid
    and argus.claims() ->> 'role' = 'authenticated'
    and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
    and argus.role_rank(case when 'write' = any (k.scopes) then k.role else 'viewer' end) >= argus.role_rank(at_least)
$$;

-- The claims that an API key stands for, or nothing. Whoever can name the hash holds the key.
create function claims_of_key(hash bytea) returns jsonb
language sql volatile security definer set search_path = '' as $$
  with key as (
    select k.id, k.project_id, k.role, k.scopes, k.last_used_at from argus.api_keys k
    where k.key_hash = hash and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
  ), used as (
    update argus.api_keys k set last_used_at = now() from key
    where k.id = key.id and (key.last_used_at is null or key.last_used_at < now() - interval '1 minute')
  )
  select jsonb_build_object('role', 'authenticated', 'argus', jsonb_build_object(
    'api_key_id', id, 'project_id', project_id, 'role', role, 'scopes', to_jsonb(scopes))) from key
$$;

-- Takes the places that were offered to the caller's e-mail. Only a person's verified token carries one.
create function join_invited() returns integer language sql volatile security definer set search_path = '' as $$
  with joined as (
    update argus.members m set user_id = argus.user_id(), joined_at = now()
    where m.user_id is null and argus.user_id() is not null
      and m.email = lower(argus.claims() ->> 'email')
      and coalesce((argus.claims() ->> 'is_anonymous')::boolean, false) = false
      and not exists (select from argus.members o where o.project_id = m.project_id and o.user_id = argus.user_id())
    returning 1
  )
  select count(*)::integer from joined
$$;

-- A person makes a project and is its first owner, in one statement.
create function create_project(name text) returns projects
language plpgsql volatile security definer set search_path = '' as $$
declare
  made argus.projects;
begin
  if argus.user_id() is null or argus.claims() ->> 'email' is null then
    raise insufficient_privilege using message = 'only a person with an e-mail can create a project';
  end if;
  insert into argus.projects (name, created_by) values (create_project.name, argus.user_id()) returning * into made;
  insert into argus.members (project_id, user_id, email, role, joined_at)
  values (made.id, argus.user_id(), lower(argus.claims() ->> 'email'), 'owner', now());
  return made;
end
$$;

-- An owner deletes a project, if it is at one of these versions (null: any); whether that happened. A policy cannot say
-- it: whoever deletes a project does not see it afterwards.
create function delete_project(project uuid, versions bigint[]) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
begin
  if project in (select argus.my_projects()) and project not in (select argus.my_projects('owner')) then
    raise insufficient_privilege using message = 'only an owner can delete a project';
  end if;
  update argus.projects p set deleted_at = now()
  where p.id = project and p.id in (select argus.my_projects('owner')) and p.deleted_at is null
    and (versions is null or p.version = any (versions));
  return found;
end
$$;

-- Versions and owners ------------------------------------------------------------------------------

-- The version is the ETag: it grows with what a person can edit, not with a pipeline's progress.
create function touch() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at := now();
  if current_user not in ('argus_worker', 'argus_definer') then
    new.version := old.version + 1;
  end if;
  return new;
end
$$;
create trigger touch before update on projects for each row execute function touch();
create trigger touch before update on members for each row execute function touch();
create trigger touch before update on user_settings for each row execute function touch();
create trigger touch before update on videos for each row execute function touch();

create function keep_an_owner() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  -- The project's row serialises two owners who leave at the same time.
  perform from argus.projects p where p.id = old.project_id and p.deleted_at is null for update;
  if found and not exists (
    select from argus.members m
    where m.project_id = old.project_id and m.role = 'owner' and m.user_id is not null
  ) then
    raise check_violation using
      message = 'a project keeps at least one owner', constraint = 'members_last_owner';
  end if;
  return null;
end
$$;
create trigger keep_an_owner after update of role or delete on members
  for each row when (old.role = 'owner') execute function keep_an_owner();

-- The queue ----------------------------------------------------------------------------------------

-- Fair turns: the larger of the smallest turn that is queued and the project's last queued one + 1. So a project's
-- backlog lines up behind itself, and whoever has nothing queued is next, however much it has had before. What the
-- same transaction has queued for the project is not to be seen yet, and is remembered beside it.
create function take_turn() returns trigger language plpgsql security definer set search_path = '' as $$
declare
  before text := coalesce(current_setting('argus.turn', true), '');
begin
  new.turn := greatest(
    (select min(s.turn) from argus.segments s where s.state = 'queued'),
    (select max(s.turn) + 1 from argus.segments s where s.state = 'queued' and s.project_id = new.project_id),
    case when split_part(before, ' ', 1) = new.project_id::text then split_part(before, ' ', 2)::bigint + 1 end,
    0);
  perform set_config('argus.turn', new.project_id || ' ' || new.turn, true);
  return new;
end
$$;
create trigger take_turn before insert on jobs for each row execute function take_turn();
create trigger take_turn_again before update of state on jobs
  for each row when (new.state = 'queued' and old.state in ('failed', 'cancelled')) execute function take_turn();

-- An ingest starts as one segment that covers the whole video, not yet planned. The same when it is queued again.
create function first_segment() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  if new.kind = 'ingest' then
    delete from argus.segments s where s.job_id = new.id;
    insert into argus.segments (project_id, job_id, video_id, number, priority, turn)
    values (new.project_id, new.id, new.video_id, 0, new.priority, new.turn);
  end if;
  perform pg_notify('argus_jobs', new.kind);
  return null;
end
$$;
create trigger first_segment_of_new after insert on jobs
  for each row when (new.state = 'queued') execute function first_segment();
create trigger first_segment_of_retried after update of state on jobs
  for each row when (new.state = 'queued' and old.state in ('failed', 'cancelled')) execute function first_segment();

create function announce_upload() returns trigger language plpgsql set search_path = '' as $$
begin
  perform pg_notify('argus_jobs', 'upload');  -- the dispatcher warms a run up while the bytes travel
  return null;
end
$$;
create trigger announce_upload after insert on uploads for each statement execute function announce_upload();

-- Deletes frames of a video with their vectors, and has their objects deleted: all, or all but those that the job `kept_by`
-- named outside the segments numbered `except_segments`. Says how many.
create function doom_frames(of_project uuid, of_video uuid, kept_by uuid, except_segments integer[])
returns bigint language sql volatile set search_path = '' as $$
  with gone as (
    delete from argus.frames f
    where f.project_id = of_project and f.video_id = of_video
      and (kept_by is null or f.job_id <> kept_by or f.segment_number = any (except_segments))
    returning f.pts_us
  ), forgotten as (
    delete from argus.embeddings e using gone
    where e.project_id = of_project and e.video_id = of_video and e.pts_us = gone.pts_us
  ), doomed as (
    insert into argus.doomed_objects (project_id, store, key)
    select of_project, 's3', 'projects/' || of_project || '/videos/' || of_video || '/frames/'  -- as s3.frame_key says
      || case when pts_us < 0 then '-' || lpad((-pts_us)::text, 19, '0') else lpad(pts_us::text, 20, '0') end || '.jpg'
    from gone
  )
  select count(*) from gone
$$;

-- A cancelled job's segments end with it: the running ones lose their fence, so that nothing of theirs is written after
-- this. The video has failed then, for a reason that a retry cures, and what was kept of it goes.
create function cancel_segments() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  update argus.segments s set state = 'cancelled', fence = s.fence + 1
  where s.job_id = new.id and s.state in ('queued', 'running');
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
create trigger cancel_segments after update of state on jobs
  for each row when (new.state = 'cancelled' and old.state in ('queued', 'running')) execute function cancel_segments();

-- Deletion -----------------------------------------------------------------------------------------

-- A deleted video leaves its row as a marker, so that a second call changes nothing, and nothing else.
create function forget_video() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  update argus.jobs j set state = 'cancelled', finished_at = now()
  where j.project_id = new.project_id and j.video_id = new.id and j.state in ('queued', 'running');
  delete from argus.embeddings e where e.project_id = new.project_id and e.video_id = new.id;
  delete from argus.frames f where f.project_id = new.project_id and f.video_id = new.id;
  delete from argus.segments s where s.project_id = new.project_id and s.video_id = new.id;
  update argus.uploads u set state = 'aborted' where u.video_id = new.id and u.state = 'open';
  insert into argus.doomed_objects (project_id, store, key, s3_upload_id)
  select u.project_id, 's3-upload', 'projects/' || u.project_id || '/videos/' || u.video_id || '/original', u.s3_upload_id
  from argus.uploads u where u.video_id = new.id and u.s3_upload_id is not null;
  -- not at once: an extractor that has not noticed yet may still write for as long as its segment may last
  insert into argus.doomed_objects (project_id, store, key, not_before)
  values
    (new.project_id, 's3-prefix', 'projects/' || new.project_id || '/videos/' || new.id || '/', now()),
    (new.project_id, 's3-prefix', 'projects/' || new.project_id || '/videos/' || new.id || '/', now() + interval '1 hour'),
    (new.project_id, 'thumbnails', new.project_id || '/' || new.id || '.jpg', now()),
    (new.project_id, 'thumbnails', new.project_id || '/' || new.id || '.jpg', now() + interval '1 hour');
  return null;
end
$$;
create trigger forget_video after update of state on videos
  for each row when (new.state = 'deleted' and old.state <> 'deleted') execute function forget_video();

create function forget_project() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  update argus.videos v set state = 'deleted', deleted_at = now(), reason = null
  where v.project_id = new.id and v.state <> 'deleted';
  update argus.api_keys k set revoked_at = now() where k.project_id = new.id and k.revoked_at is null;
  delete from argus.members m where m.project_id = new.id;
  return null;
end
$$;
create trigger forget_project after update of deleted_at on projects
  for each row when (new.deleted_at is not null and old.deleted_at is null) execute function forget_project();

-- An upload that is aborted or swept takes its video along.
create function abort_upload() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  update argus.videos v set state = 'deleted', deleted_at = now()
  where v.id = new.video_id and v.state = 'awaiting_upload';
  return null;
end
$$;
create trigger abort_upload after update of state on uploads
  for each row when (new.state = 'aborted' and old.state = 'open') execute function abort_upload();

-- A person may ask for these changes of state only; pipelines make the others.
create function allowed_by_person() returns trigger language plpgsql set search_path = '' as $$
begin
  if current_user in ('authenticated', 'anon') and old.state <> new.state
     and not (new.state = 'deleted'
              or (tg_table_name = 'videos' and old.state = 'awaiting_upload' and new.state = 'uploaded')
              or (tg_table_name = 'videos' and old.state in ('ready', 'failed') and new.state = 'uploaded')
              or (tg_table_name = 'jobs' and old.state in ('queued', 'running') and new.state = 'cancelled')
              or (tg_table_name = 'jobs' and old.state in ('failed', 'cancelled') and new.state = 'queued')) then
    raise check_violation using
      message = format('a %s cannot go from %s to %s', left(tg_table_name, -1), old.state, new.state),
      constraint = 'state_change';
  end if;
  return new;
end
$$;
create trigger allowed_by_person before update of state on videos for each row execute function allowed_by_person();
create trigger allowed_by_person before update of state on jobs for each row execute function allowed_by_person();

-- Audit --------------------------------------------------------------------------------------------

-- Who changed what, when, from where. Progress and counters of pipelines are not changes that anybody made.
create function record_change() returns trigger language plpgsql security definer set search_path = '' as $$
declare
  quiet constant text[] := array['updated_at', 'version', 'last_used_at', 'progress', 'frames_kept',
    'frames_dropped', 'attempts', 'probe', 'key_hash'];
  before jsonb := case when tg_op <> 'INSERT' then to_jsonb(old) - quiet end;
  after jsonb := case when tg_op <> 'DELETE' then to_jsonb(new) - quiet end;
  named jsonb := coalesce(after, before);
  changed jsonb;
begin
  if tg_op = 'UPDATE' then
    select jsonb_object_agg(key, jsonb_build_array(before -> key, value)) into changed
    from jsonb_each(after) where value is distinct from before -> key;
    if changed is null then
      return null;
    end if;
  end if;
  insert into argus.audit (project_id, actor, role, action, subject, subject_id, changes, ip, request_id)
  values (
    case tg_table_name when 'projects' then (named ->> 'id')::uuid else (named ->> 'project_id')::uuid end,
    argus.caller(), coalesce(argus.claims() ->> 'role', session_user), lower(tg_op), tg_table_name,
    coalesce(named ->> 'id', named ->> 'user_id'), changed,
    nullif(current_setting('request.ip', true), ''), nullif(current_setting('request.id', true), ''));
  return null;
end
$$;
do $$
declare
  audited text;
begin
  foreach audited in array array['projects', 'members', 'user_settings', 'api_keys', 'videos', 'uploads', 'jobs', 'models'] loop
    execute format('create trigger record_change after insert or update or delete on argus.%I
      for each row execute function argus.record_change()', audited);
  end loop;
end
$$;

-- Realtime -----------------------------------------------------------------------------------------

-- Tells everybody who may see the project. Owned by whoever migrates: on Supabase that role may call realtime.send.
-- It reads no table, so row-level security does not come into it.
create function tell_project() returns trigger language plpgsql security definer set search_path = '' as $$
declare
  message jsonb := jsonb_build_object('id', new.id, 'project_id', new.project_id, 'state', new.state,
    'progress', round(new.progress::numeric, 4), 'reason', new.reason, 'at', now());
begin
  if tg_table_name = 'jobs' then
    message := message || jsonb_build_object('kind', new.kind, 'video_id', new.video_id);
  else
    message := message || jsonb_build_object('name', new.name, 'frames_kept', new.frames_kept);
  end if;
  if to_regprocedure('realtime.send(jsonb, text, text, boolean)') is not null then
    execute 'select realtime.send($1, $2, $3, true)'
      using message, left(tg_table_name, -1), 'project:' || new.project_id;
  else
    insert into argus.broadcasts (topic, event, payload)
    values ('project:' || new.project_id, left(tg_table_name, -1), message);
    perform pg_notify('argus_broadcasts', '');
  end if;
  return null;
end
$$;
create trigger tell_project_new after insert on videos for each row execute function tell_project();
create trigger tell_project after update of state, progress, name on videos for each row
  when (old.state <> new.state or old.progress <> new.progress or old.name <> new.name) execute function tell_project();
create trigger tell_project_new after insert on jobs for each row execute function tell_project();
create trigger tell_project after update of state, progress on jobs for each row
  when (old.state <> new.state or old.progress <> new.progress) execute function tell_project();

-- Models -------------------------------------------------------------------------------------------

-- Registers a model once and makes the partition of its vectors; says its number every time. The binary-quantised
-- HNSW index is a fifth of the size of one on halfvec and is built in 0.6 of the time; search ranks its answers again
-- by the exact cosine.
create function register_model(
  family text, uri text, weights_id text, dim integer, image_size integer,
  logit_scale double precision, logit_bias double precision
) returns smallint language plpgsql volatile security definer set search_path = '' as $$
declare
  made smallint;
  part text;
  leaf text;
begin
  perform pg_advisory_xact_lock(hashtext('argus.register_model'));
  select m.number into made from argus.models m
  where m.family = register_model.family and m.weights_id = register_model.weights_id;
  if found then
    return made;
  end if;
  insert into argus.models (number, family, uri, weights_id, dim, image_size, logit_scale, logit_bias)
  values ((select coalesce(max(m.number), 0) + 1 from argus.models m), family, uri, weights_id, dim, image_size,
          logit_scale, logit_bias)
  returning number into made;
  part := 'embeddings_' || made;
  execute format('create table argus.%I partition of argus.embeddings for values in (%s) partition by list (indexed)', part, made);
  foreach leaf in array array['recent', 'indexed'] loop
    execute format('create table argus.%I partition of argus.%I (check (extensions.vector_dims(embedding) = %s)) for values in (%L)',
                   part || '_' || leaf, part, dim, leaf = 'indexed');
    if dim <= 1500 then  -- four rows a page: the vector stays in the row and is read without a detour
      execute format('alter table argus.%I alter column embedding set storage plain', part || '_' || leaf);
    end if;
  end loop;
  execute format('create index %I on argus.%I using hnsw ((extensions.binary_quantize(embedding)::bit(%s)) extensions.bit_hamming_ops)',
                 part || '_hnsw', part || '_indexed', dim);
  foreach leaf in array array[part, part || '_recent', part || '_indexed'] loop
    execute format('alter table argus.%I enable row level security', leaf);
    execute format('alter table argus.%I force row level security', leaf);
    -- Rows are reached through the parent, whose policies then apply; the parts themselves are nobody's.
    execute format('create policy "Workers fold vectors" on argus.%I to argus_worker, argus_definer using (true) with check (true)', leaf);
    execute format('grant select, insert, delete on argus.%I to argus_worker', leaf);
  end loop;
  return made;
end
$$;
