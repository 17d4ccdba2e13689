//! The view file: the newest view that a node has adopted, in a small file of its own.
//!
//! The log has views as well, but late: in `async` a second later, and not at all while the disk is
//! full. If no live node holds an arc, recovery from folders depends on the newest view (rule H6),
//! so a node acknowledges a view to the manager only when this file has it. The file has its full
//! size from the beginning and is overwritten in place: that works on a full disk too, and takes
//! one write of some kilobytes and one wait for the disk.
//!
//! Two slots are written in turn, and never the only whole one, so from the first view on one of
//! them is whole at any time. Of two whole slots the one with the higher count is valid.
//!
//! ```text
//! magic 8 bytes | format u16 | count u64 | cluster u64 | incarnation u64 | arcs u32
//! | name, u16 in front
//! epoch u64 | for each arc u64 | two sets of arcs, a bit each | zeros | CRC-32 of all before u32
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cluster::arcs::ArcSet;
use cluster::ids::{ClusterId, Epoch, Incarnation, NodeId};
use crossbeam_channel::{Receiver, Sender, bounded};
use log::error;
use net_common::codec::{DecodeError, Decoder, Encoder};
use net_common::logging;
use parking_lot::Mutex;

use super::files::Files;
use super::folder::{self, FolderOwner};
use super::ledger::{Ledger, ViewEntry};

const MAGIC: &[u8; 8] = b"GTStoNEW";
const FORMAT: u16 = 1;

/// A slot is whole blocks of the disk.
const BLOCK: usize = 4096;

/// How long a view may wait for the disk. A disk that hangs must not delay the whole cluster: then
/// the folder has an older view, and may be unusable for recovery.
const PATIENCE: Duration = Duration::from_secs(2);

/// The contents of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedView {
    /// The owner of the folder.
    pub owner: FolderOwner,
    /// The ledger of that start of the process.
    pub ledger: Ledger,
    /// The arcs in which its first view took it as the replacement of its last incarnation.
    pub revived: ArcSet,
}

/// Bytes of a slot, for a ring of so many arcs.
fn slot_bytes(arcs: usize) -> usize {
    let sets = 2 * arcs.div_ceil(8);
    (8 + 2 + 8 + 8 + 8 + 4 + 2 + 64 + 8 + 8 * arcs + sets + 4).next_multiple_of(BLOCK)
}

fn encode(saved: &SavedView, count: u64) -> Vec<u8> {
    let SavedView { owner, ledger, revived } = saved;
    let mut out = MAGIC.to_vec();
    out.put_u16(FORMAT);
    out.put_u64(count);
    out.put_u64(owner.cluster.0);
    out.put_u64(owner.incarnation.0);
    out.put_u32(owner.arcs as u32);
    out.put_short(owner.node.as_str().as_bytes());
    out.put_u64(ledger.epoch().0);
    ledger.since().iter().for_each(|since| out.put_u64(since.0));
    for set in [ledger.synced(), revived] {
        let mut bytes = vec![0u8; owner.arcs.div_ceil(8)];
        set.ones().for_each(|arc| bytes[arc / 8] |= 1 << (arc % 8));
        out.extend_from_slice(&bytes);
    }
    out.resize(slot_bytes(owner.arcs) - 4, 0);
    out.put_u32(crc32fast::hash(&out));
    out
}

fn decode(slot: &[u8]) -> Result<(u64, SavedView), DecodeError> {
    let (rest, sum) =
        slot.split_at_checked(slot.len().wrapping_sub(4)).ok_or(DecodeError("too short"))?;
    if Decoder::new(sum).u32()? != crc32fast::hash(rest) {
        return Err(DecodeError("its checksum"));
    }
    let mut rest = Decoder::new(rest);
    if rest.take(8)? != MAGIC || rest.u16()? != FORMAT {
        return Err(DecodeError("not a view, or a format that this program does not read"));
    }
    let count = rest.u64()?;
    let (cluster, incarnation) = (ClusterId(rest.u64()?), Incarnation(rest.u64()?));
    let arcs = rest.u32()? as usize;
    let node = NodeId::new(rest.text()?).map_err(|_| DecodeError("a bad node name"))?;
    if slot.len() != slot_bytes(arcs) {
        return Err(DecodeError("its size"));
    }
    let epoch = Epoch(rest.u64()?);
    let since = (0..arcs).map(|_| rest.u64().map(Epoch)).collect::<Result<_, _>>()?;
    let mut set = || -> Result<ArcSet, DecodeError> {
        let bytes = rest.take(arcs.div_ceil(8))?;
        Ok((0..arcs).filter(|arc| bytes[arc / 8] >> (arc % 8) & 1 == 1).collect())
    };
    let (synced, revived) = (set()?, set()?);
    let owner = FolderOwner { cluster, node, incarnation, arcs };
    Ok((count, SavedView { owner, ledger: Ledger::of(epoch, since, synced), revived }))
}

