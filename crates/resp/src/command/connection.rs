//! Commands about the connection itself.

use super::client::Client;
use crate::reply::Protocol;

/// About the connection itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Connection<'b> {
    /// Are you there?
    Ping(Option<&'b [u8]>),
    /// Say this.
    Echo(&'b [u8]),
    /// Choose the protocol, and say who is speaking.
    Hello(Hello<'b>),
    /// Here is the password.
    Auth {
        /// Whose: `default`, or whoever.
        user: Option<&'b [u8]>,
        /// The password.
        password: &'b [u8],
    },
    /// Use database 0. Any other is refused when it is read.
    Select,
    /// Answer `OK` and close.
    Quit,
    /// Answer `RESET`, and be as at the beginning.
    Reset,
    /// Answer `OK`: any node answers any read. Only who knows of a cluster says so.
    ReadOnly,
    /// Answer `OK`: it makes no difference here.
    Noop,
    /// CLIENT …
    Client(Client<'b>),
}

/// HELLO [protover [AUTH username password] [SETNAME clientname]].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hello<'b> {
    /// The protocol to go on in; `None`: as before.
    pub protocol: Option<Protocol>,
    /// User and password.
    pub auth: Option<(&'b [u8], &'b [u8])>,
    /// The connection's name, checked.
    pub name: Option<&'b [u8]>,
}
