//! Membership under test: golden scripts, one rule a file, and random runs. Both drive the same
//! simulated cluster ([`sim`]), which holds the rules' invariants after every step.

mod folders;
mod random;
mod script;
mod sim;
