//! CONFIG GET: the configuration, under the names that Redis uses.
//!
//! redis-benchmark asks for `save` and `appendonly` when it starts; monitors ask for `maxmemory*`.
//! The cluster's secret is not included.

use crate::args::Args;
use crate::glob::Pattern;
use crate::reply::Replies;
use crate::request::Limits;

/// The configuration of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerConfig {
    /// Most bytes that it may use; 0: no limit.
    pub max_memory: u64,
    /// Most connections that it accepts.
    pub max_clients: u64,
    /// The Redis port.
    pub port: u16,
    /// Seconds after which an idle connection is closed; 0: never.
    pub idle_timeout_s: u64,
    /// Length in bytes of the longest value that the cluster accepts.
    pub value_bytes: usize,
    /// Seconds of silence after which keepalive probes are sent to the peer.
    pub keepalive_s: u64,
    /// When a write reaches the disk.
    pub sync: Sync,
}

/// When a write reaches the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// Never.
    Never,
    /// About a second later.
    EverySecond,
    /// Before it is acknowledged.
    Always,
}

impl ServerConfig {
    fn parameters(&self) -> [(&'static str, String); 14] {
        let limits = Limits::AUTHENTICATED.for_values(self.value_bytes);
        let (append, sync) = match self.sync {
            Sync::Never => ("no", "no"),
            Sync::EverySecond => ("yes", "everysec"),
            Sync::Always => ("yes", "always"),
        };
        [
            ("appendfsync", sync.to_owned()),
            ("appendonly", append.to_owned()),
            ("client-query-buffer-limit", limits.request.to_string()),
            ("cluster-enabled", "yes".to_owned()),
            ("databases", "1".to_owned()),
            ("maxclients", self.max_clients.to_string()),
            ("maxmemory", self.max_memory.to_string()),
            ("maxmemory-policy", "noeviction".to_owned()),
            ("notify-keyspace-events", String::new()),
            ("port", self.port.to_string()),
            ("proto-max-bulk-len", limits.bulk.to_string()),
            ("save", String::new()),
            ("tcp-keepalive", self.keepalive_s.to_string()),
            ("timeout", self.idle_timeout_s.to_string()),
        ]
    }

    /// Replies to CONFIG GET: every parameter that matches one of the patterns, once.
    pub fn get(&self, patterns: Args<'_>, out: &mut Replies<'_>) {
        let patterns: Vec<Pattern> = patterns.iter().map(|p| Pattern::new(p, true)).collect();
        let is_asked = |name: &str| patterns.iter().any(|p| p.matches(name.as_bytes()));
        let mut asked = self.parameters().to_vec();
        asked.retain(|(name, _)| is_asked(name));
        out.map(asked.len());
        for (name, value) in &asked {
            out.text(name);
            out.text(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Protocol;
    use crate::testing::with_args;

    fn asked(line: &str, protocol: Protocol) -> String {
        let settings = ServerConfig {
            max_memory: 1000,
            max_clients: 10,
            port: 7001,
            idle_timeout_s: 0,
            value_bytes: 1 << 20,
            keepalive_s: 300,
            sync: Sync::EverySecond,
        };
        let mut out = Vec::new();
        with_args(&format!("config get {line}"), |args| {
            settings.get(args.from(2), &mut Replies::new(&mut out, protocol));
        });
        String::from_utf8(out).unwrap().replace("\r\n", " ")
    }

    #[test]
    fn by_name_and_by_pattern_and_each_once() {
        assert_eq!(asked("save", Protocol::Resp2), "*2 $4 save $0  ");
        assert_eq!(asked("SAVE sav?", Protocol::Resp3), "%1 $4 save $0  ");
        assert_eq!(
            asked("append*", Protocol::Resp3),
            "%2 $11 appendfsync $8 everysec $10 appendonly $3 yes "
        );
        assert_eq!(asked("maxmemory", Protocol::Resp2), "*2 $9 maxmemory $4 1000 ");
        assert_eq!(asked("timeout", Protocol::Resp2), "*2 $7 timeout $1 0 ");
        assert_eq!(asked("tcp-keepalive", Protocol::Resp2), "*2 $13 tcp-keepalive $3 300 ");
        assert_eq!(asked("requirepass nothing", Protocol::Resp2), "*0 ");
        assert!(asked("*", Protocol::Resp3).starts_with("%14 "));
    }
}
