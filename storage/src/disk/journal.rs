//! The queue from the threads of a node to the writer: buffers of stored records, in a bounded
//! channel.
//!
//! A thread fills a buffer while it serves a batch, and hands it in when it holds no lock. Buffers
//! are reused, so a write needs neither an allocation nor a system call. When the writer falls
//! behind, the threads that hand in records wait for it: only in this way does the disk slow
//! `async` down.
//!
//! **Order.** Buffers of different threads may reach the log in another order than they were stored
//! in. That does not matter, since the higher of two versions wins. The order of views does matter:
//! they are noted under the lock of the holdings, where nobody may wait, and the writer takes them
//! before the buffers that it has received. So a record that was stored under a view always follows
//! the view in the log; one that follows the view but was stored before it is recognized by its
//! epoch ([`super::ledger`]).
//!
//! **`sync`.** Every answer that vouches for a record waits until that record is on the disk (F14).
//! If another thread stored the record, it is handed in once more: then the progress of that thread
//! does not matter.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use cluster::durability::Durability;
use cluster::ids::{ClusterId, Epoch};
use cluster::text::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};
use net_common::descriptors;
use net_common::message::data::Record;
use parking_lot::{Mutex, RwLock};

use super::entry::RecordBuffer;
use super::folder::FolderOwner;
use super::ledger::ViewEntry;
use super::view_file::ViewFile;

/// Requests that may wait for the writer: those of a few milliseconds.
const REQUESTS: usize = 1024;

/// The number of emptied buffers that are kept for reuse, and the largest size of one.
const SPARE: usize = 256;
const LARGEST_SPARE: usize = 64 << 10;

/// Bytes that may wait for the writer before threads that hand in more have to wait.
const MOST_WAITING: usize = 64 << 20;

/// The node cannot write its log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its log cannot be written: {why}")]
pub struct Trouble {
    /// The system's error.
    pub why: Arc<str>,
}

/// An item for the log.
pub enum LogItem {
    /// A buffer of records, from [`RecordBuffer::finish`].
    Records(Vec<u8>),
    /// Arcs that were fetched completely under a view.
    Synced(Epoch, Vec<u16>),
    /// Nothing to write: check for noted views.
    CheckViews,
    /// Ask whether all is on the disk, and nothing in progress.
    #[cfg(test)]
    AskIdle(Sender<bool>),
}

/// A request to the writer.
pub struct LogRequest {
    /// The item to be written.
    pub item: LogItem,
    /// Where to acknowledge it, if a thread waits.
    pub ack: Option<Ack>,
}

/// Receives that an item is written, or why not. With `sync` it is on the disk then.
pub type Ack = Sender<Result<(), Trouble>>;

/// A view, for the writer.
#[derive(Debug, Clone)]
pub struct NotedView {
    /// The view's cluster.
    pub cluster: ClusterId,
    /// The number of arcs of its ring.
    pub arcs: usize,
    /// The change of the holdings.
    pub view: ViewEntry,
}

/// State that the node's threads and the writer share.
#[derive(Default)]
pub struct JournalShared {
    /// The cluster's durability: 0 for `none`, or while no view is known; 1 `async`, 2 `sync`.
    promise: AtomicU8,
    noted: Mutex<Vec<NotedView>>,
    waiting: AtomicUsize,
    trouble: RwLock<Option<Trouble>>,
    /// Why no checkpoint can be written.
    strain: RwLock<Option<String>>,
    /// Whether a checkpoint is in progress, and when the last one completed, in seconds since 1970;
    /// 0: none yet.
    is_checkpointing: AtomicBool,
    checkpointed_s: AtomicU64,
    /// The system's limit for the size of a file (`ulimit -f`), in bytes; `None`: no limit.
    largest_file: Option<u64>,
}

impl JournalShared {
    /// Whether answers wait for the disk.
    pub fn is_sync(&self) -> bool {
        self.promise.load(Ordering::Relaxed) == 2
    }

    fn writes(&self) -> bool {
        self.promise.load(Ordering::Relaxed) > 0
    }

    /// The views that were noted since the last call.
    pub fn take_noted(&self) -> Vec<NotedView> {
        std::mem::take(&mut *self.noted.lock())
    }

    /// Notes that so many bytes no longer wait.
    pub fn taken(&self, bytes: usize) {
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Sets the trouble, or clears it.
    pub fn set_trouble(&self, trouble: Option<Trouble>) {
        *self.trouble.write() = trouble;
    }

    /// The trouble, if there is any.
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble.read().clone()
    }

    /// Notes that a checkpoint has begun.
    pub fn checkpoint_began(&self) {
        self.is_checkpointing.store(true, Ordering::Relaxed);
    }

