#!/usr/bin/env bash
# Makes a golden file of the schema that a program writes: make.sh PROGRAM VERSION. Needs sqlite3.
# What it holds is described in README.md; keep to it, so that the same tests read every version.
set -euo pipefail

program=$(realpath "$1")
version=$2
golden=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir workflows

cat > taskport.toml <<'TOML'
[backends.main]
kind = "native"
url  = "sqlite://jobs.db"
[workflows]
files = ["workflows/*.yaml"]
[tasks.echo]
kind    = "exec"
command = ["cat"]
output  = "json"
[tasks.fail]
kind    = "exec"
command = ["sh", "-c", "echo it is broken >&2; exit 3"]
[tasks.hang]
kind    = "exec"
command = ["sh", "-c", "echo $$ > hang.pid; exec sleep 600"]
TOML
cat > workflows/all.yaml <<'YAML'
name: all
steps:
  - id: each
    task: echo
    map: $input.names
    args: { name: $item }
    concurrency: 2
  - id: no
    task: echo
    when: size(input.names) == 0
    args: { name: nobody }
  - id: all
    task: echo
    args: { greeted: $steps.each.output }
YAML
cat > workflows/held.yaml <<'YAML'
name: held
steps:
  - id: first
    task: echo
    map: $input.names
    args: { name: $item }
  - id: held
    task: echo
    queue: held
    args: { greeted: $steps.first.output }
  - id: last
    task: echo
    args: { held: $steps.held.output }
YAML

t() { "$program" --log error "$@"; }
submit() { t submit "$@" > /dev/null; }

# A worker that ends when nothing is left to run on its queues, and one that is killed in the middle of a job.
work_off() {
    "$program" --log error worker --queues "$1" --name "ended" & local pid=$!
    until [ "$(t queue list --json | jq '[.queues[] | select(.queue | IN($q[])) | .queued + .running] | add // 0' \
        --argjson q "$(jq -cn --arg q "$1" '$q | split(",")')")" = 0 ]; do sleep 0.1; done
    kill -TERM "$pid"; wait "$pid"
}

# Ended jobs, with all that a job can carry.
submit echo name=Ada --id 019a0000-0000-7000-8000-000000000001 --tag blue --tag 'with "quotes"' \
    --metadata team=core --metadata city=Zürich --priority 7 \
    --trace 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
submit echo --args '["by position", {"n": 123456789012345678901234567890}]' --id text-id --parent main:019a0000-0000-7000-8000-000000000001
submit fail --id dead --max-attempts 1 --timeout-soft 10s --timeout-hard 20s
submit fail --id retrying --max-attempts 5 --backoff 'fixed(3600d)' --retry-age-max 36500d
submit echo --id expired --queue never --expires-in 1ms
submit echo --id cancelled --queue never
t job cancel cancelled > /dev/null
submit echo --id key-forever --idempotency-key forever --unique forever
submit echo --id key-period --idempotency-key period --unique 36000d --on-conflict replace
submit echo --id key-ended --idempotency-key ended
# Orders other than the first, set while nothing waits.
submit echo --id fifo-1 --queue fifo
submit echo --id lifo-1 --queue lifo
work_off default,fifo,lifo
sqlite3 jobs.db "UPDATE ${PREFIX-}queues SET job_order = 1 WHERE name = (SELECT key FROM ${PREFIX-}names WHERE text = 'fifo');
                 UPDATE ${PREFIX-}queues SET job_order = 2 WHERE name = (SELECT key FROM ${PREFIX-}names WHERE text = 'lifo')"
for n in 2 3; do
    submit echo "$n" --id "fifo-$n" --queue fifo --priority "$n"
    submit echo "$n" --id "lifo-$n" --queue lifo --priority "$n"
    submit echo "$n" --id "ready-$n" --queue ready --priority "$n"
done
submit echo --id key-live --queue ready --idempotency-key live
submit echo --id key-live-replaced --queue ready --idempotency-key replaced --on-conflict replace
submit echo --id ready-expiring --queue ready --expires-at 2090-01-01T00:00:00Z
submit echo --id scheduled --at 2090-01-01T00:00:00Z
submit echo --id paused-1 --queue paused
t queue pause paused --reason 'for the test' > /dev/null
# Runs: ended, cancelled, and open with a step that waits.
t run all --input '{"names": ["Ada", "Grace", "Barbara"]}' > /dev/null
t run held --detach --timeout 36000d --input '{"names": ["open", "run"]}' > /dev/null
t run held --detach --input '{"names": ["cancelled"]}' > /dev/null
work_off default
t runs cancel "$(t runs list --json | jq -r '.runs[0].run')" > /dev/null
# A job whose worker died.
submit hang --id running --max-attempts 3
"$program" --log error worker --queues default --name killed & killed=$!
until [ "$(t job get running --json | jq -r .state)" = running ] && [ -s hang.pid ]; do sleep 0.1; done
kill -KILL "$killed"; wait "$killed" 2> /dev/null || true
kill "$(cat hang.pid)" 2> /dev/null || true

sqlite3 jobs.db "UPDATE ${PREFIX-}workers SET host = 'machine'"

expected=$golden/v$version.json
{
    t job list --limit 1000 --json
    t runs list --limit 1000 --json
    t queue list --json
    sqlite3 -json jobs.db "SELECT key, CASE typeof(job) WHEN 'text' THEN job ELSE lower(hex(job)) END AS job, until FROM ${PREFIX-}keys ORDER BY key" | jq -c '{keys: .}'
    sqlite3 -json jobs.db "SELECT name, host, pid, seen_at FROM ${PREFIX-}workers ORDER BY name" | jq -c '{workers: .}'
    sqlite3 -json jobs.db "SELECT max(seen_at) AS taken_at FROM ${PREFIX-}workers" | jq -c '.[0]'
} | jq -s 'add | del(.next)' > "$expected"
sqlite3 jobs.db "VACUUM; PRAGMA wal_checkpoint(TRUNCATE)" > /dev/null
cp jobs.db "$golden/v$version.db"
ls -l "$golden"
