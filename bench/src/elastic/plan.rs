//! The steps of a run and the nodes that they affect.
//!
//! A plan is text, such as `kill 2, add 2, leave 1, weight`. The nodes of a step are drawn from the
//! seed among the running ones; stopped nodes return before new ones join.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use harness::party::node_name;
use rand::RngExt;
use rand::rngs::StdRng;

/// The plan of `run.sh elastic`.
pub const DEFAULT: &str = "kill 2, kill 2, add 2, add 2, leave 1, leave 1, weight";

/// Most steps of a plan: each lasts until the cluster is healthy again.
const MOST_STEPS: usize = 100;

/// Most nodes in one step.
const MOST_NODES: usize = 32;

/// The weight that a step gives to a node; the others have 1.
pub const HEAVY: u32 = 2;

/// A step of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanStep {
    /// This many nodes are killed at once.
    Kill(usize),
    /// This many nodes are started at once.
    Add(usize),
    /// This many nodes leave, the next as soon as the cluster accepts the command.
    Leave(usize),
    /// One node gets the weight [`HEAVY`].
    Weight,
}

/// Consecutive steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElasticPlan(pub Vec<PlanStep>);

impl Default for ElasticPlan {
    fn default() -> ElasticPlan {
        DEFAULT.parse().expect("the tests parse it")
    }
}

impl fmt::Display for PlanStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanStep::Kill(count) => write!(f, "kill {count}"),
            PlanStep::Add(count) => write!(f, "add {count}"),
            PlanStep::Leave(count) => write!(f, "leave {count}"),
            PlanStep::Weight => f.write_str("weight"),
        }
    }
}

impl FromStr for PlanStep {
    type Err = String;

    fn from_str(text: &str) -> Result<PlanStep, String> {
        let (verb, count) = text.split_once(' ').unwrap_or((text, ""));
        let count = match count {
            "" => Ok(1),
            number => number.parse().map_err(drop),
        };
        match (verb, count) {
            ("weight", Ok(1)) => Ok(PlanStep::Weight),
            ("kill", Ok(count @ 1..=MOST_NODES)) => Ok(PlanStep::Kill(count)),
            ("add", Ok(count @ 1..=MOST_NODES)) => Ok(PlanStep::Add(count)),
            ("leave", Ok(count @ 1..=MOST_NODES)) => Ok(PlanStep::Leave(count)),
            _ => Err(format!("{text:?} is no step: kill N, add N, leave N or weight")),
        }
    }
}

impl FromStr for ElasticPlan {
    type Err = String;

    fn from_str(text: &str) -> Result<ElasticPlan, String> {
        let steps: Vec<PlanStep> =
            text.split(',').map(|step| step.trim().parse()).collect::<Result<_, _>>()?;
        match steps.len() {
            0..=MOST_STEPS => Ok(ElasticPlan(steps)),
            steps => Err(format!("{steps} steps: a plan has {MOST_STEPS} at most")),
        }
    }
}

impl ElasticPlan {
    /// Checks that no step can lose data: at most K-1 nodes die at once, and at least K remain.
    ///
    /// # Errors
    /// A description of the mistake.
    pub fn check(&self, nodes: usize, copies: usize) -> Result<(), String> {
        let mut running = nodes;
        for step in &self.0 {
            let gone = match *step {
                PlanStep::Kill(count) if count >= copies => {
                    return Err(format!("{step}: with {copies} copies nothing would be left"));
                }
                PlanStep::Kill(count) | PlanStep::Leave(count) => count,
                PlanStep::Add(count) => {
                    running += count;
                    0
                }
                PlanStep::Weight => 0,
            };
            running = running
                .checked_sub(gone)
                .filter(|&left| left >= copies)
                .ok_or_else(|| format!("{step}: fewer than {copies} nodes would be left"))?;
        }
        Ok(())
    }

    /// The verbs of the client command that it needs.
    pub fn verbs(&self) -> Vec<&'static str> {
        let has = |wanted: fn(&PlanStep) -> bool| self.0.iter().any(wanted);
        let leaves = has(|step| matches!(step, PlanStep::Leave(_))).then_some("leave");
        let weighs = has(|step| matches!(step, PlanStep::Weight)).then_some("weight");
        leaves.into_iter().chain(weighs).collect()
    }

    /// The largest number of different node names.
    pub fn most_nodes(&self, nodes: usize) -> usize {
        let added =
            self.0.iter().map(|step| if let PlanStep::Add(count) = step { *count } else { 0 });
        nodes + added.sum::<usize>()
    }
}

/// A step with its nodes, numbered from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepAction {
    /// Kills these at once.
    Kill(Vec<usize>),
    /// Starts these at once.
    Add(Vec<usize>),
    /// Makes these leave.
    Leave(Vec<usize>),
    /// Gives this one this weight.
    Weight(usize, u32),
}

impl StepAction {
    /// Whether it is a planned change, without a death.
    pub fn is_planned(&self) -> bool {
        !matches!(self, StepAction::Kill(_))
    }
}

impl fmt::Display for StepAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, nodes) = match self {
            StepAction::Kill(nodes) => ("kill -9", nodes),
            StepAction::Add(nodes) => ("add", nodes),
            StepAction::Leave(nodes) => ("leave", nodes),
            StepAction::Weight(node, weight) => {
                return write!(f, "weight {}={weight}", node_name(*node));
            }
        };
        let names: Vec<String> = nodes.iter().map(|&node| node_name(node)).collect();
        write!(f, "{verb} {}", names.join(" "))
    }
}