    /// Notes that it was completed, at this time in seconds since 1970; or that it failed.
    pub fn checkpoint_ended(&self, now_s: Option<u64>) {
        self.is_checkpointing.store(false, Ordering::Relaxed);
        if let Some(now_s) = now_s {
            self.checkpointed_s.store(now_s, Ordering::Relaxed);
        }
    }

    /// Sets why no checkpoint can be written, or clears that.
    pub fn set_strain(&self, why: Option<String>) {
        *self.strain.write() = why;
    }
}

/// The writer's side of the journal.
pub struct WriterEnds {
    /// Receives the items that are handed in.
    pub requests: Receiver<LogRequest>,
    /// Takes emptied buffers.
    pub spare: Spare,
    /// The shared state.
    pub shared: Arc<JournalShared>,
}

/// The channel through which emptied buffers return.
pub struct Spare(Sender<Vec<u8>>);

impl Spare {
    /// Returns a buffer, unless it is large or there are enough.
    pub fn put(&self, buffer: Vec<u8>) {
        if buffer.capacity() <= LARGEST_SPARE {
            let _ = self.0.try_send(buffer);
        }
    }
}

/// Takes records for the log; without a link, the node keeps nothing on disk.
#[derive(Clone, Default)]
pub struct Journal(Option<JournalLink>);

#[derive(Clone)]
struct JournalLink {
    requests: Sender<LogRequest>,
    spare: (Sender<Vec<u8>>, Receiver<Vec<u8>>),
    shared: Arc<JournalShared>,
    view_file: Option<Arc<ViewFile>>,
}

impl Journal {
    /// A journal, and the writer's side of it. Nothing is written before
    /// [`Journal::set_durability`].
    pub fn new(view_file: Option<ViewFile>) -> (Journal, WriterEnds) {
        let (requests, received) = bounded(REQUESTS);
        let spare = bounded(SPARE);
        let shared = Arc::new(JournalShared {
            largest_file: descriptors::largest_file(),
            ..JournalShared::default()
        });
        let ends = WriterEnds {
            requests: received,
            spare: Spare(spare.0.clone()),
            shared: shared.clone(),
        };
        (
            Journal(Some(JournalLink {
                requests,
                spare,
                shared,
                view_file: view_file.map(Arc::new),
            })),
            ends,
        )
    }

    /// Sets the cluster's durability, before anything is stored under its views.
    pub fn set_durability(&self, durability: Durability) {
        if let Some(link) = &self.0 {
            let promise = match durability {
                Durability::None => 0,
                Durability::Async => 1,
                Durability::Sync => 2,
            };
            link.shared.promise.store(promise, Ordering::Relaxed);
        }
    }

    /// The link, if the durability requires writing.
    fn link(&self) -> Option<&JournalLink> {
        self.0.as_ref().filter(|link| link.shared.writes())
    }

    /// Whether answers wait for the disk.
    pub fn is_sync(&self) -> bool {
        self.0.as_ref().is_some_and(|link| link.shared.is_sync())
    }

    /// Why nothing reaches the disk at the moment, if nothing does.
    pub fn trouble(&self) -> Option<Trouble> {
        self.0.as_ref()?.shared.trouble()
    }

    /// Why a checkpoint of records of so many bytes cannot be written, or could not be.
    pub fn strain(&self, bytes: u64) -> Option<String> {
        let shared = &self.0.as_ref()?.shared;
        let too_large = || {
            let largest =
                shared.largest_file.filter(|&largest| shared.writes() && bytes > largest)?;
            let (bytes, largest) = (Bytes(bytes), Bytes(largest));
            Some(format!("they take {bytes}, and a file may have {largest}: ulimit -f"))
        };
        shared.strain.read().clone().or_else(too_large)
    }

    /// Whether a checkpoint is in progress.
    pub fn is_checkpointing(&self) -> bool {
        self.0.as_ref().is_some_and(|link| link.shared.is_checkpointing.load(Ordering::Relaxed))
    }

    /// When the last checkpoint was completed, in seconds since 1970.
    pub fn checkpointed_s(&self) -> Option<u64> {
        let checkpointed_s = self.0.as_ref()?.shared.checkpointed_s.load(Ordering::Relaxed);
        Some(checkpointed_s).filter(|&checkpointed_s| checkpointed_s > 0)
    }

    /// Checks that writes may be accepted.
    ///
    /// # Errors
    /// [`Trouble`], if answers wait for a disk that fails at the moment.
    pub fn check(&self) -> Result<(), Trouble> {
        if self.is_sync() { self.trouble().map_or(Ok(()), Err) } else { Ok(()) }
    }

