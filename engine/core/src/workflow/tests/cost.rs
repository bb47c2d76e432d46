use serde_json::json;
use taskport_abstraction::{StepDefinition, StepId, TaskName, WorkflowDefinition};

use super::stage::Stage;
use crate::workflow::*;

fn step(name: String) -> StepDefinition {
    StepDefinition::new(StepId::new(name).unwrap(), TaskName::new("t").unwrap())
}

/// Ends every job as soon as it is submitted, and returns how many there were and how many effects followed at most
/// from one event.
fn drain(stage: &mut Stage) -> (usize, usize) {
    let (mut jobs, mut largest) = (0, 0);
    loop {
        let mut effects = if stage.run.has_more() { stage.apply(Event::Advance) } else { Vec::new() };
        while let Some(job) = stage.open.pop() {
            jobs += 1;
            let end = JobEnd::Succeeded;
            effects.extend(stage.apply(Event::JobEnded { step: job.step, index: job.index, end }));
            largest = largest.max(effects.len());
            effects.clear();
        }
        largest = largest.max(effects.len());
        if stage.outcome.is_some() {
            return (jobs, largest);
        }
    }
}

// proves R-163
#[test]
fn a_wide_graph_starts_in_bounded_pieces() {
    const STEPS: usize = 5_000;
    let mut definition = WorkflowDefinition::new("wide");
    definition.steps = (0..STEPS).map(|place| step(format!("s{place}"))).collect();
    let mut stage = Stage::new(&definition, json!(null));
    let first = stage.apply(Event::Advance);
    assert_eq!(stage.open.len(), EFFECTS_MAX);
    assert!(first.len() <= 2 * EFFECTS_MAX);
    assert!(stage.run.has_more());
    let (jobs, largest) = drain(&mut stage);
    assert_eq!(jobs, STEPS);
    assert!(largest <= 2 * EFFECTS_MAX + 2, "{largest}");
}

// proves R-122 R-163
#[test]
fn a_fan_out_keeps_a_bounded_number_of_jobs_open_and_reads_its_list_once() {
    const LEN: usize = 20_000;
    let definition = WorkflowDefinition::new("fan")
        .step(step("each".into()).map("$input.list").arg("x", "$item").arg("dir", "$input.dir"));
    let list: Vec<usize> = (0..LEN).collect();
    let mut stage = Stage::new(&definition, json!({"dir": "/d", "list": list}));
    stage.advance();
    assert_eq!(stage.open.len(), FAN_OUT_OPEN_MAX as usize);
    // Only what a cursor over the machine's own facts would need: no read of a result, one of the input.
    assert_eq!(stage.stored.reads, 1);
    stage.open.clear();
    stage.stored.reads = 0;
    for index in 0..u32::try_from(LEN).unwrap() {
        let end = JobEnd::Succeeded;
        let mut effects = stage.apply(Event::JobEnded { step: 0, index: Some(index), end });
        if stage.run.has_more() {
            effects.extend(stage.apply(Event::Advance));
        }
        assert!(effects.len() <= 3, "{effects:?}");
        stage.open.clear();
    }
    assert!(stage.outcome.is_some());
    assert_eq!(stage.stored.reads, LEN as u64, "the output is the list of all results");
}

// proves R-162
#[test]
fn a_fan_out_over_a_fan_out_reads_each_result_once_more() {
    const LEN: u32 = 3_000;
    let list: Vec<u32> = (0..LEN).collect();
    let definition = WorkflowDefinition::new("two")
        .step(step("a".into()).map("$input"))
        .step(step("b".into()).map("$steps.a.output").arg("x", "$item"))
        .step(step("end".into()).after(StepId::new("b").unwrap()));
    let mut stage = Stage::new(&definition, json!(list));
    stage.advance();
    let (jobs, _) = drain(&mut stage);
    assert_eq!(jobs, 2 * LEN as usize + 1);
    assert_eq!(stage.stored.reads, 1 + u64::from(LEN) + 1, "the input, each result, the output");
}
