//! Calling a node back before it is accepted, to check that its advertised address leads to it.
//!
//! [`cluster::membership`] decides which nodes are called and what follows; this module makes the
//! call. It costs a round trip or two.

use std::net::IpAddr;
use std::time::Duration;

use cluster::membership::Newcomer;
use net_common::auth::Secret;
use net_common::connection::{Connection, Dial, NetError};
use net_common::frame::PayloadLimit;
use net_common::message::control::{Info, InfoRequest};

/// How long the way to a node, and its answer, may each take. Far less than a node waits for the
/// answer to its registration, and far more than a node that can serve takes.
const PATIENCE: Duration = Duration::from_secs(1);

/// Calls a node's advertised address, and checks who answers.
///
/// # Errors
/// The problem, worded for people.
pub fn meet(node: &Newcomer, secret: Option<&Secret>) -> Result<(), String> {
    let address = &node.address;
    let ip = address.host().parse::<IpAddr>();
    if ip.is_ok_and(|ip| ip.to_canonical().is_unspecified()) {
        // Dialled from the same machine it would even lead there.
        return Err(
            "that stands for every address of a machine, and for the caller's own to others \
                    (--advertise HOST:PORT)"
                .into(),
        );
    }
    let (secret, payload) = (secret.cloned(), PayloadLimit::default());
    let dial = Dial { connect: PATIENCE, reply: PATIENCE, secret, payload };
    let info =
        Connection::dial(address, &dial).and_then(|mut link| link.call::<Info>(&InfoRequest));
    match info {
        Ok(info) if info.incarnation == node.incarnation => Ok(()),
        Ok(info) if info.id == node.id => Err("an earlier incarnation of it listens there".into()),
        Ok(info) => Err(format!("{} listens there", info.id)),
        Err(NetError::Unreachable { source, .. } | NetError::Lost { source, .. }) => {
            Err(format!("{source} (--advertise, --bind, a firewall?)"))
        }
        Err(error) => Err(format!("what listens there is no node of this cluster: {error}")),
    }
}