/// Reads the view file of a folder: its count and contents. `None` if there is no file, or no whole
/// slot.
///
/// # Errors
/// If the file system refuses.
pub fn read(folder: &Path) -> io::Result<Option<(u64, SavedView)>> {
    let bytes = match std::fs::read(folder::view_file(folder)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes?,
    };
    let slots = bytes.chunks_exact((bytes.len() / 2).max(1));
    Ok(slots.filter_map(|slot| decode(slot).ok()).max_by_key(|(count, _)| *count))
}

/// Writes the file, in a separate thread.
pub struct ViewFile {
    state: Mutex<ViewFileState>,
    jobs: Sender<SavedView>,
    /// Holds the job that the thread has not begun.
    waiting: Receiver<SavedView>,
    done: Receiver<io::Result<()>>,
    patience: Duration,
}

/// The state of the callers' side.
#[derive(Default)]
struct ViewFileState {
    /// The contents to be written, once a view was adopted.
    newest: Option<SavedView>,
    /// Jobs whose results were not received yet: at most one in progress and one that waits.
    under_way: usize,
}

/// The file, as seen by the writing thread. Only this thread knows what has reached the disk, since
/// callers stop waiting.
///
/// Invariant: the slot of `count` is whole, if there is one, and is not overwritten before the
/// other slot is whole.
struct Slots {
    files: Arc<dyn Files>,
    folder: PathBuf,
    /// The count of the newest slot that is whole; 0 if none is.
    count: u64,
    /// Whether the file has its full size.
    is_made: bool,
}

impl Slots {
    fn write(&mut self, saved: &SavedView) -> io::Result<()> {
        // A write that fails may leave half a slot. The next one goes to the same slot, not to the
        // one that is whole.
        let count = self.count + 1;
        let bytes = encode(saved, count);
        let file = folder::view_file(&self.folder);
        if !self.is_made {
            self.files.overwrite(&file, 0, &vec![0; 2 * bytes.len()])?;
            self.files.sync_folder(&self.folder)?;
            self.is_made = true;
        }
        self.files.overwrite(&file, (count % 2) * bytes.len() as u64, &bytes)?;
        self.count = count;
        Ok(())
    }
}

impl ViewFile {
    /// Starts the thread, for a folder whose file has this count; 0: no whole slot.
    ///
    /// # Errors
    /// If the operating system has no more threads.
    pub fn start(
        node: &NodeId,
        folder: &Path,
        files: Arc<dyn Files>,
        first: u64,
    ) -> io::Result<ViewFile> {
        ViewFile::with_patience(node, folder, files, first, PATIENCE)
    }

    fn with_patience(
        node: &NodeId,
        folder: &Path,
        files: Arc<dyn Files>,
        first: u64,
        patience: Duration,
    ) -> io::Result<ViewFile> {
        // Room for the results of a job in progress and of one that waits, since callers may have
        // stopped waiting for both.
        let (jobs, received) = bounded::<SavedView>(1);
        let (results, done) = bounded(2);
        let waiting = received.clone();
        let mut slots =
            Slots { files, folder: folder.to_owned(), count: first, is_made: first > 0 };
        logging::spawn(format!("{node} view"), move || {
            for saved in received {
                if results.send(slots.write(&saved)).is_err() {
                    return;
                }
            }
        })?;
        Ok(ViewFile { state: Mutex::default(), jobs, waiting, done, patience })
    }

