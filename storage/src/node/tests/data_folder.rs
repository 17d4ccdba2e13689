//! Folders that a node writes and recovery reads, with faults in between.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::durability::Durability;
use cluster::ids::{Address, ClusterId, Epoch, Incarnation, NodeId};
use cluster::limits::Limits;
use cluster::replica::{State, WriteAnswer};
use cluster::version::{Version, clock_at};
use cluster::view::{Member, MemberState, View};
use net_common::clock;
use net_common::message::data::{Body, Write, WriteBatch};
use net_common::worker::Worker;
use tempfile::{TempDir, tempdir};

use crate::disk::files::faulty::Faulty;
use crate::disk::folder::{self, DataFolderError, Folder};
use crate::disk::journal::Journal;
use crate::disk::recovery::{self, Contents, DamagePolicy, RecoveryReport};
use crate::disk::{Disk, DiskSettings, check, header};
use crate::node::Node;
use crate::node::notes::Notes;
use crate::node::write::WriteFailure;

const ARCS: usize = 4;

/// The expected contents of a folder: the newest version of each key, with its value, or `None` if
/// it was removed.
type Model = BTreeMap<Vec<u8>, (Version, Option<Vec<u8>>)>;

fn name() -> NodeId {
    NodeId::new("node1").unwrap()
}

/// A view of one node, which is the only replica.
fn view(epoch: u64, incarnation: u64) -> View {
    let member = Member {
        id: name(),
        incarnation: Incarnation(incarnation),
        address: Address::new("127.0.0.1", 6001).unwrap(),
        redis_port: 0,
        on_disk: false,
        weight: 1,
        state: MemberState::Active,
    };
    View {
        epoch: Epoch(epoch),
        members: vec![member],
        arcs: vec![0; ARCS],
        fresh: (0..ARCS as u16).collect(),
        ..View::unborn(ClusterId(1), 1, Limits::default())
    }
}

/// A node with a data folder and without sockets.
struct Run {
    node: Arc<Node>,
    running: Worker,
    journal: Journal,
    epoch: u64,
    count: u64,
    model: Model,
}

impl Run {
    fn begin(settings: DiskSettings, is_sync: bool, incarnation: u64) -> Run {
        let mut disk = Disk::open(settings, &name()).unwrap();
        let of_process = Incarnation(incarnation);
        let node = Node::new(name(), of_process, Notes::channel().0);
        let node = Arc::new(node.with_disk(disk.restore(of_process)));
        let journal = disk.journal().clone();
        let running = disk.start(node.incarnation(), node.clone()).unwrap();
        node.note_active(Epoch(1));
        let beat = node.send_heartbeat();
        node.heartbeat_answered(beat, 1 << 40, Epoch(1));
        let durability = if is_sync { Durability::Sync } else { Durability::Async };
        node.set_durability(durability);
        let epoch = incarnation * 100;
        let view = View { durability, ..view(epoch, incarnation) };
        assert!(node.adopt(view).unwrap());
        Run { node, running, journal, epoch, count: 0, model: Model::new() }
    }

    /// Writes to keys of a small set, and adds acknowledged writes to the model.
    fn write(&mut self, writes: usize) -> Result<(), WriteFailure> {
        let mut made = Vec::new();
        for _ in 0..writes {
            self.count += 1;
            let version = Version::plain(clock_at(clock::wall_ms()) + self.count, 7);
            let value =
                format!("{}-{}", self.epoch, self.count).repeat(1 + self.count as usize % 5);
            let value = (!self.count.is_multiple_of(7)).then(|| value.into_bytes());
            made.push((format!("key{}", self.count % 50).into_bytes(), version, value));
        }
        let writes = made
            .iter()
            .map(|(key, version, value)| Write {
                key,
                version: *version,
                born: version.clock,
                body: value.as_ref().map_or(Body::Tombstone, |value| Body::Value(value)),
                expected: None,
            })
            .collect();
        let acks = self.node.write(&WriteBatch { epoch: Epoch(self.epoch), writes })?;
        assert!(acks.answers.iter().all(|answer| *answer == WriteAnswer::Stored), "{acks:?}");
        for (key, version, value) in made {
            let newest = self.model.entry(key).or_insert((version, value.clone()));
            if newest.0 < version {
                *newest = (version, value);
            }
        }
        Ok(())
    }

    fn end(mut self) -> Model {
        self.running.stop();
        self.model
    }
}

fn settings(dir: &TempDir) -> DiskSettings {
    let (flush, retry) = (Duration::from_millis(1), Duration::from_millis(2));
    DiskSettings { flush, retry, ..DiskSettings::new(dir.path().into()) }
}

