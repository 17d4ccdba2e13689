//! The bench's command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use client::Config;
use getopts::{Matches, Options};
use log::LevelFilter;
use net_common::flags::{self, ArgsError, Parsed, UsageError};

use crate::chaos;
use crate::crash;
use crate::crash::kill::KillScope;
use crate::elastic;
use crate::load;
use crate::report::Mode;
use crate::runner::Drive;
use crate::scenario::Scenario;
use crate::throughput;
use crate::workload::{MAX_KEY_BYTES, MAX_KEYS};

/// A command of the bench.
#[derive(Debug, Clone, PartialEq)]
pub enum BenchCommand {
    /// Measure the running cluster's throughput.
    Throughput {
        /// What is measured.
        settings: throughput::ThroughputSettings,
        /// Keep the rows of earlier runs, of clusters with another K.
        append: bool,
    },
    /// Show and chart all throughput rows of the result folder.
    Report,
    /// Insert keys and count them on each node.
    Load(load::LoadSettings),
    /// Run a scenario and check every answer.
    Scenario {
        /// Which one.
        scenario: Scenario,
        /// The seed of the choice of killed nodes.
        seed: u64,
        /// Where the processes of the service are listed.
        pids: PathBuf,
    },
    /// Measure bare round trips for this time.
    Floor(Duration),
    /// Change a cluster of its own under full load, and check every answer.
    Elastic(elastic::ElasticSettings),
    /// Inject faults into a cluster of its own, and check every answer.
    Chaos(chaos::ChaosSettings),
    /// Kill processes of a cluster of its own, and check that acknowledged writes survive.
    Crash(crash::CrashSettings),
    /// Check the history in this file.
    Check(PathBuf),
}

/// The parsed command line.
#[derive(Debug)]
pub struct BenchArgs {
    /// The command.
    pub command: BenchCommand,
    /// How to reach the cluster.
    pub config: Config,
    /// Where results go.
    pub out: PathBuf,
    /// The log level.
    pub log_level: LevelFilter,
}

const BRIEF: &str = "\
Usage: bench COMMAND [flags]

Drives a running cluster (chaos, crash and elastic: one of their own), checks every answer, and measures.

Commands:
    throughput          operations a second, sequential and saturated
    report              table and charts of all throughput rows in --out
    load                how evenly inserted keys are spread over the nodes
    scenario NAME       single, test1, test2, test3 or test4
    elastic             nodes die, join, leave and change weight under full load
    floor               bare loopback round trips a second, without a cluster
    chaos               kill, stop and cut off processes, and change the cluster meanwhile
    crash               kill processes, start them again, look for every acknowledged write
    check FILE          is this history, saved by chaos --history, linearizable?
                        (built with --features porcupine)

Exit code 0: done, all answers right; 1: an answer was wrong, or it failed; 2: bad arguments,
or a build that cannot check histories.";

/// The commands that a flag applies to.
const OWNERS: [(&str, &[&str]); 27] = [
    ("ops", &["throughput"]),
    ("mode", &["throughput"]),
    ("keys", &["throughput", "elastic", "crash"]),
    ("key-len", &["elastic"]),
    ("value-len", &["throughput", "elastic"]),
    ("warmup", &["throughput"]),
    ("append", &["throughput"]),
    ("inserts", &["load"]),
    ("threads", &["throughput", "load", "elastic"]),
    ("batch", &["throughput", "load", "elastic"]),
    ("seed", &["throughput", "scenario", "elastic", "chaos", "crash"]),
    ("pids", &["scenario"]),
    ("seconds", &["floor", "chaos"]),
    ("out", &["throughput", "report", "load", "elastic", "chaos", "crash"]),
    ("nodes", &["elastic", "chaos", "crash"]),
    ("rep", &["elastic", "chaos", "crash"]),
    ("events", &["elastic"]),
    ("heartbeat-ms", &["chaos", "crash"]),
    ("changes", &["chaos"]),
    ("history", &["chaos"]),
    ("rounds", &["crash"]),
    ("durability", &["crash"]),
    ("kill", &["crash"]),
    ("clients", &["crash"]),
    ("value-bytes", &["crash"]),
    ("patience", &["crash"]),
    ("bin", &["elastic", "chaos", "crash"]),
];

