//! Runs a client's operations, and records what was asked and what it was told.

use std::time::{Duration, Instant};

use client::{ClientError, GTStoreClient, UpdateAction};

use crate::history::{Kind, Outcome, Record};

/// The clock of a history, and who writes it.
#[derive(Debug, Clone, Copy)]
pub struct Recorder {
    start: Instant,
}

/// What came of an operation.
#[derive(Debug)]
pub struct Recorded {
    /// For the history.
    pub record: Record,
    /// Why it was not acknowledged.
    pub error: Option<ClientError>,
}

impl Recorder {
    /// Time is 0 now.
    pub fn start() -> Recorder {
        Recorder { start: Instant::now() }
    }

    /// How long ago that was.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The same in nanoseconds, as records have it.
    pub fn now(&self) -> u64 {
        self.elapsed().as_nanos() as u64
    }

    /// Runs one operation as the client of this number. What a get or an update finds is not taken
    /// from `kind`, but from the answer.
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

/// What a client was told that got this error, or none.
pub fn outcome(error: Option<&ClientError>) -> Outcome {
    match error {
        None => Outcome::Ok,
        Some(error) if error.is_unknown() => Outcome::Unknown,
        Some(_) => Outcome::Failed,
    }
}

/// The number that a value is; one that nobody put if it is none.
fn number_of(value: &[u8]) -> u64 {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX)
}
