//! Replies about the node and the cluster: INFO, CONFIG, COMMAND, CLUSTER and the like.

use std::sync::atomic::{AtomicU64, Ordering};

use cluster::durability::Durability;
use cluster::slot::slot;
use cluster::view::View;
use net_common::clock;
use resp::command::{ClusterCommand, ServerCommand};
use resp::config::{self, Sync};
use resp::error::Error;
use resp::lolwut::Ring;
use resp::reply::Replies;
use resp::topology::ClusterHealth;
use resp::{client, docs, info};

use super::client_socket;
use super::shared::{Shared, copies};
use super::topology::node_id;

impl Shared {
    /// Replies to a command about the node.
    ///
    /// # Errors
    /// [`Error`] where the node does not have the facts yet.
    pub fn answer_server(
        &self,
        server: &ServerCommand<'_>,
        out: &mut Replies<'_>,
    ) -> Result<(), Error> {
        match *server {
            ServerCommand::Commands => docs::all(out),
            ServerCommand::CommandCount => docs::count(out),
            ServerCommand::CommandInfo(names) => docs::info(names, out),
            ServerCommand::CommandDocs(names) => docs::docs(names, out),
            ServerCommand::CommandKeys(request) => docs::keys(request, out)?,
            ServerCommand::CommandNames(of) => docs::names(of, out),
            ServerCommand::Help(family) => docs::help(family, out),
            ServerCommand::ResetStatistics => {
                self.reset_statistics();
                out.ok();
            }
            ServerCommand::LastSave => out.integer(self.last_save_s()),
            ServerCommand::Modules => out.array(0),
            ServerCommand::ConfigGet(patterns) => self.config().get(patterns, out),
            ServerCommand::Info(sections) => {
                out.verbatim(&info::text(&self.info(), sections.iter()));
            }
            ServerCommand::Time => client::time(clock::wall_ms() * 1000, out),
            ServerCommand::Role => client::role(out),
            ServerCommand::LolWut => {
                let ring = ring(self.routes()?.view());
                out.verbatim(&ring.text(env!("CARGO_PKG_VERSION")));
            }
        }
        Ok(())
    }

    /// Replies to a command about the cluster.
    ///
    /// # Errors
    /// [`Error`] before the first view.
    pub fn answer_cluster(
        &self,
        cluster: &ClusterCommand<'_>,
        out: &mut Replies<'_>,
    ) -> Result<(), Error> {
        let routes = self.routes()?;
        let picture = self.picture(&routes);
        match *cluster {
            ClusterCommand::Slots => picture.topology().slots(out),
            ClusterCommand::Shards => picture.topology().shards(out),
            ClusterCommand::Nodes => out.verbatim(&picture.topology().nodes_text()),
            ClusterCommand::Info => {
                // Without a manager the node's lease, which it renews, is the criterion.
                let client = self.coordinator.client();
                let lost = client.and_then(|client| client.lost()).unwrap_or_default();
                let is_member = routes.view().place_of(self.node.id()).is_some();
                let serves =
                    !routes.view().arcs.is_empty() && (self.node.has_lease() || !is_member);
                let lost_slots = lost.count_ones(..) * picture.slots_of_arc();
                out.verbatim(&picture.topology().info_text(ClusterHealth { serves, lost_slots }));
            }
            ClusterCommand::MyId => {
                out.text(&node_id(routes.view().cluster, self.node.id()));
            }
            ClusterCommand::KeySlot(key) => out.integer(i64::from(slot(key))),
            ClusterCommand::CountKeysInSlot(slot) => out.count(self.node.keys_in_slot(slot)),
        }
        Ok(())
    }

    /// The time of the last save of its records, in seconds since 1970.
    pub fn last_save_s(&self) -> i64 {
        let started_ms =
            || clock::wall_ms().saturating_sub(self.started.elapsed().as_millis() as u64);
        let imaged_s = self.node.journal().checkpointed_s();
        i64::try_from(imaged_s.unwrap_or_else(|| started_ms() / 1000)).unwrap_or(i64::MAX)
    }

    /// The configuration.
    fn config(&self) -> config::ServerConfig {
        config::ServerConfig {
            max_memory: self.node.memory().1.unwrap_or(0),
            max_clients: self.limits.connections as u64,
            port: self.port,
            // 0 would mean for ever.
            idle_timeout_s: self.settings.idle.map_or(0, |idle| idle.as_secs().max(1)),
            keepalive_s: client_socket::KEEPALIVE.as_secs(),
            value_bytes: self.value_bytes(),
            sync: match self.node.durability() {
                Durability::None => Sync::Never,
                Durability::Async => Sync::EverySecond,
                Durability::Sync => Sync::Always,
            },
        }
    }

    /// The facts for INFO.
    fn info(&self) -> info::NodeFacts {
        let (counts, before) = (self.counts(), self.baseline());
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let routes = self.node.routes();
        let own = routes.as_ref().map(|routes| self.picture(routes).own_arcs());
        let (keys, expiring_keys) = self.node.count_keys(&own.unwrap_or_default());
        let journal = self.node.journal();
        let is_durable = self.node.durability() != Durability::None;
        let held = self.node.size().keys;
        info::NodeFacts {
            version: env!("CARGO_PKG_VERSION").into(),
            node: self.node.id().to_string(),
            run_id: format!("{:040x}", self.node.incarnation().0),
            process: std::process::id(),
            port: self.port,
            uptime_s: self.started.elapsed().as_secs(),
            now_us: clock::wall_ms() * 1000,
            is_loading: routes.as_ref().is_none_or(|routes| routes.view().arcs.is_empty()),
            clients: counts.open as u64,
            max_clients: self.limits.connections as u64,
            blocked_clients: self.pause.waiting(),
            used_memory: self.node.memory().0,
            resident_memory: resident_memory(),
            max_memory: self.node.memory().1.unwrap_or(0),
            disk: is_durable.then(|| info::Persistence {
                is_written: journal.trouble().is_none(),
                can_checkpoint: journal.strain(self.node.size().bytes).is_none(),
                is_checkpointing: journal.is_checkpointing(),
                last_save_s: self.last_save_s(),
            }),
            total_connections: counts.served.saturating_sub(before.connections.served),
            rejected_connections: counts.turned_away.saturating_sub(before.connections.turned_away),
            total_commands: count(&self.tally.commands),
            input_bytes: count(&self.tally.input_bytes),
            output_bytes: count(&self.tally.output_bytes),
            expired_keys: self.node.expired_count().saturating_sub(before.expired),
            hits: count(&self.tally.hits),
            misses: count(&self.tally.misses),
            keys,
            expiring_keys,
            held_keys: held,
            copies: routes.map_or(0, |routes| copies(&routes).saturating_sub(1) as u64),
        }
    }
}

/// The ring for LOLWUT.
fn ring(view: &View) -> Ring {
    Ring {
        nodes: view.members.iter().map(|member| member.id.to_string()).collect(),
        copies: view.copies,
        owners: view.arcs.iter().map(|&owner| usize::from(owner)).collect(),
    }
}
/// Resident memory of the process in bytes, where Linux provides it.
fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
