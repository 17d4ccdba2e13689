//! Saving the cluster's keys to a dump.
//!
//! One thread lists keys, page by page, and cuts them into batches. Others read the values of a
//! batch and build blocks of them. The caller's thread writes the blocks in the order of the keys,
//! so that two dumps of the same keys have them in the same order.
//!
//! The right size of a batch is known only afterwards, since values may be long. So it is estimated
//! from the values up to now; if a batch returns more bytes than estimated, the keys that are left
//! are requested again.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use cluster::limits::KEY_CEILING;
use cluster::scan;
use crossbeam_channel::{Receiver, Sender, bounded};
use net_common::logging;

use super::format::{Block, DumpRecord, DumpWriter, Header};
use super::{DumpError, Dumped, THREADS};
use crate::chunk::{CHUNK_BYTES, CHUNK_OPS, RECORD_OVERHEAD};
use crate::error::ClientError;
use crate::operation::{Done, Op};
use crate::store::GTStoreClient;

/// Keys of one page from all nodes together: a few batches for each thread.
const PAGE: usize = 64 << 10;

/// The fewest keys to request from one node: in a large cluster each has few of a page.
const LEAST: usize = 1 << 10;

/// The most batches under way, or done but not yet written.
const AHEAD: usize = 2 * THREADS;

/// The intended bytes of values in a batch: a quarter of a frame, so that values that are longer
/// than before seldom exceed a frame.
const GUESS: usize = 1 << 20;

/// Keys of the first batches, before the length of values is known.
const FIRST: usize = 64;

/// The most keys of a batch: even the longest fit half a request frame.
const MOST: usize = CHUNK_BYTES / (KEY_CEILING + RECORD_OVERHEAD);

const _: () = assert!(MOST <= CHUNK_OPS);

/// A block, or the error instead of it.
type BlockResult = Result<Block, ClientError>;

/// Keys to read, and the channel for their blocks.
struct Job {
    keys: Vec<Vec<u8>>,
    blocks: Sender<BlockResult>,
}

/// Dumps everything. Blocks until it is written; a batch of keys is tried until the client's
/// deadline.
///
/// # Errors
/// [`DumpError`]: the output is no dump then.
pub(super) fn save(
    store: &GTStoreClient,
    out: impl Write,
    name: &str,
) -> Result<Dumped, DumpError> {
    let failed = |source| DumpError::Write { name: name.to_owned(), source };
    let mut salt = [0; 4];
    getrandom::fill(&mut salt).map_err(|e| DumpError::System(io::Error::other(e)))?;
    let salt = u32::from_be_bytes(salt);
    let header = Header { cluster: store.cluster(), began: store.now_ms(), salt };
    let mut writer = DumpWriter::begin(out, &header).map_err(failed)?;
    let size = BatchSize::default();
    thread::scope(|scope| {
        let (order, ordered) = bounded(AHEAD);
        let (jobs, taken) = bounded(THREADS);
        for n in 1..=THREADS {
            let (taken, size): (Receiver<Job>, _) = (taken.clone(), &size);
            let run = move || taken.iter().for_each(|job| fetch(store, size, &job));
            logging::spawn_scoped(scope, format!("client dump {n}"), run)
                .map_err(DumpError::System)?;
        }
        drop(taken);
        let list = || list(store, &size, jobs, order);
        logging::spawn_scoped(scope, "client dump list".into(), list).map_err(DumpError::System)?;
        // A thread that fails sends its error in the place of a block. When this thread fails the
        // others find their channels closed.
        for blocks in ordered {
            for block in blocks {
                writer.block(block?).map_err(failed)?;
            }
        }
        Ok::<(), DumpError>(())
    })?;
    if store.cluster() != header.cluster {
        return Err(DumpError::OtherCluster);
    }
    let (keys, bytes) = writer.end(store.now_ms()).map_err(failed)?;
    Ok(Dumped { keys, bytes })
}

