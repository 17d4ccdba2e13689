//! The thread that writes the log.
//!
//! It takes what has been handed in, all there is up to about a megabyte, and appends it as one frame: one
//! system call for the writes of a moment, and with `sync` one wait for the disk. In `async` another thread
//! waits for the disk, about once a second, and this one goes on appending; between two groups it rests for a
//! millisecond, so that nobody has to wake it for each write.
//!
//! When a segment is full it is closed and another begun, and when the log has become long an image is made, by
//! a thread that comes and goes. Once that is complete, what it covers is removed.
//!
//! **When the disk fails**, or is full, the log has a gap: it is cut to what is known to be on the disk, a new
//! segment is begun that does not follow from it, and an image made, which fills the gap. Until that is complete
//! the trouble lasts, and it is tried again every second: with `sync` writes are refused meanwhile, in `async`
//! it is said in the log and in what the node tells of itself.
//!
//! Invariants: all segments but the last are closed, and on the disk; an image has a name only when it is on the
//! disk; nothing that an image or a segment of this life has to tell is removed before the image after it is.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cluster::ids::{ClusterId, Incarnation};
use crossbeam_channel::{Receiver, Sender, bounded, never, select};
use log::{debug, error, info, warn};
use net_common::logging;

use super::Settings;
use super::entry;
use super::files::Output;
use super::folder::{self, Folder};
use super::frame;
use super::header::{self, Header, Kind};
use super::image::{self, Subject};
use super::journal::{Ends, Noted, Parcel, Trouble, What};
use super::ledger::Ledger;
use super::recovery::{Report, closing};
use crate::node::Node;

/// Bytes after which a group ends.
const GROUP: usize = 1 << 20;

/// How long the thread rests after a group in `async`.
const REST: Duration = Duration::from_millis(1);

/// How long the thread waits where nothing is due.
const IDLE: Duration = Duration::from_secs(10);

/// How often that is complained about.
const REPEAT: Duration = Duration::from_secs(30);

/// The running threads. Stop when dropped.
pub struct Running {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Ends the threads, after all that was handed in is on the disk.
    pub fn stop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported already.
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts to write a folder's log, from where recovery has left it.
///
/// # Errors
/// If the operating system has no more threads.
pub fn start(
    settings: Settings,
    folder: Folder,
    (report, next): (&Report, u64),
    ends: Ends,
    node: Arc<Node>,
) -> io::Result<Running> {
    let (stop, stopped) = bounded(0);
    let name = node.id().to_string();
    let flusher = Flusher::start(&name)?;
    let writer = Writer {
        incarnation: node.incarnation(),
        node,
        settings,
        folder,
        ends,
        stopped,
        flusher,
        origin: None,
        ledger: Ledger::new(0),
        next,
        segment: None,
        broken: None,
        leftover: None,
        out: Vec::new(),
        logged: report.log_bytes,
        image_bytes: report.image_bytes,
        // What was not sound must not be met again.
        wants_image: !report.lost.is_empty(),
        imaging: None,
        failed: None,
        complained: None,
    };
    let thread = logging::spawn(format!("{name} disk"), move || writer.run())?;
    Ok(Running { stop: Some(stop), thread: Some(thread) })
}

/// A segment that is being written.
struct Segment {
    sequence: u64,
    file: PathBuf,
    salt: u32,
    output: Arc<dyn Output>,
    /// Where the next frame stands.
    end: u64,
    /// Up to where it is on the disk.
    durable: u64,
}

/// An image that is being made, of so many bytes in the end.
struct Imaging {
    sequence: u64,
    made: Receiver<io::Result<u64>>,
}

/// A segment that the disk is to keep: its number, and how long it was then.
type Job = (u64, u64, Arc<dyn Output>);

/// The thread that waits for the disk, in `async`.
struct Flusher {
    jobs: Option<Sender<Job>>,
    /// The segment, up to where, and what came of it.
    done: Receiver<(u64, u64, io::Result<()>)>,
    thread: Option<JoinHandle<()>>,
    is_busy: bool,
    since: Instant,
}

impl Flusher {
    fn start(name: &str) -> io::Result<Flusher> {
        let (jobs, received) = bounded::<Job>(1);
        let (tell, done) = bounded(1);
        let thread = logging::spawn(format!("{name} disk sync"), move || {
            for (sequence, end, output) in received {
                if tell.send((sequence, end, output.sync())).is_err() {
                    return;
                }
            }
        })?;
        let (jobs, thread, since) = (Some(jobs), Some(thread), Instant::now());
        Ok(Flusher { jobs, done, thread, is_busy: false, since })
    }

