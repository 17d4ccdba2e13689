//! The client command's command line.

use std::time::Duration;

use getopts::Options;
use log::LevelFilter;
use net_common::flags::{self, ArgsError, Parsed};

use crate::config::Config;

mod change;
mod command;

pub use command::Command;

/// The parsed command line.
#[derive(Debug)]
pub struct Args {
    /// The command to run.
    pub command: Command,
    /// How to reach the cluster.
    pub config: Config,
    /// The log level.
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
A change prints 'OK, ' and what it moves when it has begun; --status shows its progress.
Exit code 0: done; 1: not found, there already, or it failed; 2: bad arguments.
Of --status --check 0: healthy; 1: degraded, healing, or writes are refused;
2: unavailable; 3: the manager cannot be reached, or refuses.";

/// The flags.
fn options() -> Options {
    let mut options = Options::new();
    options
        .optopt("", "put", "store a value under this key", "KEY")
        .optopt("", "val", "the value; - reads it from standard input, every byte of it", "VALUE")
        .optopt("", "put-if-absent", "the same, if the key has none yet; atomic", "KEY")
        .optopt("", "expire-ms", "with a put: the value is gone after so long", "MS")
        .optopt("", "incr", "add to the integer of this key (0 if it has none); atomic", "KEY")
        .optopt("", "by", "with --incr: how much, also below 0 (--by=-5) [1]", "N")
        .optopt("", "ttl", "show the remaining time of this key's value", "KEY")
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
        .optflag("", "check", "with --status: set the exit code by the health level")
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
        .optflag("", "accept-loss", "give up what only nodes that are down hold")
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
    options
}

/// Reads the command line; `None` if it only asked for help.
///
/// # Errors
/// [`ArgsError`] with the first mistake.
pub fn parse(arguments: &[String]) -> Result<Option<Args>, ArgsError> {
    let mut options = options();
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
        command: command::command(&matches)?,
        config,
        log_level: flags::log_level(&matches, LevelFilter::Error)?,
    }))
}

#[cfg(test)]
mod tests {
    use cluster::ids::NodeId;
    use cluster::membership::{AdminCommand, Reconfiguration};

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
        let leave = Reconfiguration::Leave(NodeId::new("node3").unwrap());
        let order = |change, force| Command::Order(AdminCommand::Reconfigure { change, force });
        assert_eq!(args(&["--leave", "node3"]).unwrap(), order(leave.clone(), false));
        assert_eq!(
            args(&["--rep", "4", "--force"]).unwrap(),
            order(Reconfiguration::Copies(4), true)
        );
        assert_eq!(args(&["--cancel"]).unwrap(), Command::Order(AdminCommand::Cancel));
        let plan = Command::Plan { change: leave, force: false, json: true };
        assert_eq!(args(&["--plan", "leave", "node3", "--json"]).unwrap(), plan);
        let weight = Reconfiguration::Weight(NodeId::new("node2").unwrap(), 2);
        assert_eq!(args(&["--weight", "node2=2"]).unwrap(), order(weight, false));
        let terms = |heartbeat_ms, missed| Reconfiguration::Terms { heartbeat_ms, missed };
        let ordered = |words: &[&str]| args(words).unwrap();
        assert_eq!(ordered(&["--heartbeat-ms", "300"]), order(terms(Some(300), None), false));
        assert_eq!(ordered(&["--missed", "5"]), order(terms(None, Some(5)), false));
        let both = ordered(&["--heartbeat-ms", "300", "--missed", "5"]);
        assert_eq!(both, order(terms(Some(300), Some(5)), false));
        let plan = |change| Command::Plan { change, force: false, json: false };
        let words = ["--plan", "heartbeat-ms", "300", "--missed", "5"];
        assert_eq!(ordered(&words), plan(terms(Some(300), Some(5))));
        assert_eq!(ordered(&["--plan", "missed", "5"]), plan(terms(None, Some(5))));
        let limits = |key, value| order(Reconfiguration::Limits { key, value }, false);
        assert_eq!(args(&["--limits", "key=100,value=0"]).unwrap(), limits(Some(100), Some(0)));
        assert_eq!(args(&["--limits", "value=67108864"]).unwrap(), limits(None, Some(64 << 20)));
        assert_eq!(
            args(&["--min-copies", "2"]).unwrap(),
            order(Reconfiguration::MinCopies(2), false)
        );
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
