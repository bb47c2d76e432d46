//! Looking for damage: of the file's pages, of single rows, and of what rows say about each other.

use std::collections::BTreeMap;

use rusqlite::{Connection, TransactionBehavior, params};
use taskport_abstraction::Result;
use taskport_abstraction::maintenance::{IntegrityProblem, IntegrityReport, Repair};
use taskport_engine::upkeep;

use crate::error::{InStore, RESTORE, store_error};
use crate::names::{Names, RunKeys, id_text};
use crate::rows::{job, job_columns};

/// How many problems of one sort are told one by one.
const TOLD_MAX: usize = 20;
/// How many lines SQLite's own check gives.
const DAMAGE_LINES_MAX: usize = 100;
/// How many states a job can be in.
const STATES: usize = 9;
/// The first state of a job that has ended.
const FIRST_ENDED: usize = 5;
/// The columns of a queue's account, by state.
const ACCOUNT: [&str; STATES] =
    ["scheduled", "blocked", "queued", "running", "retrying", "succeeded", "failed", "cancelled", "expired"];

/// What rows must not say, and how to put it right.
struct Rule {
    /// Gives a row for each place where it is broken: whose, as an id or a text, and what is wrong with it.
    find: &'static str,
    advice: &'static str,
    /// Puts right everything that `find` finds.
    repair: Option<&'static str>,
}

const RULES: &[Rule] = &[
    Rule {
        find: "SELECT id, 'runs without a lease' FROM taskport_jobs WHERE state = 3 AND due_at IS NULL",
        advice: "repairing lets the lease lapse, so that the job runs again",
        repair: Some("UPDATE taskport_jobs SET due_at = 0 WHERE state = 3 AND due_at IS NULL"),
    },
    Rule {
        find: "SELECT id, 'waits for no moment' FROM taskport_jobs WHERE state IN (0, 4) AND due_at IS NULL",
        advice: "repairing makes the job ready",
        repair: Some("UPDATE taskport_jobs SET due_at = 0 WHERE state IN (0, 4) AND due_at IS NULL"),
    },
    Rule {
        find: "SELECT id, 'ended at no moment' FROM taskport_jobs WHERE state >= 5 AND finished_at IS NULL",
        advice: "repairing takes the start of its last attempt for its end, so that it is not kept for ever",
        repair: Some(
            "UPDATE taskport_jobs SET finished_at = coalesce(started_at, submitted_at) \
             WHERE state >= 5 AND finished_at IS NULL",
        ),
    },
    Rule {
        find: "SELECT id, 'has ended and belongs to a run that does not exist' FROM taskport_jobs \
               WHERE run IS NOT NULL AND state >= 5 AND NOT EXISTS (SELECT 1 FROM taskport_runs WHERE seq = run)",
        advice: "repairing deletes the job",
        repair: Some(
            "DELETE FROM taskport_jobs WHERE run IS NOT NULL AND state >= 5 \
             AND NOT EXISTS (SELECT 1 FROM taskport_runs WHERE seq = run)",
        ),
    },
    Rule {
        find: "SELECT id, 'belongs to a run that does not exist' FROM taskport_jobs \
               WHERE run IS NOT NULL AND state < 5 AND NOT EXISTS (SELECT 1 FROM taskport_runs WHERE seq = run)",
        advice: RESTORE,
        repair: None,
    },
    Rule {
        find: "SELECT key, 'stands for a job that does not exist' FROM taskport_keys \
               WHERE NOT EXISTS (SELECT 1 FROM taskport_jobs WHERE id = job)",
        advice: "repairing deletes the key, so that it can be used again",
        repair: Some(
            "DELETE FROM taskport_keys WHERE NOT EXISTS (SELECT 1 FROM taskport_jobs WHERE id = job)",
        ),
    },
    Rule {
        find: "SELECT id, 'has no definition or no input' FROM taskport_runs AS runs \
               WHERE NOT EXISTS (SELECT 1 FROM taskport_definitions WHERE hash = runs.definition_hash) \
               OR NOT EXISTS (SELECT 1 FROM taskport_run_inputs WHERE run = runs.seq)",
        advice: RESTORE,
        repair: None,
    },
    Rule {
        find: "SELECT 'number ' || run, 'has steps, starts or an input and does not exist' FROM ( \
                   SELECT run FROM taskport_run_steps UNION SELECT run FROM taskport_run_starts \
                   UNION SELECT run FROM taskport_run_inputs) \
               WHERE NOT EXISTS (SELECT 1 FROM taskport_runs WHERE seq = run)",
        advice: "repairing deletes what is left of the run",
        repair: Some(
            "DELETE FROM taskport_run_steps WHERE NOT EXISTS (SELECT 1 FROM taskport_runs WHERE seq = run); \
             DELETE FROM taskport_run_starts WHERE NOT EXISTS (SELECT 1 FROM taskport_runs WHERE seq = run); \
             DELETE FROM taskport_run_inputs WHERE NOT EXISTS (SELECT 1 FROM taskport_runs WHERE seq = run)",
        ),
    },
    Rule {
        find: "SELECT 'number ' || job, 'has a journal and does not exist' FROM taskport_journal \
               WHERE NOT EXISTS (SELECT 1 FROM taskport_jobs WHERE seq = job) GROUP BY job",
        advice: "repairing deletes the journal",
        repair: Some(
            "DELETE FROM taskport_journal WHERE NOT EXISTS (SELECT 1 FROM taskport_jobs WHERE seq = job)",
        ),
    },
];

