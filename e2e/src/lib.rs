//! Test clusters, and tools to disturb them.
//!
//! * [`TestCluster`]: a manager and nodes in this process, on free ports; ready when a real request
//!   is answered, stopped when dropped;
//! * [`RawConnection`]: a socket that sends any bytes and reads frames;
//! * [`under_load`]: clients that put and get, and check every answer, while something happens;
//! * [`program`] and [`client_command`]: the real programs, for behaviour that only a process can
//!   show;
//! * [`scripts`]: `start_service` and the other scripts, in a folder of their own;
//! * [`wait_until`]: tests wait for conditions with a generous deadline, never for a fixed time.
//!
//! Processes, proxies and histories come from [`harness`].

mod load;
mod programs;
mod raw;
mod resp;
pub mod scripts;
mod test_cluster;
mod wait;

pub use load::{LoadOutcome, under_load};
pub use programs::{client_command, program, programs, root, without_settings};
pub use raw::{RawConnection, RawFrame, frame, text_request};
pub use resp::Resp;
pub use test_cluster::{Options, ReplicaRecord, TestCluster};
pub use wait::{Over, PATIENCE, wait_until};
