//! A view: a numbered description of the cluster's members and of the owner of each arc.
//!
//! Only the manager makes views, one at a time, each with the next [`Epoch`]. A view has the
//! members, the assignment in force (`arcs`) and, during a reconfiguration (members join or leave,
//! a weight or K changes, arcs are rebalanced), its target ([`Coming`]). Two sets of nodes for each
//! key follow from it:
//!
//! * *replicas* over `current` (active and leaving members on `arcs`): reads go there, the first of
//!   them is the key's *primary*;
//! * the *write set*: replicas over `current` united with replicas over `target` (active and
//!   joining members on the arcs to come, with the copies to come): every write goes to all of
//!   these, so a node that is still fetching its ranges misses no write meanwhile.
//!
//! [`View`] is the form that is saved and sent. [`Routes`] is the form for look-up: one table
//! access for a key, whatever the number of nodes.

use std::fmt;
use std::hash::{Hash, Hasher};

use fixedbitset::FixedBitSet;

use crate::durability::Durability;
use crate::ids::{Address, ClusterId, Epoch, Incarnation, NodeId};
use crate::limits::{Limits, MAX_COPIES, MAX_MEMBERS};
use crate::line::{Line, ViewName};
use crate::ring;

/// The state of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MemberState {
    /// Fetches its future ranges; receives every write of them already, serves no reads.
    Joining,
    /// Owns arcs and serves them.
    Active,
    /// Still owns arcs and serves them, while others fetch them.
    Leaving,
}

/// One member of a view.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Member {
    /// Its name.
    pub id: NodeId,
    /// Which start of its process this is.
    pub incarnation: Incarnation,
    /// Where clients and peers reach it.
    pub address: Address,
    /// The port that cluster-aware Redis clients are sent to, on the host of its address; 0: it has
    /// none.
    pub redis_port: u16,
    /// Its share of the ring in proportion to the others'. Its future weight is in [`Coming`].
    pub weight: u32,
    /// Where it is on its way through the cluster.
    pub state: MemberState,
    /// Whether it keeps its records on disk too: then they may come back after its process has
    /// ended (H6).
    pub on_disk: bool,
}

/// The target of a reconfiguration: the next view has these in place of the current ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Coming {
    /// The assignment: for each arc the place of its owner in the view's members.
    pub arcs: Vec<u16>,
    /// Copies of each key.
    pub copies: usize,
    /// Each member's weight, in the order of the view's members.
    pub weights: Vec<u32>,
    /// Bounds on keys and values.
    pub limits: Limits,
    /// The smallest number of synced copies that a write must reach.
    pub min_copies: usize,
}

/// An offline member that is the only one to hold some arcs (H4). It stays a member for these
/// alone. The arcs that it owned have been reassigned, so that everything else can be served.
///
/// Nothing is acknowledged in these arcs without it, so it misses nothing there, whatever views
/// come meanwhile. When it returns it serves them at once, and joins again for the rest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SoleHolder {
    /// Its place in the view's members.
    pub place: u16,
    /// The first of the views in which it is a sole holder. In the view before, it was in the write
    /// set of these arcs too.
    pub since: Epoch,
    /// The arcs, in ascending order. Later views may have fewer; or more, where nothing can have
    /// been acknowledged without it: then it has adopted the view two before `since`, and `since`
    /// moves forward.
    pub arcs: Vec<u16>,
}

impl SoleHolder {
    /// Whether it has missed nothing in its arcs in a view with this line, if the newest view that
    /// it has adopted is `epoch`. It may not have adopted the view before `since`, but was in the
    /// write set of these arcs there too. It has adopted the view before that one, or the manager
    /// would have waited for it.
    pub fn has_followed(&self, line: &Line, epoch: Epoch) -> bool {
        line.before(line.before(self.since)) <= epoch
    }
}

/// A member that has taken a dead member's place with the records of its folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Replacement {
    /// Its place in the view's members.
    pub place: u16,
    /// The incarnation that it replaces. If it dies before it has written anything, its folder
    /// still names this one.
    pub of: Incarnation,
    /// The arcs in which the folder counts, in ascending order.
    pub arcs: Vec<u16>,
}

