//! A node's command line.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use cluster::durability::Durability;
use cluster::ids::{Address, NodeId};
use cluster::limits::MAX_WEIGHT;
use getopts::{Matches, Options};
use log::LevelFilter;
use net_common::flags::{self, ArgsError, Parsed, UsageError};

use crate::disk;
use crate::{Config, redis, snapshot_log};

/// The default port of a node.
pub const DEFAULT_PORT: u16 = 6001;

/// The offset of the port for cluster-aware Redis clients: that of Redis Cluster's own second port.
pub const CLUSTER_PORT_ABOVE: u16 = 10_000;

/// The parsed command line.
pub struct Args {
    /// Host to listen on.
    pub bind: String,
    /// Port to listen on.
    pub port: u16,
    /// Port to speak the Redis protocol on, if any.
    pub redis_port: Option<u16>,
    /// Port for cluster-aware Redis clients; `None`: [`CLUSTER_PORT_ABOVE`] the other, or any free
    /// one.
    pub redis_cluster_port: Option<u16>,
    /// A data folder that is only checked.
    pub check: Option<PathBuf>,
    /// The log level.
    pub log_level: LevelFilter,
    /// The node's configuration.
    pub config: Config,
}

/// The flags of a node alone.
fn options() -> Options {
    let mut options = Options::new();
    options
        .optopt("l", "label", "this node's name (GTSTORE_NODE_LABEL) [node<pid>]", "NAME")
        .optopt("p", "port", "listen on this port (GTSTORE_STORAGE_PORT) [6001]", "PORT")
        .optopt("", "redis-port", "speak the Redis protocol on this port; 0: nowhere [0]", "PORT")
        .optopt(
            "",
            "redis-cluster-port",
            "send cluster-aware Redis clients to this port; 0: to the same [--redis-port + 10000, if it is free]",
            "PORT",
        )
        .optflag("", "redis-allow-flush", "let FLUSHALL and FLUSHDB remove all keys")
        .optopt(
            "",
            "redis-idle-timeout-ms",
            "close a connection to the Redis port that sends nothing for so long; 0: never [0]",
            "MS",
        )
        .optopt("", "advertise", "HOST or HOST:PORT for others [--bind, --port]", "ADDRESS")
        .optopt(
            "",
            "weight",
            "share of the keys in proportion to other nodes' [what it had, or 1]",
            "N",
        )
        .optopt("", "transfer-mb-s", "fetch at most N megabytes a second [no limit]", "N")
        .optopt("", "data", "also store records in this folder, to survive a restart", "DIR")
        .optopt(
            "",
            "durability",
            "join only a cluster with this durability: none, async, sync [any]",
            "HOW",
        )
        .optflag("", "salvage", "keep the sound parts of a damaged data folder, and drop the rest")
        .optopt("", "check", "check whether a data folder is sound, and exit", "DIR")
        .optopt(
            "",
            "max-memory",
            "memory for records, above which puts are refused; 512mb, 4gb … [no limit]",
            "SIZE",
        )
        .optopt("", "snapshot-log", "log the stored records, after writes: on, off [on]", "HOW")
        .optopt("", "snapshot-keys", "log only a summary above N keys [1000]", "N")
        .optopt("", "snapshot-interval-ms", "minimum time between snapshot lines [50]", "MS");
    options
}

