//! A run as it goes: one line for each step that ends, and a bar where the terminal allows one.

use std::collections::HashSet;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::graph::mark;
use super::terminal::{Terminal, Tone};
use crate::abstraction::backend::{RunStatus, StepState, StepStatus};

/// Follows one run on standard error.
#[derive(Debug)]
pub(crate) struct RunProgress {
    terminal: Terminal,
    bar: ProgressBar,
    told: HashSet<String>,
}

impl RunProgress {
    /// Nothing has happened yet.
    pub(crate) fn new(terminal: Terminal) -> Self {
        let target = if terminal.live { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target).with_style(style());
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { terminal, bar, told: HashSet::new() }
    }

    /// Shows what has changed.
    pub(crate) fn update(&mut self, run: &RunStatus) {
        let (mut total, mut done) = (0, 0);
        for step in &run.steps {
            total += step.total.max(1);
            done += if step.state.is_terminal() { step.total.max(1) } else { step.succeeded + step.failed };
            if step.state.is_terminal() && self.told.insert(step.id.to_string()) {
                self.line(&line(step, self.terminal));
            }
        }
        self.bar.set_length(total);
        self.bar.set_position(done);
        let running: Vec<&str> = run
            .steps
            .iter()
            .filter(|step| step.state == StepState::Running)
            .map(|step| step.id.as_str())
            .collect();
        self.bar.set_message(running.join(", "));
    }

    /// Takes the bar away.
    pub(crate) fn finish(self) {
        self.bar.finish_and_clear();
    }

    /// Writes a line above the bar.
    pub(crate) fn line(&self, text: &str) {
        if self.terminal.live { self.bar.println(text) } else { self.terminal.line(text) }
    }
}

fn style() -> ProgressStyle {
    let full = "{spinner} [{bar:30}] {pos}/{len} {elapsed} {msg}";
    ProgressStyle::with_template(full)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸ ")
        .tick_strings(&["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏", " "])
}

/// `✓ name 1.23s`, with the number of jobs where there were several.
fn line(step: &StepStatus, terminal: Terminal) -> String {
    let tone = match step.state {
        StepState::Succeeded => Some(Tone::Good),
        StepState::Failed => Some(Tone::Bad),
        _ => None,
    };
    let mark = mark(step.state).to_string();
    let mark = tone.map_or(mark.clone(), |tone| terminal.paint(tone, &mark));
    let mut line = format!("{mark} {}", step.id);
    if let (Some(start), Some(end)) = (step.started_at, step.finished_at) {
        line.push_str(&format!(" {:.2}s", end.since(start).as_secs_f64()));
    }
    if step.total > 1 {
        line.push_str(&format!(" ({} jobs)", step.total));
    }
    if step.failed > 0 {
        line.push_str(&format!(", {} failed", step.failed));
    }
    match step.state {
        StepState::Skipped => line.push_str(" skipped"),
        StepState::Cancelled => line.push_str(" cancelled"),
        _ => {}
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abstraction::{StepId, Timestamp};

    #[test]
    fn a_step_that_ended_is_one_line_with_its_time() {
        let check = |state, total, failed, expected: &str| {
            let step = StepStatus {
                id: StepId::new("merge").unwrap(),
                state,
                total,
                succeeded: total - failed,
                failed,
                failure: None,
                started_at: Some(Timestamp::from_micros(0)),
                finished_at: (state != StepState::Skipped).then(|| Timestamp::from_micros(1_234_567)),
            };
            assert_eq!(line(&step, Terminal { color: false, live: false }), expected);
        };
        check(StepState::Succeeded, 1, 0, "✓ merge 1.23s");
        check(StepState::Succeeded, 20, 2, "✓ merge 1.23s (20 jobs), 2 failed");
        check(StepState::Failed, 1, 1, "✗ merge 1.23s, 1 failed");
        check(StepState::Skipped, 1, 0, "- merge skipped");
    }
}