/// The members and the owner of each arc, as of one epoch.
///
/// Invariants, checked by [`View::check`]: at least one member unless the cluster is unborn; names
/// and addresses are unique; each assignment has an owner for every arc of the ring, `arcs` only
/// active or leaving ones, `coming` only active or joining ones, and a weight for each member; a
/// sole holder owns nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct View {
    /// Which cluster this is.
    pub cluster: ClusterId,
    /// The number of this view; 0 before the first.
    pub epoch: Epoch,
    /// Which managers made the views up to this one.
    pub line: Line,
    /// Copies of each key (K).
    pub copies: usize,
    /// Bounds on keys and values.
    pub limits: Limits,
    /// The smallest number of synced copies that a write must reach; others are refused.
    pub min_copies: usize,
    /// What survives when all replicas of a key fail at once.
    pub durability: Durability,
    /// The members; arcs name them by their place here.
    pub members: Vec<Member>,
    /// The assignment in force: for each arc the place of its owner in `members`. Empty when nobody
    /// serves.
    pub arcs: Vec<u16>,
    /// The target of a reconfiguration, while one is under way.
    pub coming: Option<Coming>,
    /// The arcs whose history begins with this view, in ascending order: all of them at a cluster's
    /// birth, else those whose loss the operator has accepted. Every member of such an arc's write
    /// set in this view is synced: there are no records.
    pub fresh: Vec<u16>,
    /// Offline members that stay only for the arcs that they alone hold, in the order of their
    /// places.
    pub sole_holders: Vec<SoleHolder>,
    /// Members that have taken a dead member's place with the records of its disk, until they have
    /// adopted a view that names them here; in the order of their places.
    pub replacements: Vec<Replacement>,
}

/// Why a view from a file or a peer is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadView(pub &'static str);

impl fmt::Display for BadView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a view: {}", self.0)
    }
}

impl std::error::Error for BadView {}

impl View {
    /// A cluster's view before any node has joined.
    pub fn unborn(cluster: ClusterId, copies: usize, limits: Limits) -> View {
        View {
            cluster,
            epoch: Epoch::NONE,
            line: Line::default(),
            copies,
            limits,
            min_copies: 1,
            members: Vec::new(),
            arcs: Vec::new(),
            coming: None,
            durability: Durability::default(),
            fresh: Vec::new(),
            sole_holders: Vec::new(),
            replacements: Vec::new(),
        }
    }

    /// The name of this view.
    pub fn name(&self) -> ViewName {
        ViewName { epoch: self.epoch, life: self.line.maker(self.epoch) }
    }

    /// The number of the view before this.
    pub fn before(&self) -> Epoch {
        self.line.before(self.epoch)
    }

    /// The number of the view after this, once it is made.
    pub fn next_epoch(&self) -> Epoch {
        self.line.next(self.epoch)
    }

    /// Whether a view is this one or one of its ancestors.
    pub fn has(&self, view: ViewName) -> bool {
        view.epoch <= self.epoch && self.line.has(view)
    }

    /// The place of a member in `members`.
    pub fn place_of(&self, id: &NodeId) -> Option<usize> {
        self.members.iter().position(|m| m.id == *id)
    }

    /// The place of an incarnation in `members`.
    pub fn place_at(&self, incarnation: Incarnation) -> Option<usize> {
        self.members.iter().position(|m| m.incarnation == incarnation)
    }

    /// The member of this name and incarnation.
    pub fn member(&self, id: &NodeId, incarnation: Incarnation) -> Option<&Member> {
        self.members.iter().find(|m| m.id == *id && m.incarnation == incarnation)
    }

    /// The sole holder at a place, if the member there is one.
    pub fn sole_holder(&self, place: usize) -> Option<&SoleHolder> {
        self.sole_holders.iter().find(|sole_holder| usize::from(sole_holder.place) == place)
    }

    /// The replacement at a place, if the member there is one.
    pub fn replacement(&self, place: usize) -> Option<&Replacement> {
        self.replacements.iter().find(|replacement| usize::from(replacement.place) == place)
    }

    /// Whether a reconfiguration is under way.
    pub fn is_changing(&self) -> bool {
        self.coming.is_some()
    }

    /// The target with another assignment, and everything else as it is.
    pub fn with_assignment(&self, arcs: Vec<u16>) -> Coming {
        let weights = self.members.iter().map(|m| m.weight).collect();
        let View { copies, limits, min_copies, .. } = *self;
        Coming { arcs, copies, weights, limits, min_copies }
    }

    /// The limits for writes: during a change of limits, what both the old and the new ones allow.
    pub fn limits_for_writes(&self) -> Limits {
        self.coming.as_ref().map_or(self.limits, |coming| self.limits.lower(coming.limits))
    }

    /// The smallest number of synced copies for a write: during a change, the larger of the two.
    pub fn least_copies(&self) -> usize {
        self.coming.as_ref().map_or(0, |coming| coming.min_copies).max(self.min_copies)
    }

