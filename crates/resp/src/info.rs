//! INFO, from plain facts.
//!
//! ioredis waits until INFO contains `loading:0`; other clients look at `redis_version`, `role` and
//! `cluster_enabled`; people and monitors read the rest. A value that the node does not know is
//! left out rather than invented; the few constants here hold for every node.

use std::fmt::{Display, Write};

/// The version of Redis whose commands and texts these are. Clients choose features by it.
pub const REDIS_VERSION: &str = "7.2.4";

/// The facts that INFO reports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeFacts {
    /// GT Store's version.
    pub version: String,
    /// The node's name.
    pub node: String,
    /// 40 hexadecimal digits, new for each start of the process.
    pub run_id: String,
    /// The process id.
    pub process: u32,
    /// The Redis port.
    pub port: u16,
    /// Seconds since the process started.
    pub uptime_s: u64,
    /// The time, in microseconds since 1970.
    pub now_us: u64,
    /// Whether it still waits for a view or fetches its arcs.
    pub is_loading: bool,
    /// Open connections to the Redis port.
    pub clients: u64,
    /// Most connections that it accepts.
    pub max_clients: u64,
    /// Connections that wait because of a pause.
    pub blocked_clients: u64,
    /// Bytes used by keys, values and their bookkeeping.
    pub used_memory: u64,
    /// Resident memory of the process in bytes; `None`: unknown.
    pub resident_memory: Option<u64>,
    /// Most bytes that it may use; 0: no limit.
    pub max_memory: u64,
    /// The state of its disk, if acknowledged writes reach the disk, at least soon.
    pub disk: Option<Persistence>,
    /// Connections accepted since the start.
    pub total_connections: u64,
    /// Of these, connections refused because there were too many.
    pub rejected_connections: u64,
    /// Commands executed since the start.
    pub total_commands: u64,
    /// Bytes received from clients.
    pub input_bytes: u64,
    /// Bytes sent to them.
    pub output_bytes: u64,
    /// Records that have expired here.
    pub expired_keys: u64,
    /// Reads that found something.
    pub hits: u64,
    /// Reads that found nothing.
    pub misses: u64,
    /// Keys that the node is the primary of: over all nodes these add up to the number of keys.
    pub keys: u64,
    /// Of these, keys with an expiry.
    pub expiring_keys: u64,
    /// Keys that it stores, copies included.
    pub held_keys: u64,
    /// Nodes that hold further copies.
    pub copies: u64,
}

/// The state of a node's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Persistence {
    /// Whether its log can be written.
    pub is_written: bool,
    /// Whether a checkpoint can be written.
    pub can_checkpoint: bool,
    /// Whether a checkpoint is being written.
    pub is_checkpointing: bool,
    /// When the last checkpoint was written, or the node started, in seconds since 1970.
    pub last_save_s: i64,
}

/// A section: its name, and the function that writes it.
type Section = (&'static str, fn(&NodeFacts, &mut Lines));

/// The sections in their order.
const SECTIONS: [Section; 8] = [
    ("Server", server),
    ("Clients", clients),
    ("Memory", memory),
    ("Persistence", persistence),
    ("Stats", stats),
    ("Replication", replication),
    ("Cluster", cluster),
    ("Keyspace", keyspace),
];

/// The text of these sections; of all if none is named. Unknown names are ignored.
pub fn text<'b>(facts: &NodeFacts, named: impl ExactSizeIterator<Item = &'b [u8]>) -> String {
    let named: Vec<&[u8]> = named.collect();
    let is_named = |name: &str| named.iter().any(|n| n.eq_ignore_ascii_case(name.as_bytes()));
    let all = named.is_empty() || ["all", "default", "everything"].iter().any(|n| is_named(n));
    let mut lines = Lines(String::new());
    for (name, write) in SECTIONS {
        if all || is_named(name) {
            lines.begin(name);
            write(facts, &mut lines);
        }
    }
    lines.0
}

struct Lines(String);

impl Lines {
    fn begin(&mut self, section: &str) {
        let gap = if self.0.is_empty() { "" } else { "\r\n" };
        write!(self.0, "{gap}# {section}\r\n").expect("a String takes every write");
    }

    fn add(&mut self, name: &str, value: impl Display) {
        write!(self.0, "{name}:{value}\r\n").expect("a String takes every write");
    }
}

fn server(facts: &NodeFacts, lines: &mut Lines) {
    lines.add("redis_version", REDIS_VERSION);
    lines.add("gtstore_version", &facts.version);
    lines.add("gtstore_node", &facts.node);
    lines.add("gtstore_held_keys", facts.held_keys);
    lines.add("redis_mode", "cluster");
    lines.add("os", std::env::consts::OS);
    lines.add("arch_bits", usize::BITS);
    lines.add("process_id", facts.process);
    lines.add("run_id", &facts.run_id);
    lines.add("tcp_port", facts.port);
    lines.add("server_time_usec", facts.now_us);
    lines.add("uptime_in_seconds", facts.uptime_s);
    lines.add("uptime_in_days", facts.uptime_s / 86_400);
}

fn clients(facts: &NodeFacts, lines: &mut Lines) {
    lines.add("connected_clients", facts.clients);
    lines.add("maxclients", facts.max_clients);
    lines.add("blocked_clients", facts.blocked_clients);
}

