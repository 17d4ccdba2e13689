//! The one thing that the command is to do.

use std::path::PathBuf;

use cluster::ids::{Address, NodeId};
use cluster::membership::{AdminCommand, Reconfiguration};
use getopts::Matches;
use net_common::flags::{self, UsageError};

use super::change;

/// The command to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Store a value.
    Put {
        /// Under this key.
        key: String,
        /// This value; `None` reads it from standard input.
        value: Option<String>,
        /// Only if it has none.
        if_absent: bool,
        /// The time to live in milliseconds; `None`: it never expires.
        expire_ms: Option<u64>,
    },
    /// Add to the number that a key holds.
    Add {
        /// The key.
        key: String,
        /// How much.
        by: i64,
    },
    /// Show the remaining time of a value.
    TimeToLive(String),
    /// List the keys that begin with this.
    Scan(String),
    /// Fetch a value.
    Get {
        /// Of this key.
        key: String,
        /// Only its bytes, and nothing else.
        raw: bool,
    },
    /// Remove a key.
    Delete(String),
    /// Write all keys to this file; `-` is standard output.
    Dump(PathBuf),
    /// Put all keys of this file; `-` is standard input.
    Load(PathBuf),
    /// Show how the cluster is.
    Status {
        /// For programs.
        json: bool,
        /// Again and again.
        watch: bool,
        /// Set the exit code by the health level.
        check: bool,
    },
    /// Begin a planned change, or cancel the one under way.
    Order(AdminCommand),
    /// Show what a planned change would move.
    Plan {
        /// Which change.
        change: Reconfiguration,
        /// Even if it would have to be forced.
        force: bool,
        /// For programs.
        json: bool,
    },
    /// Wait until so many nodes serve and the cluster really answers.
    Wait(usize),
    /// Accept a node's data folder that is held back as a possible copy.
    AdoptFolder {
        /// Which node's.
        id: NodeId,
        /// Where the process listens that waits with it; `None` if only one does.
        at: Option<Address>,
        /// Without asking.
        yes: bool,
    },
    /// Give up what only nodes that are down hold.
    AcceptLoss {
        /// Without asking.
        yes: bool,
    },
}

/// The longest time to live of a value, in milliseconds: some three hundred years, in effect
/// forever.
const LONGEST_LIFE_MS: u64 = 10_000_000_000_000;

/// The flags of which each is a thing to do.
const ACTIONS: [&str; 22] = [
    "put",
    "put-if-absent",
    "incr",
    "ttl",
    "scan",
    "get",
    "del",
    "dump",
    "load",
    "status",
    "wait",
    "accept-loss",
    "adopt-folder",
    "leave",
    "weight",
    "rep",
    "heartbeat-ms",
    "missed",
    "limits",
    "min-copies",
    "cancel",
    "plan",
];

/// The flags that go with some of these, and with nothing else.
const OWNERS: [(&str, &[&str]); 10] = [
    ("val", &["put", "put-if-absent"]),
    ("expire-ms", &["put", "put-if-absent"]),
    ("by", &["incr"]),
    ("json", &["status", "plan"]),
    ("watch", &["status"]),
    ("check", &["status"]),
    ("raw", &["get"]),
    ("yes", &["accept-loss", "adopt-folder"]),
    ("at", &["adopt-folder"]),
    ("force", &["leave", "rep", "plan"]),
];

