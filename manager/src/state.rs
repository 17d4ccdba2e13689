//! The manager's saved state, in one file.
//!
//! The file `view` in the data folder has a line that names the format, a CRC-32 of the rest, the
//! active view and the coming one in their wire encoding, and then everything else that binds the
//! next manager. It is replaced as a whole (written under another name, fsynced, renamed, the
//! folder fsynced), so a crash leaves the old or the new one. One manager uses a folder at a time:
//! two that continue from the same views would each acknowledge what the other does not know. A
//! damaged file stops the manager with an error: starting an empty cluster instead would give up
//! all data.
//!
//! Views before the active one may be as large as it is. They are saved only while some member has
//! not acknowledged the active one (rule H6).
//!
//! Format 4 has the views only, without least copies and coming limits. It is read but never
//! written.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cluster::ids::{Epoch, Incarnation, NodeId};
use cluster::lease::Terms;
use cluster::membership::{Ended, FolderCopy, Folders, Saved, Unused};
use cluster::view::View;
use net_common::codec::{DecodeError, Decoder, Encoder};
use net_common::folder::{FolderError, FolderLock};
use net_common::message::view;

/// First line of the file; the number is the format's.
const MAGIC: &[u8] = b"GTSTORE VIEW 5\n";

/// First line of a file of the format before.
const MAGIC_4: &[u8] = b"GTSTORE VIEW 4\n";

/// The content of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// All that this manager saves.
    Whole(Saved),
    /// The views only: the length of leases that may be valid is unknown.
    Views {
        /// The view that clients use.
        active: View,
        /// The coming view.
        coming: Option<View>,
    },
}

/// Why a state cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The folder cannot be used, or another process uses it.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The file system.
    #[error("cannot {what} {file}: {source}")]
    Io {
        /// The operation.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The file is damaged or not ours.
    #[error(
        "{file} is damaged ({why}): restore it from a copy, or remove it if the cluster may begin \
         empty"
    )]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// The defect.
        why: String,
    },
}

/// The folder with a manager's state, locked against other processes.
#[derive(Debug)]
pub struct StateFile {
    folder: PathBuf,
    _lock: FolderLock,
}

impl StateFile {
    /// Takes `folder` for this process, and makes it if it is not there.
    ///
    /// # Errors
    /// [`StateError::Folder`].
    pub fn open(folder: &Path) -> Result<StateFile, StateError> {
        Ok(StateFile { _lock: FolderLock::take(folder, "manager")?, folder: folder.into() })
    }

    fn file(&self) -> PathBuf {
        self.folder.join("view")
    }

    /// Reads the saved state; `None` if there is none.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn load(&self) -> Result<Option<Loaded>, StateError> {
        let file = self.file();
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError::Io { what: "read", file, source }),
        };
        let damaged = |why: String| StateError::Damaged { file, why };
        let loaded = match (bytes.strip_prefix(MAGIC), bytes.strip_prefix(MAGIC_4)) {
            (Some(rest), _) => decode(rest).map(Loaded::Whole),
            (None, Some(rest)) => decode_4(rest),
            (None, None) => Err(DecodeError("its first line")),
        };
        loaded.map(Some).map_err(|DecodeError(why)| damaged(why.into()))
    }

    /// Replaces the saved state. Durable when it returns.
    ///
    /// # Errors
    /// [`StateError::Io`]; the previous state is still there.
    pub fn save(&self, saved: &Saved) -> Result<(), StateError> {
        self.replace(&encode(saved)).map_err(|source| StateError::Io {
            what: "write",
            file: self.file(),
            source,
        })
    }

    fn shown_file(&self) -> PathBuf {
        self.folder.join("older")
    }

    /// Records that it was reported to the operator what an older copy of the folder lacks: views
    /// up to this one.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn show(&self, seen: Epoch) -> Result<(), StateError> {
        let file = self.shown_file();
        let written = File::create(&file).and_then(|mut shown| {
            writeln!(shown, "{seen}")?;
            shown.sync_all()?;
            File::open(&self.folder)?.sync_all()
        });
        written.map_err(|source| StateError::Io { what: "write", file, source })
    }

    /// The reported view, or 0. It stays recorded: once the folder is in use again its views pass
    /// it, and until then the folder lacks it.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn shown(&self) -> Result<Epoch, StateError> {
        let file = self.shown_file();
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Epoch::NONE),
            Err(source) => return Err(StateError::Io { what: "read", file, source }),
        };
        // Anything but a number was not written by a manager.
        Ok(text.trim().parse().map_or(Epoch::NONE, Epoch))
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        // No other process writes here, so one name is enough; the remains of a crash are
        // overwritten.
        let aside = self.folder.join("view.new");
        let written = (|| {
            let mut file = File::create(&aside)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&aside, self.file())
        })();
        if written.is_err() {
            // It may occupy the space that the disk lacks. If it cannot be removed either, the
            // error names the cause.
            let _ = fs::remove_file(&aside);
        }
        written?;
        File::open(&self.folder)?.sync_all()
    }
}

