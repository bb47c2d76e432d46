//! Long answers, a page at a time.

use crate::Result;
use crate::abstraction::backend::{Backend, Cursor, Page, PageRequest, Scope};

/// How much of a listing is wanted.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Paging {
    /// The largest number of entries
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Go on where an earlier listing ended
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
}

impl Paging {
    /// Everything there is.
    pub(super) fn all() -> Self {
        Self { limit: u32::MAX, after: None }
    }

    /// Asks `page` until there is enough or no more.
    pub(super) async fn collect<T>(
        &self,
        backend: &dyn Backend,
        page: impl AsyncFn(PageRequest) -> Result<Page<T>>,
    ) -> Result<Page<T>> {
        let page_len_max = backend.capabilities(Scope::default()).page_len_max.unwrap_or(1_000).max(1);
        let mut left = u64::from(self.limit);
        let mut all = Page { items: Vec::new(), next: self.after.clone().map(Cursor) };
        loop {
            let len = usize::try_from(left.min(page_len_max)).unwrap_or(usize::MAX);
            let found = page(PageRequest { after: all.next.take(), len }).await?;
            left = left.saturating_sub(found.items.len() as u64);
            all.items.extend(found.items);
            all.next = found.next;
            if left == 0 || all.next.is_none() {
                return Ok(all);
            }
        }
    }
}
