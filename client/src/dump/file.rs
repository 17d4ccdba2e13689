//! The file of a dump, or the stream.
//!
//! A dump is written under another name in FILE's folder, and renamed when all of it is on the
//! disk. So FILE is always a complete dump: the old one, or the new one. A pipe, a device or
//! standard output is written directly; after a failure its reader finds that the end block is
//! missing.
//!
//! A dump in a file is read twice, the first time only to check it.

use std::fs::{self, File};
use std::io::{self, BufReader, IsTerminal, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use net_common::flags::FAILED;
use net_common::{logging, output, signals};
use tempfile::NamedTempFile;

use super::format::ReadError;
use super::load::Checked;
use super::{DumpError, Dumped, Loaded, load, save};
use crate::store::GTStoreClient;

/// Bytes that are read from a file at a time. Blocks are larger, mostly, and pass by.
const BUFFER: usize = 64 << 10;

/// Dumps the cluster to a file; to standard output for `-`. A signal that stops the process
/// meanwhile leaves no partial file.
///
/// # Errors
/// [`DumpError`]; the previous file is then unchanged.
pub(crate) fn to_file(store: &GTStoreClient, path: &Path) -> Result<Dumped, DumpError> {
    let name = name(path, "standard output");
    let failed = |source| DumpError::Write { name: name.clone(), source };
    if is_standard(path) && io::stdout().is_terminal() {
        return Err(DumpError::Terminal);
    }
    let target = Target::open(path, &name).map_err(failed)?;
    let dumped = save::save(store, target.file(), &name)?;
    target.finish().map_err(failed)?;
    Ok(dumped)
}

/// Loads a dump from a file; from standard input for `-`.
///
/// # Errors
/// [`DumpError`], also if the cluster did not accept everything.
pub(crate) fn from_file(store: &GTStoreClient, path: &Path) -> Result<Loaded, DumpError> {
    let name = name(path, "standard input");
    let bad = |source| DumpError::Read { name: name.clone(), source };
    let mut file = open(path).map_err(|e| bad(e.into()))?;
    let total = match check(store, &mut file).map_err(bad)? {
        None => None,
        Some(Checked { keys, first: None, .. }) => Some(keys),
        Some(Checked { keys, too_long, first: Some(first) }) => {
            return Err(DumpError::TooLong { name, too_long, keys, first: Box::new(first) });
        }
    };
    let (loaded, trouble) = load::load(store, BufReader::with_capacity(BUFFER, &file))?;
    match trouble {
        Some(source) if loaded.tried() == 0 => Err(bad(source)),
        Some(source) => Err(DumpError::ReadLate { name, source, loaded: Box::new(loaded) }),
        None if loaded.is_whole() => Ok(loaded),
        None => Err(DumpError::Partly { name, loaded: Box::new(loaded), total }),
    }
}

fn is_standard(path: &Path) -> bool {
    path == Path::new("-")
}

fn name(path: &Path, standard: &str) -> String {
    if is_standard(path) { standard.to_owned() } else { path.display().to_string() }
}

fn open(path: &Path) -> io::Result<File> {
    if is_standard(path) {
        return Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?));
    }
    let file = File::open(path)?;
    if file.metadata()?.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { Ok(file) }
}

/// Checks a file that can be read twice.
fn check(store: &GTStoreClient, file: &mut File) -> Result<Option<Checked>, ReadError> {
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    // Standard input may have been read from before.
    let begin = file.stream_position()?;
    let checked = load::check(store, BufReader::with_capacity(BUFFER, &*file))?;
    file.seek(SeekFrom::Start(begin))?;
    Ok(Some(checked))
}

/// The target of a dump.
enum Target {
    /// A pipe or a device, which is written directly.
    Stream(File),
    /// A file under another name until it is complete.
    Aside { aside: NamedTempFile, path: PathBuf },
}

impl Target {
    fn open(path: &Path, name: &str) -> io::Result<Target> {
        if is_standard(path) {
            return Ok(Target::Stream(File::from(io::stdout().as_fd().try_clone_to_owned()?)));
        }
        let (path, permissions) = match fs::metadata(path) {
            Ok(old) if old.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            // The new file gets the old one's permissions, and a link stays a link.
            Ok(old) if old.is_file() => (fs::canonicalize(path)?, Some(old.permissions())),
            Ok(_) => return File::options().write(true).open(path).map(Target::Stream),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (path.to_owned(), None),
            Err(error) => return Err(error),
        };
        let stop = signals::StopSignals::for_tool()?;
        let aside =
            tempfile::Builder::new().prefix(".dump-").suffix(".new").tempfile_in(folder(&path))?;
        if let Some(permissions) = permissions {
            aside.as_file().set_permissions(permissions)?;
        }
        clean_up_when_stopped(stop, aside.path().to_owned(), name.to_owned())?;
        Ok(Target::Aside { aside, path })
    }

    fn file(&self) -> impl Write {
        match self {
            Target::Stream(file) => file,
            Target::Aside { aside, .. } => aside.as_file(),
        }
    }

    /// Gives the dump its name. It is on the disk when this returns.
    fn finish(self) -> io::Result<()> {
        let Target::Aside { aside, path } = self else { return Ok(()) };
        aside.as_file().sync_all()?;
        aside.persist(&path)?;
        File::open(folder(&path))?.sync_all()
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
}

/// Makes a signal remove the partial file and stop the process.
fn clean_up_when_stopped(
    stop: signals::StopSignals,
    aside: PathBuf,
    name: String,
) -> io::Result<()> {
    logging::spawn("client signals".into(), move || {
        let signal = stop.wait();
        // It may have got its name just now: then it is complete.
        let why = match fs::remove_file(&aside) {
            Ok(()) => "no dump was made",
            Err(_) => "the dump is complete",
        };
        output::print_stderr(format_args!("client: {signal}: {name}: {why}"));
        std::process::exit(i32::from(FAILED));
    })
    .map(drop)
}