/// The contents of a folder, as a node of this name reads them.
fn read(path: &Path, care: DamagePolicy) -> Result<(Model, RecoveryReport), DataFolderError> {
    let folder = Folder::take_present(path, "node1")?;
    let Contents { recovered, report, .. } = recovery::recover(&folder, Some(&name()), care)?;
    let mut model = Model::new();
    let Some(recovered) = recovered else { return Ok((model, report)) };
    for arc in 0..ARCS {
        recovered.stale_cache.set_aside(arc, recovered.records.take(arc));
        let Some(shard) = recovered.stale_cache.get(arc) else { continue };
        for record in shard.iter() {
            assert_eq!(record.state, State::Committed, "an entry in the list of pending ones");
            let value = record.body.value().map(<[u8]>::to_vec);
            model.insert(record.key.to_vec(), (record.version, value));
        }
    }
    Ok((model, report))
}

/// A copy of a folder at some moment from now on, as a process finds it that starts after another
/// was killed.
pub fn copy(dir: &TempDir) -> TempDir {
    let names = || {
        let entries = fs::read_dir(dir.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect::<BTreeSet<_>>()
    };
    loop {
        let (copy, before) = (tempdir().unwrap(), names());
        let copied = before
            .iter()
            .all(|name| fs::copy(dir.path().join(name), copy.path().join(name)).is_ok());
        // Unless a file was created or removed meanwhile, the copy is consistent.
        if copied && names() == before {
            return copy;
        }
    }
}

fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !is() {
        assert!(Instant::now() < until, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn written_records_are_recovered() {
    for is_sync in [false, true] {
        let dir = tempdir().unwrap();
        let mut run = Run::begin(settings(&dir), is_sync, 1);
        for batch in [1, 10, 300] {
            run.write(batch).unwrap();
        }
        let model = run.end();
        let (read, report) = read(dir.path(), DamagePolicy::Check).unwrap();
        assert_eq!(read, model);
        assert_eq!((report.files, report.records, report.lost), (1, 311, vec![]));
        assert!(check(dir.path()).unwrap().contains("; synced in 4 of 4 arcs of view 100"));
    }
}

#[test]
fn sync_answers_only_after_the_disk_has_the_write() {
    let dir = tempdir().unwrap();
    let mut run = Run::begin(settings(&dir), true, 1);
    for _ in 0..20 {
        run.write(5).unwrap();
        assert_eq!(read(copy(&dir).path(), DamagePolicy::Start).unwrap().0, run.model);
    }
}

#[test]
fn an_answer_that_vouches_for_a_record_makes_it_durable() {
    let dir = tempdir().unwrap();
    let mut run = Run::begin(settings(&dir), true, 1);
    run.write(1).unwrap();
    let (key, (version, value)) = run.model.iter().next().unwrap();
    let (of_log, lower) =
        (|| fs::metadata(folder::log(dir.path(), 1)).unwrap().len(), version.clock - 1);
    for (version, answer) in [
        (*version, WriteAnswer::Stored),
        (Version::plain(lower, 7), WriteAnswer::Superseded(*version)),
    ] {
        let before = of_log();
        let body = value.as_ref().map_or(Body::Tombstone, |value| Body::Value(value));
        let write = Write { key, version, born: version.clock, body, expected: None };
        let batch = WriteBatch { epoch: Epoch(run.epoch), writes: vec![write] };
        assert_eq!(run.node.write(&batch).unwrap().answers, [answer]);
        assert!(of_log() > before);
    }
    assert_eq!(run.model, read(copy(&dir).path(), DamagePolicy::Start).unwrap().0);
}

#[test]
fn recovery_merges_the_files_of_many_incarnations() {
    let dir = tempdir().unwrap();
    for incarnation in 1..4 {
        let mut run = Run::begin(settings(&dir), false, incarnation);
        run.write(60).unwrap();
        let model = run.end();
        // Each incarnation wrote all keys, so the newest has them all.
        assert!(read(dir.path(), DamagePolicy::Check).unwrap().0 == model);
    }
}

#[test]
fn a_checkpoint_replaces_the_log_before_it() {
    for is_sync in [false, true] {
        let dir = tempdir().unwrap();
        let mut small = settings(&dir);
        small.segment_bytes = 4 << 10;
        let mut run = Run::begin(small, is_sync, 1);
        let has_checkpoint = || {
            fs::read_dir(dir.path()).unwrap().any(|entry| {
                let name = entry.unwrap().file_name().into_string().unwrap();
                name.starts_with("image-") && !name.ends_with(".new")
            })
        };
        for _ in 0..100 {
            run.write(40).unwrap();
        }
        wait_until("there is a checkpoint", || {
            run.write(1).unwrap();
            has_checkpoint()
        });
        wait_until("the files that it covers are removed", || !folder::log(dir.path(), 1).exists());
        run.write(40).unwrap();
        let model = run.end();
        let (read, report) = read(dir.path(), DamagePolicy::Check).unwrap();
        assert_eq!(read, model);
        assert!(report.checkpoint_bytes > 0);
    }
}

#[test]
fn the_log_stays_bounded() {
    let dir = tempdir().unwrap();
    let mut small = settings(&dir);
    small.segment_bytes = 4 << 10;
    let mut run = Run::begin(small, true, 1);
    let mut most = 0;
    for _ in 0..1000 {
        run.write(20).unwrap();
        let folder = fs::read_dir(dir.path()).unwrap();
        let sizes = folder.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()));
        most = most.max(sizes.sum());
    }
    // 50 keys are about 5 KB on disk, and all writes together more than a megabyte. A checkpoint
    // begins every 4 KB, and the writes during it are added.
    assert!(most < 300 << 10, "{most} bytes");
    let model = run.end();
    assert_eq!(read(dir.path(), DamagePolicy::Check).unwrap().0, model);
}

/// A folder with one closed segment of some frames, and one of a process that was killed.
fn two_segments() -> (TempDir, Model) {
    let dir = tempdir().unwrap();
    let mut run = Run::begin(settings(&dir), true, 1);
    (0..3).for_each(|_| run.write(2).unwrap());
    run.end();
    let mut run = Run::begin(settings(&dir), true, 2);
    (0..3).for_each(|_| run.write(2).unwrap());
    let killed = copy(&dir);
    (killed, run.end())
}

#[test]
fn a_flipped_byte_stops_recovery_or_cuts_the_end() {
    let (dir, model) = two_segments();
    let (all, _) = read(dir.path(), DamagePolicy::Check).unwrap();
    for sequence in [1, 2] {
        let file = folder::log(dir.path(), sequence);
        let good = fs::read(&file).unwrap();
        let mut cuts = 0;
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&file, &bad).unwrap();
            match read(dir.path(), DamagePolicy::Check) {
                Err(DataFolderError::Damaged { file: named, at: place, .. }) => {
                    assert!(named == file && place <= at as u64, "{place} for {at}");
                }
                Err(other) => panic!("byte {at}: {other}"),
                Ok((cut, report)) => {
                    cuts += 1;
                    assert_eq!(report.lost.len(), 1, "byte {at}");
                    assert!(sequence == 2 && report.lost[0].at <= at as u64);
                    assert!(cut.iter().all(|(key, held)| {
                        all.get(key).is_none_or(|newest| newest == held || newest.0 > held.0)
                    }));
                }
            }
            // Salvage keeps what is sound, and never a wrong value.
            let (kept, report) = read(copy(&dir).path(), DamagePolicy::Salvage).unwrap();
            assert!(!report.lost.is_empty(), "byte {at}");
            for (key, held) in kept {
                let is_right = |newest: &(Version, _)| newest.0 != held.0 || newest.1 == held.1;
                assert!(model.get(&key).is_none_or(is_right), "byte {at}");
            }
        }
        // Only the last frame may be cut, which no frame marks as durable.
        assert!(cuts < good.len() / 2, "{cuts}");
        fs::write(&file, good).unwrap();
    }
}

