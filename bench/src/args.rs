//! The bench's command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use client::Config;
use getopts::{Matches, Options};
use log::LevelFilter;
use net_common::flags::{self, ArgsError, Parsed, UsageError};

use crate::chaos;
use crate::elastic;
use crate::load;
use crate::report::Mode;
use crate::runner::Drive;
use crate::scenario::Scenario;
use crate::throughput;
use crate::workload::{MAX_KEY_BYTES, MAX_KEYS};

/// What the bench is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Measure the running cluster's throughput.
    Throughput {
        /// What is measured.
        settings: throughput::Settings,
        /// Keep the rows of earlier runs, of clusters with another K.
        append: bool,
    },
    /// Show and chart all throughput rows of the result folder.
    Report,
    /// Insert keys and count them on each node.
    Load(load::Settings),
    /// Act out a scenario and check every answer.
    Scenario {
        /// Which one.
        scenario: Scenario,
        /// Who dies, where the scenario leaves a choice.
        seed: u64,
        /// Where the processes of the service are listed.
        pids: PathBuf,
    },
    /// Measure bare round trips for so long.
    Floor(Duration),
    /// Stretch a cluster of its own under full load, and check every answer.
    Elastic(elastic::Settings),
    /// Make faults in a cluster of its own, and check every answer.
    Chaos(chaos::Settings),
    /// Check the history in this file.
    Check(PathBuf),
}

/// What the command line says.
#[derive(Debug)]
pub struct Args {
    /// What to do.
    pub command: Command,
    /// How to reach the cluster.
    pub config: Config,
    /// Where results go.
    pub out: PathBuf,
    /// What to log.
    pub log_level: LevelFilter,
}

const BRIEF: &str = "\
Usage: bench COMMAND [flags]

Drives a running cluster (chaos and elastic: one of their own), checks every answer, and measures.

Commands:
    throughput          operations a second, sequential and saturated
    report              table and charts of all throughput rows in --out
    load                how evenly inserted keys are spread over the nodes
    scenario NAME       single, test1, test2, test3 or test4
    elastic             nodes die, come, leave and change weight under full load
    floor               bare loopback round trips a second, without a cluster
    chaos               kill, stop and cut off processes, and change the cluster meanwhile
    check FILE          is this history, saved by chaos --history, linearizable?

Exit code 0: done, all answers right; 1: an answer was wrong, or it failed; 2: bad arguments.";

/// Which commands a flag goes with.
const OWNERS: [(&str, &[&str]); 21] = [
    ("ops", &["throughput"]),
    ("mode", &["throughput"]),
    ("keys", &["throughput", "elastic"]),
    ("key-len", &["elastic"]),
    ("value-len", &["throughput", "elastic"]),
    ("warmup", &["throughput"]),
    ("append", &["throughput"]),
    ("inserts", &["load"]),
    ("threads", &["throughput", "load", "elastic"]),
    ("batch", &["throughput", "load", "elastic"]),
    ("seed", &["throughput", "scenario", "elastic", "chaos"]),
    ("pids", &["scenario"]),
    ("seconds", &["floor", "chaos"]),
    ("out", &["throughput", "report", "load", "elastic", "chaos"]),
    ("nodes", &["elastic", "chaos"]),
    ("rep", &["elastic", "chaos"]),
    ("events", &["elastic"]),
    ("heartbeat-ms", &["chaos"]),
    ("changes", &["chaos"]),
    ("history", &["chaos"]),
    ("bin", &["elastic", "chaos"]),
];

/// Most operations of one run: a day's worth, and far from any overflow.
const MAX_OPS: u64 = 100_000_000_000;

/// Most client threads. Each takes a connection to every node.
const MAX_THREADS: u32 = 1024;

/// Most operations in a batch: the client sends no more in one frame.
const MAX_BATCH: u32 = 4096;

/// Longest value that any cluster takes.
const MAX_VALUE: usize = cluster::limits::VALUE_CEILING;

/// Reads the command line; `None` if it only asked for help.
///
/// # Errors
/// [`ArgsError`] with the first mistake.
pub fn parse(arguments: &[String]) -> Result<Option<Args>, ArgsError> {
    let Parsed::Run(matches) = flags::parse(&mut options(), BRIEF, arguments)? else {
        return Ok(None);
    };
    let command = command(&matches)?;
    let mut config = Config::new(flags::manager(&matches)?);
    config.secret = flags::secret(&matches)?;
    Ok(Some(Args {
        command,
        config,
        out: flags::value(&matches, "out", None, PathBuf::from("logs"))?,
        log_level: flags::log_level(&matches, LevelFilter::Warn)?,
    }))
}