    /// Writes an adopted view, and waits until it is on the disk, for a limited time. On a slower
    /// disk it is written later; an error is logged, and the next view tries again.
    pub fn save(&self, owner: &FolderOwner, view: &ViewEntry) {
        let mut state = self.state.lock();
        let newest = state.newest.get_or_insert_with(|| SavedView {
            owner: owner.clone(),
            ledger: Ledger::new(owner.arcs),
            revived: view.revived.iter().map(|&arc| usize::from(arc)).collect(),
        });
        newest.ledger.view(view);
        let newest = newest.clone();
        while let Ok(written) = self.done.try_recv() {
            state.under_way -= 1;
            complain(written);
        }
        // The new contents include those of a job that still waits.
        state.under_way -= usize::from(self.waiting.try_recv().is_ok());
        let is_late = state.under_way > 0;
        if self.jobs.try_send(newest).is_ok() {
            state.under_way += 1;
        }
        match (!is_late).then(|| self.done.recv_timeout(self.patience)) {
            Some(Ok(written)) => {
                state.under_way -= 1;
                complain(written);
            }
            Some(Err(_)) | None => error!(
                "the disk does not answer: if every replica fails now, this node's data may be unusable for recovery"
            ),
        }
    }
}

fn complain(written: io::Result<()>) {
    if let Err(error) = written {
        error!(
            "cannot write which view this node is in: {error}; if every replica fails now, its data may be \
             unusable for recovery"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Instant;

    use super::super::files::System;
    use super::super::files::faulty::Faulty;
    use super::*;

    const ARCS: usize = 16;

    fn owner() -> FolderOwner {
        let node = NodeId::new("node1").unwrap();
        FolderOwner { cluster: ClusterId(1), node, incarnation: Incarnation(2), arcs: ARCS }
    }

    fn view(epoch: u64) -> ViewEntry {
        let (emptied, synced, revived) = (vec![epoch as u16], vec![0, 9], vec![3]);
        ViewEntry { epoch: Epoch(epoch), emptied, synced, revived }
    }

    fn start(folder: &Path, files: Arc<dyn Files>) -> ViewFile {
        let first = read(folder).unwrap().map_or(0, |(count, _)| count);
        ViewFile::start(&owner().node, folder, files, first).unwrap()
    }

    fn epoch(folder: &Path) -> Option<u64> {
        read(folder).unwrap().map(|(_, saved)| saved.ledger.epoch().0)
    }

    #[test]
    fn it_holds_the_newest_view_and_when_each_arc_was_emptied() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(epoch(dir.path()), None);
        let file = start(dir.path(), Arc::new(System));
        (5..8).for_each(|epoch| file.save(&owner(), &view(epoch)));
        let (count, saved) = read(dir.path()).unwrap().unwrap();
        assert_eq!((count, &saved.owner), (3, &owner()));
        let since: Vec<u64> = saved.ledger.since().iter().map(|since| since.0).collect();
        assert_eq!(since[4..9], [0, 5, 6, 7, 0]);
        assert_eq!(saved.ledger.synced().ones().collect::<Vec<_>>(), [0, 9]);
        assert_eq!(saved.revived.ones().collect::<Vec<_>>(), [3]);
        // The next start of the process continues with the other slot.
        start(dir.path(), Arc::new(System)).save(&owner(), &view(9));
        assert_eq!(epoch(dir.path()), Some(9));
        assert_eq!(fs::metadata(folder::view_file(dir.path())).unwrap().len(), 2 * BLOCK as u64);
    }

    #[test]
    fn a_damaged_byte_costs_at_most_the_newest_view() {
        let dir = tempfile::tempdir().unwrap();
        let file = start(dir.path(), Arc::new(System));
        (5..8).for_each(|epoch| file.save(&owner(), &view(epoch)));
        let path = folder::view_file(dir.path());
        let good = fs::read(&path).unwrap();
        // All bytes of the contents, and some of the zeros behind them.
        let places = |n: &usize| n % BLOCK < 300 || n.is_multiple_of(61) || n % BLOCK > BLOCK - 9;
        for at in (0..good.len()).filter(places) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            let found = epoch(dir.path()).unwrap();
            // Number 3 is in the second slot.
            assert_eq!(found, if at < BLOCK { 7 } else { 6 }, "byte {at}");
        }
        for cut in (0..good.len()).filter(places) {
            fs::write(&path, &good[..cut]).unwrap();
            assert!(epoch(dir.path()).is_none(), "cut at {cut}");
        }
    }

    #[test]
    fn a_failed_write_leaves_the_view_before() {
        let dir = tempfile::tempdir().unwrap();
        // Two calls create the file, and each view is one more.
        let faults = Faulty::at(3, false);
        let file = start(dir.path(), Arc::new(faults));
        let epochs: Vec<Option<u64>> = (5..9)
            .map(|n| {
                file.save(&owner(), &view(n));
                epoch(dir.path())
            })
            .collect();
        assert_eq!(epochs, [Some(5), Some(5), Some(7), Some(8)]);
    }

    /// The system's files, but each write waits for permission, and the epoch in the file is noted
    /// after it.
    #[derive(Debug)]
    struct Slow {
        folder: PathBuf,
        may: Receiver<()>,
        seen: Mutex<Vec<Option<u64>>>,
    }

    impl Files for Arc<Slow> {
        fn create(&self, path: &Path) -> io::Result<Arc<dyn super::super::files::Output>> {
            System.create(path)
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            System.rename(from, to)
        }

        fn remove(&self, path: &Path) -> io::Result<()> {
            System.remove(path)
        }

        fn sync_folder(&self, folder: &Path) -> io::Result<()> {
            System.sync_folder(folder)
        }

        fn overwrite(&self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
            self.may.recv().map_err(io::Error::other)?;
            System.overwrite(path, at, bytes)?;
            self.seen.lock().push(epoch(&self.folder));
            Ok(())
        }
    }

    #[test]
    fn a_late_write_is_not_undone_by_later_ones() {
        let dir = tempfile::tempdir().unwrap();
        let (allow, may) = bounded(16);
        let slow = Arc::new(Slow { folder: dir.path().into(), may, seen: Mutex::default() });
        let files = Arc::new(slow.clone());
        let file =
            ViewFile::with_patience(&owner().node, dir.path(), files, 0, Duration::from_millis(1))
                .unwrap();
        let until = |seen: &[Option<u64>]| {
            let deadline = Instant::now() + Duration::from_secs(30);
            while *slow.seen.lock() != seen {
                assert!(Instant::now() < deadline, "{:?}", slow.seen.lock());
                assert!(slow.seen.lock().len() <= seen.len(), "{:?}", slow.seen.lock());
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        // One write creates the file, and each saved view is one more.
        file.save(&owner(), &view(5));
        (0..2).for_each(|_| allow.send(()).unwrap());
        until(&[None, Some(5)]);
        file.save(&owner(), &view(6));
        let deadline = Instant::now() + Duration::from_secs(30);
        while !file.waiting.is_empty() {
            assert!(Instant::now() < deadline, "the thread takes it");
            std::thread::sleep(Duration::from_millis(1));
        }
        // The first of these waits, and the second takes its place.
        file.save(&owner(), &view(7));
        file.save(&owner(), &view(8));
        (0..2).for_each(|_| allow.send(()).unwrap());
        until(&[None, Some(5), Some(6), Some(8)]);
        let (_, saved) = read(dir.path()).unwrap().unwrap();
        let since: Vec<u64> = saved.ledger.since().iter().map(|since| since.0).collect();
        assert_eq!(since[4..10], [0, 5, 6, 7, 8, 0]);
    }

    #[test]
    fn repeated_failed_writes_leave_the_view_before_them() {
        let dir = tempfile::tempdir().unwrap();
        let faults = Faulty::none();
        let file = start(dir.path(), Arc::new(faults.clone()));
        file.save(&owner(), &view(5));
        let path = folder::view_file(dir.path());
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        faults.refuse(Box::leak(name.into_boxed_str()), 3);
        let epochs: Vec<Option<u64>> = (6..10)
            .map(|n| {
                file.save(&owner(), &view(n));
                epoch(dir.path())
            })
            .collect();
        assert_eq!(epochs, [Some(5), Some(5), Some(5), Some(9)]);
    }
}
