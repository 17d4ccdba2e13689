//! The manager's command line.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use cluster::durability::Durability;
use cluster::lease::{HEARTBEATS_MS, MISSED};
use cluster::limits::{KEY_CEILING, Limits, MAX_COPIES, VALUE_CEILING};
use cluster::membership::Settings;
use cluster::ring;
use getopts::{Matches, Options};
use log::LevelFilter;
use net_common::flags::{self, ArgsError, Parsed, UsageError};
use net_common::server;

use crate::config::Config;
use crate::requested::RequestedSettings;

/// Where the original's manager listens.
pub const DEFAULT_PORT: u16 = 5000;

/// The longest lease that flags can set, in milliseconds.
const MOST_LEASE_MS: u64 = *HEARTBEATS_MS.end() * *MISSED.end() as u64;

/// The longest `--rebalance-after`, in seconds: ten years, in effect never.
const MOST_REBALANCE_S: u64 = 315_360_000;

/// The shortest wait for a silent node, in milliseconds: a node that has lost its manager retries
/// every two seconds, and connecting may take some time.
const RETURN_MS: u64 = 5_000;

/// The parsed command line.
pub struct Args {
    /// Host to listen on.
    pub bind: String,
    /// Port to listen on.
    pub port: u16,
    /// The log level.
    pub log_level: LevelFilter,
    /// The configuration.
    pub config: Config,
}

/// The flags.
fn options() -> Options {
    let mut options = Options::new();
    options
        .optopt("p", "port", "listen on this port (GTSTORE_MANAGER_PORT) [5000]", "PORT")
        .optopt("r", "rep", "copies of each key, 1 to 64 (GTSTORE_REPL) [1]", "K")
        .optopt(
            "",
            "min-copies",
            "refuse writes that fewer synced copies of a new cluster would hold [1]",
            "N",
        )
        .optopt("", "data", "save views in this folder, to survive a restart", "DIR")
        .optopt(
            "",
            "durability",
            "what the disks of a new cluster's nodes keep: none, async, sync [async]",
            "HOW",
        )
        .optopt("", "heartbeat-ms", "how often nodes of a new cluster send heartbeats [2000]", "MS")
        .optopt("", "missed", "heartbeats that a node may miss before it is out [3]", "N")
        .optopt(
            "",
            "lease-was",
            "length of earlier leases, where the saved state does not record it [30000]",
            "MS",
        )
        .optflag(
            "",
            "accept-older",
            "continue from an older copy of the folder, as the start before reported it",
        )
        .optopt(
            "",
            "rebalance-after",
            "rebalance so long after a loss, in seconds [300]",
            "SECONDS",
        )
        .optflag(
            "",
            "no-trust-refused",
            "a refused connection does not prove that a node has terminated",
        )
        .optopt("", "max-key", "longest key in bytes, up to 1024 [512]", "BYTES")
        .optopt("", "max-value", "longest value in bytes, up to 64 MiB [1048576]", "BYTES")
        .optopt("", "arcs", "arcs of a new cluster's ring, a power of two [4096]", "N");
    flags::add_server(&mut options);
    options
}

/// Reads the command line; `None` if it only asked for help.
///
/// # Errors
/// [`ArgsError`] with the first mistake.
pub fn parse(arguments: &[String]) -> Result<Option<Args>, ArgsError> {
    let mut options = options();
    let brief =
        "Usage: manager [flags]\n\nManages the list of nodes and assigns the key space to them.";
    let Parsed::Run(matches) = flags::parse(&mut options, brief, arguments)? else {
        return Ok(None);
    };
    flags::no_free_arguments(&matches)?;
    let asked = asked(&matches)?;
    let rebalance_s = flags::value(&matches, "rebalance-after", None, 300)?;
    let rebalance_s = flags::bounded("rebalance-after", rebalance_s, 0, MOST_REBALANCE_S)?;
    let settings = asked.of_new(Settings {
        heartbeat_ms: 2000,
        missed: 3,
        arcs: ring::DEFAULT_ARCS,
        copies: 1,
        min_copies: 1,
        limits: Limits::default(),
        durability: Durability::default(),
        rebalance_ms: rebalance_s * 1000,
        return_ms: RETURN_MS,
    });
    if settings.min_copies > settings.copies {
        let Settings { copies, min_copies, .. } = settings;
        let why =
            format!("--min-copies {min_copies}: there are {copies} copies of each key (--rep)");
        return Err(UsageError(why).into());
    }
    Ok(Some(Args {
        bind: flags::value(&matches, "bind", None, "127.0.0.1".to_owned())?,
        port: flags::value(&matches, "port", Some("GTSTORE_MANAGER_PORT"), DEFAULT_PORT)?,
        log_level: flags::log_level(&matches, LevelFilter::Info)?,
        config: Config {
            settings,
            asked,
            limits: flags::server_limits(&matches)?,
            secret: flags::secret(&matches)?,
            data: matches.opt_str("data").map(PathBuf::from),
            trusts_refused: !matches.opt_present("no-trust-refused"),
        },
    }))
}

