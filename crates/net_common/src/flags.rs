//! Command-line flags that the programs of the workspace parse in the same way.
//!
//! A program parses with getopts, turns the matches into a plain struct of its own, checks that,
//! and only then touches the system. A mistake is a [`UsageError`] and exit code 2.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use cluster::ids::Address;
use getopts::{Matches, Options};
use log::LevelFilter;

use crate::auth::{Secret, SecretError};
use crate::{logging, output, server, signals};

/// Exit code for "ran and failed".
pub const FAILED: u8 = 1;

/// Exit code for "could not even start": bad arguments, a taken port, a taken name.
pub const REFUSED: u8 = 2;

/// A mistake in the arguments, worded for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// The reason a command line cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArgsError {
    /// A flag.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// The secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The help or the version cannot be printed.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
}

impl ArgsError {
    /// The exit code for this error.
    pub fn code(&self) -> u8 {
        match self {
            ArgsError::Usage(_) | ArgsError::Secret(_) => REFUSED,
            ArgsError::Output(_) => FAILED,
        }
    }
}

/// The result of parsing.
pub enum Parsed {
    /// Flags to run with.
    Run(Matches),
    /// `--help` or `--version` was asked for, and printed.
    Shown,
}

/// Adds `--help` and `--version`, parses, and answers those two.
///
/// # Errors
/// [`ArgsError`] for an unknown flag, a missing or doubled value, or where nothing can be shown.
pub fn parse(
    options: &mut Options,
    brief: &str,
    arguments: &[String],
) -> Result<Parsed, ArgsError> {
    options.optflag("h", "help", "show this help");
    options.optflag("", "version", "show the version");
    let matches = options.parse(arguments).map_err(|e| UsageError(e.to_string()))?;
    if matches.opt_present("help") {
        output::print(options.usage(brief))?;
        return Ok(Parsed::Shown);
    }
    if matches.opt_present("version") {
        output::print(format_args!("GT Store {}\n", env!("CARGO_PKG_VERSION")))?;
        return Ok(Parsed::Shown);
    }
    Ok(Parsed::Run(matches))
}

/// The arguments of this process.
///
/// # Errors
/// [`UsageError`] for one that is not UTF-8.
pub fn arguments() -> Result<Vec<String>, UsageError> {
    std::env::args_os()
        .skip(1)
        .map(|argument| {
            argument.into_string().map_err(|raw| UsageError(format!("{raw:?} is not UTF-8")))
        })
        .collect()
}

/// Refuses arguments that belong to no flag.
///
/// # Errors
/// [`UsageError`] that names the first.
pub fn no_free_arguments(matches: &Matches) -> Result<(), UsageError> {
    match matches.free.first() {
        None => Ok(()),
        Some(extra) => Err(UsageError(format!("{extra:?} belongs to no flag; see --help"))),
    }
}

/// The value of a flag: from the command line, else the environment, else `default`.
///
/// # Errors
/// [`UsageError`] where the value does not parse; it names the flag or variable.
pub fn value<T: FromStr<Err: Display>>(
    matches: &Matches,
    flag: &str,
    variable: Option<&str>,
    default: T,
) -> Result<T, UsageError> {
    Ok(given(matches, flag, variable)?.unwrap_or(default))
}

/// The value of a flag, or of its environment variable, if there is either.
///
/// # Errors
/// [`UsageError`] that names the flag or the variable.
pub fn given<T: FromStr<Err: Display>>(
    matches: &Matches,
    flag: &str,
    variable: Option<&str>,
) -> Result<Option<T>, UsageError> {
    let (source, text) = match matches.opt_str(flag) {
        Some(text) => (format!("--{flag}"), text),
        None => match variable.and_then(|v| Some((v, std::env::var(v).ok()?))) {
            Some((variable, text)) if !text.is_empty() => (variable.to_owned(), text),
            _ => return Ok(None),
        },
    };
    text.parse().map(Some).map_err(|e| UsageError(format!("{source} {text}: {e}")))
}

/// As [`given`], for a number with bounds.
///
/// # Errors
/// [`UsageError`] that names the flag and the bounds.
pub fn given_bounded<T: FromStr<Err: Display> + PartialOrd + Display>(
    matches: &Matches,
    flag: &str,
    variable: Option<&str>,
    least: T,
    most: T,
) -> Result<Option<T>, UsageError> {
    let given = given(matches, flag, variable)?;
    given.map(|value| bounded(flag, value, least, most)).transpose()
}

/// Holds a number against its bounds.
///
/// # Errors
/// [`UsageError`] that names the flag and the bounds.
pub fn bounded<T: PartialOrd + Display>(
    flag: &str,
    value: T,
    least: T,
    most: T,
) -> Result<T, UsageError> {
    if value < least || value > most {
        return Err(UsageError(format!("--{flag} {value}: it takes {least} to {most}")));
    }
    Ok(value)
}

/// Adds the flags that every server has.
pub fn add_server(options: &mut Options) {
    options.optopt(
        "",
        "bind",
        "listen on this host; beyond loopback a secret is needed [127.0.0.1]",
        "HOST",
    );
    options.optopt("", "max-connections", "connections served at once; more get busy [16384]", "N");
    options.optopt(
        "",
        "idle-timeout-ms",
        "close a connection that sends nothing for so long [600000]",
        "MS",
    );
    options.optopt(
        "",
        "frame-timeout-ms",
        "close a connection that stalls in mid-frame for so long [10000]",
        "MS",
    );
    add_common(options);
}

