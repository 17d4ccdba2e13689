//! Copies of data folders (rule L5): which folder of a node is the one that counts.
//!
//! A node that starts with a folder holds the lock on it, so the process that wrote to *this*
//! folder before has ended. But the folder may be a copy (a cloned machine, a restored backup)
//! while the original's process lives. What the copy has is old, and it looks just like the
//! original after a restart. So:
//!
//! * A folder remembers the last starts of a process with it ([`starts`](super::starts)), and each
//!   start records itself there before it registers. That distinguishes a folder from its copy from
//!   the first start with the copy on.
//! * A start may claim what a node that listens elsewhere has written. It is held back until the
//!   end of that node is *known* (L6), or the operator confirms it. Silence proves nothing: the
//!   node may only be paused. Meanwhile that node is probed. If it answers a probe that was sent
//!   after the other had registered, both are alive: the folder is a copy.
//! * Of two folders with the same claim, the one whose process came first is the original.
//! * A copy stays a copy, whatever ends and starts again, the manager included ([`Folders`] is
//!   saved). It is no source and no replacement, does not take the name, and blocks no other node,
//!   until an operator chooses it.
//!
//! One case cannot be distinguished from a node that has moved: a folder was copied, and the copy
//! starts on another address after the original's process has ended and before that starts again.
//! Then the copy came first, and counts.

use std::collections::{BTreeMap, BTreeSet};

use crate::claim::Claim;
use crate::ids::{Address, Incarnation, NodeId};
use crate::membership::lifecycle::NodeEvent;
use crate::membership::starts::STARTS;
use crate::membership::{Answer, Effect, Membership, Newcomer, Node};
use crate::mutation::{Mutation, is_on};
use crate::time::Millis;
use crate::view::Routes;

/// Copies that are remembered, and folders that may wait at a time: many more than an operator
/// creates by mistake. Of more copies the oldest are forgotten; further nodes that wait are asked
/// to come again.
pub const MAX_COPIES: usize = 64;

/// What has to be remembered of data folders. It survives the manager.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folders {
    /// Those that are copies, the oldest first.
    pub copies: Vec<FolderCopy>,
    /// By the last writer of a folder: the last starts with the folder that came first after it,
    /// the newest last.
    pub firsts: BTreeMap<Incarnation, Vec<Incarnation>>,
}

impl Folders {
    /// Whether a start that claims what `of` has written has the folder that came first, if one
    /// did. It may be an earlier start than those known so far: a registration may arrive long
    /// after its process has ended.
    fn is_first(&self, of: Incarnation, start: Incarnation, claim: &Claim) -> Option<bool> {
        let first = self.firsts.get(&of)?;
        let is_later = first.last().is_some_and(|newest| claim.starts.contains(newest));
        Some(is_later || first.contains(&start))
    }
}

/// A data folder that is a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderCopy {
    /// The node whose folder was copied.
    pub id: NodeId,
    /// The last starts of a process with the copy that were held back, the newest last.
    pub starts: Vec<Incarnation>,
}

/// A data folder that is held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingFolder {
    /// The node's name.
    pub id: NodeId,
    /// The start of a process that waits with it.
    pub start: Incarnation,
    /// Where that listens.
    pub address: Address,
    /// Where the node listens, or listened, whose folder it may be a copy of, if that is known.
    pub original: Option<Address>,
    /// Whether it is certainly a copy.
    pub is_copy: bool,
}

/// What the manager knows of a folder that is held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    folder: WaitingFolder,
    of: Incarnation,
    /// The last starts of a process with its folder.
    starts: Vec<Incarnation>,
    /// The node whose folder it may be a copy of, and the manager's step from which on a heartbeat
    /// of that node proves it.
    rival: Option<(Incarnation, u64)>,
    heard: Millis,
}

