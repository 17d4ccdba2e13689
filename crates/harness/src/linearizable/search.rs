//! A search for an order with porcupine. It is complete; its time grows fast with the number of
//! operations and clients.
//!
//! A failed operation must not have happened, so it is left out. An unknown write may happen at any
//! time after its call, or never: it returns at the end of time. (A write whose value no read found
//! is left out: an order with it is valid exactly if the same order without it is.)

use std::collections::HashSet;
use std::time::Duration;

use porcupine_rs::{CheckResult, Model, Operation, check_operations_timeout};

use crate::history::{Kind, Outcome, Record};

/// Time limit of the search for one key. Histories are short enough for milliseconds; an undecided
/// history counts as a violation.
const PATIENCE: Duration = Duration::from_secs(20);

/// A key: absent, or with a value.
#[derive(Debug, Clone)]
struct RegisterModel;

impl Model for RegisterModel {
    type State = Option<u64>;
    type Op = Kind;
    type Metadata = ();

    fn init() -> Option<u64> {
        None
    }

    fn step(state: &Option<u64>, op: &Kind) -> (bool, Option<u64>) {
        match *op {
            Kind::Put(value) => (true, Some(value)),
            Kind::Delete => (true, None),
            Kind::Get(found) => (*state == found, *state),
            Kind::Update(value, found) => (*state == found, Some(value)),
        }
    }
}

/// Searches for an order of a key's history. No value may be written twice in it.
///
/// # Errors
/// If there is none, or none was found in time.
pub(super) fn check(history: &[Record]) -> Result<(), &'static str> {
    // An update found the value that it replaced, whatever its outcome.
    let found: HashSet<u64> = history.iter().filter_map(Record::found).collect();
    let counts = |record: &&Record| match (record.outcome, record.kind) {
        (Outcome::Ok, _) => true,
        (Outcome::Failed, _) | (Outcome::Unknown, Kind::Get(_)) => false,
        (Outcome::Unknown, Kind::Put(value) | Kind::Update(value, _)) => found.contains(&value),
        (Outcome::Unknown, Kind::Delete) => true,
    };
    let operation = |record: &Record| Operation {
        client_id: Some(record.client),
        call_time: record.invoke as i64,
        return_time: match record.outcome {
            Outcome::Unknown => i64::MAX,
            _ => record.ret as i64,
        },
        op: record.kind,
        metadata: None,
    };
    let operations: Vec<Operation<RegisterModel>> =
        history.iter().filter(counts).map(operation).collect();
    match check_operations_timeout(&operations, PATIENCE) {
        CheckResult::Ok => Ok(()),
        CheckResult::Illegal => Err("not linearizable"),
        CheckResult::Unknown => Err("the checker did not decide in time"),
    }
}