/// Reads the flags that every server has.
///
/// # Errors
/// [`UsageError`] for a value out of bounds.
pub fn server_limits(matches: &Matches) -> Result<server::Limits, UsageError> {
    let default = server::Limits::default();
    let connections = value(matches, "max-connections", None, default.connections)?;
    let ms = |flag, default: Duration| {
        let ms = value(matches, flag, None, default.as_millis() as u64)?;
        bounded(flag, ms, 10, 86_400_000).map(Duration::from_millis)
    };
    Ok(server::Limits {
        connections: bounded("max-connections", connections, 1, 1_000_000)?,
        idle: ms("idle-timeout-ms", default.idle)?,
        frame: ms("frame-timeout-ms", default.frame)?,
        payload: default.payload,
    })
}

/// Adds the flag with the manager's address.
pub fn add_manager(options: &mut Options) {
    let what = "where the manager is (GTSTORE_MANAGER_HOST, _PORT) [127.0.0.1:5000]";
    options.optopt("m", "manager", what, "HOST:PORT");
}

/// Reads `--manager`, or `GTSTORE_MANAGER_HOST` and `GTSTORE_MANAGER_PORT`.
///
/// # Errors
/// [`UsageError`] where that is no address.
pub fn manager(matches: &Matches) -> Result<Address, UsageError> {
    if let Some(text) = matches.opt_str("manager") {
        return text.parse().map_err(|e| UsageError(format!("--manager {text}: {e}")));
    }
    let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    let host = variable("GTSTORE_MANAGER_HOST").unwrap_or_else(|| "127.0.0.1".into());
    let port = variable("GTSTORE_MANAGER_PORT").unwrap_or_else(|| "5000".into());
    let wrong =
        |why: String| UsageError(format!("GTSTORE_MANAGER_HOST {host}, _PORT {port}: {why}"));
    let number = port.parse().map_err(|_| wrong("the port is not a number to 65535".into()))?;
    Address::new(&host, number).map_err(|e| wrong(e.to_string()))
}

/// Adds the flags that every program has.
pub fn add_common(options: &mut Options) {
    options.optopt("", "secret-file", "the cluster's shared secret (GTSTORE_SECRET_FILE)", "FILE");
    options.optopt("", "log-level", "error, warn, info, debug or trace", "LEVEL");
}

/// Reads `--secret-file` or `GTSTORE_SECRET_FILE`.
///
/// # Errors
/// [`SecretError`] where the file cannot be read or is too short.
pub fn secret(matches: &Matches) -> Result<Option<Secret>, SecretError> {
    let from_environment = || std::env::var("GTSTORE_SECRET_FILE").ok().filter(|f| !f.is_empty());
    match matches.opt_str("secret-file").or_else(from_environment) {
        None => Ok(None),
        Some(file) => Secret::from_file(&PathBuf::from(file)).map(Some),
    }
}

/// Reads `--log-level`.
///
/// # Errors
/// [`UsageError`] for a level that does not exist.
pub fn log_level(matches: &Matches, default: LevelFilter) -> Result<LevelFilter, UsageError> {
    match matches.opt_str("log-level") {
        None => Ok(default),
        Some(text) => text
            .parse()
            .map_err(|_| UsageError(format!("--log-level {text}: it takes {}", logging::LEVELS))),
    }
}

/// Runs a program's main function on a thread that logs as `name`, prints its error on standard
/// error and turns it into an exit code. A write beyond the file size limit fails instead of
/// killing the process.
pub fn main<E: Display + Send + 'static>(
    name: &str,
    run: impl FnOnce() -> Result<ExitCode, (u8, E)> + Send + 'static,
) -> ExitCode {
    if let Err(error) = signals::outlive_file_limits() {
        output::print_stderr(format_args!("{name}: {error}"));
        return ExitCode::from(FAILED);
    }
    let outcome = logging::spawn(name.to_owned(), run).map(|thread| thread.join());
    match outcome {
        Ok(Ok(Ok(code))) => code,
        Ok(Ok(Err((code, error)))) => {
            output::print_stderr(format_args!("{name}: {error}"));
            ExitCode::from(code)
        }
        // Only in debug builds, where panics unwind. The panic was already reported on standard
        // error.
        Ok(Err(_)) => ExitCode::from(FAILED),
        Err(error) => {
            output::print_stderr(format_args!("{name}: cannot start a thread: {error}"));
            ExitCode::from(FAILED)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Matches, ArgsError> {
        let mut options = Options::new();
        options.optopt("", "port", "", "");
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        match parse(&mut options, "", &arguments)? {
            Parsed::Run(matches) => Ok(matches),
            Parsed::Shown => panic!("nothing was to be shown"),
        }
    }

    #[test]
    fn values_defaults_and_mistakes() {
        let port = |m: &Matches| value(m, "port", None, 5000u16);
        assert_eq!(port(&parsed(&[]).unwrap()), Ok(5000));
        assert_eq!(port(&parsed(&["--port", "6"]).unwrap()), Ok(6));
        let error = port(&parsed(&["--port", "x"]).unwrap()).unwrap_err();
        assert!(error.to_string().starts_with("--port x:"), "{error}");
        assert!(parsed(&["--prot", "6"]).is_err());
        assert!(parsed(&["--port"]).is_err());
        assert!(no_free_arguments(&parsed(&["extra"]).unwrap()).is_err());
        assert!(bounded("rep", 65, 1, 64).is_err());
        assert_eq!(bounded("rep", 64, 1, 64), Ok(64));
    }
}