impl FolderCopy {
    /// Whether a start with such a claim has this copy.
    fn is_of(&self, id: &NodeId, start: Incarnation, claim: &Claim) -> bool {
        self.id == *id && self.starts.iter().any(|s| *s == start || claim.starts.contains(s))
    }

    fn note(&mut self, start: Incarnation) {
        self.starts.push(start);
        let surplus = self.starts.len().saturating_sub(STARTS);
        self.starts.drain(..surplus);
    }
}

/// Whether a start may have a copy of another's folder, or the other a copy of its folder.
fn is_of_one_line(claim: &Claim, node: &Node) -> bool {
    let shares = |other: &Claim| {
        other.of == claim.of
            || other.starts.contains(&claim.of)
            || other.starts.iter().any(|start| claim.starts.contains(start))
    };
    let incarnation = node.who.incarnation;
    incarnation == claim.of
        || claim.starts.contains(&incarnation)
        || node.claim.as_ref().is_some_and(shares)
}

impl Membership {
    /// What is remembered of data folders.
    pub fn folders(&self) -> &Folders {
        &self.folders
    }

    /// The data folders that are held back, by node and address.
    pub fn waiting_folders(&self) -> Vec<WaitingFolder> {
        let mut waiting: Vec<_> = self.held_back.values().map(|held| held.folder.clone()).collect();
        waiting.sort_by(|a, b| (&a.id, &a.address).cmp(&(&b.id, &b.address)));
        waiting
    }

    /// Whether the folder of a start that registers is, or may be, a copy. Then it is held back.
    pub(super) fn hold_back(
        &mut self,
        now: Millis,
        who: &Newcomer,
        claim: &Claim,
        effects: &mut Vec<Effect>,
    ) -> Option<Answer> {
        if self.nodes.contains_key(&who.incarnation) {
            return None;
        }
        let (steps, is_blind) = (self.steps, is_on(Mutation::CopyTaken));
        let is_known = self.folders.copies.iter().any(|c| c.is_of(&who.id, who.incarnation, claim));
        let is_second = self.folders.is_first(claim.of, who.incarnation, claim) == Some(false);
        let is_copy = (is_known || is_second) && !is_blind;
        // A copy may have more on its disk than the original, which lost its power since. It stays
        // a copy.
        if !is_copy {
            self.pass_over_older(who, claim, effects);
        }
        let rival = self
            .rival(now, who, claim)
            .map(|node| (node.who.incarnation, node.who.address.clone(), node.is_connected()));
        if !is_copy && rival.is_none() {
            self.held_back.remove(&who.incarnation);
            return None;
        }
        if self.held_back.len() >= MAX_COPIES && !self.held_back.contains_key(&who.incarnation) {
            return Some(Answer::Wait("too many data folders wait that may be copies".into()));
        }
        if is_copy {
            self.note_copy(&who.id, who.incarnation, claim, effects);
        }
        let mut asked = steps;
        if let Some(held) = self.held_back.get(&who.incarnation)
            && let (Some((was, since)), Some((is, ..))) = (held.rival, &rival)
            && was == *is
        {
            asked = since;
        }
        if let Some((incarnation, _, true)) = rival {
            effects.push(Effect::Probe(incarnation, steps));
        }
        let folder = WaitingFolder {
            id: who.id.clone(),
            start: who.incarnation,
            address: who.address.clone(),
            original: rival.as_ref().map(|(_, address, _)| address.clone()),
            is_copy,
        };
        let why = folder.to_string();
        let rival = rival.filter(|_| !is_copy).map(|(incarnation, ..)| (incarnation, asked));
        let starts = claim.starts.clone();
        let held = Waiting { folder, of: claim.of, starts, rival, heard: now };
        self.held_back.insert(who.incarnation, held);
        Some(Answer::Aside(why))
    }

