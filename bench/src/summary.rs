//! How evenly a load is spread: the counts of the nodes summarized in a few figures. The most
//! important one is max/mean, since the fullest node is the first to run out of space or time.

use std::fmt;

use crate::figures::thousands;

/// Figures of one set of counts, one count a node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Balance {
    /// Nodes, including those without keys.
    pub nodes: usize,
    /// Sum of the counts.
    pub total: u64,
    /// The lowest count.
    pub min: u64,
    /// The highest count.
    pub max: u64,
    /// The average count.
    pub mean: f64,
    /// Standard deviation of the counts, in the same unit.
    pub deviation: f64,
}

impl Balance {
    /// The figures of these counts; `None` if there are none.
    pub fn of(counts: &[u64]) -> Option<Self> {
        let (min, max) = (*counts.iter().min()?, *counts.iter().max()?);
        let total: u64 = counts.iter().sum();
        let nodes = counts.len();
        let mean = total as f64 / nodes as f64;
        let variance =
            counts.iter().map(|&count| (count as f64 - mean).powi(2)).sum::<f64>() / nodes as f64;
        Some(Self { nodes, total, min, max, mean, deviation: variance.sqrt() })
    }

    /// The fullest node's count over the average. 1 is perfect; all on one of seven nodes is 7.
    /// Without any keys it is 1.
    pub fn max_over_mean(&self) -> f64 {
        self.over_mean(self.max)
    }

    /// The emptiest node's count over the average. 1 is perfect.
    pub fn min_over_mean(&self) -> f64 {
        self.over_mean(self.min)
    }

    fn over_mean(&self, count: u64) -> f64 {
        if self.total == 0 { 1.0 } else { count as f64 / self.mean }
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "max/mean {:.3}, min/mean {:.3} ({} over {} nodes: {} to {}, deviation {:.1})",
            self.max_over_mean(),
            self.min_over_mean(),
            thousands(self.total),
            self.nodes,
            thousands(self.min),
            thousands(self.max),
            self.deviation,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_known_counts_are_right() {
        let balance = Balance::of(&[2, 4, 4, 4, 5, 5, 7, 9]).expect("not empty");
        assert_eq!((balance.nodes, balance.total), (8, 40));
        assert_eq!((balance.min, balance.max), (2, 9));
        assert_eq!((balance.mean, balance.deviation), (5.0, 2.0));
        assert_eq!(balance.max_over_mean(), 1.8);
        assert_eq!(balance.min_over_mean(), 0.4);
    }

    #[test]
    fn a_node_without_keys_counts() {
        let balance = Balance::of(&[14, 0, 0, 0, 0, 0, 0]).expect("not empty");
        assert_eq!(balance.max_over_mean(), 7.0);
        assert_eq!(balance.min_over_mean(), 0.0);
    }

    #[test]
    fn empty_counts_and_no_nodes_are_accepted() {
        assert_eq!(Balance::of(&[]), None);
        let balance = Balance::of(&[0, 0]).expect("two nodes");
        assert_eq!(balance.max_over_mean(), 1.0);
    }

    #[test]
    fn the_balance_is_displayed_as_a_sentence() {
        let balance = Balance::of(&[49_000, 51_000]).expect("not empty");
        assert_eq!(
            balance.to_string(),
            "max/mean 1.020, min/mean 0.980 \
             (100,000 over 2 nodes: 49,000 to 51,000, deviation 1000.0)"
        );
    }
}
