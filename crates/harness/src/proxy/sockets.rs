//! Looks up the party at the other end of a connection in `/proc`: the process of ours that owns
//! the socket, or a client if none does. A lookup takes milliseconds.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::party::Party;

/// How long the table of sockets is valid: another process may reuse a port.
const FRESH: Duration = Duration::from_millis(300);

/// Our processes, and the sockets of this machine that are connected over loopback.
#[derive(Debug, Default)]
pub(super) struct SocketOwners {
    pids: Mutex<Vec<(Party, u32)>>,
    table: Mutex<SocketTable>,
}

#[derive(Debug, Default)]
struct SocketTable {
    read: Option<Instant>,
    /// By local and remote port.
    inodes: HashMap<(u16, u16), u64>,
}

impl SocketOwners {
    /// Sets the process of a party; `None` while it does not run.
    pub(super) fn set_pid(&self, party: Party, pid: Option<u32>) {
        let mut pids = self.pids.lock();
        pids.retain(|(other, _)| *other != party);
        pids.extend(pid.map(|pid| (party, pid)));
    }

    /// The party at the other end of a connection from port `from` to port `to`.
    pub(super) fn holder(&self, from: u16, to: u16) -> Party {
        let key = (from, to);
        let mut table = self.table.lock();
        // A missing connection is newer than the table, or closed.
        let is_old = table.read.is_none_or(|at| at.elapsed() > FRESH);
        if is_old || !table.inodes.contains_key(&key) {
            *table = SocketTable { read: Some(Instant::now()), inodes: inodes() };
        }
        let Some(inode) = table.inodes.get(&key).copied() else { return Party::Client };
        drop(table);
        let socket = format!("socket:[{inode}]");
        let pids = self.pids.lock().clone();
        let holder = pids.into_iter().find(|(_, pid)| holds(*pid, &socket));
        holder.map_or(Party::Client, |(party, _)| party)
    }
}

fn holds(pid: u32, socket: &str) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let mut links = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    links.any(|link| link.as_os_str() == socket)
}

fn inodes() -> HashMap<(u16, u16), u64> {
    // sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let port = |word: &str| u16::from_str_radix(word.strip_prefix("0100007F:")?, 16).ok();
    table
        .lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace().skip(1);
            let (own, other) = (port(words.next()?)?, port(words.next()?)?);
            let inode = words.nth(6)?.parse().ok()?;
            Some(((own, other), inode))
        })
        .collect()
}
