//! A manager that starts from an older copy of its folder (rule L7).
//!
//! Every node that registers reports the newest view that it has seen, and which manager start
//! created it. If the manager does not know this view, views were created that its folder does not
//! contain: it is an older copy. Then the manager serves no requests: it grants no lease, creates
//! no view, and takes in no node. For a while it goes on collecting what nodes have seen, then logs
//! it and exits.
//!
//! The operator may still go on if the right folder is lost: with what was shown, and no more. When
//! all leases that were ever granted are over, the manager takes over the newest view that a node
//! has reported, as if that had been in its folder: nodes that were synced by that view are synced,
//! and nothing of it is lost. What is lost is what was acknowledged under views that no node
//! reports. So that their numbers are not used again, the next view leaps ([`Line::leap`]), and a
//! node that comes later with one of them is refused permanently.
//!
//! If no node has the view itself, because all that have seen it have ended and their folders
//! record only its number and the arcs in which they were synced, the manager's own view counts in
//! its place: these folders are valid for the arcs in which that view has their nodes (H6).
//!
//! [`Line::leap`]: crate::line::Line::leap

use std::collections::BTreeMap;

use crate::claim::Claim;
use crate::ids::{Epoch, ManagerIncarnation, NodeId};
use crate::line::ViewName;
use crate::membership::lifecycle::NodeEvent;
use crate::membership::proposal::Plan;
use crate::membership::{Answer, Effect, Event, Membership, Saved};
use crate::mutation::{Mutation, is_on};
use crate::time::Millis;
use crate::view::View;

/// The newest view that a node has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its name.
    pub name: ViewName,
    /// The view itself, if the manager has asked for it ([`Answer::Older`]) and the node has it.
    pub view: Option<Box<View>>,
}

/// What a manager lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    /// The newest view that its folder contains.
    pub knows: Epoch,
    /// The newest that a node has seen.
    pub seen: Epoch,
    /// A description in words.
    pub what: String,
}

/// What nodes have reported that the manager does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Older {
    since: Millis,
    /// The newest view that was reported to an earlier start, if any.
    shown: Epoch,
    reported: BTreeMap<NodeId, Seen>,
    has_stopped: bool,
}

impl Older {
    /// No node has reported anything yet.
    pub(super) fn since(now: Millis, shown: Epoch) -> Older {
        Older { since: now, shown, reported: BTreeMap::new(), has_stopped: false }
    }

    fn newest(&self) -> Epoch {
        self.reported.values().map(|seen| seen.name.epoch).max().unwrap_or(Epoch::NONE)
    }

    /// `node1, node3 have seen view 9, node2 has seen view 8`.
    fn sightings(&self) -> String {
        if self.newest() < self.shown {
            return format!("nodes had seen view {} when it was started before", self.shown);
        }
        let mut by_view: BTreeMap<Epoch, Vec<&str>> = BTreeMap::new();
        for (id, seen) in &self.reported {
            by_view.entry(seen.name.epoch).or_default().push(id.as_str());
        }
        let sighting = |(epoch, ids): (&Epoch, &Vec<&str>)| {
            let verb = if ids.len() == 1 { "has" } else { "have" };
            format!("{} {verb} seen view {epoch}", ids.join(", "))
        };
        by_view.iter().rev().map(sighting).collect::<Vec<_>>().join(", ")
    }
}

impl Membership {
    /// Checks whether the manager is behind its nodes; `None` if it is not, and goes on as usual.
    pub(super) fn while_older(
        &mut self,
        now: Millis,
        event: &Event,
        effects: &mut Vec<Effect>,
    ) -> Option<Answer> {
        if let Event::Register { who, claim, seen, .. } = event
            && let Some(answer) = self.look_at(now, &who.id, claim.as_ref(), seen.as_ref(), effects)
        {
            return Some(answer);
        }
        self.older.as_ref()?;
        let wait = || Answer::Wait("the manager's folder is an older copy".into());
        let answer = match event {
            Event::Register { .. }
            | Event::AcceptLoss(_)
            | Event::AdoptFolder { .. }
            | Event::Command(_) => wait(),
            // The node registers again and reports what it has seen.
            Event::Heartbeat(..) => Answer::Unknown,
            Event::Disconnected(incarnation) => {
                let steps = self.steps;
                if let Some(node) = self.nodes.get_mut(incarnation) {
                    node.on(NodeEvent::ConnectionEnds, steps);
                }
                Answer::Done
            }
            Event::Gone(_) => Answer::Done,
            Event::Tick => {
                self.end_older(now, effects);
                Answer::Done
            }
        };
        Some(answer)
    }