fn options() -> Options {
    let plan = throughput::Settings::default();
    let load = load::Settings::default();
    let threads = format!(
        "client threads [{} saturated and elastic, {} for load]",
        plan.saturated.threads, load.drive.threads
    );
    let batch = format!(
        "operations in one request [{} saturated and elastic, {} for load]",
        plan.saturated.batch, load.drive.batch
    );
    let ops = format!("operations of each measurement (GTSTORE_TP_OPS) [{}]", plan.ops);
    let inserts = format!("keys to insert (GTSTORE_LB_INSERTS) [{}]", load.inserts);
    let (chaos, elastic) = (chaos::Settings::default(), elastic::Settings::default());
    let value = format!("bytes of a value [{}; {} for elastic]", plan.value_len, elastic.value_len);
    let keys = format!(
        "keys that are read and written [{}; {} for elastic, GTSTORE_EL_KEYS]",
        plan.keys, elastic.keys
    );
    let key = format!("elastic: bytes of a key [{}]", elastic.key_len);
    let nodes = format!("nodes [{} for elastic, {} for chaos]", elastic.nodes, chaos.nodes);
    let events = format!("elastic: what happens [{}]", elastic::plan::DEFAULT);
    let seconds = format!("how long [2; {} for chaos]", chaos.seconds);
    let heartbeat = format!("chaos: between heartbeats [{}]", chaos.heartbeat_ms);
    let mut options = Options::new();
    options
        .optopt("", "ops", &ops, "N")
        .optopt("", "mode", "sequential, saturated or both [both]", "MODE")
        .optopt("", "keys", &keys, "N")
        .optopt("", "key-len", &key, "BYTES")
        .optopt("", "value-len", &value, "BYTES")
        .optopt("", "warmup", "operations before the measured ones [a tenth of them]", "N")
        .optflag("", "append", "keep the rows of earlier runs in --out")
        .optopt("", "inserts", &inserts, "N")
        .optopt("", "threads", &threads, "N")
        .optopt("", "batch", &batch, "N")
        .optopt("", "seed", &format!("what random choices follow from [{}]", plan.seed), "N")
        .optopt("", "pids", "the service's processes, manager first [service_pids.txt]", "FILE")
        .optopt("", "seconds", &seconds, "N")
        .optopt("o", "out", "folder for results, for chaos data and logs [logs; none]", "DIR")
        .optopt("", "nodes", &nodes, "N")
        .optopt("r", "rep", &format!("elastic, chaos: copies of each key [{}]", chaos.copies), "K")
        .optopt("", "events", &events, "LIST")
        .optopt("", "heartbeat-ms", &heartbeat, "MS")
        .optopt(
            "",
            "changes",
            "chaos: of join, leave, weight, rep, cancel; all or none [all]",
            "LIST",
        )
        .optopt("", "history", "chaos: save what clients did and were told", "FILE")
        .optopt("", "bin", "elastic, chaos: where the programs are [beside bench]", "DIR");
    flags::add_manager(&mut options);
    flags::add_common(&mut options);
    options
}

fn command(matches: &Matches) -> Result<Command, UsageError> {
    let words: Vec<&str> = matches.free.iter().map(String::as_str).collect();
    let Some(&name) = words.first() else {
        return Err(UsageError("nothing to do: give a command; see --help".into()));
    };
    if let Some((flag, owners)) = OWNERS
        .into_iter()
        .find(|(flag, owners)| matches.opt_present(flag) && !owners.contains(&name))
    {
        return Err(UsageError(format!("--{flag} goes with {}", owners.join(" and "))));
    }
    match words[..] {
        ["throughput"] => Ok(Command::Throughput {
            settings: throughput_settings(matches)?,
            append: matches.opt_present("append"),
        }),
        ["report"] => Ok(Command::Report),
        ["load"] => load_settings(matches).map(Command::Load),
        ["scenario", scenario] => Ok(Command::Scenario {
            scenario: scenario.parse().map_err(|e| UsageError(format!("scenario {e}")))?,
            seed: seed(matches)?,
            pids: flags::value(matches, "pids", None, PathBuf::from("service_pids.txt"))?,
        }),
        ["scenario"] => Err(UsageError(format!("which scenario? {}", Scenario::NAMES))),
        ["floor"] => {
            let seconds = number(matches, "seconds", None, 2, 1, 3600)?;
            Ok(Command::Floor(Duration::from_secs(seconds)))
        }
        ["elastic"] => elastic_settings(matches).map(Command::Elastic),
        ["chaos"] => chaos_settings(matches).map(Command::Chaos),
        ["check", file] => Ok(Command::Check(PathBuf::from(file))),
        ["check"] => Err(UsageError("which history? give a file".into())),
        ["throughput" | "report" | "load" | "floor" | "elastic" | "chaos", extra, ..]
        | ["check", _, extra, ..]
        | ["scenario", _, extra, ..] => {
            Err(UsageError(format!("{extra:?} is one word too many; see --help")))
        }
        _ => Err(UsageError(format!("{name:?} is no command; see --help"))),
    }
}

