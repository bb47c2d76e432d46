//! A workflow drawn as text or as a Mermaid diagram.

use std::collections::HashMap;
use std::fmt::Write;

use clap::ValueEnum;

use super::terminal::Printable;
use super::wire::step_state;
use crate::abstraction::WorkflowDefinition;
use crate::abstraction::backend::{StepState, StepStatus};
use crate::abstraction::workflow::Graph;

/// The form of a drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Drawing {
    /// One line for each step.
    Text,
    /// A Mermaid flowchart.
    Mermaid,
}

/// Draws a checked definition, with the states of a run's steps where there is one.
pub(super) fn draw(
    definition: &WorkflowDefinition,
    graph: &Graph,
    steps: &[StepStatus],
    drawing: Drawing,
) -> String {
    let states: HashMap<&str, StepState> = steps.iter().map(|step| (step.id.as_str(), step.state)).collect();
    match drawing {
        Drawing::Text => text(definition, graph, &states),
        Drawing::Mermaid => mermaid(definition, graph, &states),
    }
}

/// The mark of a step's state.
pub(super) const fn mark(state: StepState) -> char {
    match state {
        StepState::Waiting => '·',
        StepState::Running => '▸',
        StepState::Succeeded => '✓',
        StepState::Failed => '✗',
        StepState::Skipped => '-',
        StepState::Cancelled => '⊘',
    }
}

fn text(definition: &WorkflowDefinition, graph: &Graph, states: &HashMap<&str, StepState>) -> String {
    let width = definition.steps.iter().map(|step| step.id.as_str().len()).max().unwrap_or(0);
    let mut text = format!("{}\n", definition.name);
    for (step, node) in definition.steps.iter().zip(&graph.nodes) {
        let mark = states.get(step.id.as_str()).map_or('•', |state| mark(*state));
        let mut line = format!("  {mark} {:<width$}  {}", step.id.as_str(), step.task);
        if step.map.is_some() {
            line.push_str(" × each");
            if let Some(max) = step.concurrency {
                let _infallible = write!(line, ", {max} at once");
            }
        }
        if let Some(condition) = &step.when {
            let _infallible = write!(line, "  when {}", Printable(condition));
        }
        if !node.dependencies.is_empty() {
            let before: Vec<&str> =
                node.dependencies.iter().map(|place| definition.steps[*place].id.as_str()).collect();
            let _infallible = write!(line, "  ← {}", before.join(", "));
        }
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// Steps are numbered, since words such as `end` mean something to Mermaid.
fn mermaid(definition: &WorkflowDefinition, graph: &Graph, states: &HashMap<&str, StepState>) -> String {
    let mut text = "flowchart TD\n".to_owned();
    for (place, step) in definition.steps.iter().enumerate() {
        let each = if step.map.is_some() { " × each" } else { "" };
        let (open, close) = if step.when.is_some() { ("{{", "}}") } else { ("[", "]") };
        let class = states.get(step.id.as_str()).map(|state| format!(":::{}", step_state(*state)));
        let class = class.unwrap_or_default();
        let task = step.task.as_str().replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
        let _infallible = writeln!(text, "    s{place}{open}\"{}<br/>{task}{each}\"{close}{class}", step.id);
    }
    for (place, node) in graph.nodes.iter().enumerate() {
        for dependency in &node.dependencies {
            let _infallible = writeln!(text, "    s{dependency} --> s{place}");
        }
    }
    if !states.is_empty() {
        for (state, color) in [("succeeded", "#2e7d32"), ("failed", "#c62828"), ("running", "#1565c0")] {
            let _infallible = writeln!(text, "    classDef {state} stroke:{color},stroke-width:2px");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition() -> WorkflowDefinition {
        serde_json::from_value(json!({"name": "report", "steps": [
            {"id": "scan", "task": "files.scan"},
            {"id": "read", "task": "files.read", "map": "$steps.scan.output", "concurrency": 4, "args": ["$item"]},
            {"id": "end", "task": "files.merge", "after": ["read"], "when": "input.merge"},
        ]}))
        .unwrap()
    }

    #[test]
    fn text_shows_tasks_fan_outs_conditions_and_dependencies() {
        let definition = definition();
        let graph = definition.check().unwrap();
        let expected = "report\n  • scan  files.scan\n  • read  files.read × each, 4 at once  ← scan\n  \
            • end   files.merge  when input.merge  ← read\n";
        assert_eq!(draw(&definition, &graph, &[], Drawing::Text), expected);
    }

    #[test]
    fn mermaid_numbers_the_steps_and_colours_a_run() {
        let definition = definition();
        let graph = definition.check().unwrap();
        let steps = [StepStatus {
            id: definition.steps[0].id.clone(),
            state: StepState::Succeeded,
            total: 1,
            succeeded: 1,
            failed: 0,
            failure: None,
            started_at: None,
            finished_at: None,
        }];
        let drawn = draw(&definition, &graph, &steps, Drawing::Mermaid);
        for line in ["s0[\"scan<br/>files.scan\"]:::succeeded", "s2{{\"end<br/>files.merge\"}}", "s1 --> s2"]
        {
            assert!(drawn.contains(line), "{line} in {drawn}");
        }
    }
}
