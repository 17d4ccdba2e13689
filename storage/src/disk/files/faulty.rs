//! A file system with faults, for tests.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::*;

/// The system's files, but one call fails, or all from one on, or calls for certain names.
#[derive(Debug)]
pub struct Faulty {
    calls: AtomicU64,
    /// The number of the call that fails, from 0 on.
    fails: u64,
    /// Whether all later calls fail as well, until the repair.
    lasts: bool,
    is_repaired: AtomicBool,
    /// The number of calls for files with such a prefix that will still fail.
    refused: Mutex<BTreeMap<&'static str, u64>>,
    refusals: AtomicU64,
    /// Bytes of the longest append that works, until the repair.
    longest: AtomicUsize,
    syncs: AtomicU64,
}

impl Faulty {
    /// The call with this number fails, from 0 on, and with `lasts` all later ones until the
    /// repair. A failing append writes half of its bytes.
    pub fn at(fails: u64, lasts: bool) -> Arc<Faulty> {
        Arc::new(Faulty {
            calls: AtomicU64::new(0),
            fails,
            lasts,
            is_repaired: AtomicBool::new(false),
            refused: Mutex::default(),
            refusals: AtomicU64::new(0),
            longest: AtomicUsize::new(usize::MAX),
            syncs: AtomicU64::new(0),
        })
    }

    /// Nothing fails before [`Faulty::refuse`].
    pub fn none() -> Arc<Faulty> {
        Faulty::at(u64::MAX, false)
    }

    /// Lets so many calls for files with this prefix fail from now on.
    pub fn refuse(&self, prefix: &'static str, calls: u64) {
        self.refused.lock().insert(prefix, calls);
    }

    /// Lets longer appends fail from now on, as on a disk that is nearly full.
    pub fn allow(&self, longest: usize) {
        self.longest.store(longest, Ordering::SeqCst);
    }

    /// Lets all calls succeed again.
    pub fn repair(&self) {
        self.is_repaired.store(true, Ordering::SeqCst);
        self.refused.lock().clear();
        self.allow(usize::MAX);
    }

    /// Whether the failing call has been made.
    pub fn has_failed(&self) -> bool {
        self.calls.load(Ordering::SeqCst) > self.fails
    }

    /// The number of calls that were refused by name or length.
    pub fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::SeqCst)
    }

    /// The number of syncs of a file.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::SeqCst)
    }

    fn call(&self, path: &Path) -> io::Result<()> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let mut refused = self.refused.lock();
        if let Some((_, calls)) =
            refused.iter_mut().find(|(prefix, calls)| **calls > 0 && name.starts_with(**prefix))
        {
            *calls -= 1;
            self.refusals.fetch_add(1, Ordering::SeqCst);
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let fails = call == self.fails || self.lasts && call > self.fails;
        if fails && !self.is_repaired.load(Ordering::SeqCst) {
            Err(io::Error::from(io::ErrorKind::StorageFull))
        } else {
            Ok(())
        }
    }
}

struct FaultyOutput {
    faults: Arc<Faulty>,
    path: PathBuf,
    output: Arc<dyn Output>,
}

impl Files for Arc<Faulty> {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn Output>> {
        self.call(path)?;
        let (faults, output) = (self.clone(), System.create(path)?);
        Ok(Arc::new(FaultyOutput { faults, path: path.into(), output }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(from)?;
        System.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(path)?;
        System.remove(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.call(folder)?;
        System.sync_folder(folder)
    }

    fn overwrite(&self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.call(path) {
            System.overwrite(path, at, &bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        System.overwrite(path, at, bytes)
    }
}

impl Output for FaultyOutput {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let is_long = bytes.len() > self.faults.longest.load(Ordering::SeqCst);
        let called = if is_long {
            self.faults.refusals.fetch_add(1, Ordering::SeqCst);
            Err(io::ErrorKind::StorageFull.into())
        } else {
            self.faults.call(&self.path)
        };
        if let Err(error) = called {
            self.output.append(&bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        self.output.append(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.faults.call(&self.path)?;
        self.faults.syncs.fetch_add(1, Ordering::SeqCst);
        self.output.sync()
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.faults.call(&self.path)?;
        self.output.cut(length)
    }
}
