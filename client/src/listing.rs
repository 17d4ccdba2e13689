//! Listing and counting keys.
//!
//! A listing follows the order of places that [`cluster::scan`] defines. For each page all
//! primaries of the remaining arcs are asked concurrently for their first keys from there on; arcs
//! that one of them cannot list go to their next replica. The page ends at the first place that
//! some node has not listed.

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use cluster::arcs::ArcSet;
use cluster::ring::arc_of_slot;
use cluster::scan;
use cluster::view::Routes;
use log::debug;
use net_common::connection::{Connection, NetError};
use net_common::message::list::{List, Listed};

use crate::backoff::{Backoff, after};
use crate::connection_pool::ConnectionPool;
use crate::error::ClientError;
use crate::store::GTStoreClient;

/// Some of the cluster's keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    /// The keys, in the order of their places.
    pub keys: Vec<Vec<u8>>,
    /// The place to go on from, if these are not all.
    pub next: Option<u64>,
}

/// The combined replies of the nodes.
#[derive(Default)]
pub(crate) struct KeyListing {
    /// Keys, and whether each has a value for certain.
    pub(crate) keys: Vec<(Vec<u8>, bool)>,
    /// The place before which all keys are listed; `None` if all are.
    pub(crate) end: Option<u64>,
    pub(crate) count: u64,
}

/// A failed attempt.
struct Failed {
    /// The arcs that no node has listed.
    arcs: ArcSet,
    why: String,
}

impl GTStoreClient {
    /// Lists keys, about `most` of them (at least 1), from a place on: 0 for the first call, then
    /// [`Keys::next`]. A caller that continues until there is no next one gets every key that
    /// existed from the first call to the last, each once, even if nodes join or leave meanwhile.
    ///
    /// # Errors
    /// [`ClientError::NotEnoughReplicas`] or [`ClientError::Unavailable`] if no node can list some
    /// keys.
    pub fn list(&self, from: u64, most: usize) -> Result<Keys, ClientError> {
        self.list_of(None, from, most)
    }

    /// The same of the keys of some arcs only; `None`: of all.
    ///
    /// # Errors
    /// As [`GTStoreClient::list`].
    pub fn list_of(
        &self,
        arcs: Option<&ArcSet>,
        from: u64,
        most: usize,
    ) -> Result<Keys, ClientError> {
        let listing = self.listing(arcs, from, u32::try_from(most.max(1)).unwrap_or(u32::MAX))?;
        let before = listing.end.unwrap_or(u64::MAX);
        let mut keys = listing.keys;
        keys.retain(|(key, _)| scan::place(key) < before);
        // A read decides on the doubtful ones.
        let in_doubt: Vec<Vec<u8>> =
            keys.iter().filter(|(_, is_sure)| !is_sure).map(|(key, _)| key.clone()).collect();
        let mut gone = HashSet::new();
        for (key, got) in in_doubt.iter().zip(self.get_many(&in_doubt)) {
            if got?.is_none() {
                gone.insert(key);
            }
        }
        let keys = keys.into_iter().map(|(key, _)| key).filter(|key| !gone.contains(key));
        let (mut keys, next) = scan::page(keys, from, most.max(1));
        keys.sort_by_cached_key(|key| scan::place(key));
        Ok(Keys { keys, next: next.or(listing.end) })
    }

    /// Counts the keys of the cluster. Exact only without concurrent writes.
    ///
    /// # Errors
    /// As [`GTStoreClient::list`].
    pub fn count(&self) -> Result<u64, ClientError> {
        self.count_of(None)
    }

    /// The same of the keys of some arcs only; `None`: of all.
    ///
    /// # Errors
    /// As [`GTStoreClient::list`].
    pub fn count_of(&self, arcs: Option<&ArcSet>) -> Result<u64, ClientError> {
        self.listing(arcs, 0, 0).map(|listing| listing.count)
    }

