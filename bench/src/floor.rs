//! The *floor*: the least that one blocking request costs on this machine.
//!
//! A client sends 60 bytes over loopback and waits until a thread has sent
//! them back, again and again. Nothing is parsed, stored or copied to a
//! replica, so a store that answers requests one at a time cannot be faster.
//! Every throughput figure is given as a ratio to this one, measured in the
//! same run, because absolute times differ between machines and hours.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of one message each way: about a small put with its header.
const MESSAGE_BYTES: usize = 60;

/// Longest warm-up. It is enough for the scheduler and the socket buffers to settle; a shorter
/// measurement warms up for a tenth of its length.
const MAX_WARM_UP: Duration = Duration::from_millis(200);

/// How long either end waits for the other before it gives up. A round trip takes microseconds, so
/// beyond this something is broken: an error instead of a hang.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Floor {
    /// Messages that went there and came back, without the warm-up.
    pub round_trips: u64,
    /// Time they took together, in seconds.
    pub seconds: f64,
}

impl Floor {
    /// Round trips a second; 0 if nothing was measured.
    pub fn per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.round_trips as f64 / self.seconds } else { 0.0 }
    }
}

/// Measures for about `duration`, after a short warm-up. The echo thread has exited when this
/// returns, whatever the result.
pub fn measure(duration: Duration) -> io::Result<Floor> {
    let (mut client, served) = connected_pair()?;
    thread::scope(|scope| {
        let echo = thread::Builder::new()
            .name("floor-echo".to_owned())
            .spawn_scoped(scope, move || echo(served))?;
        let floor = ping_pong(&mut client, MAX_WARM_UP.min(duration / 10))
            .and_then(|_| ping_pong(&mut client, duration));
        // The thread ends when it sees the connection close.
        drop(client);
        let echoed = echo.join().expect("the echoing thread does not panic");
        let floor = floor?;
        echoed?;
        Ok(floor)
    })
}

/// Both ends of a loopback connection, with the options of real ones.
fn connected_pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    // The kernel completes the connection before anyone accepts it, so one
    // thread can do both and no accept is left hanging if the first step fails.
    let client = TcpStream::connect(listener.local_addr()?)?;
    let served = loop {
        let (stream, peer) = listener.accept()?;
        if peer == client.local_addr()? {
            break stream;
        }
        // A connection of another program.
    };
    for stream in [&client, &served] {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
    }
    Ok((client, served))
}

/// Sends back every message until the other end closes.
fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut message = [0; MESSAGE_BYTES];
    loop {
        match stream.read_exact(&mut message) {
            Ok(()) => stream.write_all(&message)?,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// One message after another for `duration`, at least one.
fn ping_pong(stream: &mut TcpStream, duration: Duration) -> io::Result<Floor> {
    let mut sent = [0; MESSAGE_BYTES];
    let mut received = [0; MESSAGE_BYTES];
    let mut round_trips = 0_u64;
    let start = Instant::now();
    loop {
        // Numbered, so that an answer to another message would be noticed.
        sent[..8].copy_from_slice(&round_trips.to_be_bytes());
        stream.write_all(&sent)?;
        stream.read_exact(&mut received)?;
        if received != sent {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the echo differs from what was sent",
            ));
        }
        round_trips += 1;
        let elapsed = start.elapsed();
        if elapsed >= duration {
            return Ok(Floor { round_trips, seconds: elapsed.as_secs_f64() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_takes_about_the_requested_time() {
        let floor = measure(Duration::from_millis(50)).expect("loopback works");
        assert!(floor.seconds >= 0.05, "{floor:?}");
        assert!(floor.round_trips > 10, "{floor:?}");
        let rate = floor.round_trips as f64 / floor.seconds;
        assert!((floor.per_second() - rate).abs() < 1e-6);
    }

    #[test]
    fn a_measurement_of_no_duration_has_a_round_trip() {
        let floor = measure(Duration::ZERO).expect("loopback works");
        assert_eq!(floor.round_trips, 1);
    }

    #[test]
    fn an_empty_measurement_has_no_rate() {
        let floor = Floor { round_trips: 0, seconds: 0.0 };
        assert_eq!(floor.per_second(), 0.0);
    }

    #[test]
    fn a_wrong_echo_is_an_error() {
        let (mut client, mut served) = connected_pair().expect("loopback works");
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut message = [0; MESSAGE_BYTES];
                served.read_exact(&mut message).expect("the first message");
                message[20] ^= 1;
                served.write_all(&message).expect("sent back");
            });
            let error = ping_pong(&mut client, Duration::from_secs(5)).expect_err("noticed");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        });
    }

    #[test]
    fn a_closed_echo_is_an_error() {
        let (mut client, served) = connected_pair().expect("loopback works");
        drop(served);
        ping_pong(&mut client, Duration::from_secs(5)).expect_err("nobody answers");
    }
}
