//! The client command's command line.

use std::path::PathBuf;
use std::time::Duration;

use cluster::ids::{Address, NodeId};
use cluster::lease::{HEARTBEATS_MS, MISSED};
use cluster::limits::{KEY_CEILING, MAX_COPIES, MAX_WEIGHT, VALUE_CEILING};
use cluster::membership::order::{Order, Wish};
use getopts::{Matches, Options};
use log::LevelFilter;
use net_common::flags::{self, ArgsError, Parsed, UsageError};

use crate::config::Config;

/// What the command is to do.
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
        /// For so many milliseconds; `None` for ever.
        expire_ms: Option<u64>,
    },
    /// Add to the number that a key holds.
    Add {
        /// The key.
        key: String,
        /// How much.
        by: i64,
    },
    /// Show how long a value lives.
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
        /// With an exit code that says how bad it is.
        check: bool,
    },
    /// Begin a planned change, or cancel the one under way.
    Order(Order),
    /// Show what a planned change would move.
    Plan {
        /// Which change.
        wish: Wish,
        /// Even if it would have to be forced.
        force: bool,
        /// For programs.
        json: bool,
    },
    /// Wait until so many nodes serve and the cluster really answers.
    Wait(usize),
    /// Go on with a node's data folder that is held back, since it is or may be a copy.
    AdoptFolder {
        /// Which node's.
        id: NodeId,
        /// Where the process listens that waits with it; `None` if only one does.
        at: Option<Address>,
        /// Without asking.
        yes: bool,
    },
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
Usage: client --put KEY --val VALUE [--expire-ms MS] | --get KEY [--raw] | --del KEY
       client --put-if-absent KEY --val VALUE [--expire-ms MS]
       client --incr KEY [--by N] | --ttl KEY | --scan PREFIX
       client --dump FILE | --load FILE
       client --status [--json] [--watch | --check]
       client --leave NODE | --weight NODE=N | --rep K | --cancel
       client --limits key=BYTES,value=BYTES | --min-copies N
       client --heartbeat-ms MS [--missed N] | --missed N
       client --plan leave NODE | --plan weight NODE=N | --plan rep K
       client --plan limits key=BYTES,value=BYTES | --plan min-copies N
       client --plan heartbeat-ms MS [--missed N] | --plan missed N

Stores and fetches values, shows how the cluster is, and changes it while it serves.
Prints 'OK, node3' for a put or delete and 'key1, value1, node3' for a get;
'key1, 7' for an increment, 'key1, 59000 ms' or 'key1, for ever' for a time to live,
and each key in a line of its own for a scan. A dump or a load prints how much it was;
a file is replaced only by a complete dump, and a bad one is not loaded at all.
A change prints 'OK, ' and what it moves when it has begun; --status tells how far it is.
Exit code 0: done; 1: not found, there already, or it failed; 2: bad arguments.
Of --status --check 0: healthy; 1: degraded, healing, or writes are refused;
2: unavailable; 3: the manager cannot be reached, or refuses.";