/// The one thing to do, with the flags that go with it.
pub(super) fn command(matches: &Matches) -> Result<Command, UsageError> {
    let action = action(matches)?;
    for (flag, owners) in OWNERS {
        if matches.opt_present(flag) && !owners.contains(&action) {
            let owners = owners.join(" and --");
            return Err(UsageError(format!("--{flag} goes with --{owners}")));
        }
    }
    let (json, force) = (matches.opt_present("json"), matches.opt_present("force"));
    let text = |flag| matches.opt_str(flag).unwrap_or_default();
    Ok(match action {
        "put" | "put-if-absent" => put(matches, action)?,
        "incr" => Command::Add { key: text("incr"), by: flags::value(matches, "by", None, 1)? },
        "ttl" => Command::TimeToLive(text("ttl")),
        "scan" => Command::Scan(text("scan")),
        "get" => Command::Get { key: text("get"), raw: matches.opt_present("raw") },
        "del" => Command::Delete(text("del")),
        "dump" => Command::Dump(file(matches, "dump")?),
        "load" => Command::Load(file(matches, "load")?),
        "status" => {
            let (watch, check) = (matches.opt_present("watch"), matches.opt_present("check"));
            if watch && check {
                return Err(UsageError("--watch and --check: one at a time".into()));
            }
            Command::Status { json, watch, check }
        }
        "cancel" => Command::Order(AdminCommand::Cancel),
        "plan" => {
            let [argument] = &matches.free[..] else {
                return Err(UsageError(change::PLAN_NEEDS.into()));
            };
            let change =
                change::with_missed(matches, change::reconfiguration(&text("plan"), argument)?)?;
            Command::Plan { change, force, json }
        }
        "leave" | "weight" | "rep" | "limits" | "min-copies" | "heartbeat-ms" | "missed" => {
            let change =
                change::with_missed(matches, change::reconfiguration(action, &text(action))?)?;
            Command::Order(AdminCommand::Reconfigure { change, force })
        }
        "wait" => {
            let nodes = flags::value(matches, "wait", None, 1)?;
            Command::Wait(flags::bounded("wait", nodes, 1, cluster::limits::MAX_MEMBERS)?)
        }
        "adopt-folder" => adopt_folder(matches)?,
        _ => Command::AcceptLoss { yes: matches.opt_present("yes") },
    })
}

/// The flag that selects the command.
fn action(matches: &Matches) -> Result<&'static str, UsageError> {
    let mut given: Vec<&'static str> =
        ACTIONS.into_iter().filter(|a| matches.opt_present(a)).collect();
    // `--missed` is a command of its own, and can be combined with the other term of leases.
    if let ["heartbeat-ms", "missed"] | ["missed", "plan"] = given[..] {
        given.retain(|action| *action != "missed");
    }
    let [action] = given[..] else {
        let why = match given.len() {
            0 => "nothing to do: give --put, --get, --del or --status; see --help".to_owned(),
            _ => format!("--{} and --{}: one at a time", given[0], given[1]),
        };
        return Err(UsageError(why));
    };
    Ok(action)
}

fn put(matches: &Matches, action: &str) -> Result<Command, UsageError> {
    let value = matches
        .opt_str("val")
        .ok_or_else(|| UsageError(format!("--{action} needs --val VALUE (or --val -)")))?;
    let expire_ms = matches.opt_present("expire-ms").then(|| {
        let ms = flags::value(matches, "expire-ms", None, 0)?;
        flags::bounded("expire-ms", ms, 1, LONGEST_LIFE_MS)
    });
    Ok(Command::Put {
        key: matches.opt_str(action).unwrap_or_default(),
        value: (value != "-").then_some(value),
        if_absent: action == "put-if-absent",
        expire_ms: expire_ms.transpose()?,
    })
}

fn adopt_folder(matches: &Matches) -> Result<Command, UsageError> {
    let bad = |flag: &str, text: &str, why: String| UsageError(format!("--{flag} {text}: {why}"));
    let name = matches.opt_str("adopt-folder").unwrap_or_default();
    let id = NodeId::new(&name).map_err(|e| bad("adopt-folder", &name, e.to_string()))?;
    let at = matches
        .opt_str("at")
        .map(|at| at.parse::<Address>().map_err(|e| bad("at", &at, e.to_string())));
    Ok(Command::AdoptFolder { id, at: at.transpose()?, yes: matches.opt_present("yes") })
}

/// The file that an action is about.
fn file(matches: &Matches, action: &str) -> Result<PathBuf, UsageError> {
    match matches.opt_str(action) {
        Some(name) if !name.is_empty() => Ok(name.into()),
        _ => Err(UsageError(format!("--{action} needs a FILE, or -"))),
    }
}
