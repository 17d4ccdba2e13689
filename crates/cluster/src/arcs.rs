//! Sets of arcs, the ranges that the key space is divided into.

use fixedbitset::FixedBitSet;

/// A set of arcs, one bit each.
pub type ArcSet = FixedBitSet;
