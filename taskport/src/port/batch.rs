//! Calls that are submitted together, with calls that follow them.

use taskport_abstraction::backend::Submission;
use taskport_abstraction::batch::{BatchRequest, BatchStatus, Batches};
use taskport_abstraction::{BatchId, Call, Error, Feature, IntoCall, Result, codes};

use super::Taskport;
use super::prepare::Scopes;

/// Calls to submit together, begun by [`Taskport::batch`].
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> taskport::Result<()> {
/// use taskport::config::Config;
/// use taskport::prelude::*;
///
/// #[task]
/// async fn render(page: u32) -> TaskResult<u32> {
///     Ok(page)
/// }
///
/// #[task]
/// async fn bind(title: String) -> TaskResult<String> {
///     Ok(title)
/// }
///
/// let config = Config::from_toml("[backends.main]\nkind = \"native\"\nurl = \"memory:\"")?;
/// let port = Taskport::builder().config(config).registry(registry![render, bind]).open().await?;
/// let batch = port.batch().add_all((1..=3).map(render)).on_success(bind("Q3".into())).submit().await?;
/// assert_eq!(port.batch_status(&batch).await?.unwrap().pending, 3);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a batch does nothing until it is submitted"]
pub struct Batch<'a> {
    port: &'a Taskport,
    id: Option<BatchId>,
    calls: Vec<Call>,
    on_success: Option<Call>,
    on_complete: Option<Call>,
}

impl Batch<'_> {
    /// Gives the batch an id of its own choosing. A repeated submit of one id is the same batch.
    pub fn id(mut self, id: BatchId) -> Self {
        self.id = Some(id);
        self
    }

    /// Adds a call.
    #[expect(clippy::should_implement_trait, reason = "a batch is no number")]
    pub fn add(mut self, call: impl IntoCall) -> Self {
        self.calls.push(call.into_call().returning());
        self
    }

    /// Adds calls.
    pub fn add_all<C: IntoCall>(self, calls: impl IntoIterator<Item = C>) -> Self {
        calls.into_iter().fold(self, |batch, call| batch.add(call))
    }

    /// Submits this call once every job has succeeded.
    pub fn on_success(mut self, call: impl IntoCall) -> Self {
        self.on_success = Some(call.into_call().returning());
        self
    }

    /// Submits this call once every job has ended, however.
    pub fn on_complete(mut self, call: impl IntoCall) -> Self {
        self.on_complete = Some(call.into_call().returning());
        self
    }

    /// Submits the batch to the default backend: all of it, or nothing.
    ///
    /// # Errors
    /// As [`Taskport::submit`] for each call and callback; `Unsupported` (E-005) where the backend has no batches.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown; submitted again under one id it is the same batch.
    pub async fn submit(self) -> Result<BatchId> {
        let Batch { port, id, calls, on_success, on_complete } = self;
        let target = port.default_backend();
        let mut scopes = Scopes::new(target);
        let mut prepare = |call: Call| port.prepare(&mut scopes, call);
        let jobs = calls.into_iter().map(&mut prepare).collect::<Result<Vec<Submission>>>()?;
        let on_success = on_success.map(&mut prepare).transpose()?;
        let on_complete = on_complete.map(&mut prepare).transpose()?;
        let id = match id {
            Some(id) => id,
            None => BatchId::new(port.inner.ids.job_id(port.inner.clock.now()).as_str())?,
        };
        let request = BatchRequest { id, jobs, on_success, on_complete };
        port.batches("submit batch")?.submit(request).await
    }
}

impl Taskport {
    /// Begins a batch: calls that are submitted together and followed by others when they have ended.
    pub fn batch(&self) -> Batch<'_> {
        Batch { port: self, id: None, calls: Vec::new(), on_success: None, on_complete: None }
    }

    /// How many jobs of a batch of the default backend have ended, where it is known.
    ///
    /// # Errors
    /// `Unsupported` (E-005) where the backend has no batches; what reading it answers.
    pub async fn batch_status(&self, id: &BatchId) -> Result<Option<BatchStatus>> {
        self.batches("get batch")?.get(id).await
    }

    fn batches(&self, operation: &'static str) -> Result<&dyn Batches> {
        let backend = &self.default_backend().backend;
        backend.batches().ok_or_else(|| {
            let message = format!("the backend `{}` cannot {}", backend.name(), Feature::Batches.what());
            Error::new(&codes::UNSUPPORTED, operation, message)
                .hint("submit the calls one by one, or use a workflow with a fan-out")
        })
    }
}