fn encode(saved: &Saved) -> Vec<u8> {
    // The fields are in the order in which `decode` reads them.
    let Saved { active, coming, terms, longest_ms, folders, unused, ended } = saved;
    let mut body = encode_views(active, coming.as_ref());
    body.put_u64(terms.heartbeat_ms);
    body.put_u32(terms.missed);
    body.put_u64(*longest_ms);
    view::encode_line(&active.line, &mut body);
    coming.iter().for_each(|coming| view::encode_line(&coming.line, &mut body));
    encode_folders(folders, &mut body);
    body.put_u8(unused.len() as u8);
    for Unused { view, arcs } in unused {
        view::encode(view, &mut body);
        body.put_u32(arcs.len() as u32);
        arcs.iter().for_each(|&arc| body.put_u16(arc));
    }
    body.put_u16(ended.len() as u16);
    for Ended { incarnation, adopted } in ended {
        body.put_u64(incarnation.0);
        body.put_u64(adopted.0);
    }
    let mut bytes = MAGIC.to_vec();
    bytes.put_u32(crc32fast::hash(&body));
    bytes.extend_from_slice(&body);
    bytes
}

fn encode_views(active: &View, coming: Option<&View>) -> Vec<u8> {
    let mut body = Vec::new();
    view::encode(active, &mut body);
    body.put_u8(u8::from(coming.is_some()));
    coming.iter().for_each(|coming| view::encode(coming, &mut body));
    body
}

