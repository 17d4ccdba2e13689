//! Copies per node and copies that move, computed from the views and the slots of the bench's own
//! keys, without a request to the nodes.
//!
//! After a view change a node has to fetch the ranges of which it is a replica in the new view and
//! was not in the previous one; a restarted node has nothing. The least possible movement is the
//! sum of the nodes' gains, since a node must have fetched what it holds more than before.

use std::collections::BTreeMap;

use cluster::ids::Incarnation;
use cluster::ring;
use cluster::view::Routes;

use crate::summary::Balance;

/// The number of the bench's keys in each arc.
#[derive(Debug)]
pub struct KeysOfArcs(Vec<u64>);

impl KeysOfArcs {
    /// Counts these keys on a ring of `arcs` arcs.
    pub fn count<'a>(keys: impl Iterator<Item = &'a str>, arcs: usize) -> KeysOfArcs {
        let mut counts = vec![0; arcs];
        for key in keys {
            counts[ring::arc_of_key(key.as_bytes(), arcs)] += 1;
        }
        KeysOfArcs(counts)
    }

    /// Copies that nodes have to fetch when `after` follows `before`.
    pub fn fetched(&self, before: &Routes, after: &Routes) -> u64 {
        self.sum(after, |arc, places| {
            let kept = |place: &&u16| {
                let who = after.member(**place).incarnation;
                let set = before.write_set(arc);
                set.iter().any(|&other| before.member(other).incarnation == who)
            };
            places.iter().filter(|place| !kept(place)).count() as u64
        })
    }

    fn sum(&self, routes: &Routes, of: impl Fn(usize, &[u16]) -> u64) -> u64 {
        // A ring without owners has no arcs.
        let arcs = 0..routes.arcs().min(self.0.len());
        arcs.map(|arc| self.0[arc] * of(arc, routes.write_set(arc))).sum()
    }

    /// Copies that each node should hold.
    pub fn copies(&self, routes: &Routes) -> BTreeMap<Incarnation, u64> {
        let mut held: BTreeMap<Incarnation, u64> =
            routes.view().members.iter().map(|member| (member.incarnation, 0)).collect();
        for arc in 0..routes.arcs().min(self.0.len()) {
            for &place in routes.replicas(arc) {
                *held.entry(routes.member(place).incarnation).or_default() += self.0[arc];
            }
        }
        held
    }

    /// How evenly first copies are spread, each node's count divided by its weight.
    pub fn keys_balance(&self, routes: &Routes) -> Option<Balance> {
        let members = &routes.view().members;
        let mut held = vec![0; members.len()];
        for arc in 0..routes.arcs().min(self.0.len()) {
            if let Some(&first) = routes.replicas(arc).first() {
                held[usize::from(first)] += self.0[arc];
            }
        }
        let even = |(count, weight): (&u64, u32)| count / u64::from(weight.max(1));
        let weights = members.iter().map(|member| member.weight);
        Balance::of(&held.iter().zip(weights).map(even).collect::<Vec<_>>())
    }

    /// How evenly all copies are spread.
    pub fn copies_balance(&self, routes: &Routes) -> Option<Balance> {
        Balance::of(&self.copies(routes).into_values().collect::<Vec<_>>())
    }
}

/// The least number of copies that must move between these two.
pub fn least(before: &BTreeMap<Incarnation, u64>, after: &BTreeMap<Incarnation, u64>) -> u64 {
    let gain = |(who, now): (&Incarnation, &u64)| {
        now.saturating_sub(before.get(who).copied().unwrap_or_default())
    };
    after.iter().map(gain).sum()
}

#[cfg(test)]
mod tests {
    use cluster::durability::Durability;
    use cluster::ids::{Address, ClusterId, Epoch, NodeId};
    use cluster::limits::Limits;
    use cluster::view::{Coming, Member, MemberState, View};

    use super::*;

    const ARCS: usize = 16;