/// Parses the command line; `None` if it only asked for help.
///
/// # Errors
/// [`ArgsError`] with the first mistake.
pub fn parse(arguments: &[String]) -> Result<Option<Args>, ArgsError> {
    let mut options = options();
    flags::add_manager(&mut options);
    flags::add_server(&mut options);
    let brief = "Usage: storage [flags]\n\nStores records and answers requests for them.";
    let Parsed::Run(matches) = flags::parse(&mut options, brief, arguments)? else {
        return Ok(None);
    };
    flags::no_free_arguments(&matches)?;
    let own_name = format!("node{}", std::process::id());
    let label = flags::value(&matches, "label", Some("GTSTORE_NODE_LABEL"), own_name)?;
    let label = NodeId::new(&label).map_err(|e| UsageError(format!("--label {label}: {e}")))?;
    let bind = flags::value(&matches, "bind", None, "127.0.0.1".to_owned())?;
    let advertise = flags::value(&matches, "advertise", None, bind.clone())?;
    if ["0.0.0.0", "::"].contains(&advertise.as_str()) {
        let why = format!("--bind {bind}: also give --advertise, the host that others reach it by");
        return Err(UsageError(why).into());
    }
    let durability = matches.opt_present("durability");
    let durability =
        durability.then(|| flags::value(&matches, "durability", None, Durability::None));
    let durability = durability.transpose()?;
    let default = snapshot_log::SnapshotSettings::default();
    let interval_ms =
        flags::value(&matches, "snapshot-interval-ms", None, default.interval.as_millis() as u64)?;
    Ok(Some(Args {
        bind,
        port: flags::value(&matches, "port", Some("GTSTORE_STORAGE_PORT"), DEFAULT_PORT)?,
        redis_port: Some(flags::value(&matches, "redis-port", None, 0)?).filter(|&port| port > 0),
        redis_cluster_port: matches
            .opt_present("redis-cluster-port")
            .then(|| flags::value(&matches, "redis-cluster-port", None, 0))
            .transpose()?,
        check: matches.opt_str("check").map(PathBuf::from),
        log_level: flags::log_level(&matches, LevelFilter::Info)?,
        config: Config {
            label,
            advertise,
            manager: flags::manager(&matches)?,
            weight: flags::given_bounded(&matches, "weight", None, 1, MAX_WEIGHT)?,
            limits: flags::server_limits(&matches)?,
            transfer_mb_s: transfer_limit(&matches)?,
            max_memory: max_memory(&matches)?,
            redis: redis::shared::RedisSettings {
                may_flush: matches.opt_present("redis-allow-flush"),
                idle: redis_idle(&matches)?,
            },
            snapshot: snapshot_log::SnapshotSettings {
                is_on: snapshot_log(&matches)?,
                keys: flags::value(&matches, "snapshot-keys", None, default.keys)?,
                interval: Duration::from_millis(interval_ms),
            },
            disk: disk_settings(&matches, durability)?,
            durability,
            secret: flags::secret(&matches)?,
        },
    }))
}

fn disk_settings(
    matches: &Matches,
    durability: Option<Durability>,
) -> Result<Option<disk::DiskSettings>, ArgsError> {
    let salvage = matches.opt_present("salvage");
    match (durability, matches.opt_str("data")) {
        (Some(Durability::None), _) | (None, None) if !salvage => Ok(None),
        (Some(Durability::None), _) => {
            Err(UsageError("--salvage: there is nothing on disk with --durability none".into())
                .into())
        }
        (_, Some(folder)) => {
            Ok(Some(disk::DiskSettings { salvage, ..disk::DiskSettings::new(folder.into()) }))
        }
        (Some(durability), None) => {
            let why = format!("--durability {durability}: also give --data, the folder for it");
            Err(UsageError(why).into())
        }
        (None, None) => Err(UsageError("--salvage: also give --data, the folder".into()).into()),
    }
}

/// 0 means never, as in Redis. Otherwise the bounds are those of the other port.
fn redis_idle(matches: &Matches) -> Result<Option<Duration>, UsageError> {
    let flag = "redis-idle-timeout-ms";
    match flags::value(matches, flag, None, 0)? {
        0 => Ok(None),
        ms => flags::bounded(flag, ms, 10, 86_400_000).map(|ms| Some(Duration::from_millis(ms))),
    }
}

fn snapshot_log(matches: &Matches) -> Result<bool, UsageError> {
    match matches.opt_str("snapshot-log").as_deref() {
        None | Some("on") => Ok(true),
        Some("off") => Ok(false),
        Some(other) => Err(UsageError(format!("--snapshot-log {other}: it takes on or off"))),
    }
}