/// Most operations of one run: a day's worth, and far from any overflow.
const MAX_OPS: u64 = 100_000_000_000;

/// Most client threads. Each takes a connection to every node.
const MAX_THREADS: u32 = 1024;

/// Most operations in a batch: the client's limit for one frame.
const MAX_BATCH: u32 = 4096;

/// Longest value that any cluster takes.
const MAX_VALUE: usize = cluster::limits::VALUE_CEILING;

/// Reads the command line; `None` if it only asked for help.
///
/// # Errors
/// [`ArgsError`] with the first mistake.
pub fn parse(arguments: &[String]) -> Result<Option<BenchArgs>, ArgsError> {
    let Parsed::Run(matches) = flags::parse(&mut options(), BRIEF, arguments)? else {
        return Ok(None);
    };
    let command = command(&matches)?;
    let mut config = Config::new(flags::manager(&matches)?);
    config.secret = flags::secret(&matches)?;
    Ok(Some(BenchArgs {
        command,
        config,
        out: flags::value(&matches, "out", None, PathBuf::from("logs"))?,
        log_level: flags::log_level(&matches, LevelFilter::Warn)?,
    }))
}

fn options() -> Options {
    let mut options = Options::new();
    add_measuring(&mut options);
    add_sizes(&mut options);
    add_faults(&mut options);
    flags::add_manager(&mut options);
    flags::add_common(&mut options);
    options
}

/// Flags for the operations that are sent.
fn add_measuring(options: &mut Options) {
    let plan = throughput::ThroughputSettings::default();
    let load = load::LoadSettings::default();
    let (elastic, crash) = (elastic::ElasticSettings::default(), crash::CrashSettings::default());
    let drive =
        |saturated: u32, load: u32| format!("[{saturated} saturated and elastic, {load} for load]");
    let threads = drive(plan.saturated.threads, load.drive.threads);
    let batch = drive(plan.saturated.batch, load.drive.batch);
    let ops = format!("operations of each measurement (GTSTORE_TP_OPS) [{}]", plan.ops);
    let inserts = format!("keys to insert (GTSTORE_LB_INSERTS) [{}]", load.inserts);
    let value = format!("bytes of a value [{}; {} for elastic]", plan.value_len, elastic.value_len);
    let keys = format!(
        "keys that are read and written [{}; {} for elastic, GTSTORE_EL_KEYS; {} for crash]",
        plan.keys, elastic.keys, crash.keys
    );
    options
        .optopt("", "ops", &ops, "N")
        .optopt("", "mode", "sequential, saturated or both [both]", "MODE")
        .optopt("", "keys", &keys, "N")
        .optopt("", "key-len", &format!("elastic: bytes of a key [{}]", elastic.key_len), "BYTES")
        .optopt("", "value-len", &value, "BYTES")
        .optopt("", "warmup", "operations before the measured ones [a tenth of them]", "N")
        .optflag("", "append", "keep the rows of earlier runs in --out")
        .optopt("", "inserts", &inserts, "N")
        .optopt("", "threads", &format!("client threads {threads}"), "N")
        .optopt("", "batch", &format!("operations in one request {batch}"), "N")
        .optopt("", "seed", &format!("what random choices follow from [{}]", plan.seed), "N");
}

