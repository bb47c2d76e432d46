//! Building every participant. One that cannot be built is an error, never left out.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::process::{cargo, root, step};

/// The programs.
#[derive(Debug)]
pub(crate) struct Built {
    folder: PathBuf,
}

const RUST_PEERS: &[&str] = &["apalis", "effectum", "honker"];
const GO_PEERS: &[&str] = &["backlite", "river"];

impl Built {
    /// Builds what is missing or old into `folder/build`.
    ///
    /// # Errors
    /// Names the participant that cannot be built, and what has to be installed for it.
    pub(crate) fn all(folder: &Path) -> Result<Self> {
        let built = Self { folder: folder.join("build") };
        fs::create_dir_all(&built.folder)?;
        built.ours()?;
        for peer in RUST_PEERS {
            built.rust(peer)?;
        }
        for peer in GO_PEERS {
            built.go(peer)?;
        }
        built.python("huey")?;
        Ok(built)
    }

    /// Our side and the raw law.
    pub(crate) fn bench(&self) -> PathBuf {
        self.folder.join("ours/release/taskport-bench")
    }

    /// The API layer by itself.
    pub(crate) fn layer(&self) -> PathBuf {
        self.folder.join("ours/release/taskport-bench-layer")
    }

    /// The program of a peer, and its first argument where that is a script.
    pub(crate) fn peer(&self, name: &str) -> (PathBuf, Option<PathBuf>) {
        if RUST_PEERS.contains(&name) {
            (self.folder.join(format!("{name}/release/taskport-bench-{name}")), None)
        } else if GO_PEERS.contains(&name) {
            (self.folder.join(name), None)
        } else {
            (self.folder.join(name).join("bin/python"), Some(source(name).join("main.py")))
        }
    }

    fn ours(&self) -> Result<()> {
        let mut build = cargo(&["build", "--quiet", "--release", "--package", "taskport-benches"]);
        build.env("CARGO_TARGET_DIR", self.folder.join("ours"));
        done("our side", &mut build)
    }

    fn rust(&self, peer: &str) -> Result<()> {
        let mut build = cargo(&["build", "--quiet", "--release", "--locked"]);
        build.current_dir(source(peer)).env("CARGO_TARGET_DIR", self.folder.join(peer));
        done(peer, &mut build)
    }

    fn go(&self, peer: &str) -> Result<()> {
        needs("go", "version", peer, "apt-get install golang-go gcc")?;
        let mut build = Command::new("go");
        build.args(["build", "-mod=readonly", "-o"]).arg(self.folder.join(peer)).arg(".");
        // The SQLite library of both is C.
        build.current_dir(source(peer)).env("CGO_ENABLED", "1");
        done(peer, &mut build)
    }

    fn python(&self, peer: &str) -> Result<()> {
        let (requirements, home) = (source(peer).join("requirements.txt"), self.folder.join(peer));
        let installed = home.join("requirements.txt");
        let wanted = fs::read(&requirements)?;
        if fs::read(&installed).is_ok_and(|text| text == wanted) {
            return Ok(());
        }
        needs("python3", "--version", peer, "apt-get install python3 python3-venv")?;
        done(peer, Command::new("python3").args(["-m", "venv"]).arg(&home))?;
        let mut install = Command::new(home.join("bin/python"));
        install.args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&requirements);
        done(peer, &mut install)?;
        Ok(fs::write(installed, wanted)?)
    }
}

fn source(peer: &str) -> PathBuf {
    root().join("benches/peers").join(peer)
}

fn done(name: &str, command: &mut Command) -> Result<()> {
    if step(&format!("build {name}"), command)? {
        return Ok(());
    }
    bail!("{name} could not be built; see above")
}

fn needs(program: impl AsRef<OsStr>, version: &str, peer: &str, install: &str) -> Result<()> {
    let program = program.as_ref();
    let found = Command::new(program).arg(version).output().is_ok_and(|output| output.status.success());
    if found {
        return Ok(());
    }
    bail!("{peer} cannot be built without {}; install it with `{install}`", program.display())
}
