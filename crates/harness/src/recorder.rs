//! Runs operations of a client, and records each call and its outcome.

use std::time::{Duration, Instant};

use client::{ClientError, GTStoreClient, UpdateAction};

use crate::history::{Kind, Outcome, Record};

/// Writes records of a history, and holds its clock.
#[derive(Debug, Clone, Copy)]
pub struct Recorder {
    start: Instant,
}

/// The result of an operation.
#[derive(Debug)]
pub struct Recorded {
    /// The record for the history.
    pub record: Record,
    /// The error, if it was not acknowledged.
    pub error: Option<ClientError>,
}

impl Recorder {
    /// Starts the clock at 0.
    pub fn start() -> Recorder {
        Recorder { start: Instant::now() }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Time since the start in nanoseconds, the unit of records.
    pub fn now(&self) -> u64 {
        self.elapsed().as_nanos() as u64
    }

    /// Runs one operation as this client. The value that a get or an update finds comes from the
    /// reply, not from `kind`.
    pub fn run(&self, store: &GTStoreClient, client: u32, key: &str, kind: Kind) -> Recorded {
        let name = key.as_bytes();
        let mut found = None;
        let invoke = self.now();
        let done = match kind {
            Kind::Put(value) => store.put(name, value.to_string().as_bytes()).map(|_| kind),
            Kind::Delete => store.delete(name).map(|_| kind),
            Kind::Update(value, _) => {
                let updated = store.update(name, |held| {
                    found = held.map(number_of);
                    UpdateAction::Put(value.to_string().into_bytes())
                });
                updated.map(|_| kind)
            }
            Kind::Get(_) => {
                store.get(name).map(|got| Kind::Get(got.map(|got| number_of(&got.value))))
            }
        };
        let ret = self.now();
        let (done, error) = match done {
            Ok(done) => (done, None),
            Err(error) => (kind, Some(error)),
        };
        let outcome = outcome(error.as_ref());
        let kind = match done {
            Kind::Update(value, _) => Kind::Update(value, found),
            other => other,
        };
        Recorded { record: Record { client, key: key.into(), kind, invoke, ret, outcome }, error }
    }
}

/// The outcome that an error, or success, means.
pub fn outcome(error: Option<&ClientError>) -> Outcome {
    match error {
        None => Outcome::Ok,
        Some(error) if error.is_unknown() => Outcome::Unknown,
        Some(_) => Outcome::Failed,
    }
}

/// Parses a value as a number; a number that was never put if it is not one.
fn number_of(value: &[u8]) -> u64 {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX)
}
