//! A node's state for each of its ranges, and which requests it may answer (rules N1, H1 and H3).
//!
//! A node is *synced* in an arc when it holds everything that was acknowledged there. It may answer
//! reads only where it is synced, and writes only under its own epoch. [`Holdings`] has, for one
//! incarnation of one node, the newest view that it has adopted and the arcs in which it is synced.
//!
//! Invariants:
//! * a node stays synced in an arc only from a view to the next one, and only if it is in the arc's
//!   write set in both. If it skips a view or loses the arc it is not synced any more (F5), unless
//!   the view names it as the arc's [`SoleHolder`] in all views that it skipped;
//! * a new incarnation starts with nothing synced (F6), unless the view names it as the replacement
//!   of a dead incarnation whose folder it has ([`Claim`]);
//! * a page counts only under the epoch under which it was read (R2);
//! * stale records, from before a restart or a skipped view, are dropped or set aside as a cache
//!   that no read returns (F10, R6).
//!
//! Leases are not checked here: this module does not know the time.

use std::sync::Arc;

use crate::arcs::ArcSet;
use crate::claim::Claim;
use crate::durability::Durability;
use crate::ids::{Epoch, Incarnation, ManagerIncarnation, NodeId};
use crate::line::ViewName;
use crate::mutation::{Mutation, is_on};
use crate::view::{Member, MemberState, Routes, SoleHolder, View};

/// Whether this node holds everything that was acknowledged in an arc.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// It does. Its answers count.
    Synced,
    /// It is still fetching. It stores writes, but its answers are *blind*.
    Blind,
}

/// Why a node does not answer a request for an arc.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The epochs differ, or this node is no replica of the arc: ask the manager for the view.
    WrongEpoch,
    /// This node is a replica of the arc that is still fetching it: ask another replica.
    Syncing,
}

/// What a node does with its records when it adopts a view.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adoption {
    /// Arcs whose records it drops: it is no longer in their write set, or they start empty.
    pub to_drop: Vec<usize>,
    /// Arcs that it must fetch.
    pub to_fetch: Vec<usize>,
    /// Arcs whose stale records it keeps as a cache (H3): those that it must fetch. While it is
    /// outside the view, or a sole holder, these are all other arcs, since it may join again. Stale
    /// records of the remaining arcs are dropped.
    pub to_set_aside: ArcSet,
    /// Arcs whose records it takes from its data folder (H6), from this view on.
    pub to_revive: ArcSet,
}

/// The state of one incarnation's ranges.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Holdings {
    id: NodeId,
    incarnation: Incarnation,
    routes: Option<Arc<Routes>>,
    /// Arcs in whose write set this node is.
    arcs: ArcSet,
    synced: ArcSet,
    /// Arcs with the records of its own disk: everything that was acknowledged, except what only
    /// other disks may have. It is synced there when it has gathered that.
    revived: ArcSet,
    /// The claim of its data folder, until it is a member.
    claim: Option<Claim>,
    has_been_member: bool,
}

/// The step from the view that a node has adopted to a newer one.
struct Transition<'r> {
    routes: &'r Routes,
    /// This node's place in the newer view, if it is a member of that.
    me: Option<usize>,
    /// Arcs in whose write set it is there.
    arcs: ArcSet,
    /// Arcs that start empty with that view.
    fresh: ArcSet,
    /// Whether the newer view is the next one.
    follows: bool,
    /// The arcs that it alone holds there, if it is a sole holder.
    sole_holder: Option<&'r SoleHolder>,
    /// The same, if it was their sole holder in all views that it skipped.
    is_kept_for: Option<&'r SoleHolder>,
}

impl Transition<'_> {
    /// Whether nothing can have been acknowledged in an arc without this node between the two
    /// views.
    fn stayed(&self, arc: usize) -> bool {
        let is_kept = |held: &SoleHolder| held.arcs.binary_search(&(arc as u16)).is_ok();
        self.follows || self.is_kept_for.is_some_and(is_kept)
    }
}

impl Holdings {
    /// The holdings of a node that has seen no view yet.
    pub fn new(id: NodeId, incarnation: Incarnation) -> Holdings {
        let (arcs, synced, revived) = Default::default();
        let (routes, claim) = (None, None);
        Holdings { id, incarnation, routes, arcs, synced, revived, claim, has_been_member: false }
    }