fn memory(facts: &NodeFacts, lines: &mut Lines) {
    lines.add("used_memory", facts.used_memory);
    lines.add("used_memory_human", human(facts.used_memory));
    if let Some(resident) = facts.resident_memory {
        lines.add("used_memory_rss", resident);
        lines.add("used_memory_rss_human", human(resident));
    }
    lines.add("maxmemory", facts.max_memory);
    lines.add("maxmemory_human", human(facts.max_memory));
    lines.add("maxmemory_policy", "noeviction");
}

fn persistence(facts: &NodeFacts, lines: &mut Lines) {
    lines.add("loading", u8::from(facts.is_loading));
    lines.add("async_loading", 0);
    lines.add("aof_enabled", u8::from(facts.disk.is_some()));
    let Some(disk) = facts.disk else { return };
    let status = |is_well| if is_well { "ok" } else { "err" };
    lines.add("aof_rewrite_in_progress", u8::from(disk.is_checkpointing));
    lines.add("aof_last_bgrewrite_status", status(disk.can_checkpoint));
    lines.add("aof_last_write_status", status(disk.is_written));
    lines.add("rdb_bgsave_in_progress", u8::from(disk.is_checkpointing));
    lines.add("rdb_last_bgsave_status", status(disk.can_checkpoint));
    lines.add("rdb_last_save_time", disk.last_save_s);
}

fn stats(facts: &NodeFacts, lines: &mut Lines) {
    lines.add("total_connections_received", facts.total_connections);
    lines.add("total_commands_processed", facts.total_commands);
    lines.add("total_net_input_bytes", facts.input_bytes);
    lines.add("total_net_output_bytes", facts.output_bytes);
    lines.add("rejected_connections", facts.rejected_connections);
    lines.add("expired_keys", facts.expired_keys);
    lines.add("evicted_keys", 0);
    lines.add("keyspace_hits", facts.hits);
    lines.add("keyspace_misses", facts.misses);
}

fn replication(facts: &NodeFacts, lines: &mut Lines) {
    lines.add("role", "master");
    lines.add("connected_slaves", facts.copies);
    lines.add("master_failover_state", "no-failover");
}

fn cluster(_: &NodeFacts, lines: &mut Lines) {
    lines.add("cluster_enabled", 1);
}

fn keyspace(facts: &NodeFacts, lines: &mut Lines) {
    if facts.keys > 0 {
        let (keys, expires) = (facts.keys, facts.expiring_keys);
        lines.add("db0", format_args!("keys={keys},expires={expires}"));
    }
}

/// A size in human-readable form: `1.50M`.
fn human(bytes: u64) -> String {
    let units = ["B", "K", "M", "G", "T", "P"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < units.len() {
        (size, unit) = (size / 1024.0, unit + 1);
    }
    if unit == 0 { format!("{bytes}B") } else { format!("{size:.2}{}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(facts: &NodeFacts, sections: &[&str]) -> String {
        text(facts, sections.iter().map(|s| s.as_bytes()))
    }

    #[test]
    fn info_has_the_fields_that_clients_look_for() {
        let facts = NodeFacts { keys: 3, expiring_keys: 1, ..NodeFacts::default() };
        let all = asked(&facts, &[]);
        for line in [
            "# Server",
            "redis_version:7.2.4",
            "redis_mode:cluster",
            "loading:0",
            "role:master",
            "cluster_enabled:1",
            "db0:keys=3,expires=1",
        ] {
            assert!(all.split("\r\n").any(|l| l == line), "{line} in {all}");
        }
        assert!(asked(&NodeFacts { is_loading: true, ..facts }, &[]).contains("\r\nloading:1\r\n"));
    }

    #[test]
    fn the_state_of_the_disk_is_reported() {
        let persistence =
            |disk| asked(&NodeFacts { disk, ..NodeFacts::default() }, &["persistence"]);
        let none = persistence(None);
        assert!(none.contains("aof_enabled:0\r\n") && !none.contains("status"), "{none}");
        let disk = Persistence {
            is_written: true,
            can_checkpoint: true,
            is_checkpointing: false,
            last_save_s: 7,
        };
        let well = persistence(Some(disk));
        for line in ["aof_enabled:1", "aof_last_write_status:ok", "rdb_last_save_time:7"] {
            assert!(well.lines().any(|l| l == line), "{line} in {well}");
        }
        let sick = persistence(Some(Persistence { is_written: false, ..disk }));
        assert!(sick.contains("aof_last_write_status:err\r\n"), "{sick}");
        assert!(sick.contains("rdb_last_bgsave_status:ok\r\n"), "{sick}");
        let large = persistence(Some(Persistence { can_checkpoint: false, ..disk }));
        assert!(large.contains("rdb_last_bgsave_status:err\r\n"), "{large}");
    }

    #[test]
    fn sections_are_chosen() {
        let facts = NodeFacts::default();
        assert_eq!(asked(&facts, &["keyspace"]), "# Keyspace\r\n");
        assert_eq!(
            asked(&facts, &["KEYSPACE", "cluster", "nothing"]),
            "# Cluster\r\ncluster_enabled:1\r\n\r\n# Keyspace\r\n"
        );
        assert_eq!(asked(&facts, &["nothing"]), "");
        assert_eq!(asked(&facts, &["everything"]), asked(&facts, &[]));
        assert!(
            SECTIONS.iter().all(|(name, _)| asked(&facts, &[]).contains(&format!("# {name}\r\n")))
        );
    }

    #[test]
    fn sizes() {
        for (bytes, want) in
            [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (1_572_864, "1.50M"), (1 << 50, "1.00P")]
        {
            assert_eq!(human(bytes), want);
        }
    }
}