/// Looks for damage and changes nothing.
pub(crate) fn check(connection: &Connection) -> Result<IntegrityReport> {
    // One moment, so that what is committed meanwhile does not look like a contradiction.
    let tx = connection.unchecked_transaction().during("check")?;
    inspect(&tx)
}

/// Looks for damage and puts right what can be, in one transaction. Where the pages are damaged, nothing is changed.
pub(crate) fn repair(connection: &mut Connection) -> Result<IntegrityReport> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate).during("repair")?;
    let mut report = inspect(&tx)?;
    if report.problems.iter().any(|problem| problem.problem.starts_with(PAGES)) {
        return Ok(report);
    }
    for rule in RULES {
        if let Some(sql) = rule.repair {
            tx.execute_batch(sql).during("repair")?;
        }
    }
    // What was deleted above is out of the accounts by now.
    for queue in accounts(&tx)? {
        queue.put_right(&tx)?;
    }
    tx.commit().during("repair")?;
    for problem in &mut report.problems {
        if problem.repair == Repair::Possible {
            problem.repair = Repair::Done;
        }
    }
    Ok(report)
}

/// What SQLite says is wrong with the pages.
pub(crate) fn damage(connection: &Connection) -> Result<Vec<String>> {
    let lines = connection.prepare(&format!("PRAGMA integrity_check({DAMAGE_LINES_MAX})")).and_then(
        |mut statement| statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>(),
    );
    match lines {
        Ok(lines) => Ok(lines.into_iter().filter(|line| line != "ok").collect()),
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseCorrupt) => {
            Ok(vec![error.to_string()])
        }
        Err(error) => Err(store_error("check", error)),
    }
}

const PAGES: &str = "the pages are damaged";

fn inspect(connection: &Connection) -> Result<IntegrityReport> {
    let mut report = IntegrityReport::default();
    for line in damage(connection)? {
        report.problems.push(problem(format!("{PAGES}: {line}"), RESTORE, Repair::Impossible));
    }
    match inspect_rows(connection, &mut report) {
        // Damaged pages have been told of, and rows cannot be read through them.
        Err(_) if !report.problems.is_empty() => Ok(report),
        answer => answer.map(|()| report),
    }
}

