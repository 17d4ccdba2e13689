//! Loading a dump into the cluster.
//!
//! The caller's thread reads blocks and checks them; others put their records, a block each. Keys
//! that are in the cluster but not in the dump stay as they are, as do those whose records in the
//! dump have expired.

use std::io::Read;
use std::thread;

use crossbeam_channel::{Receiver, bounded};
use net_common::logging;
use parking_lot::Mutex;

use super::format::{Block, DumpReader, DumpRecord, ReadError};
use super::{DumpError, Loaded, THREADS};
use crate::error::ClientError;
use crate::operation::Op;
use crate::store::GTStoreClient;

/// The result of checking a whole dump.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// The number of its keys.
    pub keys: u64,
    /// How many of them exceed the cluster's limits.
    pub too_long: u64,
    /// The first of these, and its error.
    pub first: Option<(Vec<u8>, ClientError)>,
}

/// Reads a whole dump, and checks it and its records against the cluster's limits.
///
/// # Errors
/// [`ReadError`].
pub(super) fn check(store: &GTStoreClient, from: impl Read) -> Result<Checked, ReadError> {
    let mut reader = DumpReader::begin(from)?;
    let (limits, now) = (store.limits(), store.now_ms());
    let mut checked = Checked::default();
    while let Some(block) = reader.next_block()? {
        for record in block.records().filter(|record| !is_due(record, now)) {
            let fits = limits.check_key(record.key).map_err(ClientError::BadKey);
            let fits =
                fits.and_then(|()| limits.check_value(record.value).map_err(ClientError::BadValue));
            if let Err(error) = fits {
                checked.too_long += 1;
                checked.first.get_or_insert_with(|| (record.key.to_vec(), error));
            }
        }
    }
    checked.keys = reader.end().map_or(0, |end| end.keys);
    Ok(checked)
}

/// Whether a record has expired.
fn is_due(record: &DumpRecord<'_>, now: u64) -> bool {
    record.expiry.is_some_and(|until| until <= now)
}

/// Puts all records of a dump. Blocks until each put has an outcome; each is tried until the
/// client's deadline. Returns the figures, and the error if not everything could be read.
///
/// # Errors
/// [`DumpError::System`] if the system has no threads: nothing was done.
pub(super) fn load(
    store: &GTStoreClient,
    from: impl Read,
) -> Result<(Loaded, Option<ReadError>), DumpError> {
    let tally = Mutex::new(Loaded::default());
    let trouble = thread::scope(|scope| {
        let (blocks, taken) = bounded(THREADS);
        for n in 1..=THREADS {
            let (taken, tally): (Receiver<Block>, _) = (taken.clone(), &tally);
            let run = move || taken.iter().for_each(|block| put(store, &block, tally));
            logging::spawn_scoped(scope, format!("client load {n}"), run)
                .map_err(DumpError::System)?;
        }
        drop(taken);
        let read = || {
            let mut reader = DumpReader::begin(from)?;
            while let Some(block) = reader.next_block()? {
                tally.lock().bytes = reader.place();
                if tally.lock().gave_up || blocks.send(block).is_err() {
                    break;
                }
            }
            tally.lock().bytes = reader.place();
            Ok(())
        };
        let trouble = read().err();
        drop(blocks);
        Ok::<_, DumpError>(trouble)
    })?;
    Ok((tally.into_inner(), trouble))
}

/// Puts the records of a block, unless the load was given up.
fn put(store: &GTStoreClient, block: &Block, tally: &Mutex<Loaded>) {
    if tally.lock().gave_up {
        return;
    }
    let now = store.now_ms();
    let ops: Vec<Op<'_>> = block
        .records()
        .filter(|record| !is_due(record, now))
        .map(|DumpRecord { key, value, expiry }| match expiry {
            None => Op::Put { key, value },
            Some(until) => Op::PutUntil { key, value, until },
        })
        .collect();
    let results = store.run(&ops);
    let mut tally = tally.lock();
    tally.expired += (block.keys() - ops.len()) as u64;
    let (mut is_any_done, mut is_any_late) = (false, false);
    for (op, result) in ops.iter().zip(results) {
        let error = match result {
            Ok(_) => {
                tally.done += 1;
                is_any_done = true;
                continue;
            }
            Err(error) => error,
        };
        if error.is_unknown() {
            tally.unknown += 1
        } else {
            tally.failed += 1
        }
        is_any_late |= is_late(&error);
        tally.first.get_or_insert_with(|| (op.key().to_vec(), error));
    }
    // Every further block would wait for the deadline as this one has.
    tally.gave_up |= is_any_late && !is_any_done;
}

/// Whether an error means that the cluster did not answer until the deadline.
fn is_late(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::NotEnoughReplicas { .. }
            | ClientError::NoManager { .. }
            | ClientError::Unknown { .. }
    )
}