    /// Whether the reconfiguration under way changes only settings, and moves nothing.
    pub fn changes_settings_alone(&self) -> bool {
        let is_active = |m: &Member| m.state == MemberState::Active;
        self.coming.as_ref().is_some_and(|coming| {
            let settings = (coming.limits, coming.min_copies);
            let rest = self.with_assignment(self.arcs.clone());
            settings != (self.limits, self.min_copies)
                && *coming
                    == Coming { limits: coming.limits, min_copies: coming.min_copies, ..rest }
                && self.members.iter().all(is_active)
        })
    }

    /// Checks the invariants of a view from a file or a peer.
    ///
    /// # Errors
    /// [`BadView`] with the first one that is broken.
    pub fn check(&self) -> Result<(), BadView> {
        let ensure = |holds: bool, what| if holds { Ok(()) } else { Err(BadView(what)) };
        ensure((1..=MAX_COPIES).contains(&self.copies), "copies out of bounds")?;
        ensure(self.limits.is_valid(), "limits out of bounds")?;
        ensure((1..=MAX_COPIES).contains(&self.min_copies), "least copies out of bounds")?;
        ensure(self.members.len() <= MAX_MEMBERS, "too many members")?;
        let unique = |mut names: Vec<String>| {
            names.sort_unstable();
            names.windows(2).all(|pair| pair[0] != pair[1])
        };
        let ids = self.members.iter().map(|m| m.id.to_string()).collect();
        ensure(unique(ids), "a name twice")?;
        let addresses = self.members.iter().map(|m| m.address.to_string()).collect();
        ensure(unique(addresses), "an address twice")?;
        let owned_by = |arcs: &[u16], wrong: MemberState| {
            arcs.iter().all(|&a| self.members.get(usize::from(a)).is_some_and(|m| m.state != wrong))
        };
        if !self.arcs.is_empty() {
            ensure(ring::is_arc_count(self.arcs.len()), "not a power of two arcs")?;
            ensure(owned_by(&self.arcs, MemberState::Joining), "an arc without a serving owner")?;
        }
        if let Some(coming) = &self.coming {
            ensure(coming.arcs.len() == self.arcs.len(), "two rings of different size")?;
            ensure((1..=MAX_COPIES).contains(&coming.copies), "coming copies out of bounds")?;
            ensure(coming.limits.is_valid(), "coming limits out of bounds")?;
            let least = 1..=MAX_COPIES;
            ensure(least.contains(&coming.min_copies), "coming least copies out of bounds")?;
            ensure(coming.weights.len() == self.members.len(), "not a weight for each member")?;
            ensure(
                owned_by(&coming.arcs, MemberState::Leaving),
                "a coming arc without a staying owner",
            )?;
        }
        let are_arcs = |arcs: &[u16]| {
            let ascending = arcs.windows(2).all(|pair| pair[0] < pair[1]);
            ascending && arcs.last().is_none_or(|&a| usize::from(a) < self.arcs.len())
        };
        ensure(are_arcs(&self.fresh), "fresh arcs out of order")?;
        let ascending = self.sole_holders.windows(2).all(|pair| pair[0].place < pair[1].place);
        ensure(ascending, "sole holders out of order")?;
        self.sole_holders.iter().try_for_each(|SoleHolder { place, since, arcs }| {
            ensure(usize::from(*place) < self.members.len(), "a sole holder that is no member")?;
            ensure(*since <= self.epoch, "a sole holder from a view to come")?;
            ensure(!arcs.is_empty() && are_arcs(arcs), "a sole holder's arcs out of order")?;
            ensure(!self.arcs.contains(place), "a sole holder that owns something")
        })?;
        let ascending = self.replacements.windows(2).all(|pair| pair[0].place < pair[1].place);
        ensure(ascending, "replacements out of order")?;
        self.replacements.iter().try_for_each(|Replacement { place, of: _, arcs }| {
            ensure(usize::from(*place) < self.members.len(), "a replacement that is no member")?;
            ensure(!arcs.is_empty() && are_arcs(arcs), "a replacement's arcs out of order")
        })
    }
}

/// A view prepared for look-up.
#[derive(Debug, Clone)]
pub struct Routes {
    view: View,
    replicas: Table,
    /// Only during a reconfiguration: otherwise the write set is the replicas.
    write_set: Option<Table>,
    target: Option<Table>,
    /// For each member the arcs in whose write set it is.
    kept: Vec<FixedBitSet>,
}

/// Equal where the views are: everything else follows from them.
impl PartialEq for Routes {
    fn eq(&self, other: &Routes) -> bool {
        self.view == other.view
    }
}

impl Eq for Routes {}

impl Hash for Routes {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.view.hash(hasher);
    }
}

