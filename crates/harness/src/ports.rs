//! Ports for servers that the bench starts itself.

use std::collections::HashSet;
use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// Free ports below those that the system gives to outgoing connections, so that a port stays ours while
/// nobody listens on it.
///
/// # Errors
/// If there are none.
pub fn free(count: usize, mut random: impl FnMut() -> u16) -> io::Result<Vec<u16>> {
    let mut ports = HashSet::new();
    for _ in 0..count * 100 {
        let port = 15_000 + random() % 16_000;
        if ports.len() < count && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            ports.insert(port);
        }
    }
    if ports.len() < count {
        return Err(io::Error::other("no free ports from 15000 to 30999"));
    }
    Ok(ports.into_iter().collect())
}
