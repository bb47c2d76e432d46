//! Workers in processes of their own, to be killed, paused and asked to stop.

use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};

use crate::fixture::{Factory, Fixture, eventually, spec};
use crate::kit::Stage;

const LABEL: &str = "TASKPORT_SUITE_WORKER";
const SPACE: &str = "TASKPORT_SUITE_SPACE";

/// A worker of the default queue in a process of its own. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct WorkerProcess(Child);

impl WorkerProcess {
    /// Starts a worker with two slots.
    pub(crate) fn start(f: &Fixture) -> Self {
        let program = std::env::current_exe().unwrap();
        let child = Command::new(program)
            .env(LABEL, f.factory_label())
            .env(SPACE, f.space())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    /// Ends the process without a word.
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Holds the process still, as a machine that is suspended.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a held process go on.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks the process to stop, and returns how it did.
    pub(crate) async fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        eventually("the worker process ends", async || self.0.try_wait().unwrap().ok_or("running".to_owned()))
            .await
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Serves as a worker where a case started this process as one.
pub(crate) fn serve_if_asked(factories: &[Arc<dyn Factory>]) -> Option<ExitCode> {
    let label = std::env::var_os(LABEL)?;
    let space = std::env::var_os(SPACE)?;
    let factory = factories.iter().find(|factory| factory.label() == label.as_os_str())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let shutdown = taskport_worker::shutdown::signals().unwrap();
        let backend = factory.open(&space.to_string_lossy()).await.unwrap();
        let stage = Arc::new(Stage::default());
        let worker =
            backend.worker(spec(&format!("process-{}", std::process::id()), &["default"], 2)).unwrap();
        worker.run(stage.executor(), shutdown.handle()).await.unwrap();
        backend.close().await.unwrap();
    });
    Some(ExitCode::SUCCESS)
}