#[test]
fn a_torn_tail_is_cut_at_every_length() {
    let (dir, model) = two_segments();
    let file = folder::log(dir.path(), 2);
    let good = fs::read(&file).unwrap();
    let mut before = 0;
    for length in 0..good.len() {
        let torn = copy(&dir);
        let file = folder::log(torn.path(), 2);
        fs::write(&file, &good[..length]).unwrap();
        let (cut, report) = read(torn.path(), DamagePolicy::Start).unwrap();
        let lost: u64 = report.lost.iter().map(|lost| lost.bytes).sum();
        assert!(lost <= length as u64);
        if length > header::LENGTH {
            for (key, held) in &cut {
                assert!(model.get(key).is_none_or(|newest| newest.0 >= held.0));
            }
            assert!(report.records as usize >= before, "the longer the more");
            before = report.records as usize;
        }
        // It was repaired, and a node continues with it.
        let (again, report) = read(torn.path(), DamagePolicy::Check).unwrap();
        assert_eq!((again, report.lost), (cut, vec![]));
        if length % 50 == 0 {
            let mut run = Run::begin(settings(&torn), true, 3);
            run.write(60).unwrap();
            let model = run.end();
            assert_eq!(read(torn.path(), DamagePolicy::Check).unwrap().0, model);
        }
    }
}