    /// An empty buffer for records that are stored under a view; `None` if nothing is written.
    pub fn buffer(&self, epoch: Epoch) -> Option<RecordBuffer> {
        let link = self.link()?;
        Some(RecordBuffer::new(link.spare.1.try_recv().unwrap_or_default(), epoch))
    }

    /// Hands a buffer in. With `sync` it is on the disk afterwards. Must not be called under a
    /// lock.
    ///
    /// # Errors
    /// [`Trouble`]: with `sync`, if it may not be on the disk.
    pub fn hand_in(&self, buffer: Option<RecordBuffer>) -> Result<(), Trouble> {
        self.send(buffer, self.is_sync())
    }

    /// Hands in records that were fetched under a view, in buffers of limited size.
    /// [`Journal::synced`] waits until they are on the disk.
    pub fn fetched<'r>(&self, epoch: Epoch, records: impl IntoIterator<Item = Record<'r>>) {
        let mut buffer = self.buffer(epoch);
        if buffer.is_none() {
            return;
        }
        for record in records {
            if let Some(full) = buffer.take_if(|buffer| buffer.is_full()) {
                // An error shows at the call that waits for the disk.
                let _ = self.send(Some(full), false);
                buffer = self.buffer(epoch);
            }
            if let Some(buffer) = &mut buffer {
                buffer.push(&record);
            }
        }
        let _ = self.send(buffer, false);
    }

    /// Logs that arcs were fetched completely; all their records were handed in before. With `sync`
    /// these are on the disk afterwards.
    ///
    /// # Errors
    /// [`Trouble`]: with `sync`, if they may not be.
    pub fn synced(&self, epoch: Epoch, arcs: &[usize]) -> Result<(), Trouble> {
        let Some(link) = self.link() else { return Ok(()) };
        let arcs = arcs.iter().map(|&arc| arc as u16).collect();
        link.send(LogItem::Synced(epoch, arcs), link.shared.is_sync())
    }

    /// Notes a view. Never waits, and may be called under the lock of the holdings;
    /// [`Journal::wake_writer`] has to follow.
    pub fn note(&self, noted: NotedView) {
        if let Some(link) = self.link() {
            link.shared.noted.lock().push(noted);
        }
    }

    /// Writes an adopted view to the view file, and waits for the disk. Must not be called under a
    /// lock, and by one thread only.
    pub fn save_view(&self, owner: &FolderOwner, view: &ViewEntry) {
        if let Some(view_file) = self.link().and_then(|link| link.view_file.as_ref()) {
            view_file.save(owner, view);
        }
    }

    /// Wakes the writer, so that it takes noted views. Must not be called under a lock.
    pub fn wake_writer(&self) {
        if let Some(link) = self.link() {
            // If the channel is full, the writer has requests to take, and takes noted views before
            // them.
            let _ = link.requests.try_send(LogRequest { item: LogItem::CheckViews, ack: None });
        }
    }

    /// Waits until the writer has processed all earlier requests.
    #[cfg(test)]
    pub fn settle(&self) {
        if let Some(link) = &self.0 {
            let _ = link.send(LogItem::CheckViews, true);
        }
    }

    /// Whether all that was handed in before is on the disk, and the writer waits for no result.
    #[cfg(test)]
    pub fn is_idle(&self) -> bool {
        let Some(link) = &self.0 else { return true };
        let (reply, replied) = bounded(1);
        link.send(LogItem::AskIdle(reply), true).is_ok() && replied.recv() == Ok(true)
    }

    fn send(&self, buffer: Option<RecordBuffer>, wait: bool) -> Result<(), Trouble> {
        let (Some(link), Some(buffer)) = (&self.0, buffer) else { return Ok(()) };
        if buffer.is_empty() {
            let _ = link.spare.0.try_send(buffer.into_bytes());
            return Ok(());
        }
        link.send(LogItem::Records(buffer.finish()), wait)
    }
}

impl JournalLink {
    fn send(&self, item: LogItem, wait: bool) -> Result<(), Trouble> {
        let bytes = match &item {
            LogItem::Records(bytes) => bytes.len(),
            _ => 0,
        };
        let waiting = self.shared.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let (ack, acked) =
            if wait || waiting > MOST_WAITING { Some(bounded(1)).unzip() } else { (None, None) };
        let handed_in = self.requests.send(LogRequest { item, ack });
        let answer = handed_in.ok().and_then(|()| acked.map(|acked| acked.recv().ok()));
        match (wait, answer) {
            (false, _) => Ok(()),
            (true, Some(Some(answer))) => answer,
            (true, _) => Err(Trouble { why: "the node is stopping".into() }),
        }
    }
}
