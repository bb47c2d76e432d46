//! A file system in memory that can fail, and that knows what a power cut would leave.

mod image;
mod mount;

pub use self::image::{Errno, Image, Injection, Op};
pub use self::mount::FaultFs;
