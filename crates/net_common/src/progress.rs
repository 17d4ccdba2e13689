//! Whether the bytes of a transfer still move.
//!
//! A slow link is no fault, and a peer that sends or takes a byte now and then is one. So a
//! transfer has no time of its own: a limit on silence begins anew while bytes move, as long as
//! they move at a lowest rate.

use std::io::{self, ErrorKind, Write};
use std::time::{Duration, Instant};

/// The lowest rate of a transfer that is not timed out, in bytes a second. Slower links are hardly
/// in use (GPRS carries four times as much, and web servers cut below a quarter to a half of it). A
/// peer that occupies a frame's memory by sending slowly has to keep sending, and four megabytes
/// take about an hour.
pub const LEAST_RATE: u64 = 1024;

/// A transfer under way.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    since: Instant,
    bytes: u64,
}

impl Progress {
    /// A transfer that begins now.
    pub fn begin() -> Progress {
        Progress { since: Instant::now(), bytes: 0 }
    }

    /// Records transferred bytes. Once they amount to what the lowest rate requires within `limit`,
    /// the limit restarts.
    pub fn moved(&mut self, bytes: usize, limit: Duration) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        // In thousandths of a byte, so that a limit of milliseconds counts too.
        let asked = limit.as_millis().saturating_mul(u128::from(LEAST_RATE));
        if u128::from(self.bytes) * 1000 >= asked {
            *self = Progress::begin();
        }
    }

    /// Whether the transfer has taken `limit` since it began, or since the limit began anew.
    pub fn is_over(&self, limit: Duration) -> bool {
        self.since.elapsed() >= limit
    }
}

/// Whether a read or write has come back because a socket's time-out was over.
pub fn is_time_out(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Writes all of `bytes` as long as there is progress, and until `end` at most. The socket's own
/// time-out only sets how often that is checked; it should be half of `limit`: after a write that
/// timed out the next one shows whether the kernel has sent anything meanwhile.
///
/// # Errors
/// As the stream's `write`, and [`ErrorKind::TimedOut`].
pub fn write_all(
    mut stream: impl Write,
    mut bytes: &[u8],
    limit: Duration,
    end: Option<Instant>,
) -> io::Result<()> {
    let mut progress = Progress::begin();
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => {
                bytes = &bytes[n..];
                progress.moved(n, limit);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted || is_time_out(&error) => {}
            Err(error) => return Err(error),
        }
        let is_late = || end.is_some_and(|end| Instant::now() >= end);
        if !bytes.is_empty() && (progress.is_over(limit) || is_late()) {
            return Err(ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Duration = Duration::MAX;

    /// Takes so many bytes at a time, and every other time none.
    struct Slow {
        piece: usize,
        taken: Vec<u8>,
        is_full: bool,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.is_full = !self.is_full;
            if self.is_full {
                return Err(ErrorKind::WouldBlock.into());
            }
            let n = self.piece.min(bytes.len());
            self.taken.extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_limit_begins_anew_at_the_lowest_rate_only() {
        let limit = Duration::from_secs(10);
        let began = Instant::now().checked_sub(limit).unwrap();
        let late = Progress { since: began, bytes: 0 };
        assert!(late.is_over(limit));
        for (pieces, is_over) in [
            (vec![1; 100], true),
            (vec![10_239], true),
            (vec![10_240], false),
            (vec![40; 256], false),
        ] {
            let mut progress = late;
            for &bytes in &pieces {
                progress.moved(bytes, limit);
            }
            assert_eq!(progress.is_over(limit), is_over, "{pieces:?}");
        }
        assert!(!late.is_over(NEVER));
    }

    #[test]
    fn all_is_written_while_it_moves() {
        let bytes: Vec<u8> = (0..2000).map(|i| i as u8).collect();
        let mut slow = Slow { piece: 300, taken: Vec::new(), is_full: false };
        write_all(&mut slow, &bytes, NEVER, None).unwrap();
        assert_eq!(slow.taken, bytes);
        for (piece, limit, end) in
            [(1, Duration::ZERO, None), (1, NEVER, Some(Instant::now())), (0, NEVER, None)]
        {
            let mut slow = Slow { piece, taken: Vec::new(), is_full: false };
            let error = write_all(&mut slow, &bytes, limit, end).unwrap_err();
            let want = if piece == 0 { ErrorKind::WriteZero } else { ErrorKind::TimedOut };
            assert_eq!(error.kind(), want);
        }
    }
}