/// Flags for the size of the cluster and the duration.
fn add_sizes(options: &mut Options) {
    let (chaos, elastic) = (chaos::ChaosSettings::default(), elastic::ElasticSettings::default());
    let crash = crash::CrashSettings::default();
    let nodes = format!(
        "nodes [{} for elastic, {} for chaos, {} for crash]",
        elastic.nodes, chaos.nodes, crash.nodes
    );
    let copies = format!(
        "elastic, chaos, crash: copies of each key [{}; {} for crash]",
        chaos.copies, crash.copies
    );
    let events = format!("elastic: what happens [{}]", elastic::plan::DEFAULT);
    options
        .optopt("", "pids", "the service's processes, manager first [service_pids.txt]", "FILE")
        .optopt("", "seconds", &format!("how long [2; {} for chaos]", chaos.seconds), "N")
        .optopt("o", "out", "folder for results, for chaos data and logs [logs; none]", "DIR")
        .optopt("", "nodes", &nodes, "N")
        .optopt("r", "rep", &copies, "K")
        .optopt("", "events", &events, "LIST");
}

/// Flags for faults.
fn add_faults(options: &mut Options) {
    let (chaos, crash) = (chaos::ChaosSettings::default(), crash::CrashSettings::default());
    let heartbeat = format!("chaos, crash: between heartbeats [{}]", chaos.heartbeat_ms);
    let rounds = format!("crash: how often processes are killed [{}]", crash.rounds);
    let durability =
        format!("crash: how nodes keep records: none, async, sync [{}]", crash.durability);
    let kill =
        format!("crash: all nodes and the manager, or fewer nodes than copies [{}]", crash.kill);
    let clients = format!("crash: clients that write at once [{}]", crash.clients);
    let value_bytes = format!("crash: bytes of the longest value [{}]", crash.value_bytes);
    let patience =
        format!("crash: how long until all keys must be readable [{}]", crash.patience.as_secs());
    let changes = "chaos: of join, leave, weight, rep, cancel; all or none [all]";
    options
        .optopt("", "heartbeat-ms", &heartbeat, "MS")
        .optopt("", "changes", changes, "LIST")
        .optopt("", "history", "chaos: save the history of all clients", "FILE")
        .optopt("", "bin", "elastic, chaos, crash: where the programs are [beside bench]", "DIR")
        .optopt("", "rounds", &rounds, "N")
        .optopt("", "durability", &durability, "HOW")
        .optopt("", "kill", &kill, "WHOM")
        .optopt("", "clients", &clients, "N")
        .optopt("", "value-bytes", &value_bytes, "BYTES")
        .optopt("", "patience", &patience, "SECONDS");
}

fn command(matches: &Matches) -> Result<BenchCommand, UsageError> {
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
        ["throughput"] => Ok(BenchCommand::Throughput {
            settings: throughput_settings(matches)?,
            append: matches.opt_present("append"),
        }),
        ["report"] => Ok(BenchCommand::Report),
        ["load"] => load_settings(matches).map(BenchCommand::Load),
        ["scenario", scenario] => Ok(BenchCommand::Scenario {
            scenario: scenario.parse().map_err(|e| UsageError(format!("scenario {e}")))?,
            seed: seed(matches)?,
            pids: flags::value(matches, "pids", None, PathBuf::from("service_pids.txt"))?,
        }),
        ["scenario"] => Err(UsageError(format!("which scenario? {}", Scenario::NAMES))),
        ["floor"] => {
            let seconds = number(matches, "seconds", None, 2, 1, 3600)?;
            Ok(BenchCommand::Floor(Duration::from_secs(seconds)))
        }
        ["elastic"] => elastic_settings(matches).map(BenchCommand::Elastic),
        ["chaos"] => chaos_settings(matches).map(BenchCommand::Chaos),
        ["crash"] => crash_settings(matches).map(BenchCommand::Crash),
        ["check", file] => Ok(BenchCommand::Check(PathBuf::from(file))),
        ["check"] => Err(UsageError("which history? give a file".into())),
        ["throughput" | "report" | "load" | "floor" | "elastic" | "chaos" | "crash", extra, ..]
        | ["check", _, extra, ..]
        | ["scenario", _, extra, ..] => {
            Err(UsageError(format!("{extra:?} is one word too many; see --help")))
        }
        _ => Err(UsageError(format!("{name:?} is no command; see --help"))),
    }
}