fn inspect_rows(connection: &Connection, report: &mut IntegrityReport) -> Result<()> {
    every_job(connection, report)?;
    for rule in RULES {
        rule.check(connection, report)?;
    }
    for queue in accounts(connection)? {
        report.rows += 1;
        report.problems.extend(queue.problem());
    }
    for table in ["taskport_runs", "taskport_keys", "taskport_workers", "taskport_run_steps"] {
        let rows: u64 = connection
            .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
            .during("check")?;
        report.rows += rows;
    }
    Ok(())
}

/// Reads every job as the engine does.
fn every_job(connection: &Connection, report: &mut IntegrityReport) -> Result<()> {
    let sql = concat!("SELECT ", job_columns!(), " FROM taskport_jobs NOT INDEXED ORDER BY seq");
    let (mut names, mut run_keys) = (Names::default(), RunKeys::default());
    let mut statement = connection.prepare(sql).during("check")?;
    let mut rows = statement.query([]).during("check")?;
    let mut told = Told::default();
    while let Some(row) = rows.next().during("check")? {
        report.rows += 1;
        // A run that does not exist has a rule of its own.
        let of_run = row.get::<_, Option<i64>>(16).unwrap_or_default();
        if of_run.is_some_and(|run| run_keys.id(connection, run).is_err()) {
            continue;
        }
        let readable =
            job(row, connection, &mut names, &mut run_keys).and_then(|job| upkeep::check_job(&job));
        if let Err(error) = readable {
            let number: i64 = row.get(0).during("check")?;
            let id = row.get_ref(1).ok().and_then(|id| id_text(id).ok());
            let id = id.map_or_else(|| format!("number {number}"), |id| format!("`{id}`"));
            told.add(report, || {
                let advice = "delete it, or restore a backup; claimed, a job that cannot be read becomes a dead letter";
                problem(format!("job {id} cannot be read: {}", error.message()), advice, Repair::Impossible)
            });
        }
    }
    told.close(report, "jobs that cannot be read", RESTORE, Repair::Impossible);
    Ok(())
}

impl Rule {
    fn check(&self, connection: &Connection, report: &mut IntegrityReport) -> Result<()> {
        let repair = if self.repair.is_some() { Repair::Possible } else { Repair::Impossible };
        let mut statement = connection.prepare(self.find).during("check")?;
        let mut rows = statement.query([]).during("check")?;
        let mut told = Told::default();
        let mut what = String::new();
        while let Some(row) = rows.next().during("check")? {
            what = row.get(1).during("check")?;
            let who = id_text(row.get_ref(0).during("check")?)?;
            let table = self.subject();
            told.add(report, || problem(format!("{table} `{who}` {what}"), self.advice, repair));
        }
        told.close(report, &format!("{}s of which each {what}", self.subject()), self.advice, repair);
        Ok(())
    }

    /// What the first column names.
    fn subject(&self) -> &'static str {
        match self.find {
            find if find.starts_with("SELECT key") => "key",
            find if find.contains("taskport_run_steps") || find.contains("AS runs") => "run",
            _ => "job",
        }
    }
}

/// Tells the first problems of a sort one by one, and how many more there are.
#[derive(Default)]
struct Told(usize);

impl Told {
    fn add(&mut self, report: &mut IntegrityReport, problem: impl FnOnce() -> IntegrityProblem) {
        self.0 += 1;
        if self.0 <= TOLD_MAX {
            report.problems.push(problem());
        }
    }

    fn close(self, report: &mut IntegrityReport, what: &str, advice: &'static str, repair: Repair) {
        if self.0 > TOLD_MAX {
            report.problems.push(problem(format!("{} more {what}", self.0 - TOLD_MAX), advice, repair));
        }
    }
}

fn problem(problem: String, advice: &str, repair: Repair) -> IntegrityProblem {
    IntegrityProblem { problem, advice: advice.to_owned(), repair }
}

/// A queue's account beside what its rows say.
struct Audit {
    key: i64,
    name: String,
    submitted: u64,
    account: [u64; STATES],
    rows: [u64; STATES],
}

