//! Ports for the servers of a test. They are below the range that Linux assigns to outgoing
//! connections, so a port stays free for its server while the server does not listen.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::atomic::{AtomicU16, Ordering};

/// Range of single ports.
const SINGLE: Range<u16> = 15_000..31_000;

/// Range of consecutive ports.
const ROWS: Range<u16> = 20_000..32_000;

/// Attempts for each requested port before the search fails.
const DRAWS: usize = 100;

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Free ports. They come from the system's randomness, not from the seed of a run: an occupied port
/// must not change what follows from the seed.
///
/// # Errors
/// If no ports are free.
pub fn free(count: usize) -> io::Result<Vec<u16>> {
    let mut ports = HashSet::new();
    for _ in 0..count * DRAWS {
        if ports.len() == count {
            break;
        }
        let random = RandomState::new().hash_one(ports.len());
        let port = SINGLE.start + (random % SINGLE.len() as u64) as u16;
        if is_free(port) {
            ports.insert(port);
        }
    }
    if ports.len() < count {
        return Err(io::Error::other("no free ports from 15000 to 30999"));
    }
    Ok(ports.into_iter().collect())
}

/// The first of `count` consecutive free ports that no other caller in this process has received.
///
/// # Errors
/// If no ports are free.
pub fn in_a_row(count: u16) -> io::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let rows = ROWS.len() as u16 / count;
    // Concurrent processes begin at different places.
    let begin = (std::process::id() % u32::from(rows)) as u16;
    let first = |_| {
        let row = (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % rows;
        ROWS.start + row * count
    };
    (0..rows)
        .map(first)
        .find(|&first| (first..first + count).all(is_free))
        .ok_or_else(|| io::Error::other("no free ports from 20000 to 31999"))
}
