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

/// What the ids of all jobs of a run begin with: the first 48 bits of the SHA-256 of its path.
pub fn id_prefix(path: &str) -> u64 {
    let hash: [u8; 32] = Sha256::digest(path).into();
    hash[..6].iter().fold(0, |prefix, byte| prefix << 8 | u64::from(*byte))
}

/// The id of the job of a run with this identity, so that a repeated submit is the same job: a UUIDv8 of the run's 48
/// bits, the step's place in the definition in 20 bits, the place in its list in 22, and the first 32 bits of the
/// identity. So the ids of a run grow in declared order, and stand together in an index.
///
/// # Errors
/// None in fact: the text of a UUID is a job id.
pub fn job_id(prefix: u64, step: usize, index: Option<u32>, order_key: &[u8; 32]) -> Result<JobId> {
    const PLACE_MAX: u128 = (1 << 20) - 1;
    const INDEX_MAX: u128 = (1 << 22) - 1;
    let [a, b, c, d, ..] = *order_key;
    // Neither limit is reached: a definition has at most 100,000 steps and a list 1,000,000 elements.
    let place = (step as u128).min(PLACE_MAX);
    let index = index.map_or(INDEX_MAX, |index| u128::from(index).min(INDEX_MAX));
    let identity = u128::from(u32::from_be_bytes([a, b, c, d]));
    let (high, low) = (place >> 8, place & 0xff);
    let bits =
        u128::from(prefix) << 80 | 0x8 << 76 | high << 64 | 0b10 << 62 | low << 54 | index << 32 | identity;
    JobId::new(uuid_text(bits.to_be_bytes()))
}