    /// Notes what a node has seen, if the manager does not know it.
    fn look_at(
        &mut self,
        now: Millis,
        id: &NodeId,
        claim: Option<&Claim>,
        seen: Option<&Seen>,
        effects: &mut Vec<Effect>,
    ) -> Option<Answer> {
        let newest = self.newest().clone();
        let by_folder =
            claim.map(|claim| ViewName { epoch: claim.epoch, life: ManagerIncarnation::UNKNOWN });
        let names = seen.map(|seen| seen.name).into_iter().chain(by_folder);
        let name = names.filter(|name| !newest.view().has(*name)).max()?;
        if is_on(Mutation::OlderState) {
            return None;
        }
        if newest.view().line.has_given_up(name) {
            return Some(Answer::Taken(format!(
                "{id} has seen view {}, which was given up: what it holds may be missing in it what others \
                 acknowledged since; start it anew, with no data folder or an empty one",
                name.epoch
            )));
        }
        let view = seen.filter(|seen| seen.name == name).and_then(|seen| seen.view.clone());
        let is_first = self.older.as_ref().is_none_or(|older| older.reported.is_empty());
        let older = self.older.get_or_insert_with(|| Older::since(now, Epoch::NONE));
        older.reported.insert(id.clone(), Seen { name, view });
        if is_first {
            let what = self.lacking().what;
            effects.push(Effect::Log(what));
            if self.order.take().is_some() {
                let why = "the manager's folder is an older copy";
                effects.push(Effect::CommandOutcome(Err(why.into())));
            }
        }
        Some(Answer::Older(format!(
            "{id} has seen view {}, and the manager's folder is an older copy: it knows none after {}",
            name.epoch,
            newest.epoch()
        )))
    }

    /// The view to go on from if the operator goes on: the newest that any node has.
    fn newest_reported(&self) -> Option<&View> {
        let reported = self.older.iter().flat_map(|older| older.reported.values());
        let views = reported.filter_map(|seen| seen.view.as_deref());
        views
            .filter(|view| view.cluster == self.active.view().cluster)
            .max_by_key(|view| view.name())
    }

    /// Whether some node has reported the name of the newest view and has yet to send the view
    /// itself.
    fn awaits_view(&self) -> bool {
        let Some(older) = &self.older else { return false };
        let newest = older.newest();
        let mut reported = older.reported.values().filter(|seen| seen.name.epoch == newest);
        let is_there = self.newest_reported().is_some_and(|view| view.epoch >= newest);
        !is_there && reported.any(|seen| seen.name.life != ManagerIncarnation::UNKNOWN)
    }

    /// What the manager lacks, if it lacks anything.
    fn lacking(&self) -> Behind {
        let knows = self.newest().epoch();
        let Some(older) = &self.older else {
            return Behind { knows, seen: knows, what: String::new() };
        };
        let seen = older.newest().max(older.shown);
        let what = format!(
            "this manager's folder is an older copy: it knows view {knows}, and {}",
            older.sightings()
        );
        Behind { knows, seen, what }
    }

    /// The reason why the manager serves no requests, if it serves none.
    pub(super) fn lacks(&self) -> Option<String> {
        self.older.is_some().then(|| self.lacking().what)
    }