    /// The same for a node with a data folder of an earlier start.
    pub fn with_claim(self, claim: Option<Claim>) -> Holdings {
        Holdings { claim, ..self }
    }

    /// The claim of its data folder, while it waits to become a member.
    pub fn claim(&self) -> Option<&Claim> {
        self.claim.as_ref()
    }

    /// The epoch of the newest adopted view.
    pub fn epoch(&self) -> Epoch {
        self.routes.as_ref().map_or(Epoch::NONE, |r| r.epoch())
    }

    /// The newest adopted view.
    pub fn routes(&self) -> Option<&Arc<Routes>> {
        self.routes.as_ref()
    }

    /// Whether it was a member of any view that it has adopted: it may hold records that no other
    /// node has.
    pub fn has_been_member(&self) -> bool {
        self.has_been_member
    }

    /// The arcs in which this node is synced.
    pub fn synced(&self) -> &ArcSet {
        &self.synced
    }

    /// The arcs with the records of this node's own disk, which it has yet to merge with the
    /// others'.
    pub fn revived(&self) -> &ArcSet {
        &self.revived
    }

    /// The arcs that this node has yet to fetch or to gather.
    pub fn missing(&self) -> Vec<usize> {
        self.arcs.difference(&self.synced).collect()
    }

    /// The newest view that this node has seen: the adopted one, or the one that its folder names.
    pub fn seen(&self) -> ViewName {
        let claimed = || self.claim.as_ref().map_or(Epoch::NONE, |claim| claim.epoch);
        let by_folder = || ViewName { epoch: claimed(), life: ManagerIncarnation::UNKNOWN };
        self.routes.as_ref().map_or_else(by_folder, |routes| routes.view().name())
    }

    /// Adopts a view. Returns `None` and changes nothing unless the view is newer than the present
    /// one and descends from it: a view that does not would make this node forget acknowledged
    /// writes.
    pub fn adopt(&mut self, routes: Arc<Routes>) -> Option<Adoption> {
        if routes.epoch() <= self.epoch()
            || !routes.view().has(self.seen()) && !is_on(Mutation::OlderState)
        {
            return None;
        }
        let transition = self.transition_to(&routes);
        let mut synced = self.still_synced(&transition);
        let to_revive = self.inherited(&transition);
        let revived = self.still_revived(&transition, &to_revive, &mut synced);
        let adoption = self.adoption(&transition, &synced, &revived, to_revive);
        let (is_member, arcs) = (transition.me.is_some(), transition.arcs);
        let has_been_member = self.has_been_member || is_member;
        let claim = self.claim.take().filter(|_| !has_been_member);
        let routes = Some(routes);
        *self = Holdings { routes, arcs, synced, revived, claim, has_been_member, ..self.clone() };
        Some(adoption)
    }

