//! Commands about the connection itself.

use super::client::ClientCommand;
use crate::reply::Protocol;

/// A command about the connection itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ConnectionCommand<'b> {
    /// Check that the server replies.
    Ping(Option<&'b [u8]>),
    /// Return this text.
    Echo(&'b [u8]),
    /// Choose the protocol, and identify the client.
    Hello(Hello<'b>),
    /// Authenticate.
    Auth {
        /// The user: `default` or anything else.
        user: Option<&'b [u8]>,
        /// The password.
        password: &'b [u8],
    },
    /// Use database 0. Any other is refused by the parser.
    Select,
    /// Reply `OK` and close.
    Quit,
    /// Reply `RESET`, and restore the connection's initial state.
    Reset,
    /// Reply `OK`: any node answers any read. Only a cluster-aware client sends this.
    ReadOnly,
    /// Reply `OK`: it has no effect here.
    Noop,
    /// CLIENT …
    Client(ClientCommand<'b>),
}

/// HELLO [protover [AUTH username password] [SETNAME clientname]].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hello<'b> {
    /// The protocol to continue in; `None`: unchanged.
    pub protocol: Option<Protocol>,
    /// User and password.
    pub auth: Option<(&'b [u8], &'b [u8])>,
    /// The connection's name, validated.
    pub name: Option<&'b [u8]>,
}
