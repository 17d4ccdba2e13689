//! Listing a node's keys.
//!
//! Keys are listed arc by arc, under the rules of a read: the node has a lease, and is synced
//! there. So each arc is listed as it was at one moment, and contains all that was acknowledged
//! before.

use cluster::replica::State;
use cluster::scan;
use cluster::slot::SLOTS;
use net_common::message::Message;
use net_common::message::list::{Key, List, Listed};
use net_common::message::range::Cursor;

use super::expirations::is_alive;
use super::{Node, Serving};

/// Approximate limit for the bytes of keys in one answer: far below a frame.
const BYTES: usize = 1 << 20;

/// The overhead of a key in an answer, in bytes.
const APART: usize = 1 + 2;

/// A key of an arc.
struct ListedKey {
    key: Vec<u8>,
    is_sure: bool,
}

impl AsRef<[u8]> for ListedKey {
    fn as_ref(&self) -> &[u8] {
        &self.key
    }
}

impl Node {
    /// Answers a request for keys: appends a LIST_REPLY.
    pub fn list(&self, list: &List, out: &mut Vec<u8>) {
        let mut listed = Listed::default();
        let mut keys: Vec<ListedKey> = Vec::new();
        let (most, mut bytes) = (list.most as usize, 0);
        for (at, &arc) in list.arcs.iter().enumerate() {
            let Some(mut found) = self.keys_of(usize::from(arc), list.from) else {
                listed.refused.push(arc);
                continue;
            };
            if list.most == 0 {
                listed.count += found.iter().filter(|found| found.is_sure).count() as u64;
                continue;
            }
            let takes = |found: &ListedKey| found.key.len() + APART;
            let left = most.saturating_sub(keys.len());
            let all: usize = found.iter().map(takes).sum();
            if found.len() <= left && bytes + all <= BYTES {
                bytes += all;
                keys.append(&mut found);
                continue;
            }
            let longest = found.iter().map(takes).max().unwrap_or(APART);
            let left = left.min(BYTES.saturating_sub(bytes) / longest);
            // All arcs before this one are listed, and perhaps a part of it. The later ones are
            // only checked for whether this node can list them, so that the client knows which node
            // to ask next.
            listed.end = Some(match left {
                0 => self.first_of(arc).max(list.from),
                _ => {
                    let (first, next) = scan::page(found.into_iter(), list.from, left);
                    keys.extend(first);
                    match (next, list.arcs.get(at + 1)) {
                        (Some(next), _) => next,
                        (None, Some(&arc)) => self.first_of(arc),
                        (None, None) => break,
                    }
                }
            });
            break;
        }
        listed.keys =
            keys.iter().map(|found| Key { key: &found.key, is_sure: found.is_sure }).collect();
        listed.write(out);
    }

    fn first_of(&self, arc: u16) -> u64 {
        let arcs = self.table.get().map_or(1, |table| table.arcs());
        scan::first_of((usize::from(arc) * usize::from(SLOTS) / arcs) as u16)
    }

    /// The keys of an arc from a place on. `None` if this node may not list them.
    fn keys_of(&self, arc: usize, from: u64) -> Option<Vec<ListedKey>> {
        let holdings = self.holdings.read();
        let Serving { table, .. } = self.serving(&holdings)?;
        if arc >= table.arcs() || !self.has_lease() || holdings.admit_read(arc).is_err() {
            return None;
        }
        let (mut found, clock) = (Vec::new(), self.clock());
        table.scan(arc, Cursor::START, usize::MAX, |record| {
            let is_value = record.body.value().is_some();
            // An expired value counts as removed once all replicas know (C6); a read ensures that.
            let is_sure = is_alive(record.body, clock);
            // A committed delete is certain. A pending one may have been acknowledged already,
            // since commits are lazy (C2), or may have had no effect.
            let may_live = is_value || self.state(&record.version, record.state) == State::Pending;
            if may_live && scan::place(record.key) >= from {
                found.push(ListedKey { key: record.key.to_vec(), is_sure });
            }
            true
        });
        Some(found)
    }
}