    fn stop(&mut self) {
        self.jobs = None;
        // What it would still tell is waited for, or it would not end.
        self.done = never();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported already.
            let _ = thread.join();
        }
    }
}

struct Writer {
    node: Arc<Node>,
    incarnation: Incarnation,
    settings: Settings,
    folder: Folder,
    ends: Ends,
    /// Disconnected when the node stops; nothing is ever sent.
    stopped: Receiver<()>,
    flusher: Flusher,
    /// The cluster and the size of its ring, once a view has told.
    origin: Option<(ClusterId, usize)>,
    ledger: Ledger,
    /// The number of the next segment.
    next: u64,
    segment: Option<Segment>,
    /// The segment in which the disk has failed.
    broken: Option<Segment>,
    /// A file that could not be begun, nor removed.
    leftover: Option<PathBuf>,
    out: Vec<u8>,
    /// Bytes of the log that no image covers, and of the image before them.
    logged: u64,
    image_bytes: u64,
    wants_image: bool,
    imaging: Option<Imaging>,
    /// When the disk failed last, or was tried again.
    failed: Option<Instant>,
    complained: Option<Instant>,
}

impl Writer {
    fn run(mut self) {
        loop {
            let made = self.imaging.as_ref().map_or(never(), |imaging| imaging.made.clone());
            let mut rests = false;
            select! {
                recv(self.ends.parcels) -> parcel => match parcel {
                    Ok(parcel) => {
                        self.group(parcel);
                        rests = !self.ends.shared.is_sync();
                    }
                    Err(_) => return,
                },
                recv(self.flusher.done) -> done => {
                    if let Ok((sequence, end, result)) = done {
                        self.flushed(sequence, end, result);
                    }
                }
                recv(made) -> made => {
                    // None: it gave up, since the node stops.
                    self.imaged(made.ok());
                }
                recv(self.stopped) -> _ => return self.end(),
                default(self.patience()) => {}
            }
            self.turn();
            if rests {
                // Not woken by what is handed in.
                let _ = self.stopped.recv_timeout(REST);
            }
        }
    }

    /// How long there may be nothing to do.
    fn patience(&self) -> Duration {
        let left = |since: Instant, time: Duration| time.saturating_sub(since.elapsed());
        let is_dirty = self.segment.as_ref().is_some_and(|segment| segment.durable < segment.end);
        let flushes = self.flusher.jobs.is_some() && !self.flusher.is_busy;
        match self.failed {
            Some(since) if self.imaging.is_none() => left(since, self.settings.retry),
            None if is_dirty && flushes => left(self.flusher.since, self.settings.flush),
            _ => IDLE,
        }
    }

    /// What is due by the clock.
    fn turn(&mut self) {
        if self.failed.is_some_and(|since| since.elapsed() >= self.settings.retry)
            && self.imaging.is_none()
        {
            self.mend();
        }
        let Some(segment) = &self.segment else { return };
        if self.failed.is_some() {
            return;
        }
        if segment.durable == segment.end {
            return self.advance();
        }
        if let Some(jobs) = &self.flusher.jobs
            && !self.flusher.is_busy
            && self.flusher.since.elapsed() >= self.settings.flush
        {
            let job = (segment.sequence, segment.end, segment.output.clone());
            self.flusher.is_busy = jobs.try_send(job).is_ok();
            self.flusher.since = Instant::now();
        }
    }

