//! The client command's command line.

use std::time::Duration;

use getopts::{Matches, Options};
use log::LevelFilter;
use net_common::flags::{self, ArgsError, Parsed, UsageError};

use crate::Config;

/// What the command is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Store a value.
    Put {
        /// Under this key.
        key: String,
        /// This value; `None` reads it from standard input.
        value: Option<String>,
    },
    /// Fetch a value.
    Get(String),
    /// Remove a key.
    Delete(String),
    /// Show how the cluster is.
    Status {
        /// For programs.
        json: bool,
    },
    /// Wait until so many nodes serve and the cluster really answers.
    Wait(usize),
    /// Go on without what only nodes that are down have held.
    AcceptLoss {
        /// Without asking.
        yes: bool,
    },
}

/// What the command line says.
#[derive(Debug)]
pub struct Args {
    /// What to do.
    pub command: Command,
    /// How to reach the cluster.
    pub config: Config,
    /// What to log.
    pub log_level: LevelFilter,
}

const BRIEF: &str = "\
Usage: client --put KEY --val VALUE | --get KEY | --del KEY | --status [--json]

Stores and fetches values, and shows how the cluster is.
Prints 'OK, node3' for a put or delete and 'key1, value1, node3' for a get.
Exit code 0: done; 1: not found, or it failed; 2: bad arguments.";

/// Reads the command line; `None` if it only asked for help.
///
/// # Errors
/// [`ArgsError`] with the first mistake.
pub fn parse(arguments: &[String]) -> Result<Option<Args>, ArgsError> {
    let mut options = Options::new();
    options
        .optopt("", "put", "store a value under this key", "KEY")
        .optopt("", "val", "the value; - reads it from standard input, every byte of it", "VALUE")
        .optopt("", "get", "fetch the value of this key", "KEY")
        .optopt("", "del", "remove this key", "KEY")
        .optflag("", "status", "show nodes and health")
        .optflag("", "json", "with --status: as JSON")
        .optopt("", "wait", "wait until N nodes serve and answer, --deadline-ms at most", "N")
        .optflag("", "accept-loss", "go on without what only nodes that are down have held")
        .optflag("", "yes", "with --accept-loss: without asking")
        .optopt("", "deadline-ms", "how long to try before giving up [10000]", "MS");
    flags::add_manager(&mut options);
    flags::add_common(&mut options);
    let Parsed::Run(matches) = flags::parse(&mut options, BRIEF, arguments)? else {
        return Ok(None);
    };
    flags::no_free_arguments(&matches)?;
    let deadline = flags::value(&matches, "deadline-ms", None, 10_000)?;
    let deadline = flags::bounded("deadline-ms", deadline, 1, 3_600_000)?;
    let mut config = Config::new(flags::manager(&matches)?);
    config.deadline = Duration::from_millis(deadline);
    config.patience = config.patience.min(config.deadline);
    config.secret = flags::secret(&matches)?;
    Ok(Some(Args {
        command: command(&matches)?,
        config,
        log_level: flags::log_level(&matches, LevelFilter::Error)?,
    }))
}

/// The one thing to do, and the flags that go with it and with nothing else.
fn command(matches: &Matches) -> Result<Command, UsageError> {
    const ACTIONS: [&str; 6] = ["put", "get", "del", "status", "wait", "accept-loss"];
    let given: Vec<&str> = ACTIONS.into_iter().filter(|a| matches.opt_present(a)).collect();
    let [action] = given[..] else {
        let why = match given.len() {
            0 => "nothing to do: give --put, --get, --del or --status; see --help".to_owned(),
            _ => format!("--{} and --{}: one at a time", given[0], given[1]),
        };
        return Err(UsageError(why));
    };
    for (flag, owner) in [("val", "put"), ("json", "status"), ("yes", "accept-loss")] {
        if matches.opt_present(flag) && action != owner {
            return Err(UsageError(format!("--{flag} goes with --{owner}")));
        }
    }
    let text = |flag| matches.opt_str(flag).unwrap_or_default();
    Ok(match action {
        "put" => {
            let value = matches
                .opt_str("val")
                .ok_or_else(|| UsageError("--put needs --val VALUE (or --val -)".into()))?;
            Command::Put { key: text("put"), value: (value != "-").then_some(value) }
        }
        "get" => Command::Get(text("get")),
        "del" => Command::Delete(text("del")),
        "status" => Command::Status { json: matches.opt_present("json") },
        "wait" => {
            let nodes = flags::value(matches, "wait", None, 1)?;
            Command::Wait(flags::bounded("wait", nodes, 1, cluster::limits::MAX_MEMBERS)?)
        }
        _ => Command::AcceptLoss { yes: matches.opt_present("yes") },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> Result<Command, ArgsError> {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        parse(&words).map(|args| args.expect("no help was asked for").command)
    }

    #[test]
    fn commands() {
        let put = |value: Option<&str>| Command::Put {
            key: "key1".into(),
            value: value.map(str::to_owned),
        };
        assert_eq!(args(&["--put", "key1", "--val", "value1"]).unwrap(), put(Some("value1")));
        assert_eq!(args(&["--put", "key1", "--val", "-"]).unwrap(), put(None));
        assert_eq!(args(&["--get", "key1"]).unwrap(), Command::Get("key1".into()));
        assert_eq!(args(&["--del", "key1"]).unwrap(), Command::Delete("key1".into()));
        assert_eq!(args(&["--status", "--json"]).unwrap(), Command::Status { json: true });
    }

    #[test]
    fn mistakes_are_named() {
        for (words, want) in [
            (&[][..], "nothing to do"),
            (&["--put", "k"], "--put needs --val"),
            (&["--get", "k", "--del", "k"], "--get and --del: one at a time"),
            (&["--get", "k", "--val", "v"], "--val goes with --put"),
            (&["--get", "k", "extra"], "\"extra\" belongs to no flag"),
            (&["--get", "k", "--manager", "x"], "--manager x:"),
        ] {
            let error = args(words).expect_err(&format!("{words:?}")).to_string();
            assert!(error.starts_with(want), "{words:?}: {error}");
        }
    }
}
