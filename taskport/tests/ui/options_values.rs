use taskport::task;

#[task(timeout = "30")]
async fn duration_without_a_unit() {}

#[task(soft_timeout = "0s")]
async fn limit_of_zero() {}

#[task(max_age = "soon")]
async fn no_duration() {}

#[task(backoff = "exponential(1s, 5m)")]
async fn malformed_backoff() {}

#[task(priority = 10)]
async fn priority_out_of_range() {}

#[task(priority = -1)]
async fn negative_priority() {}

#[task(max_attempts = 0)]
async fn no_attempt() {}

#[task(name = "bill it", queue = "")]
async fn malformed_names() {}

#[task(tags = ["", 3])]
async fn malformed_tags() {}

fn main() {}
