//! A search for an order, by porcupine: it finds everything, in a time that grows fast with the
//! number of operations and of clients.
//!
//! A failed operation must not have happened, so it is left out. An unknown write may happen at any
//! time after its call, or never: it returns at the end of time. (One whose value nobody found is
//! left out: where an order with it is right, so is the same order without it, or with it as the
//! very last.)

use std::collections::HashSet;
use std::time::Duration;

use porcupine_rs::{CheckResult, Model, Operation, check_operations_timeout};

use crate::history::{Kind, Outcome, Record};

/// How long the checker may think about one key. Histories are kept so short that it takes
/// milliseconds; what is not decided in this time counts as failed.
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

/// Looks for an order of a key's history, in which no value is written twice.
///
/// # Errors
/// That there is none, or that it was not found in time.
pub(super) fn check(history: &[Record]) -> Result<(), &'static str> {
    // What an update was made from it has found, whatever came of it.
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
