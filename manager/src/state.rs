//! What survives the manager: the active view and the one being made, in one file.
//!
//! The file `view` in the data folder: a line that names the format, a CRC-32 of the rest, and the two
//! views as they go over the wire. It is replaced as a whole (written aside, fsynced, renamed, the
//! folder fsynced), so a crash leaves the old or the new one. One manager uses a folder at a time: two that go on
//! from the same views would both acknowledge what the other does not know. A damaged file is an error that stops
//! the manager: an empty cluster in its place would give everybody's data up.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cluster::membership::Saved;
use net_common::codec::{DecodeError, Decoder, Encoder};
use net_common::folder::{FolderError, FolderLock};
use net_common::message::view;

/// First line of the file; the number is the format's.
const MAGIC: &[u8] = b"GTSTORE VIEW 4\n";

/// Why a state cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The folder cannot be used, or another process uses it.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The file system.
    #[error("cannot {what} {file}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        file: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error(
        "{file} is damaged ({why}): restore it from a copy, or remove it if the cluster may begin \
         empty"
    )]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// The folder in which a manager keeps its state, which no other process uses.
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

    /// Reads the saved views; `None` if nothing was ever saved.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn load(&self) -> Result<Option<Saved>, StateError> {
        let file = self.file();
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError::Io { what: "read", file, source }),
        };
        let damaged = |why: String| StateError::Damaged { file, why };
        bytes
            .strip_prefix(MAGIC)
            .ok_or(DecodeError("its first line"))
            .and_then(decode)
            .map(Some)
            .map_err(|DecodeError(why)| damaged(why.into()))
    }

    /// Replaces the saved views. Durable when it returns.
    ///
    /// # Errors
    /// [`StateError::Io`]; what was saved before is still there.
    pub fn save(&self, saved: &Saved) -> Result<(), StateError> {
        self.replace(&encode(saved)).map_err(|source| StateError::Io {
            what: "write",
            file: self.file(),
            source,
        })
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        // Nobody else writes here, so one name will do; what a crash leaves is overwritten.
        let aside = self.folder.join("view.new");
        let written = (|| {
            let mut file = File::create(&aside)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&aside, self.file())
        })();
        if written.is_err() {
            // It may take the room that the disk lacks. If it cannot be removed either, the error says why.
            let _ = fs::remove_file(&aside);
        }
        written?;
        File::open(&self.folder)?.sync_all()
    }
}

fn encode(saved: &Saved) -> Vec<u8> {
    let mut body = Vec::new();
    view::encode(&saved.active, &mut body);
    body.put_u8(u8::from(saved.coming.is_some()));
    if let Some(coming) = &saved.coming {
        view::encode(coming, &mut body);
    }
    let mut bytes = MAGIC.to_vec();
    bytes.put_u32(crc32fast::hash(&body));
    bytes.extend_from_slice(&body);
    bytes
}

fn decode(bytes: &[u8]) -> Result<Saved, DecodeError> {
    let mut decoder = Decoder::new(bytes);
    let sum = decoder.u32()?;
    if crc32fast::hash(&bytes[4..]) != sum {
        return Err(DecodeError("its checksum"));
    }
    let active = view::decode(&mut decoder)?;
    let coming = match decoder.u8()? {
        0 => None,
        _ => Some(view::decode(&mut decoder)?),
    };
    decoder.finish()?;
    Ok(Saved { active, coming })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::ids::ClusterId;
    use cluster::limits::Limits;
    use cluster::view::View;

    fn saved() -> Saved {
        let view = View::unborn(ClusterId(7), 3, Limits::default());
        Saved { active: view.clone(), coming: Some(view) }
    }

    #[test]
    fn what_was_saved_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFile::open(&folder.path().join("deep/er")).unwrap();
        assert_eq!(state.load().unwrap(), None);
        state.save(&saved()).unwrap();
        assert_eq!(state.load().unwrap(), Some(saved()));
        let once = Saved { coming: None, ..saved() };
        state.save(&once).unwrap();
        assert_eq!(state.load().unwrap(), Some(once));
    }

    #[test]
    fn the_folder_is_one_manager_s() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFile::open(folder.path()).unwrap();
        let error = StateFile::open(folder.path()).unwrap_err().to_string();
        let own = format!("is in use by manager, process {}", std::process::id());
        assert!(error.ends_with(&own), "{error}");
        drop(state);
        StateFile::open(folder.path()).unwrap();
    }

    #[test]
    fn what_cannot_be_written_leaves_what_was_saved_and_nothing_aside() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFile::open(folder.path()).unwrap();
        state.save(&saved()).unwrap();
        // Something that no file can replace.
        fs::remove_file(state.file()).unwrap();
        fs::create_dir(state.file()).unwrap();
        assert!(matches!(state.save(&saved()), Err(StateError::Io { .. })));
        assert!(!folder.path().join("view.new").exists());
        fs::remove_dir(state.file()).unwrap();
        state.save(&saved()).unwrap();
        assert_eq!(state.load().unwrap(), Some(saved()));
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFile::open(folder.path()).unwrap();
        let good = encode(&saved());
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