/// A decoder of views.
type ReadView = fn(&mut Decoder<'_>) -> Result<View, DecodeError>;

fn decode(bytes: &[u8]) -> Result<Saved, DecodeError> {
    let mut body = checked(bytes)?;
    let (mut active, mut coming) = decode_views(&mut body, view::decode)?;
    let terms = Terms { heartbeat_ms: body.u64()?, missed: body.u32()? };
    let longest_ms = body.u64()?;
    if !terms.is_valid() {
        return Err(DecodeError("its terms of leases"));
    }
    for view in [&mut active].into_iter().chain(&mut coming) {
        view.line = view::decode_line(&mut body)?;
    }
    let folders = decode_folders(&mut body)?;
    let (mut unused, mut ended) = (Vec::new(), Vec::new());
    for _ in 0..body.u8()? {
        let view = view::decode(&mut body)?;
        let arcs = (0..body.u32()?).map(|_| body.u16()).collect::<Result<Vec<u16>, _>>()?;
        if arcs.iter().any(|&arc| usize::from(arc) >= view.arcs.len()) {
            return Err(DecodeError("an arc of a previous view"));
        }
        unused.push(Unused { view, arcs });
    }
    for _ in 0..body.u16()? {
        ended.push(Ended { incarnation: Incarnation(body.u64()?), adopted: Epoch(body.u64()?) });
    }
    body.finish()?;
    Ok(Saved { active, coming, terms, longest_ms, folders, unused, ended })
}

fn encode_folders(folders: &Folders, body: &mut Vec<u8>) {
    body.put_u32(folders.copies.len() as u32);
    for FolderCopy { id, starts } in &folders.copies {
        body.put_short(id.as_str().as_bytes());
        encode_starts(starts, body);
    }
    body.put_u32(folders.firsts.len() as u32);
    for (of, first) in &folders.firsts {
        body.put_u64(of.0);
        encode_starts(first, body);
    }
}

fn encode_starts(starts: &[Incarnation], body: &mut Vec<u8>) {
    body.put_u32(starts.len() as u32);
    starts.iter().for_each(|start| body.put_u64(start.0));
}

fn decode_starts(body: &mut Decoder<'_>) -> Result<Vec<Incarnation>, DecodeError> {
    (0..body.count(8)?).map(|_| body.u64().map(Incarnation)).collect()
}

fn decode_folders(body: &mut Decoder<'_>) -> Result<Folders, DecodeError> {
    let mut folders = Folders::default();
    const LEAST_COPY: usize = 2 + 4;
    for _ in 0..body.count(LEAST_COPY)? {
        let id = NodeId::new(body.text()?).map_err(|_| DecodeError("a node's name"))?;
        folders.copies.push(FolderCopy { id, starts: decode_starts(body)? });
    }
    const LEAST_FIRST: usize = 8 + 4;
    for _ in 0..body.count(LEAST_FIRST)? {
        folders.firsts.insert(Incarnation(body.u64()?), decode_starts(body)?);
    }
    Ok(folders)
}

fn decode_4(bytes: &[u8]) -> Result<Loaded, DecodeError> {
    let mut body = checked(bytes)?;
    let (active, coming) = decode_views(&mut body, view::decode_before)?;
    body.finish()?;
    Ok(Loaded::Views { active, coming })
}

/// The body after the checksum, if the checksum matches.
fn checked(bytes: &[u8]) -> Result<Decoder<'_>, DecodeError> {
    let mut decoder = Decoder::new(bytes);
    let sum = decoder.u32()?;
    if crc32fast::hash(&bytes[4..]) == sum { Ok(decoder) } else { Err(DecodeError("its checksum")) }
}