#[test]
fn a_missing_or_unclosed_file_is_damage() {
    let (dir, _) = two_segments();
    let first = folder::log(dir.path(), 1);
    let bytes = fs::read(&first).unwrap();
    fs::remove_file(&first).unwrap();
    assert!(
        matches!(read(dir.path(), DamagePolicy::Start), Err(DataFolderError::Missing(file)) if file == first)
    );
    // All frames are good, but the end frame is missing.
    fs::write(&first, &bytes[..bytes.len() - 33]).unwrap();
    let error = read(dir.path(), DamagePolicy::Start).unwrap_err().to_string();
    assert!(error.contains("log-00000000000000000001 is damaged at byte"), "{error}");
}

#[test]
fn a_salvaged_folder_is_sound_afterwards() {
    let (dir, _) = two_segments();
    let file = folder::log(dir.path(), 1);
    let mut bytes = fs::read(&file).unwrap();
    bytes[header::LENGTH + 30] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert!(read(dir.path(), DamagePolicy::Start).is_err());
    let mut settings = settings(&dir);
    settings.salvage = true;
    let mut run = Run::begin(settings, true, 3);
    run.write(60).unwrap();
    wait_until("a checkpoint has taken its place", || !file.exists());
    let model = run.end();
    assert_eq!(read(dir.path(), DamagePolicy::Start).unwrap().0, model);
}

#[test]
fn a_folder_of_another_node_or_cluster_is_refused() {
    let (dir, _) = two_segments();
    let other = NodeId::new("node2").unwrap();
    let error = Disk::open(settings(&dir), &other).err().unwrap().to_string();
    assert!(error.ends_with("belongs to node1, not to node2"), "{error}");
    let run = Run::begin(settings(&dir), true, 3);
    let stranger = View { cluster: ClusterId(2), ..view(301, 3) };
    let error = run.node.adopt(stranger).unwrap_err().to_string();
    assert!(error.contains("cluster 0000000000000002, this node to 0000000000000001"), "{error}");
    let error = Disk::open(settings(&dir), &name()).err().unwrap().to_string();
    assert!(error.contains("is in use by "), "{error}");
}

/// Runs a node in which the call with this number fails. Returns whether that call was reached.
fn with_fault(call: u64, lasts: bool, is_sync: bool) -> bool {
    let dir = tempdir().unwrap();
    let faults = Faulty::at(call, lasts);
    let mut small = settings(&dir);
    small.segment_bytes = 2 << 10;
    small.files = Arc::new(faults.clone());
    let mut run = Run::begin(small, is_sync, 1);
    // In `async` the writes of a millisecond are one call.
    for round in 0..if is_sync { 6 } else { 60 } {
        match run.write(40) {
            Ok(()) => {}
            // Not acknowledged, so not in the model; it may be on disk.
            Err(error) => assert!(is_sync && faults.has_failed(), "{error}"),
        }
        if is_sync && round % 3 == 2 {
            let found = read(copy(&dir).path(), DamagePolicy::Start);
            let (found, _) = found.unwrap_or_else(|e| panic!("call {call}, {lasts}: {e}"));
            for (key, (version, value)) in &run.model {
                let held = found.get(key).unwrap_or_else(|| panic!("call {call}: no {key:?}"));
                let is_there = held.0 > *version || held == &(*version, value.clone());
                assert!(is_there, "call {call}, {lasts}: {held:?} for {version:?}");
            }
        }
    }
    faults.repair();
    // The writer has then received all errors of its threads.
    wait_until("the trouble is over", || run.journal.is_idle());
    run.write(60).unwrap();
    let model = run.end();
    let (found, report) = read(dir.path(), DamagePolicy::Start).unwrap();
    assert!(found == model, "call {call}, {lasts}, {is_sync}");
    assert_eq!(report.lost, []);
    faults.has_failed()
}

#[test]
fn no_failed_call_loses_an_acknowledged_write() {
    // In parallel, since most of the time is waiting for the disk.
    std::thread::scope(|scope| {
        for (lasts, is_sync) in [(false, false), (false, true), (true, false), (true, true)] {
            scope.spawn(move || {
                let calls = (0..200).take_while(|&call| with_fault(call, lasts, is_sync)).count();
                assert!((10..200).contains(&calls), "{calls} calls could fail");
            });
        }
    });
}