    /// Takes in what was handed in up to now, and writes it.
    fn group(&mut self, first: Parcel) {
        let mut parcels = vec![first];
        let mut bytes = 0;
        loop {
            if let Some(Parcel { what: What::Records(sheet), .. }) = parcels.last() {
                bytes += sheet.len();
            }
            if bytes >= GROUP {
                break;
            }
            let Ok(parcel) = self.ends.parcels.try_recv() else { break };
            parcels.push(parcel);
        }
        self.ends.shared.taken(bytes);
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        let start = frame::begin(&mut out);
        // After the parcels were received: what was taken under a view stands behind it.
        for Noted { cluster, arcs, view } in self.ends.shared.take_noted() {
            if self.origin.is_none() {
                self.origin = Some((cluster, arcs));
                self.ledger = Ledger::new(arcs);
            }
            self.ledger.view(&view);
            entry::put_view(&view, &mut out);
        }
        let mut bells = Vec::new();
        #[cfg(test)]
        let mut still = Vec::new();
        for Parcel { what, bell } in parcels {
            match what {
                What::Records(sheet) => {
                    out.extend_from_slice(&sheet);
                    self.ends.spare.put(sheet);
                }
                What::Synced(epoch, arcs) => {
                    if self.ledger.fetched(epoch, &arcs) {
                        entry::put_synced(epoch, &arcs, &mut out);
                    }
                }
                What::Look => {}
                #[cfg(test)]
                What::AreYouStill(tell) => still.push(tell),
            }
            bells.extend(bell);
        }
        let written = match out.len() > frame::HEAD {
            true => self.append(&mut out, start),
            false => Ok(()),
        };
        if let Err(error) = written {
            self.fail(&error);
        }
        // While an old gap is open nothing counts as being on the disk.
        let answer = self.ends.shared.trouble().map_or(Ok(()), Err);
        for bell in bells {
            // Whoever has gone away meanwhile needs no answer.
            let _ = bell.try_send(answer.clone());
        }
        #[cfg(test)]
        still.into_iter().for_each(|tell| tell.send(self.is_still()).unwrap_or_default());
        if out.capacity() > 4 * GROUP {
            out = Vec::new();
        }
        self.out = out;
    }

    /// Writes a frame.
    fn append(&mut self, out: &mut [u8], start: usize) -> io::Result<()> {
        if self.failed.is_some() && self.segment.is_none() {
            // The image that mends it has all of this.
            return Ok(());
        }
        if self.segment.is_none() {
            self.begin()?;
        }
        let Some(segment) = &mut self.segment else { return Ok(()) };
        frame::seal(out, start, segment.end, segment.salt, segment.durable);
        segment.output.append(out)?;
        segment.end += out.len() as u64;
        self.logged += out.len() as u64;
        if self.ends.shared.is_sync() {
            segment.output.sync()?;
            segment.durable = segment.end;
        }
        Ok(())
    }

    /// Begins the next segment, if it is known whose it is.
    fn begin(&mut self) -> io::Result<()> {
        if self.origin.is_none() {
            return Ok(());
        }
        let files = self.settings.files.clone();
        if let Some(file) = &self.leftover {
            match files.remove(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => self.leftover = None,
            }
        }
        let header = self.header(Kind::Log, self.next)?;
        let file = folder::log(self.folder.path(), self.next);
        let begun = files.create(&file).and_then(|output| {
            output.append(&header.encode())?;
            output.sync()?;
            files.sync_folder(self.folder.path())?;
            Ok(output)
        });
        let output = match begun {
            Ok(output) => output,
            Err(error) => {
                self.leftover = files.remove(&file).is_err().then_some(file);
                return Err(error);
            }
        };
        let end = header::LENGTH as u64;
        self.segment = Some(Segment {
            sequence: self.next,
            file,
            salt: header.salt,
            output,
            end,
            durable: end,
        });
        self.next += 1;
        Ok(())
    }

