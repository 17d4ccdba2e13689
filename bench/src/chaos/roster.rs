//! The state of each node, and the faults and changes that the promise allows for it. Pure: the
//! caller passes the manager's status and the time.
//!
//! Nodes keep their records in memory, so a killed node has lost them, and a node that was
//! suspended or cut off from the manager may have been dropped from the view. Such a node is *at
//! risk* until the cluster has reported healthy some time after the fault ended. With K copies at
//! most K-1 nodes are at risk at a time, and a planned leave or a larger K must leave K nodes even
//! if K-1 others die meanwhile.
//!
//! The outcome of a planned change is not known at once: the reply may be lost, or the manager may
//! be killed before it has saved anything. From the request until the cluster has been healthy some
//! time after the last reply, the roster is *in doubt*: a node that was asked to leave may exit,
//! faults assume the lower K and leaves the higher one, and no other change is requested.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The state of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NodePlace {
    /// It does not run, and is not expected to.
    Out,
    /// It was started and does not serve yet.
    Fresh,
    /// It serves, or should.
    In,
    /// It was asked to leave, and may exit.
    Leaving,
}

/// The manager's status at one time.
#[derive(Debug, Clone)]
pub struct StatusSample {
    /// When it was requested.
    pub at: Instant,
    /// Healthy, and no change is in progress.
    pub is_well: bool,
    /// Copies of each key.
    pub copies: usize,
    /// The serving nodes.
    pub serving: Vec<usize>,
}

/// The nodes of a run.
#[derive(Debug)]
pub struct Roster {
    places: Vec<NodePlace>,
    /// A little longer than a lease: after this time an ended fault has no further effect.
    settling: Duration,
    /// Copies of each key, at least.
    least: usize,
    most: usize,
    /// Nodes whose records may be lost, and when their fault ends.
    at_risk: BTreeMap<usize, Instant>,
    /// Since when no change is known to be in progress.
    doubt: Option<Instant>,
}

impl Roster {
    /// The first `nodes` of `most_nodes` serve.
    pub fn new(nodes: usize, most_nodes: usize, copies: usize, settling: Duration) -> Roster {
        let place = |node| if node < nodes { NodePlace::In } else { NodePlace::Out };
        Roster {
            places: (0..most_nodes).map(place).collect(),
            settling,
            least: copies,
            most: copies,
            at_risk: BTreeMap::new(),
            doubt: None,
        }
    }

    fn with(&self, wanted: impl Fn(NodePlace) -> bool) -> Vec<usize> {
        let places = self.places.iter().enumerate();
        places.filter(|(_, place)| wanted(**place)).map(|(node, _)| node).collect()
    }

    /// Nodes that run, or will run again.
    pub fn present(&self) -> Vec<usize> {
        self.with(|place| place != NodePlace::Out)
    }

    /// Nodes that can be started.
    pub fn out(&self) -> Vec<usize> {
        self.with(|place| place == NodePlace::Out)
    }

    /// Nodes that serve and can take part in a change.
    pub fn settled(&self) -> Vec<usize> {
        let members = self.with(|place| place == NodePlace::In);
        members.into_iter().filter(|node| !self.at_risk.contains_key(node)).collect()
    }

    /// Copies of each key that are certain.
    pub fn copies(&self) -> usize {
        self.least
    }

    /// Whether a reply or its effect is still awaited.
    pub fn is_in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// Whether K of `members` nodes remain when K-1 die.
    fn is_enough(&self, members: usize, copies: usize) -> bool {
        members + 1 >= 2 * copies
    }

    /// Whether this node may be asked to leave.
    pub fn may_leave(&self, node: usize) -> bool {
        let settled = self.settled();
        !self.is_in_doubt()
            && settled.contains(&node)
            && self.is_enough(self.with(|place| place == NodePlace::In).len() - 1, self.most)
    }

    /// Whether this K may be requested.
    pub fn may_copy(&self, copies: usize) -> bool {
        !self.is_in_doubt()
            && copies >= 2
            && copies != self.least
            && self.is_enough(self.with(|place| place == NodePlace::In).len(), copies)
    }

