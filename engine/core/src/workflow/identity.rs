//! The identity of one job of a run.

use sha2::{Digest, Sha256};
use taskport_abstraction::id::uuid_text;
use taskport_abstraction::{JobId, Result, StepId};

/// Which job of which run it is: SHA-256 over the path of the run, the step and the place in the step's list, each
/// text with its length before it as four bytes, all numbers big-endian; a step without a list has the place
/// 4,294,967,295.
pub fn order_key(path: &str, step: &StepId, index: Option<u32>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for text in [path, step.as_str()] {
        // Both are names of at most 255 bytes, or paths made of such names.
        hash.update(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        hash.update(text);
    }
    hash.update(index.unwrap_or(u32::MAX).to_be_bytes());
    hash.finalize().into()
}

/// The id of the job with this identity: a UUIDv8 of its first bytes, so that a repeated submit is the same job.
///
/// # Errors
/// None in fact: the text of a UUID is a job id.
pub fn job_id(order_key: &[u8; 32]) -> Result<JobId> {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&order_key[..16]);
    bytes[6] = 0x80 | (bytes[6] & 0x0f);
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    JobId::new(uuid_text(bytes))
}