    fn header(&self, kind: Kind, sequence: u64) -> io::Result<Header> {
        let (cluster, arcs) = self.origin.ok_or(io::ErrorKind::NotFound)?;
        let mut salt = [0; 4];
        getrandom::fill(&mut salt).map_err(io::Error::from)?;
        Ok(Header {
            kind,
            sequence,
            cluster,
            incarnation: self.incarnation,
            arcs,
            salt: u32::from_be_bytes(salt),
            node: self.node.id().clone(),
        })
    }

    /// Closes the segment, and begins the next.
    fn rotate(&mut self) -> io::Result<()> {
        if let Some(segment) = &mut self.segment {
            if segment.durable < segment.end {
                segment.output.sync()?;
                segment.durable = segment.end;
            }
            close(segment)?;
            self.segment = None;
        }
        self.begin()
    }

    fn flushed(&mut self, sequence: u64, end: u64, result: io::Result<()>) {
        self.flusher.is_busy = false;
        let Some(segment) = self.segment.as_mut().filter(|s| s.sequence == sequence) else {
            return;
        };
        match result {
            Ok(()) => {
                segment.durable = segment.durable.max(end);
                if self.failed.is_none() {
                    // Little has come since, so closing it takes little time.
                    self.advance();
                }
            }
            Err(error) => self.fail(&error),
        }
    }

    #[cfg(test)]
    fn is_still(&self) -> bool {
        let is_durable = self.segment.as_ref().is_none_or(|segment| segment.durable == segment.end);
        is_durable && !self.flusher.is_busy && self.imaging.is_none() && self.failed.is_none()
    }

    /// Begins the next segment, or an image, if that is due.
    fn advance(&mut self) {
        let Some(segment) = &self.segment else { return };
        let most = self.settings.segment_bytes.max(self.image_bytes / 2);
        let is_due = self.wants_image || self.logged >= most;
        let result = match self.imaging.is_none() && is_due {
            true => self.begin_image(),
            false if segment.end >= self.settings.segment_bytes => self.rotate(),
            false => return,
        };
        if let Err(error) = result {
            self.fail(&error);
        }
    }