    /// Four arcs for each of the incarnations 1 to 4, or as `owner` assigns them; a place is the
    /// incarnation minus one.
    fn routes(incarnations: &[u64], owner: impl Fn(usize) -> u16, coming: Option<u16>) -> Routes {
        let member = |&number: &u64| Member {
            id: NodeId::new(&format!("node{number}")).expect("a name"),
            incarnation: Incarnation(number),
            address: Address::new("127.0.0.1", number as u16).expect("an address"),
            redis_port: 0,
            on_disk: false,
            weight: 1,
            state: MemberState::Active,
        };
        Routes::new(View {
            cluster: ClusterId(1),
            epoch: Epoch(1),
            line: cluster::line::Line::default(),
            copies: 2,
            durability: Durability::None,
            limits: Limits::default(),
            min_copies: 1,
            members: incarnations.iter().map(member).collect(),
            arcs: (0..ARCS).map(&owner).collect(),
            // The target gives this place one more arc, the first.
            coming: coming.map(|to| Coming {
                arcs: (0..ARCS).map(|arc| if arc == 0 { to } else { owner(arc) }).collect(),
                copies: 2,
                weights: vec![1; incarnations.len()],
                limits: Limits::default(),
                min_copies: 1,
            }),
            fresh: Vec::new(),
            sole_holders: Vec::new(),
            replacements: Vec::new(),
        })
    }

    fn assigned(arc: usize) -> u16 {
        (arc % 4) as u16
    }

    #[test]
    fn an_equal_view_moves_nothing() {
        let keys = KeysOfArcs(vec![10; ARCS]);
        let routes = routes(&[1, 2, 3, 4], assigned, None);
        assert_eq!(keys.fetched(&routes, &routes), 0);
        let held = keys.copies(&routes);
        assert_eq!(held.values().copied().collect::<Vec<_>>(), [80; 4]);
        assert_eq!(least(&held, &held), 0);
        assert_eq!(keys.keys_balance(&routes).map(|b| b.max_over_mean()), Some(1.0));
        assert_eq!(keys.copies_balance(&routes).map(|b| b.total), Some(320));
    }

    #[test]
    fn a_death_moves_the_copies_of_the_dead_node() {
        let keys = KeysOfArcs(vec![10; ARCS]);
        let before = routes(&[1, 2, 3, 4], assigned, None);
        // Node 4 is gone; its arcs go to the next, node 1.
        let after = routes(&[1, 2, 3], |arc| assigned(arc) % 3, None);
        assert_eq!(keys.fetched(&before, &after), 80);
        assert_eq!(least(&keys.copies(&before), &keys.copies(&after)), 80);
    }

    #[test]
    fn a_restarted_node_fetches_everything() {
        let keys = KeysOfArcs(vec![10; ARCS]);
        let before = routes(&[1, 2, 3, 4], assigned, None);
        let after = routes(&[1, 2, 3, 5], assigned, None);
        assert_eq!(keys.fetched(&before, &after), 80);
        assert_eq!(least(&keys.copies(&before), &keys.copies(&after)), 80);
    }

    #[test]
    fn a_planned_change_fetches_before_it_switches() {
        let keys = KeysOfArcs(vec![10; ARCS]);
        let before = routes(&[1, 2, 3, 4], assigned, None);
        // Arc 0 moves from node 1 to node 3: its replicas are 1 and 2 before, 3 and 2 after. Those
        // of arc 15 are 4 and 1 before, 4 and 3 after.
        let during = routes(&[1, 2, 3, 4], assigned, Some(2));
        let after = routes(&[1, 2, 3, 4], |arc| if arc == 0 { 2 } else { assigned(arc) }, None);
        assert_eq!(keys.fetched(&before, &during), 20);
        assert_eq!(keys.fetched(&during, &after), 0);
        assert_eq!(least(&keys.copies(&before), &keys.copies(&after)), 20);
    }

    #[test]
    fn keys_are_counted_where_they_hash_to() {
        let names: Vec<String> = (0..1_000).map(|n| format!("key{n}")).collect();
        let keys = KeysOfArcs::count(names.iter().map(String::as_str), ARCS);
        assert_eq!(keys.0.iter().sum::<u64>(), 1_000);
        assert!(keys.0.iter().all(|count| (20..120).contains(count)), "{:?}", keys.0);
    }
}
