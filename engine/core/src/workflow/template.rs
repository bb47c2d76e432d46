//! What a fan-out works out once for all its elements.

use bytes::Bytes;
use taskport_abstraction::StepId;
use taskport_abstraction::workflow::Path;

use super::json::{Elements, follow};
use super::values::{BOUND_BYTES_MAX, Found, NULL, misfit};

/// Adds to a bound value, within its bound.
pub(super) fn push(out: &mut Vec<u8>, json: &[u8]) -> Found<()> {
    if out.len() + json.len() > BOUND_BYTES_MAX {
        return misfit(format!("a bound value has more than {BOUND_BYTES_MAX} bytes"));
    }
    out.extend_from_slice(json);
    Ok(())
}

/// The list of a fan-out.
#[derive(Debug)]
pub(super) enum List {
    /// The elements of a value.
    Elements(Elements),
    /// The results of another fan-out, which stay in the store.
    Results { place: usize, step: StepId, len: u32 },
}

impl List {
    pub(super) fn len(&self) -> u32 {
        match self {
            Self::Elements(elements) => u32::try_from(elements.len()).unwrap_or(u32::MAX),
            Self::Results { len, .. } => *len,
        }
    }

    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Elements(elements) => elements.weight(),
            Self::Results { .. } => 0,
        }
    }
}

/// JSON text with holes for the element and its place.
#[derive(Debug, Default)]
pub(super) struct Template {
    /// What stands before each hole: for the element, the path into it; for its place, nothing.
    holes: Vec<(Vec<u8>, Option<Path>)>,
    pub(super) text: Vec<u8>,
}

impl Template {
    /// Makes a hole: for what stands at a path in the element, or for its place.
    pub(super) fn cut(&mut self, hole: Option<Path>) {
        self.holes.push((std::mem::take(&mut self.text), hole));
    }

    /// The text for one element.
    pub(super) fn fill(&self, index: u32, element: Option<&[u8]>) -> Found<Bytes> {
        let mut out = Vec::with_capacity(self.text.len() + 64);
        for (before, hole) in &self.holes {
            push(&mut out, before)?;
            match (hole, element) {
                (Some(path), Some(element)) => match follow(element, path.keys()) {
                    Ok(Some(found)) => push(&mut out, found)?,
                    Ok(None) if *element == *NULL => push(&mut out, element)?,
                    _ => return misfit(format!("there is no `$item{path}`")),
                },
                (Some(path), None) => return misfit(format!("there is no `$item{path}`")),
                (None, _) => out.extend_from_slice(index.to_string().as_bytes()),
            }
        }
        push(&mut out, &self.text)?;
        Ok(Bytes::from(out))
    }

    pub(super) fn weight(&self) -> usize {
        self.text.len() + self.holes.iter().map(|(before, _)| before.len()).sum::<usize>()
    }
}