    /// A node of the same name that listens elsewhere, is not known to have ended, and may have the
    /// folder of which the newcomer has a copy.
    fn rival(&self, now: Millis, who: &Newcomer, claim: &Claim) -> Option<&Node> {
        let has_ended = |node: &Node| {
            // It was known before, or the operator has confirmed it.
            let is_first = self.folders.is_first(node.who.incarnation, who.incarnation, claim);
            node.is_gone() || is_first == Some(true) && node.is_out(now)
        };
        // The newcomer has ended, and its registration comes late.
        let is_later_start = |node: &Node| {
            node.claim.as_ref().is_some_and(|other| other.starts.contains(&who.incarnation))
        };
        let is_rival = |node: &&Node| {
            node.who.id == who.id
                && node.who.incarnation != who.incarnation
                && node.who.address != who.address
                && !has_ended(node)
                && is_of_one_line(claim, node)
                && !is_later_start(node)
        };
        let is_there = |node: &&Node| node.is_connected() && !node.is_out(now);
        self.nodes
            .values()
            .filter(is_rival)
            .find(|node| !is_on(Mutation::CopyTaken) || is_there(node))
    }

    /// A node that waits outside under this name, with a folder that an earlier start than the
    /// member's has written, does not block a node whose folder the member itself has written: the
    /// former has the copy.
    fn pass_over_older(&mut self, who: &Newcomer, claim: &Claim, effects: &mut Vec<Effect>) {
        let members = self.members();
        if !members.contains(&claim.of) {
            return;
        }
        let is_older = |node: &&Node| {
            node.who.id == who.id
                && !node.is_gone()
                // Or one of the two is an earlier start with the other's folder.
                && !claim.starts.contains(&node.who.incarnation)
                && !members.contains(&node.who.incarnation)
                && is_of_one_line(claim, node)
                && node.claim.as_ref().is_some_and(|other| {
                    other.of != claim.of && !other.starts.contains(&who.incarnation)
                })
        };
        let older: Vec<(Incarnation, Claim)> = self
            .nodes
            .values()
            .filter(is_older)
            .filter_map(|node| Some((node.who.incarnation, node.claim.clone()?)))
            .collect();
        for (start, claim) in older {
            self.note_copy(&who.id, start, &claim, effects);
            self.nodes.remove(&start);
        }
    }

    /// Records permanently that a start has a copy.
    fn note_copy(
        &mut self,
        id: &NodeId,
        start: Incarnation,
        claim: &Claim,
        effects: &mut Vec<Effect>,
    ) {
        let copies = &mut self.folders.copies;
        match copies.iter_mut().find(|copy| copy.is_of(id, start, claim)) {
            Some(copy) if copy.starts.contains(&start) => return,
            Some(copy) => copy.note(start),
            None => {
                let surplus = (copies.len() + 1).saturating_sub(MAX_COPIES);
                copies.drain(..surplus);
                copies.push(FolderCopy { id: id.clone(), starts: vec![start] });
                effects.push(Effect::Log(format!("a data folder of {id} is a copy of its own")));
            }
        }
        effects.push(Effect::Save);
    }

    /// A node has answered a probe: a start that registered before that with what may be a copy of
    /// its folder does have a copy.
    pub(super) fn note_probe_answer(
        &mut self,
        from: Incarnation,
        probe: u64,
        effects: &mut Vec<Effect>,
    ) {
        let is_shown = |held: &Waiting| {
            held.rival.is_some_and(|(rival, asked)| rival == from && probe >= asked)
        };
        let shown: Vec<Incarnation> =
            self.held_back.iter().filter(|(_, held)| is_shown(held)).map(|(i, _)| *i).collect();
        for start in shown {
            let Some(held) = self.held_back.get_mut(&start) else { continue };
            (held.rival, held.folder.is_copy) = (None, true);
            let (id, address) = (held.folder.id.clone(), held.folder.address.clone());
            self.folders.copies.push(FolderCopy { id: id.clone(), starts: vec![start] });
            let surplus = self.folders.copies.len().saturating_sub(MAX_COPIES);
            self.folders.copies.drain(..surplus);
            effects.push(Effect::Save);
            effects.push(Effect::Log(format!(
                "the data folder of {id} at {address} is a copy: its original serves"
            )));
        }
    }