    /// Ends the wait for what nodes have seen: the manager exits, or goes on if the operator wants
    /// it to.
    fn end_older(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let Some(older) = &self.older else { return };
        let passed = now.saturating_sub(older.since);
        let (newest, has_stopped) = (older.newest(), older.has_stopped);
        // The operator was shown one view. Until a node that has seen it is present, nothing shows
        // what is lost; and if a node has seen a later view, more is lost.
        let goes_on = self.accepts > Epoch::NONE && newest == self.accepts;
        if newest < self.accepts {
            return;
        }
        // The manager must not go on while any node has a lease that was granted under another
        // view.
        let wait = if goes_on {
            self.settings.return_ms.max(self.longest_ms)
        } else {
            self.settings.return_ms
        };
        if passed < wait || has_stopped {
            return;
        }
        if goes_on {
            // A node that has the view keeps registering. If its process ends, it is waited for
            // with its folder, or until the operator restarts the manager.
            if !self.awaits_view() {
                self.take_over(now, effects);
            }
            return;
        }
        let mut behind = self.lacking();
        behind.what += &self.choices(behind.seen);
        if let Some(older) = &mut self.older {
            older.has_stopped = true;
        }
        effects.push(Effect::Stop(behind));
    }

    /// The operator's choices, and their consequences.
    fn choices(&self, seen: Epoch) -> String {
        let knows = self.newest().epoch();
        let reported = self.newest_reported().filter(|view| view.epoch > knows);
        let goes_on = match reported {
            Some(view) if view.epoch >= seen => {
                let has_reported = |id: &NodeId| {
                    self.older.as_ref().is_some_and(|older| older.reported.contains_key(id))
                };
                let members = view.members.iter().map(|m| &m.id);
                let away: Vec<&str> =
                    members.filter(|id| !has_reported(id)).map(NodeId::as_str).collect();
                let from = format!("goes on from view {}, which they have", view.epoch);
                if away.is_empty() {
                    format!("{from}; all its members have been heard of, so nothing is lost")
                } else {
                    format!(
                        "{from}; lost is what was acknowledged under later views, which {} may have seen",
                        away.join(", ")
                    )
                }
            }
            _ if seen > knows => format!(
                "goes on from view {}, with what the folders of its members have as of view {seen}; what only others \
                 hold is lost",
                reported.map_or(knows, |view| view.epoch)
            ),
            _ => format!(
                "goes on from its own view {knows}; what was acknowledged under theirs is lost, and they are to be \
                 started anew"
            ),
        };
        format!(
            ". Give it the folder that it had last; if that is lost, start it with --accept-older: it {goes_on}"
        )
    }

    /// Goes on from the newest view available. All leases are over.
    fn take_over(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let before = self.lacking();
        let own = self.newest().view().clone();
        let reported = self.newest_reported().filter(|view| view.epoch > own.epoch).cloned();
        let mut view = reported.unwrap_or(own);
        if view.epoch < before.seen {
            // Only the view's number is known, and what its members' folders report: members that
            // had adopted the view before this one count. It is not known which starts created
            // those in between.
            let epoch = before.seen.next();
            view.line.made(view.next_epoch(), view.epoch, ManagerIncarnation::UNKNOWN);
            view.epoch = epoch;
            view.fresh.clear();
            view.replacements.clear();
        }
        view.line.leap(view.epoch, self.life);
        effects.push(Effect::Log(format!(
            "{}; the operator goes on from view {}",
            before.what, view.epoch
        )));
        let saved = Saved {
            active: view,
            coming: None,
            unused: Vec::new(),
            ended: Vec::new(),
            ..self.state()
        };
        let fresh =
            Membership::new(self.settings, saved, now).in_life(self.life, Epoch::NONE, false);
        *self = Membership { steps: self.steps, durable_terms: self.durable_terms, ..fresh };
        effects.push(Effect::Save);
        effects.push(Effect::Publish(self.active.clone()));
    }
}

/// A view that leaps, if there is nothing else to do: no node may meet the numbers that were given
/// up.
pub(super) fn leap(old: &View) -> Option<Plan> {
    let epoch = old.next_epoch();
    if epoch == old.epoch.next() || old.members.is_empty() {
        return None;
    }
    let view = View { epoch, fresh: Vec::new(), replacements: Vec::new(), ..old.clone() };
    Some(Plan { view, why: format!("views between {} and this one are given up", old.epoch) })
}
