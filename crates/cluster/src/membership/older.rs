//! A manager that goes on from an older copy of its folder (rule L7).
//!
//! Every node that registers tells the newest view that it has seen, and who made that. If the manager does not know
//! it, views were made that its folder tells nothing of: it is an older copy. Then the manager serves nobody: it tells no
//! lease, makes no view, and takes nobody in. It goes on hearing what others have seen for a while, says it, and ends.
//!
//! The operator may go on all the same, if the right folder is lost: with what was shown, and no more. When all leases are
//! over that anybody was told, the manager takes over the newest view that a node has told, as if that had been in its
//! folder: whoever was synced by it is, and nothing of it is lost. What is lost is what was acknowledged under views that
//! nobody tells of. So that the numbers of these are not used again, the next view leaps ([`Line::leap`]), and
//! who comes with one of them later is refused for good.
//!
//! Where nobody has the view, since all who have seen it have ended and their folders tell only its number and what they
//! were synced in, the manager's own view counts in its place: these folders are good for the arcs in which that one
//! has their nodes (H6).
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
    /// Which it is.
    pub name: ViewName,
    /// The view, where the manager has asked for it ([`Answer::Older`]) and the node has it.
    pub view: Option<Box<View>>,
}

/// What a manager lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    /// The newest view that its folder tells of.
    pub knows: Epoch,
    /// The newest that a node has seen.
    pub seen: Epoch,
    /// In words.
    pub what: String,
}

/// What nodes have told that the manager does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Older {
    since: Millis,
    /// What an earlier start was told, if anything.
    shown: Epoch,
    reported: BTreeMap<NodeId, Seen>,
    has_stopped: bool,
}

impl Older {
    /// Nobody has told anything yet.
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
    /// Looks whether the manager is behind its nodes; `None` if it is not, and goes on as ever.
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
            // It registers again, and tells what it has seen.
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

    /// Notes what a node has seen, if the manager does not know that.
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

    /// The view to go on from, if the operator goes on: the newest that anybody has.
    fn newest_reported(&self) -> Option<&View> {
        let told = self.older.iter().flat_map(|older| older.reported.values());
        let views = told.filter_map(|seen| seen.view.as_deref());
        views
            .filter(|view| view.cluster == self.active.view().cluster)
            .max_by_key(|view| view.name())
    }

    /// Whether some node has told the newest view by its name and has yet to tell the view itself.
    fn awaits_view(&self) -> bool {
        let Some(older) = &self.older else { return false };
        let newest = older.newest();
        let mut told = older.reported.values().filter(|seen| seen.name.epoch == newest);
        let is_there = self.newest_reported().is_some_and(|view| view.epoch >= newest);
        !is_there && told.any(|seen| seen.name.life != ManagerIncarnation::UNKNOWN)
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

    /// Why the manager serves nobody, if so.
    pub(super) fn lacks(&self) -> Option<String> {
        self.older.is_some().then(|| self.lacking().what)
    }

    /// Ends the wait for what others have seen: the manager ends, or goes on if that is what the operator wants.
    fn end_older(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let Some(older) = &self.older else { return };
        let passed = now.saturating_sub(older.since);
        let (told, has_stopped) = (older.newest(), older.has_stopped);
        // He was shown one view. Until somebody who has seen that is there, nothing tells what is lost; and where one has
        // seen a later one it is more.
        let goes_on = self.accepts > Epoch::NONE && told == self.accepts;
        if told < self.accepts {
            return;
        }
        // Whoever goes on must not do so while anybody has a lease that another view told.
        let wait = if goes_on {
            self.settings.return_ms.max(self.longest_ms)
        } else {
            self.settings.return_ms
        };
        if passed < wait || has_stopped {
            return;
        }
        if goes_on {
            // Who has it registers again and again. If its process ends it is waited for with its folder, or until
            // the operator starts the manager anew.
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

    /// What the operator can do, and what it means.
    fn choices(&self, seen: Epoch) -> String {
        let knows = self.newest().epoch();
        let told = self.newest_reported().filter(|view| view.epoch > knows);
        let goes_on = match told {
            Some(view) if view.epoch >= seen => {
                let heard = |id: &NodeId| {
                    self.older.as_ref().is_some_and(|older| older.reported.contains_key(id))
                };
                let members = view.members.iter().map(|m| &m.id);
                let away: Vec<&str> = members.filter(|id| !heard(id)).map(NodeId::as_str).collect();
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
                told.map_or(knows, |view| view.epoch)
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

    /// Goes on from the newest view that there is. All leases are over.
    fn take_over(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let before = self.lacking();
        let own = self.newest().view().clone();
        let told = self.newest_reported().filter(|view| view.epoch > own.epoch).cloned();
        let mut view = told.unwrap_or(own);
        if view.epoch < before.seen {
            // Only its number is known, and what its members' folders tell: those count who had adopted the view
            // before this one. Who made those in between nobody knows.
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

/// The view that leaps, where nothing else is to be done: nobody may meet the numbers that were given up.
pub(super) fn leap(old: &View) -> Option<Plan> {
    let epoch = old.next_epoch();
    if epoch == old.epoch.next() || old.members.is_empty() {
        return None;
    }
    let view = View { epoch, fresh: Vec::new(), replacements: Vec::new(), ..old.clone() };
    Some(Plan { view, why: format!("views between {} and this one are given up", old.epoch) })
}
