//! The ring: slots, cut into arcs, which are assigned to nodes.
//!
//! The key space is a ring of [`SLOTS`] slots, cut into a power of two of equal *arcs*. Each arc
//! belongs to one node, and a node owns many arcs scattered over the ring: Dynamo's third strategy
//! (DeCandia et al., SOSP 2007, §6.2). The manager assigns arcs; everything else reads the table.
//!
//! * [`assign`] distributes arcs evenly by weight and moves as few as possible;
//! * [`fall`] reassigns a dead node's arcs to the next nodes clockwise, which hold the records
//!   already;
//! * [`walk`] finds the K replicas of each arc: the first K different owners clockwise.
//!
//! Invariants: in an assignment each node has its share to within one arc; an arc moves only if its
//! owner is gone or has more than its share; the result depends on the arguments alone.
//!
//! Only first copies are balanced (the scatter balances the others), and racks are unknown.

use crate::slot::{SLOTS, slot};

/// Arcs of a new cluster's ring: fine enough for an even assignment over hundreds of nodes, and a
/// table of 8 KB. Fixed at a cluster's birth.
pub const DEFAULT_ARCS: usize = 4096;

/// Whether a ring can be cut into this many arcs: a power of two, at most one a slot.
pub fn is_arc_count(arcs: usize) -> bool {
    arcs.is_power_of_two() && arcs <= usize::from(SLOTS)
}

/// The arc of a slot on a ring of `arcs` arcs (a power of two).
pub fn arc_of_slot(slot: u16, arcs: usize) -> usize {
    debug_assert!(is_arc_count(arcs));
    usize::from(slot) >> (SLOTS.trailing_zeros() - arcs.trailing_zeros())
}

/// The arc of a key on a ring of `arcs` arcs.
pub fn arc_of_key(key: &[u8], arcs: usize) -> usize {
    arc_of_slot(slot(key), arcs)
}

/// The slots of some arcs (in ascending order) as first and last of each run of neighbours.
pub fn slot_runs(arcs: &[usize], arc_count: usize) -> Vec<(u16, u16)> {
    let width = usize::from(SLOTS) / arc_count.max(1);
    let mut runs: Vec<(u16, u16)> = Vec::new();
    for &arc in arcs {
        let (first, last) = ((arc * width) as u16, (arc * width + width - 1) as u16);
        match runs.last_mut() {
            Some(run) if run.1 + 1 == first => run.1 = last,
            _ => runs.push((first, last)),
        }
    }
    runs
}

/// A node that takes part in an assignment.
#[derive(Debug, Clone, Copy)]
pub struct Participant<'a> {
    /// Its name, which determines its preferred arcs, so that each node's scatter differs.
    pub name: &'a str,
    /// Its share of the ring in proportion to the others'; 0 takes no arcs.
    pub weight: u32,
}

