//! From cases and capabilities to named tests.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use taskport_abstraction::{Capability, Feature};

use crate::fixture::{Factory, Fixture};
use crate::report::{Report, Verdict};
use crate::{cases, process, refusal};

/// A case that runs on one thread.
pub type Running = Pin<Box<dyn Future<Output = ()>>>;

/// One contract.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// The claim.
    pub name: &'static str,
    /// The features it exercises. The first is the one it proves.
    pub needs: &'static [Feature],
    /// Runs it; a panic is a failure.
    pub run: fn(Fixture) -> Running,
}

/// No case takes longer, or it is stuck.
const CASE_SECONDS_MAX: u64 = 60;

/// Runs every contract against every factory, as a test binary does, and returns its exit code.
///
/// `TASKPORT_CONTRACT_REPORT` names a file for the report as JSON. A process started by a case is a worker instead.
pub fn main(kind: &str, factories: Vec<Arc<dyn Factory>>) -> ExitCode {
    if let Some(code) = process::serve_if_asked(&factories) {
        return code;
    }
    let arguments = Arguments::from_args();
    let report = Arc::new(Mutex::new(Report::new(kind)));
    let mut trials = Vec::new();
    for factory in &factories {
        let (capability, version) = match describe(factory) {
            Ok(described) => described,
            Err(error) => return fail(&format!("{} cannot be opened: {error}", factory.label())),
        };
        report.lock().unwrap().version = version;
        for case in cases::all() {
            match case.needs.iter().find(|feature| !capability.supports(**feature)) {
                None => trials.push(trial(factory, case, &report)),
                Some(missing) => {
                    report.lock().unwrap().rule_out(factory.label(), case, *missing, &capability)
                }
            }
        }
        for feature in Feature::ALL.iter().filter(|feature| !capability.supports(**feature)) {
            trials.push(refused(factory, *feature, &report));
        }
        trials.push(covered(factory, &capability));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Err(error) = report.lock().unwrap().write() {
        return fail(&format!("the report cannot be written: {error}"));
    }
    conclusion.exit_code()
}

fn describe(factory: &Arc<dyn Factory>) -> Result<(Arc<Capability>, String), taskport_abstraction::Error> {
    runtime().block_on(async {
        let fixture = Fixture::open(Arc::clone(factory)).await?;
        let version = fixture.backend().health().await?.version;
        Ok((fixture.capability(), version))
    })
}

fn trial(factory: &Arc<dyn Factory>, case: Case, report: &Arc<Mutex<Report>>) -> Trial {
    let (factory, report) = (Arc::clone(factory), Arc::clone(report));
    Trial::test(format!("{}::{}", factory.label(), case.name), move || {
        let label = factory.label().to_owned();
        let done = run(factory, case.run);
        let verdict = if done.is_ok() { Verdict::Passed } else { Verdict::Failed };
        report.lock().unwrap().add(&label, case.name, case.needs, verdict, None);
        done
    })
}

fn refused(factory: &Arc<dyn Factory>, feature: Feature, report: &Arc<Mutex<Report>>) -> Trial {
    let (factory, report) = (Arc::clone(factory), Arc::clone(report));
    let name = format!("refusal::{}", feature.name());
    Trial::test(format!("{}::{name}", factory.label()), move || {
        let label = factory.label().to_owned();
        let done = run(factory, move |fixture| Box::pin(refusal::is_refused(fixture, feature)));
        let verdict = if done.is_ok() { Verdict::Refused } else { Verdict::Failed };
        report.lock().unwrap().add(&label, &name, &[feature], verdict, None);
        done
    })
}

/// A feature that is declared but exercised by no case would be a claim without a proof.
fn covered(factory: &Arc<dyn Factory>, capability: &Capability) -> Trial {
    let claimed: Vec<Feature> =
        Feature::ALL.iter().copied().filter(|feature| capability.supports(*feature)).collect();
    Trial::test(format!("{}::every_supported_feature_has_a_case", factory.label()), move || {
        let bare: Vec<&str> = claimed
            .iter()
            .filter(|feature| !cases::all().any(|case| case.needs.contains(feature)))
            .map(|feature| feature.name())
            .collect();
        if bare.is_empty() { Ok(()) } else { Err(format!("no case needs: {}", bare.join(", ")).into()) }
    })
}

/// Runs one case on a runtime of its own. A panic is caught here, so that the report hears of it.
fn run(factory: Arc<dyn Factory>, case: impl FnOnce(Fixture) -> Running) -> Result<(), Failed> {
    let runtime = runtime();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            let fixture = Fixture::open(factory).await.map_err(|error| error.to_string())?;
            let limit = Duration::from_secs(CASE_SECONDS_MAX);
            let done = tokio::time::timeout(limit, case(fixture)).await;
            done.map_err(|_| format!("stuck for {CASE_SECONDS_MAX} s"))
        })
    }));
    runtime.shutdown_background();
    outcome.unwrap_or_else(|panic| Err(panic_message(panic.as_ref()))).map_err(Failed::from)
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panicked").to_owned()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[expect(clippy::print_stderr, reason = "a test binary speaks on its streams")]
fn fail(message: &str) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::from(2)
}