fn throughput_settings(matches: &Matches) -> Result<throughput::ThroughputSettings, UsageError> {
    let default = throughput::ThroughputSettings::default();
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
    Ok(throughput::ThroughputSettings {
        seed: seed(matches)?,
        ops,
        warm_up: number(matches, "warmup", None, ops / throughput::WARM_UP_PART, 0, MAX_OPS)?,
        keys: number(matches, "keys", None, default.keys, 1, MAX_KEYS)?,
        value_len: number(matches, "value-len", None, default.value_len, 0, MAX_VALUE)?,
        saturated: drive(matches, default.saturated)?,
        modes,
    })
}

fn load_settings(matches: &Matches) -> Result<load::LoadSettings, UsageError> {
    let load::LoadSettings { inserts, drive: default } = load::LoadSettings::default();
    Ok(load::LoadSettings {
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

fn elastic_settings(matches: &Matches) -> Result<elastic::ElasticSettings, UsageError> {
    let default = elastic::ElasticSettings::default();
    let settings = elastic::ElasticSettings {
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

fn chaos_settings(matches: &Matches) -> Result<chaos::ChaosSettings, UsageError> {
    let default = chaos::ChaosSettings::default();
    let path = |flag| matches.opt_str(flag).map(PathBuf::from);
    let copies = number(matches, "rep", None, default.copies, 2, 8)?;
    Ok(chaos::ChaosSettings {
        seconds: number(matches, "seconds", None, default.seconds, 1, 86_400)?,
        seed: flags::value(matches, "seed", None, default.seed)?,
        // At least one more than the copies: a node must take over from a dead one.
        nodes: number(matches, "nodes", None, default.nodes.max(copies + 1), copies + 1, 32)?,
        copies,
        heartbeat_ms: number(matches, "heartbeat-ms", None, default.heartbeat_ms, 50, 10_000)?,
        changes: flags::value(matches, "changes", None, default.changes)?,
        history: path("history"),
        bin: path("bin"),
        out: path("out"),
    })
}

fn crash_settings(matches: &Matches) -> Result<crash::CrashSettings, UsageError> {
    let default = crash::CrashSettings::default();
    let kill = flags::value(matches, "kill", None, default.kill)?;
    // Some nodes must survive, and a node must take over from a dead one.
    let (fewest_copies, spare) = match kill {
        KillScope::All => (1, 0),
        KillScope::Fewer => (2, 1),
    };
    let copies = number(matches, "rep", None, default.copies, fewest_copies, 8)?;
    let fewest_nodes = copies + spare;
    let nodes = default.nodes.max(fewest_nodes);
    let clients = number(matches, "clients", None, default.clients, 1, MAX_THREADS)?;
    let fewest_keys = clients * crash::load::TURN;
    let patience = default.patience.as_secs();
    Ok(crash::CrashSettings {
        rounds: number(matches, "rounds", None, default.rounds, 1, 1_000_000)?,
        seed: flags::value(matches, "seed", None, default.seed)?,
        nodes: number(matches, "nodes", None, nodes, fewest_nodes, 32)?,
        copies,
        durability: flags::value(matches, "durability", None, default.durability)?,
        kill,
        clients,
        keys: number(matches, "keys", None, default.keys.max(fewest_keys), fewest_keys, MAX_KEYS)?,
        value_bytes: number(matches, "value-bytes", None, default.value_bytes, 64, MAX_VALUE)?,
        heartbeat_ms: number(matches, "heartbeat-ms", None, default.heartbeat_ms, 50, 10_000)?,
        patience: Duration::from_secs(number(matches, "patience", None, patience, 1, 3_600)?),
        bin: matches.opt_str("bin").map(PathBuf::from),
    })
}

fn drive(matches: &Matches, default: Drive) -> Result<Drive, UsageError> {
    Ok(Drive {
        threads: number(matches, "threads", None, default.threads, 1, MAX_THREADS)?,
        batch: number(matches, "batch", None, default.batch, 1, MAX_BATCH)?,
    })
}

fn seed(matches: &Matches) -> Result<u64, UsageError> {
    flags::value(matches, "seed", None, throughput::ThroughputSettings::default().seed)
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
    use cluster::durability::Durability;

    use super::*;

    fn args(line: &str) -> Result<BenchCommand, ArgsError> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words).map(|args| args.expect("no help was asked for").command)
    }

    #[test]
    fn commands_and_defaults_are_parsed() {
        let BenchCommand::Throughput { settings, append } = args("throughput --ops 500").unwrap()
        else {
            panic!("another command");
        };
        assert_eq!((settings.ops, settings.warm_up, append), (500, 50, false));
        assert_eq!(settings.modes, [Mode::Sequential, Mode::Saturated]);
        assert_eq!(args("report --out x").unwrap(), BenchCommand::Report);
        assert_eq!(args("floor --seconds 5").unwrap(), BenchCommand::Floor(Duration::from_secs(5)));
        assert_eq!(
            args("scenario test3 --seed 7 --pids p").unwrap(),
            BenchCommand::Scenario { scenario: Scenario::Test3, seed: 7, pids: "p".into() }
        );
        let BenchCommand::Elastic(settings) = args("elastic --keys 5000 --seed 2").unwrap() else {
            panic!("another command");
        };
        assert_eq!((settings.keys, settings.seed, settings.nodes), (5_000, 2, 7));
        let BenchCommand::Chaos(settings) = args("chaos --seed 3 --nodes 6 --history h").unwrap()
        else {
            panic!("another command");
        };
        assert_eq!((settings.seed, settings.nodes, settings.copies), (3, 6, 3));
        assert_eq!((settings.history, settings.out), (Some("h".into()), None));
        let line = "crash --kill fewer --rep 3 --durability async --patience 5 --clients 2";
        let BenchCommand::Crash(settings) = args(line).unwrap() else {
            panic!("another command");
        };
        assert_eq!((settings.nodes, settings.copies, settings.rounds), (4, 3, 100));
        assert_eq!((settings.kill, settings.patience), (KillScope::Fewer, Duration::from_secs(5)));
        assert_eq!((settings.durability, settings.clients), (Durability::Async, 2));
        assert_eq!(args("crash").unwrap(), BenchCommand::Crash(crash::CrashSettings::default()));
        assert_eq!(args("check f").unwrap(), BenchCommand::Check("f".into()));
        let BenchCommand::Load(settings) = args("load --inserts 9 --threads 2 --batch 3").unwrap()
        else {
            panic!("another command");
        };
        assert_eq!(settings.inserts, 9);
        assert_eq!(settings.drive, Drive { threads: 2, batch: 3 });
    }

    #[test]
    fn mistakes_are_reported_with_the_flag() {
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
            ("crash --rounds 0", "--rounds 0: it takes 1 to"),
            ("crash --kill some", "--kill some: it takes all or fewer"),
            ("crash --kill fewer --rep 1", "--rep 1: it takes 2 to 8"),
            ("crash --kill fewer --nodes 2", "--nodes 2: it takes 3 to 32"),
            ("crash --durability no", "--durability no: it takes none, async or sync"),
            ("crash --keys 127", "--keys 127: it takes 128 to"),
            ("crash --value-bytes 63", "--value-bytes 63: it takes 64 to"),
            ("crash --seconds 5", "--seconds goes with floor and chaos"),
            ("chaos --rounds 5", "--rounds goes with crash"),
            ("crash x", "\"x\" is one word too many"),
            ("check", "which history?"),
            ("check f --seed 2", "--seed goes with throughput and scenario and elastic and chaos"),
            ("floor --seconds 0", "--seconds 0: it takes 1 to 3600"),
        ] {
            let error = args(line).expect_err(line).to_string();
            assert!(error.starts_with(want), "{line}: {error}");
        }
    }
}
