use taskport::task;

#[task]
struct Report;

#[task]
const LIMIT: u32 = 7;

fn main() {}
