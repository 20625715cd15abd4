-- Who may do what. Every table has row-level security, forced; a person's rights are policies named as sentences, and
-- memberships are looked up once for a statement. Columns that only pipelines write are granted to nobody else.
set local lock_timeout = '10s';  -- a migration that has to wait gives up, and is run again
set local statement_timeout = '10min';
set local search_path = argus, extensions;

do $$
declare
  name text;
begin
  for name in select tablename from pg_tables where schemaname = 'argus' loop
    execute format('alter table argus.%I enable row level security', name);
    execute format('alter table argus.%I force row level security', name);
    execute format('create policy "Definer functions act for their callers" on argus.%I to argus_definer using (true) with check (true)', name);
    execute format('grant select, insert, update, delete on argus.%I to argus_definer', name);
  end loop;
end
$$;
-- Messages are written by a trigger that runs as the migrations' owner.
do $$
begin
  execute format('create policy "The owner queues messages" on argus.broadcasts to %I using (true) with check (true)', current_user);
end
$$;

revoke all on all functions in schema argus from public;
grant execute on function uuid_v7, claims, user_id, caller, role_rank, my_projects to anon, authenticated, argus_worker, argus_definer;
grant execute on function claims_of_key to anon;
grant execute on function join_invited, create_project, delete_project to authenticated;
grant execute on function register_model to argus_registrar;
grant execute on function doom_frames to argus_worker, argus_definer;
grant execute on function touch, allowed_by_person, announce_upload to authenticated, argus_worker, argus_definer;

-- An update may find whatever its caller sees, and its result is checked against the caller's role. So an update beyond
-- one's role is an error, and one of what cannot be seen finds nothing: 403 and 404. No column that these checks read
-- is granted for update.

-- People -------------------------------------------------------------------------------------------

create policy "Members see their projects" on projects for select to authenticated
  using (id in (select my_projects()) and deleted_at is null);
create policy "Owners and editors change a project" on projects for update to authenticated
  using (id in (select my_projects()) and deleted_at is null) with check (id in (select my_projects('editor')));
grant select (id, name, sampling, settings, version, created_at, updated_at, deleted_at),
      update (name, sampling, settings) on projects to authenticated;

create policy "Members see each other" on members for select to authenticated
  using (project_id in (select my_projects()));
create policy "Owners invite" on members for insert to authenticated
  with check (project_id in (select my_projects('owner')) and user_id is null);
create policy "Owners change roles" on members for update to authenticated
  using (project_id in (select my_projects())) with check (project_id in (select my_projects('owner')));
create policy "Owners remove members, and everybody may leave" on members for delete to authenticated
  using (project_id in (select my_projects('owner')) or user_id = (select user_id()));
grant select, insert (project_id, email, role), update (role), delete on members to authenticated;

create policy "Everybody has their own settings" on user_settings to authenticated
  using (user_id = (select user_id())) with check (user_id = (select user_id()));
grant select, insert (user_id, settings), update (settings) on user_settings to authenticated;

create policy "Owners see keys" on api_keys for select to authenticated using (project_id in (select my_projects('owner')));
create policy "Owners make keys" on api_keys for insert to authenticated
  with check (project_id in (select my_projects('owner')) and created_by = (select user_id()));
create policy "Owners revoke keys" on api_keys for update to authenticated
  using (project_id in (select my_projects('owner'))) with check (project_id in (select my_projects('owner')));
grant select (id, project_id, name, prefix, role, scopes, created_by, created_at, expires_at, last_used_at, revoked_at),
      insert (project_id, name, prefix, key_hash, role, scopes, expires_at, created_by),
      update (revoked_at) on api_keys to authenticated;

create policy "Owners read the audit" on audit for select to authenticated using (project_id in (select my_projects('owner')));
grant select on audit to authenticated;

create policy "Callers replay their own requests" on idempotency_keys to authenticated
  using (caller = (select caller())) with check (caller = (select caller()));
grant select, insert on idempotency_keys to authenticated;

-- Videos -------------------------------------------------------------------------------------------

create policy "Members see videos" on videos for select to authenticated using (project_id in (select my_projects()));
create policy "Editors add videos" on videos for insert to authenticated
  with check (project_id in (select my_projects('editor')) and state in ('awaiting_upload', 'uploaded'));
create policy "Editors change videos" on videos for update to authenticated
  using (project_id in (select my_projects())) with check (project_id in (select my_projects('editor')));
