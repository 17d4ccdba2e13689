//! The rules of GT Store, and nothing else.
//!
//! Everything here is a plain value or a state machine whose inputs are events and the time: no
//! socket, thread, clock or randomness inside (`clippy.toml` forbids them). The crates around it
//! ([`manager`], [`storage`], [`client`]) do the I/O and ask this one for decisions, so every
//! decision of the store can be tested in microseconds.
//!
//! Read in this order:
//! 1. [`ids`], [`limits`], [`time`], [`arcs`], [`version`]: small types that everything uses;
//! 2. [`slot`] and [`ring`]: where a key lives, and how arcs are assigned to nodes; [`scan`]: the
//!    order in which keys are listed;
//! 3. [`view`]: a numbered description of members and ownership; [`mod@line`]: which manager made
//!    it, and after which view;
//! 4. [`membership`]: the manager's state machine, which makes the views;
//! 5. [`holdings`]: a node's state for each of its ranges, and which requests it may answer;
//!    [`claim`]: the ranges on its disk when it starts; [`durability`]: what the cluster promises
//!    about them;
//! 6. [`lease`]: how long a node may serve;
//! 7. [`replica`]: a node's decision on one request for one key; [`watermarks`]: one message that
//!    commits many writes;
//! 8. [`operation::write`], [`operation::read`] and [`operation::update`]: the next step after the
//!    replicas' answers;
//! 9. [`operation`]: a put, get, delete or read-modify-write from call to outcome.
//!
//! Ids in comments (N1, C1, L1, H1, ...) name rules: `docs/consistency.md` has them. F, R and S
//! name the schedules that break the promise without a rule: `docs/rationale.md` has those.
//!
//! [`text`] formats amounts for people; [`mutation`] switches rules off, to prove that the tests
//! notice.
//!
//! [`manager`]: ../manager/index.html
//! [`storage`]: ../storage/index.html
//! [`client`]: ../client/index.html

pub mod arcs;
pub mod claim;
pub mod durability;
pub mod holdings;
pub mod ids;
pub mod lease;
pub mod limits;
pub mod line;
pub mod membership;
pub mod mutation;
pub mod operation;
pub mod replica;
pub mod ring;
pub mod scan;
pub mod slot;
pub mod text;
pub mod time;
pub mod version;
pub mod view;
pub mod watermarks;