/// A list of members for each arc, flat.
#[derive(Debug, Clone)]
struct Table {
    starts: Vec<u32>,
    members: Vec<u16>,
}

impl Table {
    fn walked(arcs: &[u16], copies: usize) -> Table {
        let width = ring::copies_of(arcs, copies);
        let starts = (0..=arcs.len()).map(|arc| (arc * width) as u32).collect();
        Table { starts, members: ring::walk(arcs, copies) }
    }

    /// Puts an arc's sole holder before the members that replace it.
    fn led_by(self, sole_holders: &[SoleHolder]) -> Table {
        if sole_holders.is_empty() {
            return self;
        }
        let mut leads = vec![Vec::new(); self.starts.len() - 1];
        for sole_holder in sole_holders {
            sole_holder
                .arcs
                .iter()
                .for_each(|&arc| leads[usize::from(arc)].push(sole_holder.place));
        }
        let mut table = Table { starts: vec![0], members: Vec::new() };
        for lead in leads {
            table.members.extend(lead);
            table.starts.push(table.members.len() as u32);
        }
        table.united(&self)
    }

    fn of(&self, arc: usize) -> &[u16] {
        &self.members[self.starts[arc] as usize..self.starts[arc + 1] as usize]
    }

    /// Each list of `self`, then those of `other` that are not in it.
    fn united(&self, other: &Table) -> Table {
        let mut union = Table { starts: vec![0], members: Vec::new() };
        for arc in 0..self.starts.len() - 1 {
            let own = self.of(arc);
            union.members.extend_from_slice(own);
            union.members.extend(other.of(arc).iter().filter(|m| !own.contains(m)));
            union.starts.push(union.members.len() as u32);
        }
        union
    }
}

impl Routes {
    /// Computes the replicas and write sets of a view.
    pub fn new(view: View) -> Routes {
        let replicas = Table::walked(&view.arcs, view.copies).led_by(&view.sole_holders);
        let target = view.coming.as_ref().map(|c| Table::walked(&c.arcs, c.copies));
        let write_set = target.as_ref().map(|target| replicas.united(target));
        let mut kept = vec![FixedBitSet::with_capacity(view.arcs.len()); view.members.len()];
        for arc in 0..view.arcs.len() {
            for &place in write_set.as_ref().unwrap_or(&replicas).of(arc) {
                kept[usize::from(place)].insert(arc);
            }
        }
        Routes { view, replicas, write_set, target, kept }
    }

    /// The view itself.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The view's epoch.
    pub fn epoch(&self) -> Epoch {
        self.view.epoch
    }

    /// How many arcs the ring has; 0 while nobody serves.
    pub fn arcs(&self) -> usize {
        self.view.arcs.len()
    }

    /// The arc of a key, or `None` while nobody serves.
    pub fn arc_of(&self, key: &[u8]) -> Option<usize> {
        match self.arcs() {
            0 => None,
            arcs => Some(ring::arc_of_key(key, arcs)),
        }
    }

    /// The nodes to read an arc from, primary first, as places in the view's members.
    pub fn replicas(&self, arc: usize) -> &[u16] {
        self.replicas.of(arc)
    }

    /// The nodes that every write of an arc goes to, primary first.
    pub fn write_set(&self, arc: usize) -> &[u16] {
        self.write_set.as_ref().unwrap_or(&self.replicas).of(arc)
    }

    /// The replicas of an arc once the reconfiguration is done; the current ones, if none is under
    /// way.
    pub fn target(&self, arc: usize) -> &[u16] {
        self.target.as_ref().unwrap_or(&self.replicas).of(arc)
    }

    /// The arcs in whose write set the member at a place is.
    pub fn arcs_of(&self, place: u16) -> &FixedBitSet {
        &self.kept[usize::from(place)]
    }

