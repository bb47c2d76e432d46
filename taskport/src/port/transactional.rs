//! Submitting within a transaction of the user's own.

use taskport_abstraction::backend::Scope;
use taskport_abstraction::outbox::{SqlValue, Transactional};
use taskport_abstraction::{Error, Feature, IntoCall, Result, codes};

use super::{OpenBackend, Taskport, prepare};
use crate::job::Job;
use crate::outbox;

/// A statement that submits a job when the transaction commits in which it is run.
#[derive(Debug)]
#[must_use = "nothing is submitted until the statement is run and its transaction commits"]
pub struct TransactionalSubmit<T> {
    /// The statement, with numbered parameters `?1`, `?2`, ….
    pub sql: &'static str,
    /// What to bind, in order.
    pub parameters: Vec<SqlValue>,
    /// The job there will be. Until the commit, nobody knows of it.
    pub job: Job<T>,
}

impl Taskport {
    /// The statement that submits a call to the default backend, to be run in a transaction of your own on that
    /// backend's database, by whatever driver.
    ///
    /// # Delivery
    /// The job is taken if and only if the transaction commits. Running the statement again, also in another
    /// transaction, is the same job. What a backend would only refuse while it submits, such as a second call under one
    /// idempotency key, becomes a dead letter, since the transaction has committed by then.
    ///
    /// # Errors
    /// What [`submit`](Self::submit) answers before any I/O; `Unsupported` (E-005) where the backend does not live in a
    /// database.
    pub fn enqueue_statement<C: IntoCall>(&self, call: C) -> Result<TransactionalSubmit<C::Output>> {
        self.statement_for(self.default_backend(), call)
    }

    /// The same for a job of the backend called `backend`. Where that does not live in the database, the job waits in the
    /// outbox of the backend that does, until a worker of this program or [`pump_outbox`](Self::pump_outbox) has handed it
    /// on.
    ///
    /// # Delivery
    /// A job that is handed on twice, after a crash, carries the same id: it is one job where the target says so of a
    /// repeated submit (`submit_same_id`).
    ///
    /// # Errors
    /// As [`enqueue_statement`](Self::enqueue_statement), and `InvalidConfig` (E-022) for a backend that is not
    /// configured.
    pub fn enqueue_statement_to<C: IntoCall>(
        &self,
        backend: &str,
        call: C,
    ) -> Result<TransactionalSubmit<C::Output>> {
        self.statement_for(self.open_backend(backend)?, call)
    }

    /// Has the default backend take at once what committed transactions have left. It does so by itself within 50 ms
    /// where anybody waits for a job of it, and within a second otherwise.
    ///
    /// # Errors
    /// `Unsupported` (E-005) where no backend lives in a database; `Unavailable`.
    pub async fn absorb(&self) -> Result<()> {
        let (carrier, transactional) = self.carrier()?;
        transactional.absorb().await.map_err(|error| error.in_backend(carrier.backend.name()))
    }

    /// Hands on every job that waits in an outbox and is due, and returns how many. Every running worker of a program
    /// with several backends does so five times a second; this is for programs without one.
    ///
    /// # Errors
    /// Those of reading an outbox. What goes wrong with a job's target is kept with the job, which is tried again later.
    ///
    /// # Cancel safety
    /// May be dropped at any time: what was on its way is handed on again, under the same id.
    pub async fn pump_outbox(&self) -> Result<u64> {
        outbox::pump(self).await
    }

    fn statement_for<C: IntoCall>(
        &self,
        target: &OpenBackend,
        call: C,
    ) -> Result<TransactionalSubmit<C::Output>> {
        let name = target.backend.name();
        let prepared = self.prepare(&mut prepare::Scopes::new(target), call.into_call());
        let submission = prepared.map_err(|error| error.in_backend(name))?;
        let (carrier, transactional) = self.carrier()?;
        let elsewhere = (carrier.backend.name() != name).then_some(name);
        let statement = transactional.enqueue_statement(&submission, elsewhere)?;
        let job = Job::submitted(target.backend.clone(), submission.id, false);
        Ok(TransactionalSubmit { sql: statement.sql, parameters: statement.parameters, job })
    }

    /// The backend in whose database the user's transaction is: the default one, or else the only one that lives in a
    /// database.
    fn carrier(&self) -> Result<(&OpenBackend, &dyn Transactional)> {
        let default = self.default_backend();
        if let Some(transactional) = default.backend.transactional() {
            return Ok((default, transactional));
        }
        let all = self.inner.backends.values();
        let mut able = all.filter_map(|open| Some((open, open.backend.transactional()?)));
        match (able.next(), able.next()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) => {
                Err(Error::new(&codes::BAD_OPTION, "submit", "several backends live in databases")
                    .hint("make the one your transactions are in the default: `[routing] default`"))
            }
            (None, _) => {
                let capability = default.backend.capabilities(Scope::default());
                let refused = capability.require(Feature::TransactionalEnqueue, "submit").err();
                Err(refused
                    .unwrap_or_else(|| {
                        Error::new(&codes::UNSUPPORTED, "submit", "no backend lives in a database")
                    })
                    .in_backend(default.backend.name()))
            }
        }
    }
}
