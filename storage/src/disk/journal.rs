//! Where the threads of a node hand in what they store: buffers of records, in a bounded channel to
//! the writer.
//!
//! A thread fills a buffer while it serves a batch, and hands it in when it holds no lock any more;
//! buffers go round, so that nothing is allocated for a write, and nobody makes a system call. When
//! the writer falls behind, those who hand in wait for it: that is the only way in which the disk
//! slows `async` down.
//!
//! **Order.** Buffers of different threads may reach the log in another order than they were stored
//! in; of two versions the higher wins, so that does not matter. Views do: they are noted under the
//! holdings's lock, where nobody may wait, and the writer takes those before the buffers that it has
//! received. So what was taken under a view always stands behind it in the log; and what stands
//! behind the view but was taken before it is known by its epoch ([`super::ledger`]).
//!
//! **`sync`.** Every answer that vouches for a record waits until that record is on the disk
//! (F14). A record for which an answer vouches that somebody else has stored is handed in
//! once more: then there is no need to know how far that other thread has come.

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

/// Requests that may wait for the writer: what comes in a few milliseconds.
const REQUESTS: usize = 1024;

/// Emptied buffers that are kept for the next records, and the largest that is.
const SPARE: usize = 256;
const LARGEST_SPARE: usize = 64 << 10;

/// Bytes that may wait for the writer before those who hand in more wait as well.
const MOST_WAITING: usize = 64 << 20;

/// The node cannot write its log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its log cannot be written: {why}")]
pub struct Trouble {
    /// What the system says.
    pub why: Arc<str>,
}

/// What is handed in.
pub enum LogItem {
    /// A buffer of records, as [`RecordBuffer::finish`] gives it.
    Records(Vec<u8>),
    /// Arcs that were fetched to their ends under a view.
    Synced(Epoch, Vec<u16>),
    /// Nothing: look for views.
    CheckViews,
    /// Tell whether all is on the disk, and nothing under way.
    #[cfg(test)]
    AskIdle(Sender<bool>),
}

/// What the writer receives.
pub struct LogRequest {
    /// What is to be written.
    pub item: LogItem,
    /// Who waits until it is.
    pub ack: Option<Ack>,
}

/// Where to say that something is written, or why not. With `sync` it is on the disk then.
pub type Ack = Sender<Result<(), Trouble>>;

/// A view, as the writer has to know it.
#[derive(Debug, Clone)]
pub struct NotedView {
    /// The view's cluster.
    pub cluster: ClusterId,
    /// Arcs of its ring.
    pub arcs: usize,
    /// What it changed.
    pub view: ViewEntry,
}

/// What the node's threads and the writer share.
#[derive(Default)]
pub struct JournalShared {
    /// What the cluster promises: 0 as long as no view has told, or if it is nothing; 1 `async`, 2
    /// `sync`.
    promise: AtomicU8,
    noted: Mutex<Vec<NotedView>>,
    waiting: AtomicUsize,
    trouble: RwLock<Option<Trouble>>,
    /// Why no checkpoint can be made.
    strain: RwLock<Option<String>>,
    /// Whether a checkpoint is being made, and when the last was, in seconds since 1970; 0: none
    /// yet.
    is_checkpointing: AtomicBool,
    checkpointed_s: AtomicU64,
    /// Bytes that the system lets a file have (`ulimit -f`); `None`: as many as fit.
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

    /// The views that were noted since the last time.
    pub fn take_noted(&self) -> Vec<NotedView> {
        std::mem::take(&mut *self.noted.lock())
    }

    /// Notes that so many bytes are not waiting any more.
    pub fn taken(&self, bytes: usize) {
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Says what the trouble is, or that there is none.
    pub fn set_trouble(&self, trouble: Option<Trouble>) {
        *self.trouble.write() = trouble;
    }

    /// What the trouble is.
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble.read().clone()
    }

    /// Says that a checkpoint is being made.
    pub fn checkpoint_began(&self) {
        self.is_checkpointing.store(true, Ordering::Relaxed);
    }

    /// Says that it is made, at this time in seconds since 1970; or that it is not.
    pub fn checkpoint_ended(&self, now_s: Option<u64>) {
        self.is_checkpointing.store(false, Ordering::Relaxed);
        if let Some(now_s) = now_s {
            self.checkpointed_s.store(now_s, Ordering::Relaxed);
        }
    }

    /// Says why no checkpoint can be made, or that one can.
    pub fn set_strain(&self, why: Option<String>) {
        *self.strain.write() = why;
    }
}

/// The writer's ends.
pub struct WriterEnds {
    /// What was handed in.
    pub requests: Receiver<LogRequest>,
    /// Where buffers go back to.
    pub spare: Spare,
    /// What is shared.
    pub shared: Arc<JournalShared>,
}

/// Where the writer puts emptied buffers back.
pub struct Spare(Sender<Vec<u8>>);

impl Spare {
    /// Gives a buffer back, unless it is large or there are enough.
    pub fn put(&self, buffer: Vec<u8>) {
        if buffer.capacity() <= LARGEST_SPARE {
            let _ = self.0.try_send(buffer);
        }
    }
}

