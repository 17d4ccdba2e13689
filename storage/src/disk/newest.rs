//! The newest view that a node has adopted, in a small file of its own.
//!
//! The log tells of views as well, but late: in `async` a second later, and not at all while the disk is full. What
//! a folder is worth when nobody lives who holds something (rule H6) hangs on that word, so a view is acknowledged to
//! the manager only when this file tells of it. It has its size from the first time on and is overwritten in place:
//! that works on a full disk too, and takes one write of some kilobytes and one wait for the disk, whatever else
//! waits for it.
//!
//! Two slots are written in turn, so that one of them is whole at any time; the one with the higher count counts.
//!
//! ```text
//! magic 8 bytes | format u16 | count u64 | cluster u64 | incarnation u64 | arcs u32 | name, u16 in front
//! epoch u64 | for each arc u64 | two sets of arcs, a bit each | zeros | CRC-32 of all before u32
//! ```

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cluster::ids::{ClusterId, Epoch, Incarnation, NodeId};
use cluster::tenure::ArcSet;
use crossbeam_channel::{Receiver, Sender, bounded};
use log::error;
use net_common::codec::{DecodeError, Decoder, Encoder};
use net_common::logging;
use parking_lot::Mutex;

use super::entry::ViewEntry;
use super::files::Files;
use super::folder;
use super::ledger::Ledger;
use super::life::Owner;

const MAGIC: &[u8; 8] = b"GTStoNEW";
const FORMAT: u16 = 1;

/// A slot is whole blocks of the disk.
const BLOCK: usize = 4096;

/// How long a view may wait for the disk. One that hangs must not hold up the whole cluster: then the folder tells
/// of an older view, and may count for nothing.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the file tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Whose it is.
    pub owner: Owner,
    /// What that start of the process knew of views.
    pub ledger: Ledger,
    /// The arcs in which its first view took it for the heir of the life before.
    pub revived: ArcSet,
}

/// Bytes of a slot, for a ring of so many arcs.
fn slot_bytes(arcs: usize) -> usize {
    let sets = 2 * arcs.div_ceil(8);
    (8 + 2 + 8 + 8 + 8 + 4 + 2 + 64 + 8 + 8 * arcs + sets + 4).next_multiple_of(BLOCK)
}