fn decode_views(
    body: &mut Decoder<'_>,
    view: ReadView,
) -> Result<(View, Option<View>), DecodeError> {
    let active = view(body)?;
    let coming = match body.u8()? {
        0 => None,
        _ => Some(view(body)?),
    };
    Ok((active, coming))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use cluster::ids::{Address, ClusterId, ManagerIncarnation};
    use cluster::limits::Limits;
    use cluster::line::Line;
    use cluster::view::{Member, MemberState};

    fn saved() -> Saved {
        let mut view = View::unborn(ClusterId(7), 3, Limits::default());
        view.line.made(Epoch(1), Epoch::NONE, ManagerIncarnation(5));
        let terms = Terms { heartbeat_ms: 2_000, missed: 3 };
        let copy = FolderCopy {
            id: NodeId::new("node1").unwrap(),
            starts: vec![Incarnation(3), Incarnation(4)],
        };
        let folders = Folders {
            copies: vec![copy],
            firsts: [(Incarnation(1), vec![Incarnation(2)])].into_iter().collect(),
        };
        let unborn = View::unborn(ClusterId(7), 3, Limits::default());
        let member = Member {
            id: NodeId::new("node1").unwrap(),
            incarnation: Incarnation(9),
            address: Address::new("127.0.0.1", 6001).unwrap(),
            redis_port: 0,
            weight: 1,
            state: MemberState::Active,
            on_disk: true,
        };
        let earlier = View { members: vec![member], arcs: vec![0; 4], ..unborn };
        Saved {
            coming: Some(view.clone()),
            longest_ms: 30_000,
            folders,
            unused: vec![Unused { view: earlier, arcs: vec![0, 3] }],
            ended: vec![Ended { incarnation: Incarnation(9), adopted: Epoch(4) }],
            ..Saved::new(view, terms)
        }
    }

    /// A file of format 4: its views have no least copies and no coming limits.
    pub(crate) fn format_4(saved: &Saved) -> Vec<u8> {
        let before = |view: &View| {
            let mut bytes = Vec::new();
            view::encode(view, &mut bytes);
            assert_eq!((view.min_copies, &view.coming), (1, &None));
            bytes.pop();
            bytes
        };
        let mut body = before(&saved.active);
        body.put_u8(u8::from(saved.coming.is_some()));
        body.extend(saved.coming.iter().flat_map(before));
        let mut bytes = MAGIC_4.to_vec();
        bytes.put_u32(crc32fast::hash(&body));
        bytes.extend_from_slice(&body);
        bytes
    }

    #[test]
    fn a_saved_state_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFile::open(&folder.path().join("deep/er")).unwrap();
        assert_eq!(state.load().unwrap(), None);
        state.save(&saved()).unwrap();
        assert_eq!(state.load().unwrap(), Some(Loaded::Whole(saved())));
        let once = Saved { coming: None, ..saved() };
        state.save(&once).unwrap();
        assert_eq!(state.load().unwrap(), Some(Loaded::Whole(once)));
    }

    #[test]
    fn format_4_has_the_views_alone() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFile::open(folder.path()).unwrap();
        fs::write(state.file(), format_4(&saved())).unwrap();
        // It has no line of views either.
        let without_line = |view| View { line: Line::default(), ..view };
        let Saved { active, coming, .. } = saved();
        let (active, coming) = (without_line(active), coming.map(without_line));
        assert_eq!(state.load().unwrap(), Some(Loaded::Views { active, coming }));
    }

    #[test]
    fn a_reported_view_stays_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFile::open(folder.path()).unwrap();
        assert_eq!(state.shown().unwrap(), Epoch::NONE);
        state.show(Epoch(9)).unwrap();
        assert_eq!(state.shown().unwrap(), Epoch(9));
        assert_eq!(state.shown().unwrap(), Epoch(9), "the next start lacks it too");
        fs::write(state.shown_file(), "nine\n").unwrap();
        assert_eq!(state.shown().unwrap(), Epoch::NONE);
    }

    #[test]
    fn a_folder_has_one_manager() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFile::open(folder.path()).unwrap();
        let error = StateFile::open(folder.path()).unwrap_err().to_string();
        let own = format!("is in use by manager, process {}", std::process::id());
        assert!(error.ends_with(&own), "{error}");
        drop(state);
        StateFile::open(folder.path()).unwrap();
    }

    #[test]
    fn a_failed_save_leaves_the_saved_state_and_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFile::open(folder.path()).unwrap();
        state.save(&saved()).unwrap();
        // A folder, which no file can replace.
        fs::remove_file(state.file()).unwrap();
        fs::create_dir(state.file()).unwrap();
        assert!(matches!(state.save(&saved()), Err(StateError::Io { .. })));
        assert!(!folder.path().join("view.new").exists());
        fs::remove_dir(state.file()).unwrap();
        state.save(&saved()).unwrap();
        assert_eq!(state.load().unwrap(), Some(Loaded::Whole(saved())));
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFile::open(folder.path()).unwrap();
        for good in [encode(&saved()), format_4(&saved())] {
            for at in 0..good.len() {
                let mut bad = good.clone();
                bad[at] ^= 1;
                fs::write(state.file(), &bad).unwrap();
                assert!(matches!(state.load(), Err(StateError::Damaged { .. })), "byte {at}");
                fs::write(state.file(), &good[..at]).unwrap();
                assert!(matches!(state.load(), Err(StateError::Damaged { .. })), "cut at {at}");
            }
        }
    }
}