grant select,
      insert (project_id, name, state, source_uri, size_bytes, content_type, sha256, sampling, metadata, created_by, uploaded_at),
      update (name, metadata, sampling, state, reason, progress, uploaded_at, deleted_at) on videos to authenticated;

create policy "Members see uploads" on uploads for select to authenticated using (project_id in (select my_projects()));
create policy "Editors start uploads" on uploads for insert to authenticated
  with check (project_id in (select my_projects('editor')));
create policy "Editors end uploads" on uploads for update to authenticated
  using (project_id in (select my_projects())) with check (project_id in (select my_projects('editor')));
grant select, insert (project_id, video_id, kind, s3_upload_id, part_size_bytes, part_count, expires_at),
      update (state) on uploads to authenticated;

create policy "Members see jobs" on jobs for select to authenticated using (project_id in (select my_projects()));
create policy "Editors ask for work" on jobs for insert to authenticated
  with check (project_id in (select my_projects('editor')) and state = 'queued' and kind = 'ingest');
create policy "Editors cancel and retry" on jobs for update to authenticated
  using (project_id in (select my_projects())) with check (project_id in (select my_projects('editor')));
grant select, insert (project_id, kind, video_id, priority, created_by),
      update (state, cancel_requested_at, finished_at, reason, progress, started_at, result) on jobs to authenticated;

-- The API's statements leave out the frames of a video that is not ready.
create policy "Members see frames" on frames for select to authenticated using (project_id in (select my_projects()));
grant select on frames to authenticated;
create policy "Members see vectors" on embeddings for select to authenticated using (project_id in (select my_projects()));
grant select on embeddings to authenticated;
create policy "Everybody who is signed in sees models" on models for select to authenticated using (true);
grant select on models to authenticated;

-- Workers ------------------------------------------------------------------------------------------

do $$
declare
  name text;
begin
  foreach name in array array['projects', 'videos', 'uploads', 'doomed_objects', 'runs', 'jobs', 'segments', 'claims',
                              'frames', 'models', 'embeddings', 'idempotency_keys', 'broadcasts'] loop
    execute format('create policy "Workers drain the queue" on argus.%I to argus_worker using (true) with check (true)', name);
  end loop;
end
$$;
grant select (id, sampling) on projects to argus_worker;
grant select, update (state, reason, warnings, container, codec, width, height, duration_us, start_us, frame_rate,
  variable_frame_rate, probe, poster, frames_kept, frames_dropped, progress, ready_at, deleted_at), delete on videos to argus_worker;
grant select, update (state, attempts, progress, reason, result, started_at, finished_at) on jobs to argus_worker;
grant select, insert, update, delete on doomed_objects, runs, segments, frames, embeddings to argus_worker;
grant select, insert, delete on claims to argus_worker;
grant select on uploads, models to argus_worker;
grant select, delete on idempotency_keys, broadcasts to argus_worker;

create policy "The registrar sees models" on models for select to argus_registrar using (true);
grant select on models to argus_registrar;

-- Owners -------------------------------------------------------------------------------------------

-- Functions that act for their callers belong to a role that the policies above let in, not to the migrations' owner:
-- that one may be subject to row-level security itself.
alter function my_projects owner to argus_definer;
alter function claims_of_key owner to argus_definer;
alter function join_invited owner to argus_definer;
alter function create_project owner to argus_definer;
alter function delete_project owner to argus_definer;
alter function keep_an_owner owner to argus_definer;
alter function take_turn owner to argus_definer;
alter function first_segment owner to argus_definer;
alter function cancel_segments owner to argus_definer;
alter function forget_video owner to argus_definer;
alter function forget_project owner to argus_definer;
alter function abort_upload owner to argus_definer;
alter function record_change owner to argus_definer;
alter function register_model owner to argus_definer;
alter table embeddings owner to argus_definer;

-- Supabase's own tables, where they are ------------------------------------------------------------

do $$
begin
  if to_regclass('realtime.messages') is not null then
    execute $policy$
      create policy "Members listen to their projects" on realtime.messages for select to authenticated
      using (realtime.topic() ~ '^project:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
             and substr(realtime.topic(), 9)::uuid in (select argus.my_projects()))
    $policy$;
  end if;
  if to_regclass('storage.buckets') is not null then
    insert into storage.buckets (id, name, public) values ('thumbnails', 'thumbnails', false) on conflict do nothing;
    execute $policy$
      create policy "Members see thumbnails" on storage.objects for select to authenticated
      using (bucket_id = 'thumbnails' and name ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/'
             and left(name, 36)::uuid in (select argus.my_projects()))
    $policy$;
  end if;
end
$$;