fn throughput_settings(matches: &Matches) -> Result<throughput::Settings, UsageError> {
    let default = throughput::Settings::default();
    let ops = number(matches, "ops", Some("GTSTORE_TP_OPS"), default.ops, 1, MAX_OPS)?;
    let modes = match matches.opt_str("mode").as_deref() {
        None | Some("both") => default.modes,
        Some("sequential") => vec![Mode::Sequential],
        Some("saturated") => vec![Mode::Saturated],
        Some(other) => {
            let why = format!("--mode {other}: it takes sequential, saturated or both");
            return Err(UsageError(why));
        }
    };
    Ok(throughput::Settings {
        seed: seed(matches)?,
        ops,
        warm_up: number(matches, "warmup", None, ops / throughput::WARM_UP_PART, 0, MAX_OPS)?,
        keys: number(matches, "keys", None, default.keys, 1, MAX_KEYS)?,
        value_len: number(matches, "value-len", None, default.value_len, 0, MAX_VALUE)?,
        saturated: drive(matches, default.saturated)?,
        modes,
    })
}

fn load_settings(matches: &Matches) -> Result<load::Settings, UsageError> {
    let load::Settings { inserts, drive: default } = load::Settings::default();
    Ok(load::Settings {
        inserts: number(
            matches,
            "inserts",
            Some("GTSTORE_LB_INSERTS"),
            inserts,
            1,
            load::MAX_INSERTS,
        )?,
        drive: drive(matches, default)?,
    })
}

fn elastic_settings(matches: &Matches) -> Result<elastic::Settings, UsageError> {
    let default = elastic::Settings::default();
    let settings = elastic::Settings {
        keys: number(matches, "keys", Some("GTSTORE_EL_KEYS"), default.keys, 1, MAX_KEYS)?,
        key_len: number(matches, "key-len", None, default.key_len, 1, MAX_KEY_BYTES)?,
        value_len: number(matches, "value-len", None, default.value_len, 0, MAX_VALUE)?,
        drive: drive(matches, default.drive)?,
        seed: seed(matches)?,
        nodes: number(matches, "nodes", None, default.nodes, 1, 64)?,
        copies: number(matches, "rep", None, default.copies, 1, 8)?,
        plan: flags::value(matches, "events", None, default.plan)?,
        bin: matches.opt_str("bin").map(PathBuf::from),
    };
    let Drive { threads, batch } = settings.drive;
    if settings.keys / threads < batch {
        return Err(UsageError(format!(
            "--keys {}: too few for {threads} threads with batches of {batch}",
            settings.keys
        )));
    }
    settings
        .plan
        .check(settings.nodes, settings.copies)
        .map_err(|why| UsageError(format!("--events: {why}")))?;
    Ok(settings)
}

fn chaos_settings(matches: &Matches) -> Result<chaos::Settings, UsageError> {
    let default = chaos::Settings::default();
    let path = |flag| matches.opt_str(flag).map(PathBuf::from);
    let copies = number(matches, "rep", None, default.copies, 2, 8)?;
    Ok(chaos::Settings {
        seconds: number(matches, "seconds", None, default.seconds, 1, 86_400)?,
        seed: flags::value(matches, "seed", None, default.seed)?,
        // One more than copies at least: somebody must take over from the dead.
        nodes: number(matches, "nodes", None, default.nodes.max(copies + 1), copies + 1, 32)?,
        copies,
        heartbeat_ms: number(matches, "heartbeat-ms", None, default.heartbeat_ms, 50, 10_000)?,
        changes: flags::value(matches, "changes", None, default.changes)?,
        history: path("history"),
        bin: path("bin"),
        out: path("out"),
    })
}