/// The settings that the flags request for a new cluster, and those of this start.
fn asked(matches: &Matches) -> Result<RequestedSettings, UsageError> {
    let arcs = flags::given(matches, "arcs", None)?;
    if let Some(arcs) = arcs.filter(|arcs| !ring::is_arc_count(*arcs)) {
        return Err(UsageError(format!("--arcs {arcs}: it takes a power of two up to 16384")));
    }
    Ok(RequestedSettings {
        copies: flags::given_bounded(matches, "rep", Some("GTSTORE_REPL"), 1, MAX_COPIES)?,
        min_copies: flags::given_bounded(matches, "min-copies", None, 1, MAX_COPIES)?,
        durability: flags::given(matches, "durability", None)?,
        heartbeat_ms: flags::given_bounded(
            matches,
            "heartbeat-ms",
            None,
            *HEARTBEATS_MS.start(),
            *HEARTBEATS_MS.end(),
        )?,
        missed: flags::given_bounded(matches, "missed", None, *MISSED.start(), *MISSED.end())?,
        key_bytes: flags::given_bounded(matches, "max-key", None, 1, KEY_CEILING)?,
        value_bytes: flags::given_bounded(matches, "max-value", None, 0, VALUE_CEILING)?,
        arcs,
        accept_older: matches.opt_present("accept-older"),
        lease_was_ms: flags::given_bounded(matches, "lease-was", None, 1, MOST_LEASE_MS)?,
    })
}

impl fmt::Display for Args {
    /// The effective configuration, for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config { settings, asked: _, limits, secret, data, trusts_refused } = &self.config;
        let server::Limits { connections, idle, frame, payload: _ } = limits;
        let interval = Duration::from_millis(settings.heartbeat_ms);
        write!(
            f,
            "a new cluster gets copies {}, writes with {} at least, durability {}, heartbeat every {interval:?}, out after {} missed, keys to {} bytes, \
             values to {}, {} arcs; rebalances {:?} after a loss, {connections} connections, idle {idle:?}, frame {frame:?}, secret {}, data {}{}",
            settings.copies,
            settings.min_copies,
            settings.durability,
            settings.missed,
            settings.limits.key_bytes,
            settings.limits.value_bytes,
            settings.arcs,
            Duration::from_millis(settings.rebalance_ms),
            if secret.is_some() { "set" } else { "none" },
            data.as_ref().map_or("not saved".into(), |d| d.display().to_string()),
            if *trusts_refused { "" } else { ", refused connections prove nothing" },
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
    fn defaults_are_the_documented_ones() {
        let args = args("--rep 1").unwrap();
        assert_eq!((args.bind.as_str(), args.config.settings.copies), ("127.0.0.1", 1));
        assert_eq!(args.config.settings.heartbeat_ms, 2000);
        assert_eq!(args.config.settings.missed, 3);
        assert_eq!(args.config.settings.limits, Limits::default());
        assert_eq!(
            args.config.asked,
            RequestedSettings { copies: Some(1), ..RequestedSettings::default() }
        );
        assert!(args.config.trusts_refused);
    }

    #[test]
    fn mistakes_name_the_flag_and_the_bounds() {
        for (line, want) in [
            ("--rep 0", "--rep 0: it takes 1 to 64"),
            ("--rep 2 --min-copies 3", "--min-copies 3: there are 2 copies of each key"),
            ("--rep 65", "--rep 65: it takes 1 to 64"),
            ("--durability maybe", "--durability maybe: it takes none, async or sync"),
            ("--rep x", "--rep x: invalid digit"),
            ("--port 70000", "--port 70000: number too large"),
            ("--arcs 100", "--arcs 100: it takes a power of two"),
            ("--max-key 0", "--max-key 0: it takes 1 to"),
            ("--heartbeat-ms 1", "--heartbeat-ms 1: it takes 10 to"),
            ("--lease-was 0", "--lease-was 0: it takes 1 to"),
            ("--nonsense", "Unrecognized option"),
            ("extra", "\"extra\" belongs to no flag"),
            ("--secret-file /no/such/file", "cannot read the secret file"),
        ] {
            let error = args(line).err().expect(line).to_string();
            assert!(error.starts_with(want), "{line}: {error}");
        }
    }
}
