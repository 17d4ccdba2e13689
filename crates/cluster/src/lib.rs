//! The rules of GT Store, and nothing else.
//!
//! Everything here is a plain value or a state machine that moves only when somebody hands it an
//! event or the time: no socket, thread, clock or randomness inside (`clippy.toml` holds that).
//! The crates around it ([`manager`], [`storage`], [`client`]) carry bytes and threads and ask this
//! one what to do, so every decision of the store can be tested in microseconds.
//!
//! Read in this order:
//! 1. [`ids`], [`limits`], [`time`], [`arcs`], [`version`]: the small words of the language;
//! 2. [`slot`] and [`ring`]: where a key lives, and how arcs of the key space are dealt to nodes; [`scan`]: in
//!    which order keys are listed;
//! 3. [`view`]: one numbered picture of who is a member and who owns what; [`mod@line`]: which manager made it, and after
//!    which;
//! 4. [`membership`]: the manager's state machine, which makes views;
//! 5. [`holdings`]: what a node knows of its own ranges, and what it may answer; [`claim`]: what it has of them on
//!    disk when it starts; [`durability`]: what the cluster promises of that;
//! 6. [`lease`]: until when a node may serve;
//! 7. [`replica`]: what a node does with one request for one key;
//! 8. [`operation::write`], [`operation::read`] and [`operation::update`]: what follows from the replicas' answers;
//! 9. [`operation`]: a put, get, delete or read-modify-write from call to outcome.
//!
//! Ids in comments (N1, C1, L1, H1, ...) name rules: `docs/consistency.md` has them. F, R and S name the
//! schedules that break the promise without a rule: `docs/rationale.md` has those.
//!
//! [`text`] puts amounts in words; [`mutation`] takes rules away again, to prove that the tests notice.
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
