//! The tasks of the pipeline. Each may run twice and leaves the same behind.

use std::fs;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::file::{Finding, examine};
use super::scan::{LeftOut, Listing, list};
use super::summary::{Merger, Summary};
use super::{REPORT_HTML, REPORT_JSON, page};
use crate::{TaskContext, TaskResult, task};

/// Where the report was written.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Written {
    json: PathBuf,
    html: PathBuf,
}

/// Lists the files of a directory.
#[task(name = "demo.scan", blocking, idempotent)]
pub(crate) fn scan(root: PathBuf, files_max: usize, excluded: Option<PathBuf>) -> Listing {
    list(&root, files_max, excluded.as_deref())
}

/// Says what one file holds.
#[task(name = "demo.analyze", blocking, idempotent)]
pub(crate) fn analyze(root: PathBuf, path: String) -> Finding {
    examine(&root, &path)
}

/// Adds the findings of every file up, reading one page of them at a time.
#[task(name = "demo.merge", idempotent)]
pub(crate) async fn merge(ctx: &TaskContext, listed: u64, left_out: LeftOut) -> TaskResult<Summary> {
    let mut merger = Merger::new();
    ctx.upstream_each::<Finding>("analyze", |_, finding| merger.add(finding)).await?;
    Ok(merger.finish(listed, left_out))
}

/// Writes the report as JSON and as a page.
#[task(name = "demo.report", blocking, idempotent)]
pub(crate) fn report(ctx: &TaskContext, directory: PathBuf, summary: Summary) -> TaskResult<Written> {
    let mut document = serde_json::to_vec_pretty(&summary)?;
    document.push(b'\n');
    let write = |name: &str, content: &[u8]| write_whole(&directory, name, content, ctx.attempt());
    Ok(Written {
        json: write(REPORT_JSON, &document)?,
        html: write(REPORT_HTML, page::render(&summary).as_bytes())?,
    })
}

/// Writes a file that is there in full or not at all, whoever is killed, and whoever else writes it.
fn write_whole(directory: &Path, name: &str, content: &[u8], attempt: u32) -> std::io::Result<PathBuf> {
    let path = directory.join(name);
    let unfinished = directory.join(format!(".{name}.{}-{attempt}", std::process::id()));
    fs::write(&unfinished, content)?;
    fs::rename(&unfinished, &path)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        for (attempt, content) in [(1, "longer than the next"), (2, "short")] {
            let path = write_whole(dir.path(), "report.json", content.as_bytes(), attempt).unwrap();
            assert_eq!(fs::read_to_string(path).unwrap(), content);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