    /// The nodes' keys from a place on, about `most` of each node; retried until the deadline.
    pub(crate) fn listing(
        &self,
        arcs: Option<&ArcSet>,
        from: u64,
        most: u32,
    ) -> Result<KeyListing, ClientError> {
        let until = after(self.config.deadline);
        let mut backoff = Backoff::new();
        loop {
            let routes = self.router.routes();
            let failed = match attempt(&self.pool, &routes, arcs, from, most) {
                Ok(listing) => return Ok(listing),
                Err(failed) => failed,
            };
            self.refresh(&routes, &mut backoff, until);
            if !self.router.lost().is_disjoint(&failed.arcs) {
                return Err(ClientError::Unavailable);
            }
            if Instant::now() >= until {
                let (deadline, why) = (self.config.deadline, failed.why);
                return Err(ClientError::NotEnoughReplicas { deadline, why });
            }
        }
    }
}

/// Asks replicas of every arc from a place on for about `most` keys; if that is 0, for their
/// number.
fn attempt(
    pool: &ConnectionPool,
    routes: &Routes,
    only: Option<&ArcSet>,
    from: u64,
    most: u32,
) -> Result<KeyListing, Failed> {
    let arcs = routes.arcs();
    let Some(slot) = scan::slot_of(from) else { return Ok(KeyListing::default()) };
    if arcs == 0 {
        return Err(Failed { arcs: ArcSet::new(), why: "no node serves".into() });
    }
    // Each with the number of its replicas that could not answer.
    let asked =
        (arc_of_slot(slot, arcs)..arcs).filter(|&arc| only.is_none_or(|only| only.contains(arc)));
    let mut open: Vec<(u16, usize)> = asked.map(|arc| (arc as u16, 0)).collect();
    let mut listing = KeyListing::default();
    let mut why = String::new();
    while !open.is_empty() {
        let mut asked: BTreeMap<u16, Vec<(u16, usize)>> = BTreeMap::new();
        let mut dead = ArcSet::with_capacity(arcs);
        for &(arc, vain) in &open {
            match routes.replicas(usize::from(arc)).get(vain) {
                Some(&place) => asked.entry(place).or_default().push((arc, vain)),
                None => dead.insert(usize::from(arc)),
            }
        }
        if !dead.is_clear() {
            return Err(Failed { arcs: dead, why });
        }
        open.clear();
        // All are asked before the first answer is waited for: they work at the same time.
        let sent: Vec<_> = asked
            .into_iter()
            .map(|(place, arcs)| {
                let list = List { from, most, arcs: arcs.iter().map(|(arc, _)| *arc).collect() };
                let address = &routes.member(place).address;
                let link = pool.take(address).and_then(|mut link| {
                    link.push(&list);
                    link.flush()?;
                    Ok(link)
                });
                (place, arcs, link)
            })
            .collect();
        for (place, arcs, link) in sent {
            let member = routes.member(place);
            match link.and_then(|link| receive(pool, link, &mut listing)) {
                Ok(refused) if refused.is_empty() => {}
                Ok(refused) => {
                    why = format!("{} cannot list some keys now", member.id);
                    open.extend(arcs.iter().filter(|(arc, _)| refused.contains(arc)));
                }
                Err(error) => {
                    debug!("{}: {error}", member.id);
                    why = format!("{}: {error}", member.id);
                    pool.forget(&member.address);
                    open.extend(arcs);
                }
            }
        }
        open.iter_mut().for_each(|(_, vain)| *vain += 1);
        open.sort_unstable();
    }
    Ok(listing)
}

/// Receives one node's answer. Returns the arcs that it did not list.
fn receive(
    pool: &ConnectionPool,
    mut link: Connection,
    listing: &mut KeyListing,
) -> Result<Vec<u16>, NetError> {
    let listed: Listed<'_> = link.receive_as()?;
    listing.count += listed.count;
    listing.keys.extend(listed.keys.iter().map(|key| (key.key.to_vec(), key.is_sure)));
    listing.end = match (listing.end, listed.end) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    let refused = listed.refused;
    pool.put_back(link);
    Ok(refused)
}
