//! Messages between nodes, the manager, and operators.
//!
//! | message | from → to | lost, late or repeated |
//! |---|---|---|
//! | [`Hello`] → [`TablePush`] | client → manager | the client repeats it; an older view than the known one is ignored |
//! | [`Register`] → [`TablePush`] | node → manager | registering again is how a node reconnects |
//! | [`Heartbeat`] → [`HeartbeatAck`] | node → manager | three lost in a row and the node is out |
//! | [`TablePush`] | manager → node, unasked | heartbeats repeat it |
//! | [`Probe`] → [`Heartbeat`] | manager → node | repeated; it changes nothing, and a late one is answered like any other |
//! | [`StatusRequest`] → [`Status`], [`InfoRequest`] → [`Info`] | anyone → manager, node | asking changes nothing |
//! | [`AdoptFolder`] → [`FolderAdopted`] | operator → manager | repeated, it finds no waiting folder |
//! | [`AcceptLoss`] → [`LossAccepted`] | operator → manager | repeated, it finds no loss to accept |
//!
//! Operators' other requests are in [`change`](super::change).

mod heartbeat;
mod info;
mod recovery;
mod register;
mod status;
mod table_push;

pub use heartbeat::{Heartbeat, HeartbeatAck, Probe};
pub use info::{Info, InfoRequest};
pub use recovery::{AcceptLoss, AdoptFolder, FolderAdopted, LossAccepted};
pub use register::Register;
pub use status::{HealthLine, NodeStatus, Status, StatusRequest};
pub use table_push::{Hello, TablePush};