/// Assigns every arc to a participant.
///
/// `owners[arc]` is the present owner as an index into `participants`, or `None` if it is gone.
/// Each participant receives its share by weight, rounded by the largest remainder; only arcs of
/// absent owners and of owners above their share move. Empty if no participant has a weight.
pub fn assign(owners: &[Option<u16>], participants: &[Participant<'_>]) -> Vec<u16> {
    let held = count(owners, participants.len());
    let Some(share) = shares(owners.len(), &held, participants) else {
        return Vec::new();
    };
    let surplus = held.iter().zip(&share).map(|(&have, &want)| have.saturating_sub(want)).collect();
    let mut table = Assignment { owners: owners.to_vec(), surplus };
    for (receiver, participant) in participants.iter().enumerate() {
        let missing = share[receiver].saturating_sub(held[receiver]);
        table.take(receiver as u16, missing, &preference(participant.name, owners.len()));
    }
    table.owners.into_iter().map(|owner| owner.expect("shares add up to all arcs")).collect()
}

/// How many arcs to each side of a new one should not belong to the same node. Small enough to be
/// possible for a node that owns a fifth of the ring.
const CLEARANCE: usize = 2;

/// An assignment under construction.
struct Assignment {
    owners: Vec<Option<u16>>,
    /// How many arcs each participant still has to give up.
    surplus: Vec<usize>,
}

impl Assignment {
    /// Gives `missing` arcs to `receiver`: those it prefers among the free ones.
    ///
    /// A walk should seldom meet one node twice, or copies would be less even than first copies. So
    /// the ring is cut into as many strata as arcs are missing and one arc taken in each, by
    /// preference, clear of the receiver's others. If a stratum has none, an arc from anywhere
    /// takes its place. (Evenly spaced arcs would be more even still, but then one node would
    /// inherit everything when this one dies.)
    fn take(&mut self, receiver: u16, missing: usize, preference: &[u64]) {
        let arcs = self.owners.len();
        let mut left = missing;
        let strata = (0..missing).map(|i| i * arcs / missing..(i + 1) * arcs / missing);
        for stratum in strata {
            let best = stratum
                .filter(|&arc| self.is_free(arc, receiver) && self.is_clear(arc, receiver))
                .min_by_key(|&arc| preference[arc]);
            if let Some(arc) = best {
                self.give(arc, receiver);
                left -= 1;
            }
        }
        if left == 0 {
            return;
        }
        let mut order: Vec<usize> = (0..arcs).collect();
        order.sort_unstable_by_key(|&arc| preference[arc]);
        for must_be_clear in [true, false] {
            for &arc in &order {
                if left == 0 {
                    return;
                }
                if self.is_free(arc, receiver) && (!must_be_clear || self.is_clear(arc, receiver)) {
                    self.give(arc, receiver);
                    left -= 1;
                }
            }
        }
    }

    fn is_free(&self, arc: usize, receiver: u16) -> bool {
        self.owners[arc].is_none_or(|o| o != receiver && self.surplus[usize::from(o)] > 0)
    }

    fn is_clear(&self, arc: usize, receiver: u16) -> bool {
        let arcs = self.owners.len();
        (1..=CLEARANCE.min(arcs / 2)).all(|d| {
            self.owners[(arc + d) % arcs] != Some(receiver)
                && self.owners[(arc + arcs - d) % arcs] != Some(receiver)
        })
    }

    fn give(&mut self, arc: usize, receiver: u16) {
        if let Some(giver) = self.owners[arc].replace(receiver) {
            self.surplus[usize::from(giver)] -= 1;
        }
    }
}

fn count(owners: &[Option<u16>], participants: usize) -> Vec<usize> {
    let mut held = vec![0; participants];
    for owner in owners.iter().flatten() {
        held[usize::from(*owner)] += 1;
    }
    held
}

/// The number of arcs for each participant. Among equal remainders, a participant that would
/// otherwise lose an arc is rounded up first: fewer arcs move.
fn shares(arcs: usize, held: &[usize], participants: &[Participant<'_>]) -> Option<Vec<usize>> {
    let total: u64 = participants.iter().map(|c| u64::from(c.weight)).sum();
    if total == 0 {
        return None;
    }
    let exact = |c: &Participant<'_>| arcs as u64 * u64::from(c.weight);
    let mut share: Vec<usize> = participants.iter().map(|c| (exact(c) / total) as usize).collect();
    let mut order: Vec<usize> =
        (0..participants.len()).filter(|&i| participants[i].weight > 0).collect();
    order.sort_by_key(|&i| {
        (
            std::cmp::Reverse(exact(&participants[i]) % total),
            held[i] <= share[i],
            participants[i].name,
        )
    });
    let left = arcs - share.iter().sum::<usize>();
    for &i in order.iter().cycle().take(left) {
        share[i] += 1;
    }
    Some(share)
}

/// A node's preference for each arc, the lower the better: a hash of its name and the arc.
fn preference(name: &str, arcs: usize) -> Vec<u64> {
    // FNV-1a over the name, then splitmix64 over the arc: both fixed by their papers, so an
    // assignment can be repeated; only the manager assigns, so no other process needs to agree on
    // it.
    let seed = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    (0..arcs).map(|arc| splitmix64(seed.wrapping_add(arc as u64))).collect()
}

fn splitmix64(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Reassigns the arcs of members that are gone to the next remaining member clockwise.
///
/// `is_gone[m]` is for each member of `owners`. With K ≥ 2 the next member holds the arc's records
/// already, so nothing has to move before it can serve. Empty if all are gone.
pub fn fall(owners: &[u16], is_gone: &[bool]) -> Vec<u16> {
    let arcs = owners.len();
    let stays = |arc: usize| !is_gone[usize::from(owners[arc % arcs])];
    let Some(last) = (0..arcs).rev().find(|&arc| stays(arc)) else {
        return Vec::new();
    };
    let mut fallen = owners.to_vec();
    let mut next = owners[last];
    // Anticlockwise from the last arc that stays: `next` is always the next remaining owner
    // clockwise.
    for arc in (0..arcs).map(|back| (last + arcs - back) % arcs) {
        if stays(arc) {
            next = owners[arc];
        }
        fallen[arc] = next;
    }
    fallen
}

/// The replicas of each arc: the first `copies` different owners clockwise from it, its own first.
/// Returned flat, [`copies_of`] members an arc.
pub fn walk(owners: &[u16], copies: usize) -> Vec<u16> {
    let width = copies_of(owners, copies);
    let arcs = owners.len();
    let mut table = vec![0; arcs * width];
    let mut next: Vec<u16> = Vec::with_capacity(width + 1);
    // Going anticlockwise, an arc's list is its owner in front of the list of the arc after it. One
    // round fills `next` with the different owners after arc 0, the second writes the table.
    for arc in (0..arcs).rev().chain((0..arcs).rev()) {
        let owner = owners[arc];
        next.retain(|&m| m != owner);
        next.insert(0, owner);
        next.truncate(width);
        table[arc * width..arc * width + next.len()].copy_from_slice(&next);
    }
    table
}

/// How many replicas each arc has: `copies`, or all owners where there are fewer.
pub fn copies_of(owners: &[u16], copies: usize) -> usize {
    let mut distinct = owners.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    distinct.len().min(copies)
}

#[cfg(test)]
mod tests;
