//! The real programs.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The root folder of the workspace.
///
/// # Panics
/// If this crate is not in a workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("e2e is in the workspace")
}

/// The folder with the programs of this workspace, built in the profile of the calling test.
///
/// # Panics
/// If they do not build.
pub fn programs() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let test = std::env::current_exe().expect("a test knows its program");
        // target/<profile>/deps/<test>
        let folder = test.ancestors().nth(2).expect("cargo's layout");
        let profile = match folder.file_name().and_then(OsStr::to_str) {
            Some("debug") | None => "dev",
            Some(name) => name,
        };
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "-p", "manager", "-p", "storage", "-p", "client", "--bins"])
            .args(["--profile", profile, "--target-dir"])
            .arg(folder.parent().expect("cargo's layout"))
            .current_dir(root())
            .status()
            .expect("cargo runs");
        assert!(status.success(), "the programs do not build");
        folder.to_owned()
    })
}

/// The path of a program.
pub fn program(name: &str) -> PathBuf {
    programs().join(name)
}

/// A command without this process's settings in its environment.
pub fn without_settings(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GTSTORE_") {
            command.env_remove(name);
        }
    }
    command
}

/// The client command for the cluster of a manager, without arguments yet. It gets no input and
/// none of this process's settings.
pub fn client_command(manager: SocketAddr) -> Command {
    let mut command = without_settings(program("client"));
    command.args(["--manager", &manager.to_string()]).stdin(Stdio::null());
    command
}