    /// Begins the segment that an image leads up to, and the image.
    fn begin_image(&mut self) -> io::Result<()> {
        self.rotate()?;
        let Some(segment) = &self.segment else { return Ok(()) };
        let sequence = segment.sequence;
        let header = self.header(Kind::Image, sequence)?;
        let (tell, made) = bounded(1);
        let (node, ledger) = (self.node.clone(), self.ledger.clone());
        let (files, folder) = (self.settings.files.clone(), self.folder.path().to_owned());
        let stopped = self.stopped.clone();
        logging::spawn(format!("{} image", node.id()), move || {
            let rest = |time| {
                stopped.recv_timeout(time) == Err(crossbeam_channel::RecvTimeoutError::Disconnected)
            };
            let Some(table) = node.table() else { return };
            let (header, ledger) = (&header, &ledger);
            let subject = Subject { header, ledger, table, earlier: node.earlier() };
            match image::make(&*files, &folder, &subject, &rest) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // If nobody waits for it any more the node stops.
                made => drop(tell.send(made)),
            }
        })?;
        self.logged = 0;
        self.imaging = Some(Imaging { sequence, made });
        Ok(())
    }

    fn imaged(&mut self, made: Option<io::Result<u64>>) {
        let Some(Imaging { sequence, .. }) = self.imaging.take() else { return };
        let Some(made) = made else { return };
        let bytes = match made {
            Ok(bytes) => bytes,
            Err(error) => return self.fail(&error),
        };
        self.image_bytes = bytes;
        self.wants_image = false;
        // If the segment has failed since, there is a new gap.
        if self.failed.is_some() && self.segment.is_some() {
            if let Err(error) = self.forget_gap() {
                return self.fail(&error);
            }
            self.failed = None;
            self.complained = None;
            self.ends.shared.tell(None);
            info!("the log is written again");
        }
        match self.remove_before(sequence) {
            Ok(files) => debug!("image {sequence}, {bytes} bytes, in place of {files} files"),
            Err(error) => warn!("cannot remove what image {sequence} covers: {error}"),
        }
    }

    /// Removes what an image covers. Returns how many files.
    fn remove_before(&self, sequence: u64) -> io::Result<usize> {
        let here = self.folder.path();
        let listing = self.folder.list().map_err(io::Error::other)?;
        let images = listing.images.into_iter().filter(|&n| n < sequence);
        let logs = listing.logs.into_iter().filter(|&n| n < sequence);
        let images = images.map(|n| folder::image(here, n));
        let files: Vec<PathBuf> = images.chain(logs.map(|n| folder::log(here, n))).collect();
        for file in &files {
            self.settings.files.remove(file)?;
        }
        self.settings.files.sync_folder(here)?;
        Ok(files.len())
    }

    /// The disk has failed.
    fn fail(&mut self, error: &io::Error) {
        if self.ends.shared.trouble().is_none() {
            self.ends.shared.tell(Some(Trouble { why: error.to_string().into() }));
        }
        // What cannot be written now is written before the log goes on.
        let _ = self.note_gap();
        if self.complained.is_none_or(|last| last.elapsed() >= REPEAT) {
            let what = match self.ends.shared.is_sync() {
                true => "writes are refused",
                false => "what is stored now is lost if the node ends",
            };
            error!("the log cannot be written: {error}; {what} until that is mended");
            self.complained = Some(Instant::now());
        }
        self.failed = Some(Instant::now());
        self.broken = self.segment.take().or(self.broken.take());
    }

    /// Leaves word in the folder that the log has a gap: with `async` what was acknowledged meanwhile is not there.
    /// With `sync` nothing is.
    fn note_gap(&self) -> io::Result<()> {
        if self.ends.shared.is_sync() {
            return Ok(());
        }
        let files = &self.settings.files;
        match files.create(&folder::gap(self.folder.path())) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => files.sync_folder(self.folder.path()),
        }
    }

    fn forget_gap(&self) -> io::Result<()> {
        match self.settings.files.remove(&folder::gap(self.folder.path())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Tries to begin anew after the disk has failed.
    fn mend(&mut self) {
        let result = self.cut().and_then(|()| self.note_gap()).and_then(|()| self.begin_image());
        match result {
            Ok(()) => self.failed = Some(Instant::now()),
            Err(error) => self.fail(&error),
        }
    }

    /// Lets go of the segment in which the disk has failed, but for what is known to be on the disk.
    fn cut(&mut self) -> io::Result<()> {
        if let Some(segment) = &mut self.broken {
            debug!("{} is cut at {}", segment.file.display(), segment.durable);
            segment.output.cut(segment.durable)?;
            segment.end = segment.durable;
            close(segment)?;
            self.broken = None;
        }
        Ok(())
    }

    /// Writes what is left.
    fn end(&mut self) {
        while let Ok(parcel) = self.ends.parcels.try_recv() {
            self.group(parcel);
        }
        // A view may have been noted after the last parcel.
        self.group(Parcel { what: What::Look, bell: None });
        self.flusher.stop();
        if self.failed.is_none()
            && let Some(segment) = &mut self.segment
            && let Err(error) = segment.output.sync().and_then(|()| {
                segment.durable = segment.end;
                close(segment)
            })
        {
            error!("the end of the log may be lost: {error}");
        }
        if let Some(imaging) = self.imaging.take() {
            // It gives up at its next rest.
            let _ = imaging.made.recv();
        }
    }
}

/// Writes that a segment ends here. All before is on the disk.
fn close(segment: &Segment) -> io::Result<()> {
    segment.output.append(&closing(segment.salt, segment.end))?;
    segment.output.sync()
}
