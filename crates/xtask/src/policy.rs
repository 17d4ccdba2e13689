//! Checks the workspace's dependencies against `deny.toml`, without a network.
//!
//! `Cargo.lock` lists every package of any build on any system: none of them may be banned, and all
//! must have an allowed source. `cargo metadata` has the licences and the required compilers of
//! those that are built here. Advisories are not checked: they need a database that changes daily.

mod deny_file;
mod licence;

use std::error::Error;
use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use deny_file::DenyFile;

/// Runs all checks, and returns a summary. `cargo` and `rustc` are those programs, without
/// arguments.
///
/// # Errors
/// The violations, a line each; or the file or output that cannot be read.
pub fn check(cargo: &mut Command, rustc: &mut Command) -> Result<String, Box<dyn Error>> {
    let policy = DenyFile::read(&fs::read_to_string("deny.toml")?)?;
    let locked = locked(&fs::read_to_string("Cargo.lock")?);
    let packages = packages(cargo, &host(rustc)?)?;
    let wrong: Vec<String> = locked
        .iter()
        .filter_map(|package| against_lock(&policy, package))
        .chain(packages.iter().filter_map(|package| against_metadata(&policy, package)))
        .collect();
    if wrong.is_empty() {
        let (all, built) = (locked.len(), packages.len());
        return Ok(format!("{all} packages in Cargo.lock, {built} of them built here: all may be"));
    }
    Err(format!("against deny.toml:\n{}", wrong.join("\n")).into())
}

/// A package in `Cargo.lock`. One of the workspace has no source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Locked {
    name: String,
    source: Option<String>,
}

/// The packages of a lock file. Cargo writes it, one field a line.
fn locked(text: &str) -> Vec<Locked> {
    let mut packages: Vec<Locked> = Vec::new();
    for line in text.lines() {
        if line == "[[package]]" {
            packages.push(Locked::default());
        }
        let (Some(package), Some((key, value))) = (packages.last_mut(), line.split_once(" = "))
        else {
            continue;
        };
        let value = value.trim_matches('"').to_owned();
        match key {
            "name" => package.name = value,
            "source" => package.source = Some(value),
            _ => {}
        }
    }
    packages
}

fn against_lock(policy: &DenyFile, package: &Locked) -> Option<String> {
    let Locked { name, source } = package;
    if policy.banned.contains(name) {
        return Some(format!("{name} is banned"));
    }
    let source = source.as_ref()?;
    let is_known = |registry: &String| source.strip_prefix("registry+") == Some(registry);
    (!policy.registries.iter().any(is_known)).then(|| format!("{name} comes from {source}"))
}

/// A package that is built here, the workspace's own among them.
#[derive(Debug, Clone)]
struct Package {
    name: String,
    licence: Option<String>,
    /// The compiler that it needs.
    rust: Option<Version>,
    /// The version that the workspace requires.
    enough: Option<Version>,
}

/// Major, minor, patch of a compiler.
type Version = Vec<u32>;

fn against_metadata(policy: &DenyFile, package: &Package) -> Option<String> {
    let name = &package.name;
    let may = |licence: &str| policy.licences.iter().any(|allowed| allowed == licence);
    match package.licence.as_deref().map(|text| licence::is_met(text, may)) {
        Some(Ok(true)) => {}
        Some(Ok(false)) => return Some(format!("{name}: the licence {:?}", package.licence)),
        Some(Err(why)) => return Some(format!("{name}: {why}")),
        None => return Some(format!("{name} names no licence")),
    }
    let (rust, enough) = (package.rust.as_ref()?, package.enough.as_ref()?);
    (rust > enough).then(|| format!("{name} needs Rust {rust:?}, {enough:?} is to be enough"))
}

