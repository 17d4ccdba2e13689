//! The client of GT Store: a library and a command.
//!
//! [`GTStoreClient`] learns the view from the manager, hashes keys to their replicas by itself, and
//! calls the replicas directly over pooled connections:
//!
//! ```no_run
//! use client::{Config, GTStoreClient};
//!
//! let store = GTStoreClient::init(Config::new("127.0.0.1:5000".parse()?))?;
//! let put = store.put(b"key1", b"value1")?;
//! println!("acknowledged by {} nodes, {} first", put.copies, put.primary);
//! let got = store.get(b"key1")?.expect("it was just put");
//! assert_eq!(got.value, b"value1");
//! store.finalize();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A put goes to every replica at once and is acknowledged when all hold it; a get goes to the
//! first replica, and to the next if that does not answer ([`cluster::operation`] decides).
//! Failures on the way (a broken connection, an outdated view, a node that just died) are retried
//! under a new view until the deadline.
//!
//! The modules, from the top: `calls` and `batch` are the API for programs, `admin` that for
//! operators, [`listing`] lists keys, and [`dump`] writes all of them to a file and loads them
//! again. A `call` runs its operations in attempts; [`fanout`] makes one attempt: it sends a batch
//! to the nodes concerned and collects the answers. All calls share the rest: [`router`] has the
//! view, [`connection_pool`] the connections, [`commits`] the notices to replicas that writes are
//! done, and `writers` the writers' watermarks; `capacity` knows which nodes are full; `turns`
//! serializes calls that change the same key.

mod admin;
pub mod args;
mod backoff;
mod batch;
mod call;
mod calls;
mod capacity;
mod chunk;
pub mod command;
pub mod commits;
mod config;
pub mod connection_pool;
mod copied;
pub mod dump;
pub mod error;
pub mod fanout;
pub mod finish;
pub mod listing;
pub mod operation;
mod refusal;
pub mod router;
pub mod status;
mod store;
mod task;
mod turns;
mod writers;

pub use config::Config;
pub use error::ClientError;
pub use listing::Keys;
pub use operation::{
    BatchItem, CurrentValue, Decide, Done, Got, ItemOutcome, Op, Placed, UpdateAction,
};
pub use store::GTStoreClient;
