//! The last starts of a process with a data folder, in a small file of it (rule L5): first the last
//! one that the manager knows, then the others, the newest last ([`cluster::membership::starts`]).
//!
//! Each start is recorded before it registers. So a copy of the folder differs from the original as
//! soon as one of the two has been started, and the manager can distinguish them when both have
//! exited and start again. The file has its full size from the beginning and is overwritten in
//! place, which works on a full disk too.
//!
//! ```text
//! magic 8 bytes
//! | starts of a process, u64 each, in this order, after zeros if there were fewer
//! | CRC-32 u32
//! ```
//!
//! A damaged file, or one of another version, counts as missing: earlier starts are unknown then.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cluster::ids::Incarnation;
use cluster::membership::starts::{self, STARTS};
use log::warn;
use net_common::codec::{Decoder, Encoder};
use net_common::logging;

use super::files::Files;

const MAGIC: &[u8; 8] = b"GTStoSTA";

/// The path of the file.
pub fn file(folder: &Path) -> PathBuf {
    folder.join("starts")
}

fn encode(starts: &[Incarnation]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    (starts.len()..STARTS).for_each(|_| out.put_u64(0));
    starts.iter().for_each(|start| out.put_u64(start.0));
    out.put_u32(crc32fast::hash(&out));
    out
}

fn decode(bytes: &[u8]) -> Option<Vec<Incarnation>> {
    let (rest, sum) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    let mut rest = Decoder::new(rest.strip_prefix(MAGIC)?);
    if Decoder::new(sum).u32().ok()? != crc32fast::hash(&bytes[..bytes.len() - 4]) {
        return None;
    }
    let starts = (0..STARTS).map(|_| rest.u64().ok()).collect::<Option<Vec<u64>>>()?;
    rest.finish().ok()?;
    Some(starts.into_iter().filter(|start| *start != 0).map(Incarnation).collect())
}

/// Records a start, and returns the last ones, including it. If it cannot be written it is not
/// among them: then the manager does not rely on it, and the node continues.
pub fn note(files: &dyn Files, folder: &Path, start: Incarnation) -> Vec<Incarnation> {
    let file = file(folder);
    let is_new = !file.exists();
    let before = fs::read(&file).ok().and_then(|bytes| decode(&bytes)).unwrap_or_default();
    let mut starts = before.clone();
    starts::note(&mut starts, start);
    let written = files
        .overwrite(&file, 0, &encode(&starts))
        .and_then(|()| if is_new { files.sync_folder(folder) } else { Ok(()) });
    match written {
        Ok(()) => starts,
        Err(error) => {
            warn!(
                "cannot write {}: {error}; a copy of this data folder may not be distinguished from it",
                file.display()
            );
            before
        }
    }
}

/// Records in a folder, once, that the manager has accepted a heartbeat of a start.
pub struct Anchor {
    files: Arc<dyn Files>,
    folder: PathBuf,
    start: Incarnation,
    is_noted: AtomicBool,
}

impl Anchor {
    /// For a start that has been recorded.
    pub fn new(files: Arc<dyn Files>, folder: &Path, start: Incarnation) -> Anchor {
        Anchor { files, folder: folder.into(), start, is_noted: AtomicBool::new(false) }
    }

    /// Records that the manager has accepted a heartbeat. A separate thread writes it: heartbeats
    /// must not wait for the disk.
    pub fn known_to_manager(&self) {
        if self.is_noted.swap(true, Ordering::Relaxed) {
            return;
        }
        let (files, folder, start) = (self.files.clone(), self.folder.clone(), self.start);
        if let Err(error) = logging::spawn("starts".into(), move || anchor(&*files, &folder, start))
        {
            warn!("cannot start a thread to note a start: {error}");
        }
    }
}

/// If this cannot be written, the start is forgotten after many later ones that the manager does
/// not learn of.
fn anchor(files: &dyn Files, folder: &Path, start: Incarnation) {
    let file = file(folder);
    let starts = fs::read(&file).ok().and_then(|bytes| decode(&bytes));
    let Some(mut starts) = starts else { return };
    if starts::anchor(&mut starts, &start)
        && let Err(error) = files.overwrite(&file, 0, &encode(&starts))
    {
        warn!("cannot write {}: {error}", file.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::files::System;

    #[test]
    fn a_folder_lists_its_last_starts_and_a_copy_differs_from_its_first_start_on() {
        let dir = tempfile::tempdir().unwrap();
        let of = |range: std::ops::RangeInclusive<u64>| range.map(Incarnation).collect::<Vec<_>>();
        for n in 1..=2 * STARTS as u64 {
            let starts = note(&System, dir.path(), Incarnation(n));
            let rest = n.saturating_sub(STARTS as u64 - 2).max(2);
            assert_eq!(starts, [of(1..=1), of(rest..=n)].concat());
        }
        let copy = tempfile::tempdir().unwrap();
        fs::copy(file(dir.path()), file(copy.path())).unwrap();
        let original = note(&System, dir.path(), Incarnation(1001));
        let copied = note(&System, copy.path(), Incarnation(1002));
        assert_eq!(original[..STARTS - 1], copied[..STARTS - 1]);
        assert!(!original.contains(&Incarnation(1002)) && !copied.contains(&Incarnation(1001)));
    }

    #[test]
    fn a_start_that_the_manager_knows_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        for n in 1..=2 * STARTS as u64 {
            note(&System, dir.path(), Incarnation(n));
        }
        let known = Incarnation(2 * STARTS as u64);
        anchor(&System, dir.path(), known);
        for n in 1_000..1_100 {
            let starts = note(&System, dir.path(), Incarnation(n));
            assert_eq!((starts[0], starts.last()), (known, Some(&Incarnation(n))));
        }
    }

    #[test]
    fn a_damaged_file_counts_as_missing() {
        let dir = tempfile::tempdir().unwrap();
        let good = encode(&[Incarnation(7), Incarnation(8)]);
        assert_eq!(decode(&good), Some(vec![Incarnation(7), Incarnation(8)]));
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(decode(&bad), None, "byte {at}");
            assert_eq!(decode(&good[..at]), None, "cut at {at}");
        }
        fs::write(file(dir.path()), &good[..20]).unwrap();
        assert_eq!(note(&System, dir.path(), Incarnation(9)), [Incarnation(9)]);
    }
}