    /// A start that was admitted with a folder is alive: it came first. Its registration alone does
    /// not prove that, since a registration may arrive long after its process has ended.
    pub(super) fn note_first(&mut self, who: Incarnation, effects: &mut Vec<Effect>) {
        let node = self.nodes.get(&who).filter(|node| !node.has_reported());
        let Some(claim) = node.and_then(|node| node.claim.clone()) else { return };
        // Where it could not be written down, its next start would not be known for the same
        // folder's.
        let is_noted = claim.starts.contains(&who);
        if is_noted && self.counting().contains(&claim.of) {
            // Of the same folder the newest starts: the folder does not remember all of them.
            self.folders.firsts.insert(claim.of, claim.starts);
            effects.push(Effect::Save);
        }
    }

    /// Members, and incarnations whose replacement is a member: what they have written may count.
    fn counting(&self) -> BTreeSet<Incarnation> {
        let replacements =
            |routes: &Routes| routes.view().replacements.iter().map(|h| h.of).collect::<Vec<_>>();
        let views = [&self.active].into_iter().chain(&self.coming);
        let mut counting = self.members();
        counting.extend(views.flat_map(|routes| replacements(routes)));
        counting
    }

    /// The operator chooses a folder that waits, and confirms that the process that had it before
    /// has ended.
    pub(super) fn adopt_folder(
        &mut self,
        now: Millis,
        id: &NodeId,
        start: Incarnation,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        let held = self.held_back.get(&start).filter(|held| held.folder.id == *id);
        let Some((of, mut starts)) = held.map(|held| (held.of, held.starts.clone())) else {
            return Answer::Changed(format!("no data folder of {id} waits there any more"));
        };
        let is_there = |node: &&Node| node.who.id == *id && !node.is_out(now);
        if let Some(node) = self.nodes.values().find(is_there) {
            return Answer::Taken(format!("{id} is there, at {}: stop it first", node.who.address));
        }
        let steps = self.steps;
        for node in self.nodes.values_mut().filter(|node| node.who.id == *id && !node.is_gone()) {
            node.on(NodeEvent::IsReplaced, steps);
        }
        self.folders.copies.retain(|copy| copy.id != *id || !copy.starts.contains(&start));
        if self.counting().contains(&of) {
            // It may not have been possible to write it down.
            if !starts.contains(&start) {
                starts.push(start);
            }
            self.folders.firsts.insert(of, starts);
        }
        self.held_back.remove(&start);
        effects.push(Effect::Save);
        effects.push(Effect::Log(format!("the operator goes on with another data folder of {id}")));
        effects.push(Effect::FolderAdopted);
        Answer::Done
    }

    /// Forgets entries that no longer count, and nodes that do not come again.
    pub(super) fn forget_folders(&mut self, now: Millis) {
        // A node that waits comes again every two seconds.
        let patience = self.settings.return_ms.max(2 * self.settings.lease_ms());
        self.held_back.retain(|_, held| now.saturating_sub(held.heard) < patience);
        if !self.folders.firsts.is_empty() {
            let counting = self.counting();
            self.folders.firsts.retain(|of, _| counting.contains(of));
        }
    }
}

impl std::fmt::Display for WaitingFolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let WaitingFolder { id, address, original, is_copy, .. } = self;
        if *is_copy {
            write!(
                f,
                "the data folder of {id} at {address} is a copy and counts for nothing: stop that node, or go on with \
                 the copy, without the original: client --adopt-folder {id}"
            )
        } else {
            let other = original.as_ref().map_or_else(String::new, |at| format!(" at {at}"));
            write!(
                f,
                "the data folder of {id} at {address} may be a copy: it is not known whether {id}{other} has ended; \
                 bring that back, or if it has ended: client --adopt-folder {id}"
            )
        }
    }
}