/// Lists all keys and hands them out in batches. Each batch's blocks are announced to the writer
/// first.
fn list(
    store: &GTStoreClient,
    size: &BatchSize,
    jobs: Sender<Job>,
    order: Sender<Receiver<BlockResult>>,
) {
    let mut from = Some(0);
    while let Some(place) = from {
        let (keys, next) = match page(store, place) {
            Ok(page) => page,
            Err(error) => {
                let (blocks, writer) = bounded(1);
                // The channel has capacity for it, and the writer receives it unless it has failed
                // itself.
                let _ = blocks.send(Err(error));
                let _ = order.send(writer);
                return;
            }
        };
        let mut keys = keys.into_iter();
        while keys.len() > 0 {
            // One block may wait while the next is built.
            let (blocks, writer) = bounded(1);
            let job = Job { keys: keys.by_ref().take(size.batch()).collect(), blocks };
            if order.send(writer).is_err() || jobs.send(job).is_err() {
                return;
            }
        }
        from = next;
    }
}

/// Keys from a place on, in the order of their places, each once; and where to go on.
fn page(store: &GTStoreClient, from: u64) -> Result<(Vec<Vec<u8>>, Option<u64>), ClientError> {
    let nodes = store.router.routes().view().members.len().max(1);
    let listing = store.listing(None, from, (PAGE / nodes).max(LEAST) as u32)?;
    // Whether a key certainly has a value does not matter: it is read in any case.
    let placed = listing.keys.into_iter().map(|(key, _)| (scan::place(&key), key));
    let mut keys: Vec<(u64, Vec<u8>)> =
        placed.filter(|(place, _)| listing.end.is_none_or(|end| *place < end)).collect();
    keys.sort_unstable();
    keys.dedup();
    Ok((keys.into_iter().map(|(_, key)| key).collect(), listing.end))
}

/// Reads the keys of a job and sends their values in blocks, in order.
fn fetch(store: &GTStoreClient, size: &BatchSize, job: &Job) {
    let ops: Vec<Op<'_>> = job.keys.iter().map(|key| Op::Get { key }).collect();
    let mut packer = Packer { block: Block::default(), blocks: &job.blocks, now: store.now_ms() };
    let mut rest = &ops[..];
    while !rest.is_empty() {
        let got = store.run_chunk_within(rest, GUESS);
        // Keys after the first that was left may have been read: they are read again.
        let got: Vec<_> = got.into_iter().map_while(|got| got).collect();
        let (ops, later) = rest.split_at(got.len());
        if !packer.add(ops, got, size) {
            return;
        }
        rest = later;
    }
    if packer.block.keys() > 0 {
        // If the channel is closed, another thread has failed and reported it.
        let _ = job.blocks.send(Ok(packer.block));
    }
}

/// The block that is being built from a job's keys.
struct Packer<'a> {
    block: Block,
    blocks: &'a Sender<BlockResult>,
    now: u64,
}

impl Packer<'_> {
    /// Adds values, and sends a full block. Returns whether to continue.
    fn add(
        &mut self,
        ops: &[Op<'_>],
        got: Vec<Result<Done, ClientError>>,
        size: &BatchSize,
    ) -> bool {
        let mut bytes = 0;
        for (op, got) in ops.iter().zip(got) {
            let got = match got {
                Ok(Done::Got(Some(got))) => got,
                // It was deleted after it was listed.
                Ok(Done::Got(None) | Done::Placed(_)) => continue,
                Err(error) => {
                    let _ = self.blocks.send(Err(error));
                    return false;
                }
            };
            if got.expiry.is_some_and(|until| until <= self.now) {
                continue;
            }
            bytes += got.value.len();
            self.block.push(&DumpRecord { key: op.key(), value: &got.value, expiry: got.expiry });
            if self.block.is_full()
                && self.blocks.send(Ok(std::mem::take(&mut self.block))).is_err()
            {
                return false;
            }
        }
        size.note(ops.len(), bytes);
        true
    }
}

/// The size of the next batch.
#[derive(Default)]
struct BatchSize {
    keys: AtomicU64,
    bytes: AtomicU64,
}

impl BatchSize {
    fn note(&self, keys: usize, bytes: usize) {
        self.keys.fetch_add(keys as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn batch(&self) -> usize {
        let keys = self.keys.load(Ordering::Relaxed);
        if keys == 0 {
            return FIRST;
        }
        let mean = (self.bytes.load(Ordering::Relaxed) / keys) as usize + RECORD_OVERHEAD;
        (GUESS / mean).clamp(1, MOST)
    }
}