/// Reads the command line; `None` if it only asked for help.
///
/// # Errors
/// [`ArgsError`] with the first mistake.
pub fn parse(arguments: &[String]) -> Result<Option<Args>, ArgsError> {
    let mut options = Options::new();
    options
        .optopt("", "put", "store a value under this key", "KEY")
        .optopt("", "val", "the value; - reads it from standard input, every byte of it", "VALUE")
        .optopt("", "put-if-absent", "the same, if the key has none yet; atomic", "KEY")
        .optopt("", "expire-ms", "with a put: the value is gone after so long", "MS")
        .optopt("", "incr", "add to the integer of this key (0 if it has none); atomic", "KEY")
        .optopt("", "by", "with --incr: how much, also below 0 (--by=-5) [1]", "N")
        .optopt("", "ttl", "show how long the value of this key lives yet", "KEY")
        .optopt("", "scan", "list the keys that begin with this; '' for all", "PREFIX")
        .optopt("", "get", "fetch the value of this key", "KEY")
        .optflag("", "raw", "with --get: the value alone, every byte as it is")
        .optopt("", "del", "remove this key", "KEY")
        .optopt(
            "",
            "dump",
            "write all keys to this file, while the cluster serves; - for stdout",
            "FILE",
        )
        .optopt("", "load", "put all keys of this dump, others stay; - for stdin", "FILE")
        .optflag("", "status", "show nodes and health")
        .optflag("", "json", "with --status and --plan: as JSON")
        .optflag("", "watch", "with --status: again every second")
        .optflag("", "check", "with --status: an exit code that says how bad it is")
        .optopt("", "leave", "let this node leave: others take over what it keeps", "NODE")
        .optopt("", "weight", "give this node another share of the keys", "NODE=N")
        .optopt("", "rep", "keep so many copies of each key", "K")
        .optopt("", "heartbeat-ms", "have nodes send a heartbeat every MS", "MS")
        .optopt("", "missed", "let a node miss N heartbeats before it is out", "N")
        .optopt("", "limits", "the longest keys and values, or one of them", "key=BYTES,value=BYTES")
        .optopt("", "min-copies", "refuse writes that fewer synced copies would hold", "N")
        .optflag("", "cancel", "cancel the change that is under way")
        .optopt(
            "",
            "plan",
            "show what a change would do: leave, weight, rep, limits, min-copies, heartbeat-ms or missed, and its argument",
            "WHAT",
        )
        .optflag("", "force", "with --leave, --rep and --plan: even with fewer nodes than copies")
        .optopt("", "wait", "wait until N nodes serve and answer, --deadline-ms at most", "N")
        .optflag("", "accept-loss", "go on without what only nodes that are down have held")
        .optopt(
            "",
            "adopt-folder",
            "go on with the data folder of this node that is a copy, or may be",
            "NODE",
        )
        .optopt("", "at", "with --adopt-folder: where the node listens that has it", "HOST:PORT")
        .optflag("", "yes", "with --accept-loss and --adopt-folder: without asking")
        .optopt("", "deadline-ms", "how long to try before giving up [10000]", "MS");
    flags::add_manager(&mut options);
    flags::add_common(&mut options);
    let Parsed::Run(matches) = flags::parse(&mut options, BRIEF, arguments)? else {
        return Ok(None);
    };
    if !matches.opt_present("plan") {
        flags::no_free_arguments(&matches)?;
    }
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

/// The longest life that a value can be given, in milliseconds: some three hundred years. Whoever wants more
/// wants it for ever.
const LONGEST_LIFE_MS: u64 = 10_000_000_000_000;

/// The one thing to do, and the flags that go with it and with nothing else.
fn command(matches: &Matches) -> Result<Command, UsageError> {
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
    let mut given: Vec<&str> = ACTIONS.into_iter().filter(|a| matches.opt_present(a)).collect();
    // How many may be missed is an order of its own, and goes with the other half of what a lease is.
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
    for (flag, owners) in OWNERS {
        if matches.opt_present(flag) && !owners.contains(&action) {
            let owners = owners.join(" and --");
            return Err(UsageError(format!("--{flag} goes with --{owners}")));
        }
    }
    let (json, force) = (matches.opt_present("json"), matches.opt_present("force"));
    let text = |flag| matches.opt_str(flag).unwrap_or_default();
    Ok(match action {
        "put" | "put-if-absent" => {
            let value = matches
                .opt_str("val")
                .ok_or_else(|| UsageError(format!("--{action} needs --val VALUE (or --val -)")))?;
            let expire_ms = matches.opt_present("expire-ms").then(|| {
                let ms = flags::value(matches, "expire-ms", None, 0)?;
                flags::bounded("expire-ms", ms, 1, LONGEST_LIFE_MS)
            });
            Command::Put {
                key: text(action),
                value: (value != "-").then_some(value),
                if_absent: action == "put-if-absent",
                expire_ms: expire_ms.transpose()?,
            }
        }
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
        "cancel" => Command::Order(Order::Cancel),
        "plan" => {
            let [argument] = &matches.free[..] else {
                return Err(UsageError(PLAN_NEEDS.into()));
            };
            let wish = with_missed(matches, wish(&text("plan"), argument)?)?;
            Command::Plan { wish, force, json }
        }
        "leave" | "weight" | "rep" | "limits" | "min-copies" | "heartbeat-ms" | "missed" => {
            let wish = with_missed(matches, wish(action, &text(action))?)?;
            Command::Order(Order::Change { wish, force })
        }
        "wait" => {
            let nodes = flags::value(matches, "wait", None, 1)?;
            Command::Wait(flags::bounded("wait", nodes, 1, cluster::limits::MAX_MEMBERS)?)
        }
        "adopt-folder" => {
            let bad =
                |flag: &str, text: &str, why: String| UsageError(format!("--{flag} {text}: {why}"));
            let name = text("adopt-folder");
            let id = NodeId::new(&name).map_err(|e| bad("adopt-folder", &name, e.to_string()))?;
            let at = matches
                .opt_str("at")
                .map(|at| at.parse::<Address>().map_err(|e| bad("at", &at, e.to_string())));
            Command::AdoptFolder { id, at: at.transpose()?, yes: matches.opt_present("yes") }
        }
        _ => Command::AcceptLoss { yes: matches.opt_present("yes") },
    })
}

/// The file that an action is about.
fn file(matches: &Matches, action: &str) -> Result<PathBuf, UsageError> {
    match matches.opt_str(action) {
        Some(name) if !name.is_empty() => Ok(name.into()),
        _ => Err(UsageError(format!("--{action} needs a FILE, or -"))),
    }
}

const PLAN_NEEDS: &str = "--plan takes leave NODE, weight NODE=N, rep K, limits key=BYTES,value=BYTES, min-copies N, heartbeat-ms MS or missed N";

/// What leases are to be, with the other half of it if that is given too.
fn with_missed(matches: &Matches, wish: Wish) -> Result<Wish, UsageError> {
    let missed = flags::given_bounded(matches, "missed", None, *MISSED.start(), *MISSED.end())?;
    match wish {
        Wish::Terms { heartbeat_ms, missed: None } => Ok(Wish::Terms { heartbeat_ms, missed }),
        wish if missed.is_none() || matches!(wish, Wish::Terms { heartbeat_ms: None, .. }) => {
            Ok(wish)
        }
        _ => Err(UsageError("--missed goes with --heartbeat-ms".into())),
    }
}

/// A planned change by its name and its argument.
fn wish(what: &str, argument: &str) -> Result<Wish, UsageError> {
    let bad = |why: String| UsageError(format!("--{what} {argument}: {why}"));
    let node = |name: &str| NodeId::new(name).map_err(|e| bad(e.to_string()));
    match what {
        "leave" => Ok(Wish::Leave(node(argument)?)),
        "weight" => {
            let (name, weight) =
                argument.split_once('=').ok_or_else(|| bad("it takes NODE=N".into()))?;
            let weight = weight.parse().ok().filter(|w| (1..=MAX_WEIGHT).contains(w));
            let weight = weight.ok_or_else(|| bad(format!("a weight is 1 to {MAX_WEIGHT}")))?;
            Ok(Wish::Weight(node(name)?, weight))
        }
        "rep" => {
            let copies = argument.parse().ok().filter(|k| (1..=MAX_COPIES).contains(k));
            copies.map(Wish::Copies).ok_or_else(|| bad(format!("it takes 1 to {MAX_COPIES}")))
        }
        "heartbeat-ms" => {
            let heartbeat_ms = argument.parse().ok().filter(|ms| HEARTBEATS_MS.contains(ms));
            let (least, most) = (HEARTBEATS_MS.start(), HEARTBEATS_MS.end());
            let heartbeat_ms =
                heartbeat_ms.ok_or_else(|| bad(format!("it takes {least} to {most}")))?;
            Ok(Wish::Terms { heartbeat_ms: Some(heartbeat_ms), missed: None })
        }
        "missed" => {
            let missed = argument.parse().ok().filter(|missed| MISSED.contains(missed));
            let (least, most) = (MISSED.start(), MISSED.end());
            let missed = missed.ok_or_else(|| bad(format!("it takes {least} to {most}")))?;
            Ok(Wish::Terms { heartbeat_ms: None, missed: Some(missed) })
        }
        "min-copies" => {
            let copies = argument.parse().ok().filter(|n| (1..=MAX_COPIES).contains(n));
            copies.map(Wish::MinCopies).ok_or_else(|| bad(format!("it takes 1 to {MAX_COPIES}")))
        }
        "limits" => limits(argument).map_err(bad),
        _ => Err(UsageError(PLAN_NEEDS.into())),
    }
}

/// `key=BYTES,value=BYTES`, or one of them.
fn limits(argument: &str) -> Result<Wish, String> {
    let (mut key, mut value) = (None, None);
    for part in argument.split(',') {
        let (place, least, most) = match part.split_once('=').map(|(name, _)| name) {
            Some("key") if key.is_none() => (&mut key, 1, KEY_CEILING),
            Some("value") if value.is_none() => (&mut value, 0, VALUE_CEILING),
            _ => return Err("it takes key=BYTES, value=BYTES, or both with a comma".into()),
        };
        let bytes = part.split_once('=').and_then(|(_, bytes)| bytes.parse().ok());
        let bytes = bytes.filter(|bytes| (least..=most).contains(bytes));
        *place = Some(bytes.ok_or_else(|| format!("{part}: it takes {least} to {most}"))?);
    }
    Ok(Wish::Limits { key, value })
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
            if_absent: false,
            expire_ms: None,
        };
        assert_eq!(args(&["--put", "key1", "--val", "value1"]).unwrap(), put(Some("value1")));
        assert_eq!(args(&["--put", "key1", "--val", "-"]).unwrap(), put(None));
        let words = ["--put-if-absent", "key1", "--val", "-", "--expire-ms", "500"];
        assert_eq!(
            args(&words).unwrap(),
            Command::Put { key: "key1".into(), value: None, if_absent: true, expire_ms: Some(500) }
        );
        let add = |by| Command::Add { key: "key1".into(), by };
        assert_eq!(args(&["--incr", "key1"]).unwrap(), add(1));
        assert_eq!(args(&["--incr", "key1", "--by=-5"]).unwrap(), add(-5));
        assert_eq!(args(&["--ttl", "key1"]).unwrap(), Command::TimeToLive("key1".into()));
        assert_eq!(args(&["--scan", ""]).unwrap(), Command::Scan(String::new()));
        let get = |raw| Command::Get { key: "key1".into(), raw };
        assert_eq!(args(&["--get", "key1"]).unwrap(), get(false));
        assert_eq!(args(&["--get", "key1", "--raw"]).unwrap(), get(true));
        assert_eq!(args(&["--del", "key1"]).unwrap(), Command::Delete("key1".into()));
        assert_eq!(args(&["--dump", "a/b"]).unwrap(), Command::Dump("a/b".into()));
        assert_eq!(args(&["--load", "-"]).unwrap(), Command::Load("-".into()));
        let status = |json, check| Command::Status { json, watch: false, check };
        assert_eq!(args(&["--status", "--json"]).unwrap(), status(true, false));
        assert_eq!(args(&["--status", "--check"]).unwrap(), status(false, true));
    }

    #[test]
    fn changes() {
        let leave = Wish::Leave(NodeId::new("node3").unwrap());
        let order = |wish, force| Command::Order(Order::Change { wish, force });
        assert_eq!(args(&["--leave", "node3"]).unwrap(), order(leave.clone(), false));
        assert_eq!(args(&["--rep", "4", "--force"]).unwrap(), order(Wish::Copies(4), true));
        assert_eq!(args(&["--cancel"]).unwrap(), Command::Order(Order::Cancel));
        let plan = Command::Plan { wish: leave, force: false, json: true };
        assert_eq!(args(&["--plan", "leave", "node3", "--json"]).unwrap(), plan);
        let weight = Wish::Weight(NodeId::new("node2").unwrap(), 2);
        assert_eq!(args(&["--weight", "node2=2"]).unwrap(), order(weight, false));
        let terms = |heartbeat_ms, missed| Wish::Terms { heartbeat_ms, missed };
        let ordered = |words: &[&str]| args(words).unwrap();
        assert_eq!(ordered(&["--heartbeat-ms", "300"]), order(terms(Some(300), None), false));
        assert_eq!(ordered(&["--missed", "5"]), order(terms(None, Some(5)), false));
        let both = ordered(&["--heartbeat-ms", "300", "--missed", "5"]);
        assert_eq!(both, order(terms(Some(300), Some(5)), false));
        let plan = |wish| Command::Plan { wish, force: false, json: false };
        let words = ["--plan", "heartbeat-ms", "300", "--missed", "5"];
        assert_eq!(ordered(&words), plan(terms(Some(300), Some(5))));
        assert_eq!(ordered(&["--plan", "missed", "5"]), plan(terms(None, Some(5))));
        let limits = |key, value| order(Wish::Limits { key, value }, false);
        assert_eq!(args(&["--limits", "key=100,value=0"]).unwrap(), limits(Some(100), Some(0)));
        assert_eq!(args(&["--limits", "value=67108864"]).unwrap(), limits(None, Some(64 << 20)));
        assert_eq!(args(&["--min-copies", "2"]).unwrap(), order(Wish::MinCopies(2), false));
    }

    #[test]
    fn mistakes_are_named() {
        for (words, want) in [
            (&[][..], "nothing to do"),
            (&["--put", "k"], "--put needs --val"),
            (&["--get", "k", "--del", "k"], "--get and --del: one at a time"),
            (&["--put-if-absent", "k"], "--put-if-absent needs --val"),
            (&["--get", "k", "--val", "v"], "--val goes with --put"),
            (&["--get", "k", "--expire-ms", "5"], "--expire-ms goes with --put and"),
            (&["--put", "k", "--val", "v", "--expire-ms", "0"], "--expire-ms 0: "),
            (&["--ttl", "k", "--by", "5"], "--by goes with --incr"),
            (&["--incr", "k", "--by", "x"], "--by x: "),
            (&["--status", "--check", "--watch"], "--watch and --check: one at a time"),
            (&["--ttl", "k", "--raw"], "--raw goes with --get"),
            (&["--leave", "no,de"], "--leave no,de: ',' is not allowed"),
            (&["--weight", "node2"], "--weight node2: it takes NODE=N"),
            (&["--weight", "node2=0"], "--weight node2=0: a weight is 1 to 1000"),
            (&["--rep", "65"], "--rep 65: it takes 1 to 64"),
            (&["--limits", "7"], "--limits 7: it takes key=BYTES, value=BYTES"),
            (&["--limits", "key=7,key=8"], "--limits key=7,key=8: it takes key=BYTES"),
            (&["--limits", "key=1025"], "--limits key=1025: key=1025: it takes 1 to 1024"),
            (&["--min-copies", "0"], "--min-copies 0: it takes 1 to 64"),
            (&["--dump", ""], "--dump needs a FILE, or -"),
            (&["--load"], "Argument to option 'load' missing"),
            (&["--dump", "f", "--load", "f"], "--dump and --load: one at a time"),
            (&["--plan", "leave"], "--plan takes leave NODE"),
            (&["--plan", "cancel", "x"], "--plan takes leave NODE"),
            (&["--heartbeat-ms", "9"], "--heartbeat-ms 9: it takes 10 to 3600000"),
            (&["--missed", "0"], "--missed 0: it takes 1 to 1000"),
            (&["--plan", "heartbeat-ms", "x"], "--heartbeat-ms x: it takes 10 to 3600000"),
            (&["--plan", "rep", "2", "--missed", "5"], "--missed goes with --heartbeat-ms"),
            (&["--rep", "2", "--missed", "5"], "--rep and --missed: one at a time"),
            (&["--weight", "node2=2", "--force"], "--force goes with --leave and --rep and --plan"),
            (&["--get", "k", "--at", "h:1"], "--at goes with --adopt-folder"),
            (&["--adopt-folder", "node1", "--at", "h"], "--at h: "),
            (&["--get", "k", "extra"], "\"extra\" belongs to no flag"),
            (&["--get", "k", "--manager", "x"], "--manager x:"),
        ] {
            let error = args(words).expect_err(&format!("{words:?}")).to_string();
            assert!(error.starts_with(want), "{words:?}: {error}");
        }
    }
}