/// The packages that are built on this system. Cargo uses the network only for packages that were
/// never built here.
fn packages(cargo: &mut Command, host: &str) -> Result<Vec<Package>, Box<dyn Error>> {
    let args = ["metadata", "--format-version=1", "--locked", "--all-features"];
    let output = cargo
        .args(args)
        .args(["--filter-platform", host])
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()?
        .wait_with_output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata ended with {}", output.status).into());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    let text = |package: &Value, key: &str| package[key].as_str().map(str::to_owned);
    let is_own = |package: &&Value| package["source"].is_null();
    let enough = packages.iter().filter(is_own).filter_map(|p| version(&p["rust_version"])).min();
    let found = packages.iter().map(|package| Package {
        name: text(package, "name").unwrap_or_default(),
        licence: text(package, "license"),
        rust: version(&package["rust_version"]),
        enough: enough.clone(),
    });
    Ok(found.collect())
}

/// `"1.88"` and `"1.88.0"` are the same.
fn version(text: &Value) -> Option<Version> {
    let mut parts: Version =
        text.as_str()?.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    parts.resize(3, 0);
    Some(parts)
}

/// The name of this system, as cargo has it.
fn host(rustc: &mut Command) -> Result<String, Box<dyn Error>> {
    let output = rustc.arg("-vV").stdout(Stdio::piped()).spawn()?.wait_with_output()?;
    let text = String::from_utf8(output.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.ok_or("rustc does not print its host")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> DenyFile {
        DenyFile {
            licences: vec!["MIT".into()],
            banned: vec!["tokio".into()],
            registries: vec!["https://here".into()],
        }
    }

    #[test]
    fn the_lock_file_has_names_and_sources() {
        let text = "version = 4\n\n[[package]]\nname = \"ours\"\nversion = \"1.0.0\"\n\
                    dependencies = [\n \"theirs\",\n]\n\n\
                    [[package]]\nname = \"theirs\"\nsource = \"registry+https://here\"\n";
        let theirs = Some("registry+https://here".to_owned());
        let found = locked(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0], Locked { name: "ours".into(), source: None });
        assert_eq!(found[1], Locked { name: "theirs".into(), source: theirs });
    }

    #[test]
    fn banned_packages_and_foreign_sources_are_reported() {
        let package = |name: &str, source: Option<&str>| Locked {
            name: name.to_owned(),
            source: source.map(str::to_owned),
        };
        let found = |name, source| against_lock(&policy(), &package(name, source));
        assert_eq!(found("log", Some("registry+https://here")), None);
        assert_eq!(found("ours", None), None);
        assert_eq!(found("tokio", Some("registry+https://here")).unwrap(), "tokio is banned");
        let git = found("log", Some("git+https://here")).unwrap();
        assert_eq!(git, "log comes from git+https://here");
    }

    #[test]
    fn licences_and_compilers_are_held_against_the_policy() {
        let found = |licence: Option<&str>, rust: &str| {
            let package = Package {
                name: "it".into(),
                licence: licence.map(str::to_owned),
                rust: version(&rust.into()),
                enough: version(&"1.88".into()),
            };
            against_metadata(&policy(), &package)
        };
        assert_eq!(found(Some("MIT OR GPL-3.0"), "1.88.0"), None);
        assert_eq!(found(Some("MIT"), ""), None);
        assert!(found(Some("GPL-3.0"), "1.60").unwrap().contains("the licence"));
        assert!(found(None, "1.60").unwrap().contains("names no licence"));
        assert!(found(Some("MIT"), "1.88.1").unwrap().contains("needs Rust"));
        assert!(found(Some("MIT OR"), "1.60").unwrap().contains("MIT OR"));
    }

    #[test]
    fn the_policy_of_the_workspace_can_be_read() {
        let path = crate::workspace().join("deny.toml");
        let policy = DenyFile::read(&fs::read_to_string(path).unwrap()).unwrap();
        assert!(policy.banned.contains(&"tokio".to_owned()));
        assert!(policy.licences.contains(&"MIT".to_owned()));
        assert!(policy.registries.iter().all(|registry| registry.contains("crates.io")));
    }
}