    /// Whether a fault may hit this node now; `unsettled` is the result of [`Roster::update`], if
    /// the manager replied.
    pub fn may_risk(&self, node: usize, is_kill: bool, unsettled: Option<&[usize]>) -> bool {
        if self.places[node] == NodePlace::Out {
            return false;
        }
        let Some(unsettled) = unsettled else {
            // The state of the others is unknown.
            return self.at_risk.is_empty() && !is_kill;
        };
        let mut risky = unsettled.to_vec();
        risky.extend(self.at_risk.keys());
        risky.push(node);
        risky.sort_unstable();
        risky.dedup();
        risky.len() < self.least
    }

    /// Records a fault of this node that lasts `until` then.
    pub fn risk(&mut self, node: usize, until: Instant) {
        self.at_risk.insert(node, until);
    }

    /// Records that these nodes are started.
    pub fn join(&mut self, nodes: &[usize]) {
        for &node in nodes {
            self.places[node] = NodePlace::Fresh;
        }
    }

    /// Records a request to the manager.
    pub fn ask(&mut self, now: Instant) {
        self.doubt = Some(now);
    }

    /// Records that this node is asked to leave.
    pub fn ask_to_leave(&mut self, node: usize) {
        self.places[node] = NodePlace::Leaving;
    }

    /// Records that this K is requested.
    pub fn ask_copies(&mut self, copies: usize) {
        self.least = self.least.min(copies);
        self.most = self.most.max(copies);
    }

    /// Extends the doubt: the request may still have an effect, without a reply or with the manager
    /// suspended.
    pub fn stay_in_doubt(&mut self, now: Instant) {
        if self.doubt.is_some() {
            self.doubt = Some(now);
        }
    }

    /// Records that a node has exited with code 0. Returns whether it was asked to.
    pub fn left(&mut self, node: usize) -> bool {
        let was_asked = self.places[node] == NodePlace::Leaving;
        self.places[node] = NodePlace::Out;
        self.at_risk.remove(&node);
        was_asked
    }