    /// The member at a place.
    pub fn member(&self, place: u16) -> &Member {
        &self.view.members[usize::from(place)]
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn member(n: u16, state: MemberState) -> Member {
        Member {
            id: NodeId::new(&format!("node{n}")).unwrap(),
            incarnation: Incarnation(u64::from(n)),
            address: Address::new("127.0.0.1", 6000 + n).unwrap(),
            redis_port: 0,
            weight: 1,
            state,
            on_disk: false,
        }
    }

    pub(crate) fn view(epoch: u64, copies: usize, members: Vec<Member>, arcs: &[u16]) -> View {
        View {
            epoch: Epoch(epoch),
            members,
            arcs: arcs.to_vec(),
            ..View::unborn(ClusterId(1), copies, Limits::default())
        }
    }

    #[test]
    fn the_write_set_unites_current_and_target() {
        use MemberState::{Active, Joining};
        let members = vec![member(1, Active), member(2, Active), member(3, Joining)];
        let mut v = view(2, 2, members, &[0, 1, 0, 1]);
        v.coming = Some(v.with_assignment(vec![0, 2, 0, 1]));
        v.check().unwrap();
        let routes = Routes::new(v);
        assert_eq!(routes.replicas(0), [0, 1]);
        assert_eq!(routes.target(0), [0, 2]);
        assert_eq!(routes.write_set(0), [0, 1, 2]);
        assert_eq!(routes.write_set(2), [0, 1]);
        assert_eq!(routes.write_set(3), [1, 0]);
        assert_eq!(routes.arcs_of(2).ones().collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn target_copies_count_for_writes_not_for_reads() {
        use MemberState::Active;
        let members = vec![member(1, Active), member(2, Active), member(3, Active)];
        let mut v = view(2, 1, members, &[0, 1, 2, 0]);
        v.coming = Some(Coming { copies: 2, ..v.with_assignment(v.arcs.clone()) });
        let routes = Routes::new(v);
        assert_eq!(routes.replicas(0), [0]);
        assert_eq!(routes.target(0), [0, 1]);
        assert_eq!(routes.write_set(0), [0, 1]);
    }

    #[test]
    fn a_sole_holder_comes_first_where_it_alone_holds_something() {
        use MemberState::Active;
        let members = vec![member(1, Active), member(2, Active), member(3, Active)];
        let mut v = view(5, 2, members, &[0, 1, 1, 0]);
        v.sole_holders = vec![SoleHolder { place: 2, since: Epoch(4), arcs: vec![1, 2] }];
        v.check().unwrap();
        let routes = Routes::new(v);
        assert_eq!(routes.replicas(0), [0, 1]);
        assert_eq!(routes.replicas(1), [2, 1, 0]);
        assert_eq!(routes.write_set(2), [2, 1, 0]);
        assert_eq!(routes.arcs_of(2).ones().collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn an_unborn_cluster_routes_nothing() {
        let routes = Routes::new(View::unborn(ClusterId(1), 3, Limits::default()));
        assert_eq!(routes.arc_of(b"key"), None);
    }

    #[test]
    fn bad_views_are_refused() {
        use MemberState::{Active, Joining, Leaving};
        let good = view(1, 2, vec![member(1, Active), member(2, Active)], &[0, 1]);
        good.check().unwrap();
        let broken: [fn(&mut View); 12] = [
            |v| v.copies = 0,
            |v| v.copies = MAX_COPIES + 1,
            |v| v.limits.key_bytes = 0,
            |v| v.members[1].id = v.members[0].id.clone(),
            |v| v.members[1].address = v.members[0].address.clone(),
            |v| v.arcs = vec![0, 1, 0],
            |v| v.fresh = vec![2],
            |v| v.arcs = vec![0, 2],
            |v| v.members[1].state = Joining,
            |v| {
                v.members[1].state = Leaving;
                v.coming = Some(v.with_assignment(vec![0, 1]));
            },
            |v| v.coming = Some(Coming { copies: 0, ..v.with_assignment(vec![0, 1]) }),
            |v| v.coming = Some(Coming { weights: vec![1], ..v.with_assignment(vec![0, 1]) }),
        ];
        for (i, breaks) in broken.iter().enumerate() {
            let mut bad = good.clone();
            breaks(&mut bad);
            assert!(bad.check().is_err(), "case {i}");
        }
    }
    #[test]
    fn sole_holders_out_of_order_are_refused() {
        use MemberState::Active;
        let sole_holder = |place, since, arcs: &[u16]| SoleHolder {
            place,
            since: Epoch(since),
            arcs: arcs.to_vec(),
        };
        let check = |sole_holders: Vec<SoleHolder>| {
            let members = vec![member(1, Active), member(2, Active), member(3, Active)];
            View { sole_holders, ..view(4, 2, members, &[0, 0]) }.check()
        };
        check(vec![sole_holder(1, 3, &[0, 1]), sole_holder(2, 4, &[1])]).unwrap();
        let broken = [
            vec![sole_holder(0, 3, &[0])],
            vec![sole_holder(3, 3, &[0])],
            vec![sole_holder(1, 5, &[0])],
            vec![sole_holder(1, 3, &[])],
            vec![sole_holder(1, 3, &[1, 0])],
            vec![sole_holder(1, 3, &[2])],
            vec![sole_holder(2, 3, &[0]), sole_holder(1, 3, &[1])],
        ];
        for (i, sole_holders) in broken.into_iter().enumerate() {
            assert!(check(sole_holders).is_err(), "case {i}");
        }
    }
}