fn transfer_limit(matches: &Matches) -> Result<Option<u64>, ArgsError> {
    if !matches.opt_present("transfer-mb-s") {
        return Ok(None);
    }
    let limit = flags::value(matches, "transfer-mb-s", None, 1)?;
    Ok(Some(flags::bounded("transfer-mb-s", limit, 1, 100_000)?))
}

/// Bytes, or with kb, mb or gb those of 1,024 bytes each, as Redis has them.
fn max_memory(matches: &Matches) -> Result<Option<u64>, UsageError> {
    let Some(text) = matches.opt_str("max-memory") else { return Ok(None) };
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: Option<u64> = match &lower[digits.len()..] {
        "" | "b" => Some(1),
        "kb" => Some(1 << 10),
        "mb" => Some(1 << 20),
        "gb" => Some(1 << 30),
        _ => None,
    };
    let bytes = unit.and_then(|unit| digits.parse::<u64>().ok()?.checked_mul(unit));
    match bytes {
        Some(bytes @ 1..) => Ok(Some(bytes)),
        _ => Err(UsageError(format!(
            "--max-memory {text}: it takes a size above 0, as 512mb or 4gb"
        ))),
    }
}

impl fmt::Display for Args {
    /// The effective configuration, for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config { label, advertise, manager, weight, limits, transfer_mb_s, .. } = &self.config;
        let Config { redis, snapshot, disk, durability, secret, max_memory, .. } = &self.config;
        let disk = disk.as_ref().map_or("none".into(), |disk| disk.folder.display().to_string());
        let promise =
            durability.map_or("the cluster's".into(), |durability| durability.to_string());
        let memory = max_memory.map_or("no limit".into(), |bytes| format!("{bytes} bytes"));
        let manager: &Address = manager;
        let weight = weight.map_or("as before".into(), |weight| weight.to_string());
        let transfer = transfer_mb_s.map_or("no limit".into(), |limit| format!("{limit} MB/s"));
        write!(
            f,
            "{label}, manager {manager}, advertises {advertise}, {}, weight {weight}, transfer {transfer}, memory {memory}, \
             durability {promise}, data {disk}, \
             {}, {} connections, idle {:?}, frame {:?}, secret {}",
            match self.redis_port {
                None => "no Redis port".to_owned(),
                Some(port) => {
                    let flush = if redis.may_flush { ", may be flushed" } else { "" };
                    let idle = redis.idle.map_or(String::new(), |idle| format!(", idle {idle:?}"));
                    format!("Redis port {port}{flush}{idle}")
                }
            },
            if snapshot.is_on {
                format!("snapshot of up to {} keys every {:?}", snapshot.keys, snapshot.interval)
            } else {
                "no snapshots".to_owned()
            },
            limits.connections,
            limits.idle,
            limits.frame,
            if secret.is_some() { "set" } else { "none" },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Result<Args, ArgsError> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words).map(|args| args.expect("no help was asked for"))
    }

    #[test]
    fn flags_are_read() {
        let line = "--label node3 --port 6003 --manager localhost:5001 --snapshot-keys 5";
        let args = args(line).unwrap();
        assert_eq!((args.config.label.as_str(), args.port), ("node3", 6003));
        assert_eq!(args.config.manager.to_string(), "localhost:5001");
        assert_eq!((args.config.snapshot.keys, args.config.weight), (5, None));
        assert!(args.config.snapshot.is_on);
        assert_eq!(args.config.transfer_mb_s, None);
    }

    #[test]
    fn a_redis_port_may_be_given() {
        assert_eq!(args("").unwrap().redis_port, None);
        assert_eq!(args("--redis-port 0").unwrap().redis_port, None);
        let args = args("--redis-port 7001 --redis-allow-flush").unwrap();
        assert!(args.redis_port == Some(7001) && args.config.redis.may_flush);
        assert!(args.to_string().contains(", Redis port 7001, may be flushed, "), "{args}");
        assert_eq!(args.config.redis.idle, None, "Redis closes no idle connection either");
        assert_eq!(args.redis_cluster_port, None);
    }

    #[test]
    fn cluster_aware_clients_may_be_given_a_port() {
        let port = |line: &str| args(line).unwrap().redis_cluster_port;
        assert_eq!(port("--redis-port 7001 --redis-cluster-port 7101"), Some(7101));
        assert_eq!(port("--redis-port 7001 --redis-cluster-port 0"), Some(0));
    }

    #[test]
    fn redis_has_an_idle_time_of_its_own() {
        let idle = |line: &str| args(line).unwrap().config.redis.idle;
        assert_eq!(idle("--idle-timeout-ms 2000"), None);
        assert_eq!(idle("--redis-idle-timeout-ms 0"), None);
        let line = "--redis-port 7001 --redis-idle-timeout-ms 2000";
        assert_eq!(idle(line), Some(Duration::from_secs(2)));
        let shown = args(line).unwrap().to_string();
        assert!(shown.contains(", Redis port 7001, idle 2s, "), "{shown}");
    }

    #[test]
    fn snapshots_may_be_off() {
        let args = args("--snapshot-log off").unwrap();
        assert!(!args.config.snapshot.is_on);
        assert!(args.to_string().contains(", no snapshots, "), "{args}");
    }

    #[test]
    fn a_transfer_may_be_limited() {
        let args = args("--transfer-mb-s 50").unwrap();
        assert_eq!(args.config.transfer_mb_s, Some(50));
        assert!(args.to_string().contains(", transfer 50 MB/s, "), "{args}");
    }

    #[test]
    fn a_data_folder_is_used_unless_durability_is_none() {
        assert!(args("--data d --durability none").unwrap().config.disk.is_none());
        assert!(args("--data d").unwrap().config.disk.is_some_and(|disk| !disk.salvage));
        let args = args("--data d --durability sync --salvage").unwrap();
        assert!(args.to_string().contains(", durability sync, data d, "), "{args}");
        assert!(args.config.disk.is_some_and(|disk| disk.salvage));
    }

    #[test]
    fn memory_may_be_limited() {
        let bytes = |size: &str| args(&format!("--max-memory {size}")).unwrap().config.max_memory;
        assert_eq!(args("").unwrap().config.max_memory, None);
        for (size, want) in
            [("1000", 1000), ("5kb", 5 << 10), ("512MB", 512 << 20), ("4gb", 4 << 30)]
        {
            assert_eq!(bytes(size), Some(want), "{size}");
        }
        let shown = args("--max-memory 1kb").unwrap().to_string();
        assert!(shown.contains(", memory 1024 bytes, "), "{shown}");
    }

    #[test]
    fn mistakes_name_the_flag() {
        for (line, want) in [
            ("--label a,b", "--label a,b: ',' is not allowed"),
            ("--manager nowhere", "--manager nowhere: \"nowhere\" does not end in a port"),
            ("--transfer-mb-s 0", "--transfer-mb-s 0: it takes 1 to 100000"),
            ("--transfer-mb-s 100001", "--transfer-mb-s 100001: it takes 1 to 100000"),
            ("--max-memory 0", "--max-memory 0: it takes a size above 0"),
            ("--max-memory 5tb", "--max-memory 5tb: it takes a size above 0"),
            ("--max-memory 99999999999gb", "--max-memory 99999999999gb: it takes"),
            ("--snapshot-log maybe", "--snapshot-log maybe: it takes on or off"),
            ("--weight 0", "--weight 0: it takes 1 to 1000"),
            ("--redis-idle-timeout-ms 5", "--redis-idle-timeout-ms 5: it takes 10 to 86400000"),
            ("--bind 0.0.0.0", "--bind 0.0.0.0: also give --advertise"),
            ("--durability maybe", "--durability maybe: it takes none, async or sync"),
            ("--durability sync", "--durability sync: also give --data"),
            ("--salvage", "--salvage: also give --data"),
            ("--salvage --durability none --data d", "--salvage: there is nothing on disk"),
            ("--bogus", "Unrecognized option"),
        ] {
            let error = args(line).err().expect(line).to_string();
            assert!(error.starts_with(want), "{line}: {error}");
        }
    }
}