    /// Takes the manager's status and drops the risks and doubts that are over. Returns the nodes
    /// that should serve and do not, and those at risk.
    pub fn update(&mut self, seen: &StatusSample) -> Vec<usize> {
        let serves = |node: &usize| seen.serving.contains(node);
        for node in self.with(|place| place == NodePlace::Fresh) {
            if serves(&node) {
                self.places[node] = NodePlace::In;
            }
        }
        if seen.is_well {
            let settling = self.settling;
            self.at_risk.retain(|node, end| *end + settling > seen.at || !serves(node));
            if self.doubt.is_some_and(|since| since + settling <= seen.at) {
                self.doubt = None;
                (self.least, self.most) = (seen.copies, seen.copies);
                // Refused or cancelled.
                for node in self.with(|place| place == NodePlace::Leaving) {
                    if serves(&node) {
                        self.places[node] = NodePlace::In;
                    }
                }
            }
        }
        let members = self.with(|place| matches!(place, NodePlace::In | NodePlace::Leaving));
        let mut unsettled: Vec<usize> = members.into_iter().filter(|node| !serves(node)).collect();
        unsettled.extend(self.at_risk.keys().filter(|node| serves(node)));
        if !seen.is_well && unsettled.is_empty() {
            // Copies are being fetched, by an unknown node: count it as one.
            unsettled.push(usize::MAX);
        }
        unsettled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLING: Duration = Duration::from_secs(1);

    struct Test {
        roster: Roster,
        now: Instant,
    }

    impl Test {
        /// Five nodes and three spares, three copies.
        fn new() -> Test {
            Test { roster: Roster::new(5, 8, 3, SETTLING), now: Instant::now() }
        }

        fn update(&mut self, is_well: bool, serving: &[usize]) -> Vec<usize> {
            let serving = serving.to_vec();
            self.roster.update(&StatusSample { at: self.now, is_well, copies: 3, serving })
        }

        fn wait(&mut self) {
            self.now += 2 * SETTLING;
        }

        /// `nodes` more nodes join and serve.
        fn grow(&mut self, nodes: usize) {
            let new: Vec<usize> = (5..5 + nodes).collect();
            self.roster.join(&new);
            let all: Vec<usize> = (0..5 + nodes).collect();
            assert!(self.update(true, &all).is_empty());
        }
    }

    const ALL: [usize; 5] = [0, 1, 2, 3, 4];

    #[test]
    fn at_most_k_minus_one_nodes_are_at_risk() {
        let mut test = Test::new();
        let unsettled = test.update(true, &ALL);
        assert!(unsettled.is_empty());
        assert!(test.roster.may_risk(0, true, Some(&unsettled)));
        test.roster.risk(0, test.now);
        assert!(test.roster.may_risk(1, true, Some(&unsettled)));
        assert!(!test.roster.may_risk(1, false, None), "nobody knows how the others are");
        test.roster.risk(1, test.now);
        assert!(!test.roster.may_risk(2, true, Some(&unsettled)));
        assert!(test.roster.may_risk(1, true, Some(&unsettled)), "the same again");
        // A healthy status right after the fault proves nothing.
        assert_eq!(test.update(true, &ALL), [0, 1]);
        test.wait();
        assert_eq!(test.update(false, &ALL), [0, 1]);
        assert_eq!(test.update(true, &[0, 2, 3, 4]), [1]);
        assert_eq!(test.update(true, &ALL), [usize::MAX; 0]);
        assert_eq!(test.update(false, &ALL), [usize::MAX], "somebody is fetching");
    }

    #[test]
    fn a_joining_node_is_not_expected_to_serve() {
        let mut test = Test::new();
        assert!(!test.roster.may_risk(5, true, Some(&[])), "it does not run");
        assert_eq!(test.roster.out(), [5, 6, 7]);
        test.roster.join(&[5, 6]);
        assert_eq!(test.update(false, &ALL), [usize::MAX], "fetching, as far as anybody knows");
        assert!(test.roster.may_risk(1, true, Some(&[usize::MAX])), "a kill during a join");
        assert_eq!(test.update(true, &[0, 1, 2, 3, 4, 5, 6]), [usize::MAX; 0]);
        assert_eq!(test.update(true, &ALL), [5, 6], "now they are");
    }

    #[test]
    fn a_leave_keeps_enough_nodes() {
        let mut test = Test::new();
        assert!(!test.roster.may_leave(0), "four could become two");
        test.grow(1);
        assert!(test.roster.may_leave(0) && !test.roster.may_leave(7));
        test.roster.ask(test.now);
        test.roster.ask_to_leave(0);
        assert!(!test.roster.may_leave(1), "in doubt");
        assert!(test.roster.left(0), "it was asked");
        assert!(!test.roster.left(1), "this one was not");
        assert_eq!(test.roster.out(), [0, 1, 6, 7]);
    }

    #[test]
    fn a_refused_leave_has_no_effect() {
        let mut test = Test::new();
        test.grow(3);
        let all: Vec<usize> = (0..8).collect();
        test.roster.ask(test.now);
        test.roster.ask_to_leave(0);
        test.update(true, &all);
        assert!(test.roster.is_in_doubt(), "the question may still be on its way");
        test.wait();
        test.roster.stay_in_doubt(test.now);
        test.update(true, &all);
        assert!(test.roster.is_in_doubt());
        test.wait();
        test.update(true, &all);
        assert!(!test.roster.is_in_doubt() && !test.roster.left(0), "nobody had it leave");
        test.roster.stay_in_doubt(test.now);
        assert!(!test.roster.is_in_doubt());
    }

    #[test]
    fn both_values_of_k_count_during_a_change() {
        let mut test = Test::new();
        assert!(test.roster.may_copy(2) && !test.roster.may_copy(3) && !test.roster.may_copy(1));
        assert!(!test.roster.may_copy(4), "five could become two");
        test.roster.ask(test.now);
        test.roster.ask_copies(2);
        assert_eq!(test.roster.copies(), 2);
        test.roster.risk(0, test.now);
        assert!(!test.roster.may_risk(1, true, Some(&[])), "one is enough with two copies");
        test.wait();
        test.update(true, &ALL);
        assert_eq!(test.roster.copies(), 3, "it was refused, or never arrived");
        test.grow(3);
        assert!(test.roster.may_copy(4));
        test.roster.ask(test.now);
        test.roster.ask_copies(4);
        assert_eq!(test.roster.copies(), 3, "the fourth copy is not there yet");
    }
}