fn files_in(dir: &TempDir) -> usize {
    fs::read_dir(dir.path()).unwrap().count()
}

#[test]
fn a_failed_checkpoint_does_not_disturb_the_log() {
    for is_sync in [false, true] {
        let dir = tempdir().unwrap();
        let faults = Faulty::none();
        faults.refuse("image-", u64::MAX);
        let mut small = settings(&dir);
        small.segment_bytes = 4 << 10;
        small.files = Arc::new(faults.clone());
        let mut run = Run::begin(small, is_sync, 1);
        // Each attempt is refused when it creates its file, and when it removes that.
        wait_until("a checkpoint was tried again and again", || {
            run.write(20).unwrap();
            assert_eq!(run.node.disk_trouble(), None);
            faults.refusals() >= 6
        });
        assert!(!folder::gap(dir.path()).exists());
        assert!(folder::log(dir.path(), 2).exists(), "segments go on being closed");
        wait_until("all is on the disk", || run.journal.is_idle());
        assert_eq!(read(copy(&dir).path(), DamagePolicy::Start).unwrap().0, run.model);
        faults.repair();
        wait_until("a checkpoint has taken its place", || {
            run.write(1).unwrap();
            !folder::log(dir.path(), 1).exists()
        });
        let model = run.end();
        assert_eq!(read(dir.path(), DamagePolicy::Check).unwrap().0, model);
    }
}

#[test]
fn repeated_failures_leave_no_files_behind() {
    for is_sync in [false, true] {
        let dir = tempdir().unwrap();
        let faults = Faulty::none();
        let mut settings = settings(&dir);
        settings.files = Arc::new(faults.clone());
        let mut run = Run::begin(settings, is_sync, 1);
        run.write(5).unwrap();
        wait_until("the log has begun", || run.journal.is_idle());
        // The log has a gap, and there is no space for a checkpoint.
        faults.refuse("image-", u64::MAX);
        faults.refuse("log-", 1);
        wait_until("the log has failed", || {
            let _ = run.write(1);
            run.node.disk_trouble().is_some()
        });
        let before = faults.refusals();
        wait_until("it was tried again and again", || faults.refusals() >= before + 20);
        // The lock, the starts, the view, the gap, the segment that has failed, and the next.
        assert!(files_in(&dir) <= 6, "{} files", files_in(&dir));
        // Now the log fails each time as well: there is space for a header only.
        faults.allow(header::LENGTH);
        let before = faults.refusals();
        wait_until("the log has failed again and again", || {
            let _ = run.write(10);
            faults.refusals() >= before + 60
        });
        assert!(files_in(&dir) <= 6, "{} files", files_in(&dir));
        faults.repair();
        wait_until("the trouble is over", || run.journal.is_idle());
        run.write(60).unwrap();
        let model = run.end();
        let (found, report) = read(dir.path(), DamagePolicy::Start).unwrap();
        assert_eq!((found, report.lost, report.has_gap), (model, vec![], false));
    }
}

#[test]
fn the_first_checkpoint_removes_the_gap_of_an_earlier_incarnation() {
    let dir = tempdir().unwrap();
    let mut run = Run::begin(settings(&dir), false, 1);
    run.write(60).unwrap();
    run.end();
    fs::write(folder::gap(dir.path()), []).unwrap();
    assert!(read(dir.path(), DamagePolicy::Check).unwrap().1.has_gap);
    let mut run = Run::begin(settings(&dir), false, 2);
    run.write(60).unwrap();
    wait_until("there is no gap any more", || !folder::gap(dir.path()).exists());
    let model = run.end();
    let (found, report) = read(dir.path(), DamagePolicy::Check).unwrap();
    assert!(found == model && report.checkpoint_bytes > 0);
}

#[test]
fn a_large_backlog_is_flushed_early() {
    let dir = tempdir().unwrap();
    let faults = Faulty::none();
    let mut settings = settings(&dir);
    (settings.flush, settings.flush_bytes) = (Duration::from_secs(3600), 100 << 10);
    settings.files = Arc::new(faults.clone());
    let mut run = Run::begin(settings, false, 1);
    run.write(1).unwrap();
    run.journal.settle();
    let begun = faults.syncs();
    run.write(5).unwrap();
    run.journal.settle();
    assert_eq!(faults.syncs(), begun);
    wait_until("the log was synced", || {
        run.write(40).unwrap();
        faults.syncs() > begun
    });
}