/// The nodes of a run.
#[derive(Debug)]
pub struct Members {
    running: BTreeSet<usize>,
    /// Stopped nodes, in the order in which they stopped.
    down: Vec<usize>,
}

impl Members {
    /// The first `nodes` nodes run.
    pub fn new(nodes: usize) -> Members {
        Members { running: (0..nodes).collect(), down: Vec::new() }
    }

    /// The running nodes.
    pub fn running(&self) -> &BTreeSet<usize> {
        &self.running
    }

    /// Draws the nodes of a step, and applies it.
    pub fn act(&mut self, step: PlanStep, rng: &mut StdRng) -> StepAction {
        match step {
            PlanStep::Kill(count) => StepAction::Kill(self.remove(count, rng)),
            PlanStep::Leave(count) => StepAction::Leave(self.remove(count, rng)),
            PlanStep::Add(count) => {
                let back = self.down.drain(..count.min(self.down.len()));
                let mut nodes: Vec<usize> = back.collect();
                self.running.extend(&nodes);
                let highest = self.running.iter().chain(&self.down).max();
                let next = highest.map_or(0, |highest| highest + 1);
                nodes.extend(next..next + count - nodes.len());
                self.running.extend(&nodes);
                StepAction::Add(nodes)
            }
            PlanStep::Weight => StepAction::Weight(self.one(rng), HEAVY),
        }
    }

    fn one(&self, rng: &mut StdRng) -> usize {
        let at = rng.random_range(0..self.running.len());
        *self.running.iter().nth(at).expect("the place is within")
    }

    fn remove(&mut self, count: usize, rng: &mut StdRng) -> Vec<usize> {
        let mut gone: Vec<usize> = (0..count)
            .map(|_| {
                let node = self.one(rng);
                self.running.remove(&node);
                node
            })
            .collect();
        gone.sort_unstable();
        self.down.extend(&gone);
        gone
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_plan_is_parsed_from_text() {
        let plan = ElasticPlan::default();
        assert_eq!(plan.0.len(), 7);
        let texts: Vec<String> = plan.0.iter().map(PlanStep::to_string).collect();
        assert_eq!(texts[..3], ["kill 2", "kill 2", "add 2"]);
        assert_eq!(
            "kill, weight".parse(),
            Ok(ElasticPlan(vec![PlanStep::Kill(1), PlanStep::Weight]))
        );
        for wrong in ["", "kill 0", "kill 33", "kill x", "dance", "weight 2", "kill 2,"] {
            wrong.parse::<ElasticPlan>().expect_err(wrong);
        }
        "weight,".repeat(100).parse::<ElasticPlan>().expect_err("the last one is none");
        assert!(["weight"; 101].join(",").parse::<ElasticPlan>().is_err());
    }

    #[test]
    fn a_plan_that_loses_data_is_refused() {
        ElasticPlan::default().check(7, 3).expect("the issue's own");
        for (text, nodes, copies, want) in [
            ("kill 3", 7, 3, "kill 3: with 3 copies nothing would be left"),
            ("kill 2, leave 1", 5, 3, "leave 1: fewer than 3 nodes would be left"),
            ("add 1, leave 9", 5, 3, "leave 9: fewer than 3 nodes would be left"),
        ] {
            let plan: ElasticPlan = text.parse().expect("a plan");
            assert_eq!(plan.check(nodes, copies), Err(want.into()));
        }
        assert_eq!(ElasticPlan::default().verbs(), ["leave", "weight"]);
        assert!("kill 1".parse::<ElasticPlan>().expect("a plan").verbs().is_empty());
        assert_eq!(ElasticPlan::default().most_nodes(7), 11);
    }

    #[test]
    fn stopped_nodes_return_before_new_ones_join() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut members = Members::new(3);
        let StepAction::Kill(dead) = members.act(PlanStep::Kill(2), &mut rng) else {
            panic!("a kill")
        };
        assert_eq!((dead.len(), members.running().len()), (2, 1));
        assert!(dead[0] < dead[1]);
        assert_eq!(members.act(PlanStep::Add(1), &mut rng), StepAction::Add(vec![dead[0]]));
        assert_eq!(members.act(PlanStep::Add(3), &mut rng), StepAction::Add(vec![dead[1], 3, 4]));
        assert_eq!(members.running().iter().copied().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        let StepAction::Leave(gone) = members.act(PlanStep::Leave(5), &mut rng) else {
            panic!("a leave")
        };
        assert_eq!(gone, [0, 1, 2, 3, 4]);
        assert_eq!(
            members.act(PlanStep::Add(6), &mut rng),
            StepAction::Add(vec![0, 1, 2, 3, 4, 5])
        );
    }

    #[test]
    fn equal_seeds_choose_equal_nodes() {
        let acts = |seed| {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut members = Members::new(7);
            let plan = ElasticPlan::default();
            plan.0.iter().map(|&step| members.act(step, &mut rng).to_string()).collect::<Vec<_>>()
        };
        assert_eq!(acts(1), acts(1));
        assert_ne!(acts(1), acts(2));
        assert!(acts(1)[0].starts_with("kill -9 node"), "{:?}", acts(1));
        assert!(acts(1)[6].ends_with("=2"), "{:?}", acts(1));
    }
}