impl Audit {
    /// What the account must be: of jobs that have ended, some may have been deleted.
    fn right(&self) -> [u64; STATES] {
        std::array::from_fn(|state| match state {
            ended if ended >= FIRST_ENDED => self.account[ended].max(self.rows[ended]),
            live => self.rows[live],
        })
    }

    fn is_right(&self) -> bool {
        self.account == self.right() && self.submitted == self.account.iter().sum::<u64>()
    }

    fn problem(&self) -> Option<IntegrityProblem> {
        if self.is_right() {
            return None;
        }
        let right = self.right();
        let mut wrong: Vec<String> = (0..STATES)
            .filter(|state| self.account[*state] != right[*state])
            .map(|state| format!("{} {} instead of {}", ACCOUNT[state], self.account[state], right[state]))
            .collect();
        let sum: u64 = right.iter().sum();
        if self.submitted != sum {
            wrong.push(format!("submitted {} instead of {sum}", self.submitted));
        }
        let what = format!("the account of queue `{}` is wrong: {}", self.name, wrong.join(", "));
        Some(problem(what, "repairing counts its jobs again", Repair::Possible))
    }

    fn put_right(&self, connection: &Connection) -> Result<()> {
        if self.is_right() {
            return Ok(());
        }
        let right = self.right();
        connection
            .execute(
                "INSERT INTO taskport_queues (name, job_order, paused, submitted, scheduled, blocked, queued, running, \
                 retrying, succeeded, failed, cancelled, expired) VALUES (?1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) \
                 ON CONFLICT DO NOTHING",
                [self.key],
            )
            .during("repair")?;
        for (column, jobs) in ACCOUNT.iter().zip(right) {
            let sql = format!("UPDATE taskport_queues SET {column} = ?2 WHERE name = ?1");
            connection.execute(&sql, params![self.key, jobs as i64]).during("repair")?;
        }
        let sum: u64 = right.iter().sum();
        let sql = "UPDATE taskport_queues SET submitted = ?2 WHERE name = ?1";
        connection.execute(sql, params![self.key, sum as i64]).during("repair")?;
        Ok(())
    }
}

/// The account of every queue that has one or has jobs.
fn accounts(connection: &Connection) -> Result<Vec<Audit>> {
    let mut audits: BTreeMap<i64, Audit> = BTreeMap::new();
    let name = |key: i64| {
        let text = "SELECT text FROM taskport_names WHERE key = ?1";
        connection.query_row(text, [key], |row| row.get(0)).unwrap_or_else(|_| format!("number {key}"))
    };
    let empty = |key| Audit { key, name: name(key), submitted: 0, account: [0; STATES], rows: [0; STATES] };
    let columns = ACCOUNT.join(", ");
    let sql = format!("SELECT name, submitted, {columns} FROM taskport_queues");
    let mut statement = connection.prepare(&sql).during("check")?;
    let mut rows = statement.query([]).during("check")?;
    while let Some(row) = rows.next().during("check")? {
        let mut audit = empty(row.get(0).during("check")?);
        // A number that is none counts as wrong.
        let number = |index| {
            row.get::<_, i64>(index).ok().and_then(|n| u64::try_from(n).ok()).unwrap_or(u64::MAX >> 8)
        };
        audit.submitted = number(1);
        audit.account = std::array::from_fn(|state| number(state + 2));
        audits.insert(audit.key, audit);
    }
    let sql = "SELECT queue, state, count(*) FROM taskport_jobs GROUP BY queue, state";
    let mut statement = connection.prepare(sql).during("check")?;
    let mut rows = statement.query([]).during("check")?;
    while let Some(row) = rows.next().during("check")? {
        let (queue, state): (i64, usize) = (row.get(0).during("check")?, row.get(1).during("check")?);
        let audit = audits.entry(queue).or_insert_with(|| empty(queue));
        if let Some(jobs) = audit.rows.get_mut(state) {
            *jobs = row.get(2).during("check")?;
        }
    }
    Ok(audits.into_values().collect())
}
