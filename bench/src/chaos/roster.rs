//! Which nodes there are, how they are, and what the promise allows to happen to them. Pure: what
//! the manager says and what time it is are told from outside.
//!
//! Nodes keep their records in memory, so a killed one has lost them, and one that was stopped or
//! cut off from the manager may have been dropped from the view. Such a node is *at risk* until the
//! cluster has reported healthy again, a while after the fault ended. With K copies at most K-1
//! nodes are at risk at a time, and a planned leave or a larger K must leave K nodes even if K-1
//! others die meanwhile.
//!
//! Planned changes are asked for, and nobody knows at once what comes of it: the answer may be
//! lost, the manager may be killed before it has saved anything. From the question until the
//! cluster has been healthy a while after the last answer the roster is *in doubt*: a node that was
//! to leave may end, K is the lower one for faults and the higher one for leaves, and nothing else
//! is asked for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NodePlace {
    /// It does not run, and is not missed.
    Out,
    /// It was started and has not served yet.
    Fresh,
    /// It serves, or should.
    In,
    /// It was asked to leave, and may do so.
    Leaving,
}

/// What the manager says of all nodes at one time.
#[derive(Debug, Clone)]
pub struct StatusSample {
    /// When it was asked.
    pub at: Instant,
    /// All is healthy, and no change is under way.
    pub is_well: bool,
    /// Copies of each key.
    pub copies: usize,
    /// Which nodes serve.
    pub serving: Vec<usize>,
}

/// The nodes.
#[derive(Debug)]
pub struct Roster {
    places: Vec<NodePlace>,
    /// A lease and a little more: after it a fault that has ended has no more effect.
    settling: Duration,
    /// Copies of each key, at least and at most.
    least: usize,
    most: usize,
    /// Whose records may be gone, and until when the fault lasts.
    at_risk: BTreeMap<usize, Instant>,
    /// Since when nothing is known to be going on that may still change the plan.
    doubt: Option<Instant>,
}

impl Roster {
    /// The first `nodes` of `most_nodes` are to serve.
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

    /// Nodes that run, or will again.
    pub fn present(&self) -> Vec<usize> {
        self.with(|place| place != NodePlace::Out)
    }

    /// Nodes that may be started.
    pub fn out(&self) -> Vec<usize> {
        self.with(|place| place == NodePlace::Out)
    }

    /// Nodes that serve and could be asked for something.
    pub fn settled(&self) -> Vec<usize> {
        let members = self.with(|place| place == NodePlace::In);
        members.into_iter().filter(|node| !self.at_risk.contains_key(node)).collect()
    }

    /// Copies of each key: what is certain.
    pub fn copies(&self) -> usize {
        self.least
    }

    /// Whether an answer, or what follows from it, is still awaited.
    pub fn is_in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// So many nodes must serve that K are left when K-1 die.
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

    /// Whether so many copies may be asked for.
    pub fn may_copy(&self, copies: usize) -> bool {
        !self.is_in_doubt()
            && copies >= 2
            && copies != self.least
            && self.is_enough(self.with(|place| place == NodePlace::In).len(), copies)
    }

    /// Whether a fault may hit this node now; `unsettled` as [`Roster::update`] returned, if the manager
    /// answered.
    pub fn may_risk(&self, node: usize, is_kill: bool, unsettled: Option<&[usize]>) -> bool {
        if self.places[node] == NodePlace::Out {
            return false;
        }
        let Some(unsettled) = unsettled else {
            // Nobody knows how the others are.
            return self.at_risk.is_empty() && !is_kill;
        };
        let mut risky = unsettled.to_vec();
        risky.extend(self.at_risk.keys());
        risky.push(node);
        risky.sort_unstable();
        risky.dedup();
        risky.len() < self.least
    }

    /// A fault hits this node until then.
    pub fn risk(&mut self, node: usize, until: Instant) {
        self.at_risk.insert(node, until);
    }

    /// These nodes are started.
    pub fn join(&mut self, nodes: &[usize]) {
        for &node in nodes {
            self.places[node] = NodePlace::Fresh;
        }
    }

    /// Something is asked for.
    pub fn ask(&mut self, now: Instant) {
        self.doubt = Some(now);
    }

    /// This node is asked to leave.
    pub fn ask_to_leave(&mut self, node: usize) {
        self.places[node] = NodePlace::Leaving;
    }

    /// So many copies are asked for.
    pub fn ask_copies(&mut self, copies: usize) {
        self.least = self.least.min(copies);
        self.most = self.most.max(copies);
    }

    /// What was asked for may still have an effect: no answer yet, or the manager stands still.
    pub fn stay_in_doubt(&mut self, now: Instant) {
        if self.doubt.is_some() {
            self.doubt = Some(now);
        }
    }

    /// A node has ended by itself, with exit code 0. Says whether it was to do so.
    pub fn left(&mut self, node: usize) -> bool {
        let was_asked = self.places[node] == NodePlace::Leaving;
        self.places[node] = NodePlace::Out;
        self.at_risk.remove(&node);
        was_asked
    }

    /// The manager has answered. Returns which nodes should serve and do not, with those at risk;
    /// and forgets the risks and doubts that are over.
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
                // Refused, or taken back.
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
            // Copies are under way; whose is not known. Count it as one node.
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

        /// `nodes` more join, and serve.
        fn grow(&mut self, nodes: usize) {
            let new: Vec<usize> = (5..5 + nodes).collect();
            self.roster.join(&new);
            let all: Vec<usize> = (0..5 + nodes).collect();
            assert!(self.update(true, &all).is_empty());
        }
    }

    const ALL: [usize; 5] = [0, 1, 2, 3, 4];

    #[test]
    fn at_most_one_less_than_k_are_at_risk() {
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
        // Healthy at once says nothing yet.
        assert_eq!(test.update(true, &ALL), [0, 1]);
        test.wait();
        assert_eq!(test.update(false, &ALL), [0, 1]);
        assert_eq!(test.update(true, &[0, 2, 3, 4]), [1]);
        assert_eq!(test.update(true, &ALL), [usize::MAX; 0]);
        assert_eq!(test.update(false, &ALL), [usize::MAX], "somebody is fetching");
    }

    #[test]
    fn one_that_joins_is_not_missed() {
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
    fn a_leave_leaves_enough() {
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
    fn a_leave_that_is_refused_is_none() {
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
    fn while_k_changes_both_count() {
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