fn encode(told: &Told, count: u64) -> Vec<u8> {
    let Told { owner, ledger, revived } = told;
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

fn decode(slot: &[u8]) -> Result<(u64, Told), DecodeError> {
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
    let owner = Owner { cluster, node, incarnation, arcs };
    Ok((count, Told { owner, ledger: Ledger::of(epoch, since, synced), revived }))
}

/// Reads the file of a folder: what it tells, with its count. `None` if there is none, or nothing whole in it.
///
/// # Errors
/// If the file system refuses.
pub fn read(folder: &Path) -> io::Result<Option<(u64, Told)>> {
    let bytes = match std::fs::read(folder::newest(folder)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes?,
    };
    let slots = bytes.chunks_exact((bytes.len() / 2).max(1));
    Ok(slots.filter_map(|slot| decode(slot).ok()).max_by_key(|(count, _)| *count))
}

/// Writes it, by a thread of its own.
pub struct Newest {
    /// The count that the file has.
    first: u64,
    /// What it tells next, once a view has.
    state: Mutex<Option<State>>,
    jobs: Sender<Job>,
    done: Receiver<io::Result<()>>,
}

struct State {
    told: Told,
    count: u64,
    /// Whether the file has its size.
    is_made: bool,
    /// Writes that were not waited for to the end.
    late: usize,
}

/// What is to be written, and where; and whether the file is to be made first.
struct Job {
    bytes: Vec<u8>,
    at: u64,
    makes: bool,
}

impl Newest {
    /// One for a folder whose file tells something with this count, or nothing.
    ///
    /// # Errors
    /// If the operating system has no more threads.
    pub fn start(
        node: &NodeId,
        folder: &Path,
        files: Arc<dyn Files>,
        first: u64,
    ) -> io::Result<Newest> {
        let (jobs, received) = bounded::<Job>(1);
        let (tell, done) = bounded(2);
        let folder = folder.to_owned();
        logging::spawn(format!("{node} view"), move || {
            for Job { bytes, at, makes } in received {
                let file = folder::newest(&folder);
                let written = (|| {
                    if makes {
                        files.overwrite(&file, 0, &vec![0; 2 * bytes.len()])?;
                        files.sync_folder(&folder)?;
                    }
                    files.overwrite(&file, at, &bytes)
                })();
                if tell.send(written).is_err() {
                    return;
                }
            }
        })?;
        Ok(Newest { first, state: Mutex::default(), jobs, done })
    }

    /// Writes a view that was adopted, and waits until it is on the disk, for a while. What cannot be written is
    /// said in the log, and tried again with the next view.
    pub fn tell(&self, owner: &Owner, view: &ViewEntry) {
        let mut state = self.state.lock();
        let state = state.get_or_insert_with(|| State {
            told: Told {
                owner: owner.clone(),
                ledger: Ledger::new(owner.arcs),
                revived: view.revived.iter().map(|&arc| usize::from(arc)).collect(),
            },
            count: self.first,
            is_made: self.first > 0,
            late: 0,
        });
        state.told.ledger.view(view);
        while state.late > 0 && self.done.try_recv().is_ok() {
            state.late -= 1;
        }
        state.count += 1;
        let bytes = encode(&state.told, state.count);
        let at = (state.count % 2) * bytes.len() as u64;
        let makes = !state.is_made;
        let is_sent = state.late == 0 && self.jobs.try_send(Job { bytes, at, makes }).is_ok();
        match is_sent.then(|| self.done.recv_timeout(PATIENCE)) {
            Some(Ok(Ok(()))) => state.is_made = true,
            Some(Ok(Err(error))) => error!(
                "cannot write which view this node is in: {error}; if all end now, what is on its disk may count \
                 for nothing"
            ),
            Some(Err(_)) | None => {
                state.late += usize::from(is_sent);
                error!(
                    "the disk does not answer: if all end now, what is on it may count for nothing"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::files::System;
    use super::super::files::faulty::Faulty;
    use super::*;

    const ARCS: usize = 16;

    fn owner() -> Owner {
        let node = NodeId::new("node1").unwrap();
        Owner { cluster: ClusterId(1), node, incarnation: Incarnation(2), arcs: ARCS }
    }

    fn view(epoch: u64) -> ViewEntry {
        let (emptied, synced, revived) = (vec![epoch as u16], vec![0, 9], vec![3]);
        ViewEntry { epoch: Epoch(epoch), emptied, synced, revived }
    }

    fn start(folder: &Path, files: Arc<dyn Files>) -> Newest {
        let first = read(folder).unwrap().map_or(0, |(count, _)| count);
        Newest::start(&owner().node, folder, files, first).unwrap()
    }

    fn epoch(folder: &Path) -> Option<u64> {
        read(folder).unwrap().map(|(_, told)| told.ledger.epoch().0)
    }

    #[test]
    fn it_tells_of_the_newest_view_and_of_all_that_were_emptied() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(epoch(dir.path()), None);
        let newest = start(dir.path(), Arc::new(System));
        (5..8).for_each(|epoch| newest.tell(&owner(), &view(epoch)));
        let (count, told) = read(dir.path()).unwrap().unwrap();
        assert_eq!((count, &told.owner), (3, &owner()));
        let since: Vec<u64> = told.ledger.since().iter().map(|since| since.0).collect();
        assert_eq!(since[4..9], [0, 5, 6, 7, 0]);
        assert_eq!(told.ledger.synced().ones().collect::<Vec<_>>(), [0, 9]);
        assert_eq!(told.revived.ones().collect::<Vec<_>>(), [3]);
        // The next start of the process goes on with the other slot.
        start(dir.path(), Arc::new(System)).tell(&owner(), &view(9));
        assert_eq!(epoch(dir.path()), Some(9));
        assert_eq!(fs::metadata(folder::newest(dir.path())).unwrap().len(), 2 * BLOCK as u64);
    }

    #[test]
    fn whatever_byte_is_wrong_it_tells_of_one_of_the_last_two_views() {
        let dir = tempfile::tempdir().unwrap();
        let newest = start(dir.path(), Arc::new(System));
        (5..8).for_each(|epoch| newest.tell(&owner(), &view(epoch)));
        let file = folder::newest(dir.path());
        let good = fs::read(&file).unwrap();
        // All of what it has, and some of the zeros behind it.
        let places = |n: &usize| n % BLOCK < 300 || n.is_multiple_of(61) || n % BLOCK > BLOCK - 9;
        for at in (0..good.len()).filter(places) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&file, &bad).unwrap();
            let told = epoch(dir.path()).unwrap();
            // Number 3 is in the second slot.
            assert_eq!(told, if at < BLOCK { 7 } else { 6 }, "byte {at}");
        }
        for cut in (0..good.len()).filter(places) {
            fs::write(&file, &good[..cut]).unwrap();
            assert!(epoch(dir.path()).is_none(), "cut at {cut}");
        }
    }

    #[test]
    fn a_write_that_fails_leaves_the_view_before() {
        let dir = tempfile::tempdir().unwrap();
        // The file is made by two calls, and each view is one.
        let faults = Faulty::at(3, false);
        let newest = start(dir.path(), Arc::new(faults));
        let told: Vec<Option<u64>> = (5..9)
            .map(|n| {
                newest.tell(&owner(), &view(n));
                epoch(dir.path())
            })
            .collect();
        assert_eq!(told, [Some(5), Some(5), Some(7), Some(8)]);
    }
}
