use taskport::task;

#[task(blocking)]
async fn blocking_and_async() {}

#[task(isolated, blocking)]
fn isolated_and_blocking() {}

#[task(soft_timeout = "2m", timeout = "1m")]
async fn soft_after_hard() {}

#[task(max_attempts = 1, backoff = "fixed(5s)", max_age = "1h")]
async fn retry_without_a_second_attempt() {}

#[task(timeout = "30s")]
fn plain_function_with_a_limit() {}

#[task(blocking, timeout = "30s")]
fn thread_with_a_limit() {}

#[task(detach_on_timeout)]
async fn nothing_to_detach() {}

fn main() {}
