use taskport::task;

#[task(qeue = "reports")]
fn misspelled() {}

#[task(color = "red")]
fn unknown() {}

#[task(queue = "a", queue = "b")]
fn twice() {}

#[task(blocking = true)]
fn flag_with_a_value() {}

#[task(queue)]
fn value_missing() {}

#[task(queue = 3)]
fn number_for_text() {}

#[task(priority = "high")]
fn text_for_a_number() {}

#[task(tags = "nightly")]
fn text_for_a_list() {}

#[task(queue = "a" priority = 3)]
fn comma_missing() {}

fn main() {}