    /// Compares a newer view with the adopted one.
    fn transition_to<'r>(&self, routes: &'r Routes) -> Transition<'r> {
        let view = routes.view();
        let me = view.place_of(&self.id).filter(|&place| {
            view.members[place].incarnation == self.incarnation || is_on(Mutation::QuickRestart)
        });
        let sole_holder = me.and_then(|me| view.sole_holder(me));
        Transition {
            routes,
            me,
            arcs: me.map_or(ArcSet::with_capacity(routes.arcs()), |me| {
                routes.arcs_of(me as u16).clone()
            }),
            fresh: view.fresh.iter().map(|&arc| usize::from(arc)).collect(),
            follows: view.before() == self.epoch() || is_on(Mutation::SkipKeeps),
            sole_holder,
            is_kept_for: sole_holder.filter(|held| held.has_followed(&view.line, self.epoch())),
        }
    }

    /// The arcs in which this node is synced after the transition: those that it keeps, and fresh
    /// arcs (H1).
    fn still_synced(&self, transition: &Transition<'_>) -> ArcSet {
        let inherits = is_on(Mutation::QuickRestart)
            && self.routes.is_none()
            && transition.me.is_some_and(|me| {
                transition.routes.view().members[me].state == MemberState::Active
            });
        let survives = |arc: usize| inherits || transition.stayed(arc) && self.synced.contains(arc);
        let is_synced = |arc: &usize| transition.fresh.contains(*arc) || survives(*arc);
        let mut synced = ArcSet::with_capacity(transition.routes.arcs());
        synced.extend(transition.arcs.ones().filter(is_synced));
        synced
    }

    /// The arcs with the records of its own disk after the transition, inherited ones included.
    /// With `sync` everything that was acknowledged is on this disk, so the node is synced in
    /// inherited arcs at once (H6).
    fn still_revived(
        &self,
        transition: &Transition<'_>,
        inherited: &ArcSet,
        synced: &mut ArcSet,
    ) -> ArcSet {
        let mut revived = ArcSet::with_capacity(transition.routes.arcs());
        match transition.routes.view().durability {
            Durability::Sync => synced.union_with(inherited),
            _ if is_on(Mutation::ReplacementSynced) => synced.union_with(inherited),
            Durability::None | Durability::Async => revived.union_with(inherited),
        }
        let stays = |arc: &usize| transition.arcs.contains(*arc) && transition.stayed(*arc);
        revived.extend(self.revived.ones().filter(stays));
        revived.difference_with(synced);
        if is_on(Mutation::LossKeeps) && transition.follows && transition.me.is_some()
            || is_on(Mutation::SoleHolderKeeps) && transition.sole_holder.is_some()
        {
            synced.union_with(&self.synced);
        }
        revived
    }

    /// What the node does with its records in the transition.
    fn adoption(
        &self,
        transition: &Transition<'_>,
        synced: &ArcSet,
        revived: &ArcSet,
        to_revive: ArcSet,
    ) -> Adoption {
        let Transition { arcs, fresh, .. } = transition;
        let is_dropped =
            |arc: &usize| !transition.stayed(*arc) || !arcs.contains(*arc) || fresh.contains(*arc);
        let is_of_use = |arc: &usize| !fresh.contains(*arc) && !synced.contains(*arc);
        let mut adoption = Adoption {
            to_drop: self.arcs.ones().filter(is_dropped).collect(),
            to_fetch: arcs.difference(synced).collect(),
            to_set_aside: match transition.me {
                Some(_) if transition.sole_holder.is_none() => arcs.difference(synced).collect(),
                _ => (0..transition.routes.arcs()).filter(is_of_use).collect(),
            },
            to_revive,
        };
        adoption.to_set_aside.difference_with(revived);
        if is_on(Mutation::StaleStays) {
            let stays = std::mem::take(&mut adoption.to_set_aside);
            adoption.to_drop.retain(|&arc| !stays.contains(arc));
        }
        adoption
    }

    /// The arcs in which a view names this node as the replacement of the incarnation in its claim.
    fn inherited(&self, transition: &Transition<'_>) -> ArcSet {
        let replacement = transition.me.and_then(|me| transition.routes.view().replacement(me));
        let (Some(replacement), Some(claim)) = (replacement, &self.claim) else {
            return ArcSet::new();
        };
        let counts = |arc: &usize| {
            replacement.of == claim.of
                && claim.synced.contains(*arc)
                && transition.arcs.contains(*arc)
        };
        replacement.arcs.iter().map(|&arc| usize::from(arc)).filter(counts).collect()
    }

    /// Whether this node has left with a view: it was leaving, and is not a member any more (H5).
    pub fn leaves_with(&self, next: &View) -> bool {
        let is_me = |m: &&Member| m.id == self.id && m.incarnation == self.incarnation;
        let own = self.routes.as_ref().and_then(|r| r.view().members.iter().find(is_me));
        if is_on(Mutation::LeavesAtOnce) {
            return own.is_some()
                && next.members.iter().any(|m| is_me(&m) && m.state == MemberState::Leaving);
        }
        own.is_some_and(|m| m.state == MemberState::Leaving)
            && next.epoch > self.epoch()
            && next.members.iter().find(is_me).is_none()
    }

    /// Whether a write under `epoch` is admitted, and how its answer counts.
    ///
    /// # Errors
    /// [`Refusal::WrongEpoch`] where the epochs differ or this node is not in the arc's write set.
    pub fn admit_write(&self, epoch: Epoch, arc: usize) -> Result<Standing, Refusal> {
        if epoch != self.epoch() || !self.arcs.contains(arc) {
            return Err(Refusal::WrongEpoch);
        }
        Ok(if self.synced.contains(arc) { Standing::Synced } else { Standing::Blind })
    }

    /// Whether this node is the primary of an arc: the replica that swaps (C5).
    pub fn is_primary(&self, arc: usize) -> bool {
        let Some(routes) = &self.routes else { return false };
        let first = routes.replicas(arc).first();
        first.is_some_and(|&place| routes.member(place).incarnation == self.incarnation)
    }

    /// Whether a read of an arc is admitted. The epochs need not be equal (F15): a node in the
    /// arc's write set of its newest view receives every write of it.
    ///
    /// # Errors
    /// A [`Refusal`] where this node is no replica of the arc, or is still fetching it.
    pub fn admit_read(&self, arc: usize) -> Result<(), Refusal> {
        match (self.synced.contains(arc), self.arcs.contains(arc)) {
            (true, _) => Ok(()),
            (false, true) if is_on(Mutation::ReadsBlind) => Ok(()),
            (false, true) => Err(Refusal::Syncing),
            (false, false) => Err(Refusal::WrongEpoch),
        }
    }

    /// Whether this node may be the source of an arc's page for a node at `epoch`.
    ///
    /// # Errors
    /// A [`Refusal`] where the epochs differ or this node is not synced there: a source never
    /// answers with an empty page because it does not know.
    pub fn admit_page(&self, epoch: Epoch, arc: usize) -> Result<(), Refusal> {
        if epoch != self.epoch() && !is_on(Mutation::AnySource) {
            return Err(Refusal::WrongEpoch);
        }
        if is_on(Mutation::UnsyncedSource) && self.arcs.contains(arc) {
            return Ok(());
        }
        self.admit_read(arc)
    }

    /// Whether this node may send its records of an arc to a replacement at `epoch` that gathers
    /// it. An empty answer is valid where this node has no stale records.
    ///
    /// # Errors
    /// [`Refusal::WrongEpoch`].
    pub fn admit_gathering(&self, epoch: Epoch, arc: usize) -> Result<(), Refusal> {
        if epoch == self.epoch() && self.arcs.contains(arc) {
            Ok(())
        } else {
            Err(Refusal::WrongEpoch)
        }
    }

    /// Whether the gather of an arc is complete. `has_replied` returns for a place in the newest
    /// view whether that member has sent all its records under this view (H6).
    pub fn has_gathered(&self, arc: usize, has_replied: impl Fn(u16) -> bool) -> bool {
        let Some(routes) = self.routes.as_ref().filter(|_| self.revived.contains(arc)) else {
            return false;
        };
        let is_other = |place: &u16| routes.member(*place).id != self.id;
        let others = || routes.write_set(arc).iter().copied().filter(is_other);
        others().all(&has_replied) || is_on(Mutation::GathersOne) && others().any(&has_replied)
    }

    /// Whether a page that was read under `epoch` may be merged now.
    pub fn may_merge(&self, epoch: Epoch, arc: usize) -> bool {
        (epoch == self.epoch() || is_on(Mutation::AnySource)) && self.arcs.contains(arc)
    }

    /// Notes that an arc is fully fetched, the last page under `epoch`. Returns whether the arc is
    /// synced now.
    pub fn fetched(&mut self, epoch: Epoch, arc: usize) -> bool {
        let counts = self.may_merge(epoch, arc);
        if counts {
            self.synced.insert(arc);
            self.revived.remove(arc);
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::MemberState::{Active, Joining};
    use crate::view::tests::{member, view};

    fn node(n: u16) -> Holdings {
        Holdings::new(NodeId::new(&format!("node{n}")).unwrap(), Incarnation(u64::from(n)))
    }

    fn born() -> View {
        let mut v = view(1, 1, vec![member(1, Active), member(2, Active)], &[0, 1, 0, 1]);
        v.fresh = vec![0, 1, 2, 3];
        v
    }

    fn routes(view: View) -> Arc<Routes> {
        view.check().unwrap();
        Arc::new(Routes::new(view))
    }

    #[test]
    fn a_view_that_descends_from_the_seen_one_is_adopted() {
        let lived = |epoch: u64, lives: &[u64]| {
            let mut v = View { epoch: Epoch(epoch), fresh: vec![], ..born() };
            for (at, &life) in (1..).zip(lives) {
                v.line.made(Epoch(at), Epoch(at - 1), ManagerIncarnation(life));
            }
            v
        };
        let mut node = node(1);
        let first = View { fresh: vec![0, 1, 2, 3], ..lived(1, &[7]) };
        node.adopt(routes(first.clone())).unwrap();
        assert_eq!(node.seen(), first.name());
        assert_eq!(node.adopt(routes(lived(2, &[8, 8]))), None, "another made view 1");
        assert_eq!((node.epoch(), node.admit_read(0)), (Epoch(1), Ok(())));
        // It is still the next view across a leap.
        let mut next = lived(1, &[7]);
        next.line.leap(Epoch(1), ManagerIncarnation(9));
        next.epoch = next.next_epoch();
        node.adopt(routes(next.clone())).unwrap();
        assert_eq!((node.epoch(), node.admit_read(0)), (next.epoch, Ok(())));
    }

    #[test]
    fn at_birth_every_member_is_synced() {
        let mut node = node(1);
        assert_eq!(node.admit_read(0), Err(Refusal::WrongEpoch));
        assert_eq!(node.adopt(routes(born())).unwrap(), Adoption::default());
        assert_eq!(node.admit_read(0), Ok(()));
        assert_eq!(node.admit_read(1), Err(Refusal::WrongEpoch));
        assert_eq!(node.admit_write(Epoch(1), 0), Ok(Standing::Synced));
        assert_eq!(node.admit_write(Epoch(2), 0), Err(Refusal::WrongEpoch));
        assert_eq!(node.admit_write(Epoch(1), 1), Err(Refusal::WrongEpoch));
        assert!(node.is_primary(0) && !node.is_primary(1));
    }

    #[test]
    fn a_joiner_is_blind_until_it_has_fetched() {
        let mut joiner = node(3);
        let mut v = born();
        v.epoch = Epoch(2);
        v.fresh.clear();
        v.members.push(member(3, Joining));
        v.coming = Some(v.with_assignment(vec![2, 1, 0, 1]));
        let adoption = joiner.adopt(routes(v)).unwrap();
        assert_eq!(adoption.to_fetch, [0]);
        assert_eq!(joiner.admit_write(Epoch(2), 0), Ok(Standing::Blind));
        assert_eq!(joiner.admit_read(0), Err(Refusal::Syncing));
        assert_eq!(joiner.admit_page(Epoch(2), 0), Err(Refusal::Syncing));
        assert!(!joiner.fetched(Epoch(1), 0), "a page of an older epoch does not count");
        assert!(joiner.fetched(Epoch(2), 0));
        assert_eq!(joiner.admit_read(0), Ok(()));
        assert_eq!(joiner.missing(), []);
    }

    #[test]
    fn a_node_that_skips_a_view_is_not_synced() {
        for (epoch, want) in [(2, Ok(())), (3, Err(Refusal::Syncing))] {
            let mut node = node(1);
            node.adopt(routes(born())).unwrap();
            let mut v = born();
            v.epoch = Epoch(epoch);
            v.fresh.clear();
            node.adopt(routes(v)).unwrap();
            assert_eq!(node.admit_read(0), want);
        }
    }

    #[test]
    fn h4_a_sole_holder_stays_synced_in_its_arcs() {
        let mut v = view(1, 1, vec![member(1, Active), member(2, Active)], &[0, 1, 0, 1]);
        v.fresh = vec![0, 1, 2, 3];
        let sole_holders = |epoch, since| {
            let mut v = view(epoch, 1, vec![member(1, Active), member(2, Active)], &[1, 1, 1, 1]);
            v.sole_holders = vec![SoleHolder { place: 0, since: Epoch(since), arcs: vec![0] }];
            routes(v)
        };
        let mut back = node(1);
        back.adopt(routes(v.clone())).unwrap();
        let adoption = back.adopt(sole_holders(5, 3)).unwrap();
        assert_eq!(adoption.to_drop, [2]);
        assert_eq!(adoption.to_set_aside.ones().collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!((back.admit_read(0), back.missing()), (Ok(()), vec![]));
        assert_eq!(back.admit_read(2), Err(Refusal::WrongEpoch));
        // It has skipped a view in which it was not a sole holder yet.
        let mut behind = node(1);
        behind.adopt(routes(v)).unwrap();
        behind.adopt(sole_holders(5, 4)).unwrap();
        assert_eq!(behind.missing(), [0]);
        // Another incarnation never held anything.
        let mut new = node(1);
        new.adopt(sole_holders(5, 3)).unwrap();
        assert_eq!(new.missing(), [0]);
    }

    #[test]
    fn f10_records_from_before_a_skipped_view_are_dropped() {
        let mut node = node(1);
        node.adopt(routes(born())).unwrap();
        let mut v = born();
        v.epoch = Epoch(3);
        v.fresh.clear();
        // A tombstone may have come and gone meanwhile: only fetched records count.
        assert_eq!(node.adopt(routes(v)).unwrap().to_drop, [0, 2]);
        assert_eq!(node.missing(), [0, 2]);
    }

    #[test]
    fn h3_stale_records_of_arcs_to_fetch_are_set_aside() {
        /// The epoch of a view, a change to it, and the arcs that are dropped and set aside.
        type Case = (u64, fn(&mut View), &'static [usize], &'static [usize]);
        let cases: [(&str, Case); 7] = [
            ("the very next view: nothing", (2, |_| {}, &[], &[])),
            ("an arc is lost as planned", (2, |v| v.arcs[0] = 1, &[0], &[])),
            ("a skipped view: what it still keeps", (3, |v| v.arcs[0] = 1, &[0, 2], &[2])),
            ("a skipped view, and an arc begins afresh", (3, |v| v.fresh = vec![0], &[0, 2], &[2])),
            ("an arc that is new to it as well", (3, |v| v.arcs[1] = 0, &[0, 2], &[0, 1, 2])),
            ("dropped from the very next view", (2, without_1, &[0, 2], &[0, 1, 2, 3])),
            (
                "dropped, and an arc begins afresh",
                (
                    3,
                    |v| {
                        without_1(v);
                        v.fresh = vec![2];
                    },
                    &[0, 2],
                    &[0, 1, 3],
                ),
            ),
        ];
        fn without_1(view: &mut View) {
            view.members.remove(0);
            view.arcs = vec![0; 4];
        }
        for (what, (epoch, change, to_drop, to_set_aside)) in cases {
            let mut node = node(1);
            node.adopt(routes(born())).unwrap();
            let mut v = born();
            v.epoch = Epoch(epoch);
            v.fresh.clear();
            change(&mut v);
            let adoption = node.adopt(routes(v)).unwrap();
            assert_eq!(adoption.to_drop, to_drop, "{what}");
            assert_eq!(adoption.to_set_aside.ones().collect::<Vec<_>>(), to_set_aside, "{what}");
        }
    }

    #[test]
    fn losing_an_arc_drops_it_and_an_old_view_is_ignored() {
        let mut node = node(1);
        node.adopt(routes(born())).unwrap();
        let mut v = born();
        v.epoch = Epoch(2);
        v.fresh.clear();
        v.arcs = vec![1, 1, 0, 1];
        assert_eq!(node.adopt(routes(v)).unwrap().to_drop, [0]);
        assert_eq!(node.adopt(routes(born())), None);
        assert_eq!(node.epoch(), Epoch(2));
    }

    #[test]
    fn another_incarnation_of_the_name_is_not_a_member() {
        let mut node = Holdings::new(NodeId::new("node1").unwrap(), Incarnation(99));
        node.adopt(routes(born())).unwrap();
        assert_eq!(node.admit_read(0), Err(Refusal::WrongEpoch));
    }

    #[test]
    fn a_leaver_has_left_with_the_first_view_without_it() {
        let mut leaver = node(2);
        let mut leaving = born();
        leaving.members[1].state = MemberState::Leaving;
        leaving.coming = Some(leaving.with_assignment(vec![0; 4]));
        leaver.adopt(routes(leaving));
        let mut without = born();
        without.epoch = Epoch(2);
        without.members.truncate(1);
        without.arcs = vec![0; 4];
        assert!(leaver.leaves_with(&without));
        assert!(!leaver.leaves_with(&View { epoch: Epoch(1), ..without.clone() }), "an old view");
        assert!(!node(1).leaves_with(&without));
        let mut dropped = node(2);
        dropped.adopt(routes(born()));
        assert!(!dropped.leaves_with(&without), "it was dropped without leaving");
    }

    #[test]
    fn arcs_of_an_accepted_loss_start_empty() {
        let mut node = node(1);
        node.adopt(routes(born())).unwrap();
        let mut v = born();
        v.epoch = Epoch(2);
        v.members.truncate(1);
        v.arcs = vec![0; 4];
        v.fresh = vec![1, 3];
        assert_eq!(node.adopt(routes(v)).unwrap(), Adoption::default());
        assert_eq!(node.missing(), []);
        assert_eq!(node.admit_read(1), Ok(()));
    }
}