/// Where to hand in what is stored; or nowhere, if the node keeps nothing on disk.
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
    /// One with a writer, and that writer's ends; and with the file of the newest view. Nothing is
    /// written before [`Journal::set_durability`].
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

    /// Says what the cluster promises. Before anything is stored under its views.
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

    /// The link, if anything is to be written.
    fn link(&self) -> Option<&JournalLink> {
        self.0.as_ref().filter(|link| link.shared.writes())
    }

    /// Whether answers wait for the disk.
    pub fn is_sync(&self) -> bool {
        self.0.as_ref().is_some_and(|link| link.shared.is_sync())
    }

    /// Why nothing reaches the disk at the moment, if that is so.
    pub fn trouble(&self) -> Option<Trouble> {
        self.0.as_ref()?.shared.trouble()
    }

    /// Why no checkpoint of records of so many bytes can be made, if that is so or would be.
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

    /// Whether a checkpoint is being made.
    pub fn is_checkpointing(&self) -> bool {
        self.0.as_ref().is_some_and(|link| link.shared.is_checkpointing.load(Ordering::Relaxed))
    }

    /// When the last checkpoint was made, in seconds since 1970, if one was.
    pub fn checkpointed_s(&self) -> Option<u64> {
        let checkpointed_s = self.0.as_ref()?.shared.checkpointed_s.load(Ordering::Relaxed);
        Some(checkpointed_s).filter(|&checkpointed_s| checkpointed_s > 0)
    }

    /// Whether writes are to be taken.
    ///
    /// # Errors
    /// [`Trouble`], where answers wait for a disk that keeps nothing at the moment.
    pub fn check(&self) -> Result<(), Trouble> {
        if self.is_sync() { self.trouble().map_or(Ok(()), Err) } else { Ok(()) }
    }

    /// An empty buffer for records that are taken under a view; `None` if nothing is written.
    pub fn buffer(&self, epoch: Epoch) -> Option<RecordBuffer> {
        let link = self.link()?;
        Some(RecordBuffer::new(link.spare.1.try_recv().unwrap_or_default(), epoch))
    }

    /// Hands a buffer in. With `sync` it is on the disk then. Not to be called under a lock.
    ///
    /// # Errors
    /// [`Trouble`]: with `sync`, if it may not be on the disk.
    pub fn hand_in(&self, buffer: Option<RecordBuffer>) -> Result<(), Trouble> {
        self.send(buffer, self.is_sync())
    }

    /// Hands in records that were fetched under a view, in buffers of a fair size. They are on the
    /// disk when [`Journal::synced`] says so.
    pub fn fetched<'r>(&self, epoch: Epoch, records: impl IntoIterator<Item = Record<'r>>) {
        let mut buffer = self.buffer(epoch);
        if buffer.is_none() {
            return;
        }
        for record in records {
            if let Some(full) = buffer.take_if(|buffer| buffer.is_full()) {
                // What is in the way is told to whoever asks whether all is there.
                let _ = self.send(Some(full), false);
                buffer = self.buffer(epoch);
            }
            if let Some(buffer) = &mut buffer {
                buffer.push(&record);
            }
        }
        let _ = self.send(buffer, false);
    }

    /// Says that arcs were fetched to their ends, and all their records handed in before. With
    /// `sync` these are on the disk then.
    ///
    /// # Errors
    /// [`Trouble`]: with `sync`, if they may not be.
    pub fn synced(&self, epoch: Epoch, arcs: &[usize]) -> Result<(), Trouble> {
        let Some(link) = self.link() else { return Ok(()) };
        let arcs = arcs.iter().map(|&arc| arc as u16).collect();
        link.send(LogItem::Synced(epoch, arcs), link.shared.is_sync())
    }

    /// Notes a view. Never waits, and may be called under the holdings's lock; [`Journal::wake_writer`] is
    /// to follow.
    pub fn note(&self, noted: NotedView) {
        if let Some(link) = self.link() {
            link.shared.noted.lock().push(noted);
        }
    }

    /// Writes to a file of its own that a view was adopted, and waits for the disk: after that a
    /// folder tells of it. Not to be called under a lock, and by one thread.
    pub fn save_view(&self, owner: &FolderOwner, view: &ViewEntry) {
        if let Some(view_file) = self.link().and_then(|link| link.view_file.as_ref()) {
            view_file.save(owner, view);
        }
    }

    /// Has the writer look for views. Not to be called under a lock.
    pub fn wake_writer(&self) {
        if let Some(link) = self.link() {
            // If the channel is full the writer has something to take, and looks before it does.
            let _ = link.requests.try_send(LogRequest { item: LogItem::CheckViews, ack: None });
        }
    }

    /// Waits until the writer has taken in what was handed in before.
    #[cfg(test)]
    pub fn settle(&self) {
        if let Some(link) = &self.0 {
            let _ = link.send(LogItem::CheckViews, true);
        }
    }

    /// Whether all that was handed in before is on the disk, as far as the writer knows, and it
    /// waits for nothing that could tell it otherwise.
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