fn drive(matches: &Matches, default: Drive) -> Result<Drive, UsageError> {
    Ok(Drive {
        threads: number(matches, "threads", None, default.threads, 1, MAX_THREADS)?,
        batch: number(matches, "batch", None, default.batch, 1, MAX_BATCH)?,
    })
}

fn seed(matches: &Matches) -> Result<u64, UsageError> {
    flags::value(matches, "seed", None, throughput::Settings::default().seed)
}

/// A flag's value within bounds.
fn number<T: FromStr<Err: std::fmt::Display> + PartialOrd + std::fmt::Display>(
    matches: &Matches,
    flag: &str,
    variable: Option<&str>,
    default: T,
    least: T,
    most: T,
) -> Result<T, UsageError> {
    let value = flags::value(matches, flag, variable, default)?;
    flags::bounded(flag, value, least, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Result<Command, ArgsError> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words).map(|args| args.expect("no help was asked for").command)
    }

    #[test]
    fn commands_and_defaults() {
        let Command::Throughput { settings, append } = args("throughput --ops 500").unwrap() else {
            panic!("another command");
        };
        assert_eq!((settings.ops, settings.warm_up, append), (500, 50, false));
        assert_eq!(settings.modes, [Mode::Sequential, Mode::Saturated]);
        assert_eq!(args("report --out x").unwrap(), Command::Report);
        assert_eq!(args("floor --seconds 5").unwrap(), Command::Floor(Duration::from_secs(5)));
        assert_eq!(
            args("scenario test3 --seed 7 --pids p").unwrap(),
            Command::Scenario { scenario: Scenario::Test3, seed: 7, pids: "p".into() }
        );
        let Command::Elastic(settings) = args("elastic --keys 5000 --seed 2").unwrap() else {
            panic!("another command");
        };
        assert_eq!((settings.keys, settings.seed, settings.nodes), (5_000, 2, 7));
        let Command::Chaos(settings) = args("chaos --seed 3 --nodes 6 --history h").unwrap() else {
            panic!("another command");
        };
        assert_eq!((settings.seed, settings.nodes, settings.copies), (3, 6, 3));
        assert_eq!((settings.history, settings.out), (Some("h".into()), None));
        assert_eq!(args("check f").unwrap(), Command::Check("f".into()));
        let Command::Load(settings) = args("load --inserts 9 --threads 2 --batch 3").unwrap()
        else {
            panic!("another command");
        };
        assert_eq!(settings.inserts, 9);
        assert_eq!(settings.drive, Drive { threads: 2, batch: 3 });
    }

    #[test]
    fn mistakes_are_named() {
        for (line, want) in [
            ("", "nothing to do"),
            ("dance", "\"dance\" is no command"),
            ("scenario", "which scenario?"),
            ("scenario test9", "scenario \"test9\" is none of"),
            ("load extra", "\"extra\" is one word too many"),
            ("load --ops 5", "--ops goes with throughput"),
            ("floor --threads 5", "--threads goes with throughput and load and elastic"),
            ("throughput --ops 0", "--ops 0: it takes 1 to"),
            ("throughput --ops x", "--ops x: "),
            ("throughput --mode fast", "--mode fast: it takes"),
            ("throughput --manager x", "--manager x:"),
            ("chaos --nodes 3", "--nodes 3: it takes 4 to 32"),
            ("chaos --changes dance", "--changes dance: \"dance\" is no change"),
            ("chaos x", "\"x\" is one word too many"),
            ("elastic --keys 100", "--keys 100: too few for 4 threads with batches of 512"),
            ("elastic --events dance", "--events dance: \"dance\" is no step"),
            ("elastic --rep 2", "--events: kill 2: with 2 copies nothing would be left"),
            ("elastic --ops 5", "--ops goes with throughput"),
            ("check", "which history?"),
            ("check f --seed 2", "--seed goes with throughput and scenario and elastic and chaos"),
            ("floor --seconds 0", "--seconds 0: it takes 1 to 3600"),
        ] {
            let error = args(line).expect_err(line).to_string();
            assert!(error.starts_with(want), "{line}: {error}");
        }
    }
}
