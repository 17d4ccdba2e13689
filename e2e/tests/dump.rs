//! Dumps and loads, as a person or a script runs them, of clusters in this process.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;

use client::dump::format::{Block, DumpReader, DumpRecord, DumpWriter, HEADER, Header};
use client::{Config, GTStoreClient};
use cluster::ids::{ClusterId, NodeId};
use cluster::limits::Limits;
use cluster::membership::{AdminCommand, Reconfiguration};
use cluster::slot;
use e2e::{Options, Over, PATIENCE, TestCluster, client_command, wait_until};
use harness::process::{ChildProcess, Signal};
use harness::proxy::NetworkFault;
use storage::control::Departure;
use tempfile::{TempDir, tempdir};

/// A value, and when it expires.
type ExpiringValue = (Vec<u8>, Option<u64>);
type Records = BTreeMap<Vec<u8>, ExpiringValue>;

fn command(cluster: &TestCluster) -> Command {
    client_command(cluster.manager_address())
}

fn dump(cluster: &TestCluster, path: &Path) -> Output {
    command(cluster).arg("--dump").arg(path).output().expect("the client runs")
}

fn load(cluster: &TestCluster, path: &Path) -> Output {
    command(cluster).arg("--load").arg(path).output().expect("the client runs")
}

/// The output of a command that succeeds: `dumped 12 keys, 345 bytes, in 0.0 s`, without the time.
fn prints(output: &Output) -> String {
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let printed = String::from_utf8(output.stdout.clone()).expect("text");
    let (before, _) = printed.split_once(", in ").unwrap_or_else(|| panic!("{printed}"));
    before.to_owned()
}

/// The error text of a command that fails.
fn error_output(output: &Output) -> String {
    assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr.clone()).expect("text").trim_end().to_owned()
}

/// The content of a dump; each key once.
fn read(path: &Path) -> Records {
    let mut reader = DumpReader::begin(File::open(path).unwrap()).unwrap();
    let mut records = Records::new();
    while let Some(block) = reader.next_block().unwrap() {
        for record in block.records() {
            let held = (record.value.to_vec(), record.expiry);
            let twice = records.insert(record.key.to_vec(), held);
            assert!(twice.is_none(), "{:?} is there twice", record.key);
        }
    }
    records
}

/// Writes a dump of these blocks.
fn write(path: &Path, blocks: &[Vec<(Vec<u8>, ExpiringValue)>]) {
    let header = Header { cluster: ClusterId(1), began: 0, salt: 1 };
    let mut writer = DumpWriter::begin(File::create(path).unwrap(), &header).unwrap();
    for records in blocks {
        let mut block = Block::default();
        for (key, (value, expiry)) in records {
            block.push(&DumpRecord { key, value, expiry: *expiry });
        }
        writer.block(block).unwrap();
    }
    writer.end(0).unwrap();
}

/// Asserts that a cluster has exactly these records.
fn assert_holds(cluster: &TestCluster, records: &Records) {
    let client = cluster.client();
    let keys: Vec<&Vec<u8>> = records.keys().collect();
    for ((key, want), got) in records.iter().zip(client.get_many(&keys)) {
        let got = got.unwrap().map(|got| (got.value, got.expiry));
        assert_eq!(got.as_ref(), Some(want), "{}", key.escape_ascii());
    }
    assert_eq!(client.count().unwrap(), records.len() as u64);
}

fn names(folder: &TempDir) -> Vec<String> {
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    fs::read_dir(folder.path()).unwrap().map(|entry| name(entry.unwrap())).collect()
}

fn put_all(client: &GTStoreClient, records: &Records) {
    for (key, (value, expiry)) in records {
        match expiry {
            None => client.put(key, value).unwrap(),
            Some(until) => client.put_until(key, value, *until).unwrap(),
        };
    }
}

fn records<'a>(pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Records {
    pairs.into_iter().map(|(key, value)| (key.to_vec(), (value.to_vec(), None))).collect()
}

/// A number that counts up in a key: of the last put begun, and of the last one acknowledged.
struct Counter {
    key: String,
    begun: AtomicU64,
    done: AtomicU64,
}

impl Counter {
    fn new(number: usize) -> Counter {
        let key = format!("count{number}");
        Counter { key, begun: AtomicU64::new(0), done: AtomicU64::new(0) }
    }

    fn put(&self, client: &GTStoreClient) {
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        client.put(self.key.as_bytes(), number.to_string().as_bytes()).unwrap();
        self.done.store(number, Ordering::SeqCst);
    }
}

/// Writes the counters, and a key that comes and goes, until it is over.
fn write_on(config: &Config, counters: &[Counter], is_over: &AtomicBool) {
    let client = GTStoreClient::init(config.clone()).unwrap();
    for counter in counters.iter().cycle() {
        if is_over.load(Ordering::SeqCst) {
            break;
        }
        counter.put(&client);
        client.put(b"guest", b"here").unwrap();
        client.delete(b"guest").unwrap();
    }
}

/// Takes one dump while the counters are written, and compares it with them and with the unchanged
/// keys.
fn dump_and_check(manager: SocketAddr, file: &Path, counters: &[Counter], still: &Records) {
    let read_all = |at: fn(&Counter) -> &AtomicU64| -> Vec<u64> {
        counters.iter().map(|counter| at(counter).load(Ordering::SeqCst)).collect()
    };
    let least = read_all(|counter| &counter.done);
    let mut command = client_command(manager);
    command.args(["--deadline-ms", "30000", "--dump"]).arg(file);
    let printed = prints(&command.output().expect("the client runs"));
    let most = read_all(|counter| &counter.begun);
    let mut dumped = read(file);
    assert!(printed.starts_with(&format!("dumped {} keys, ", dumped.len())), "{printed}");
    for ((counter, least), most) in counters.iter().zip(least).zip(most) {
        let (value, _) = dumped.remove(counter.key.as_bytes()).expect("it was there");
        let number: u64 = String::from_utf8(value).unwrap().parse().unwrap();
        assert!((least..=most).contains(&number), "{least} to {most}, not {number}");
    }
    dumped.remove(&b"guest"[..]);
    assert!(dumped == *still, "{} of {} untouched keys", dumped.len(), still.len());
}

/// Lets a node join, one leave and one die, with this many dumps meanwhile: one of two is under way
/// during each change from beginning to end.
fn join_leave_and_die(cluster: &mut TestCluster, wait_for_dumps: impl Fn(usize)) {
    wait_for_dumps(1);
    cluster.add_node();
    wait_for_dumps(2);
    cluster.wait_until_well();
    let change = Reconfiguration::Leave(NodeId::new("node3").unwrap());
    cluster.client().order(&AdminCommand::Reconfigure { change, force: false }).unwrap();
    wait_for_dumps(2);
    assert_eq!(cluster.node(2).ended().recv_timeout(PATIENCE), Ok(Departure::Left));
    cluster.stop_node(2);
    cluster.stop_node(0);
    wait_for_dumps(2);
    cluster.wait_until_well();
    wait_for_dumps(1);
}

#[test]
fn a_dump_is_complete_while_keys_change_and_nodes_join_leave_and_die() {
    // At a megabyte a second these keys take a while to move.
    let options = Options {
        nodes: 4,
        copies: 2,
        heartbeat_ms: 1000,
        transfer_mb_s: Some(1),
        // Where keys may be long, a page has about a thousand keys: so there are many pages.
        limits: Limits { key_bytes: 1024, value_bytes: 1024 },
        ..Options::default()
    };
    let mut cluster = TestCluster::with(options);
    let client = cluster.client();
    let pairs: Vec<(String, String)> =
        (0..8000).map(|n| (format!("key{n}"), format!("{n:0700}"))).collect();
    client.put_many(&pairs).into_iter().for_each(|placed| drop(placed.unwrap()));
    let still = records(pairs.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes())));
    let counters: Vec<Counter> = (0..40).map(Counter::new).collect();
    counters.iter().for_each(|counter| counter.put(&client));

    let folder = tempdir().unwrap();
    let file = folder.path().join("dump");
    let (is_over, dumps) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (config, address) = (cluster.config(), cluster.manager_address());
    thread::scope(|scope| {
        scope.spawn(|| write_on(&config, &counters, &is_over));
        let dumper = scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                dump_and_check(address, &file, &counters, &still);
                dumps.fetch_add(1, Ordering::SeqCst);
            }
        });
        let over = Over(&is_over);
        join_leave_and_die(&mut cluster, |more| {
            let want = dumps.load(Ordering::SeqCst) + more;
            wait_until("there are more dumps", || {
                // The reason of a failure is reported at the end.
                let is_there = dumps.load(Ordering::SeqCst) >= want || dumper.is_finished();
                if is_there { Ok(()) } else { Err(format!("{want} are wanted")) }
            });
        });
        drop(over);
        dumper.join().expect("all dumps were good");
    });

    let dumped = read(&file);
    let other = TestCluster::start(2, 1);
    let size = format!("{:.1} MB", fs::metadata(&file).unwrap().len() as f64 / 1e6);
    assert_eq!(prints(&load(&other, &file)), format!("loaded {} keys, {size}", dumped.len()));
    assert_holds(&other, &dumped);
    assert_eq!(names(&folder), ["dump"]);
}

#[test]
fn any_bytes_go_through_pipes_as_well() {
    let limits = Limits { key_bytes: 1024, value_bytes: 1 << 20 };
    let cluster = TestCluster::with(Options { limits, ..Options::default() });
    let longest: Vec<u8> = (0..1 << 20).map(|n: u32| (n ^ (n >> 8)) as u8).collect();
    let mut held = records([
        (&b"\0"[..], &b""[..]),
        (b"\r\n{\xff}", b"\0\xff\n"),
        (&[7; 1024], &longest),
        (b"GTStoDMP", b"GTStoDMP\0\x01"),
    ]);
    held.extend((0..=255).map(|byte| (vec![byte, byte], (vec![byte], None))));
    put_all(&cluster.client(), &held);
    let folder = tempdir().unwrap();
    let file = folder.path().join("dump");
    let output = command(&cluster).args(["--dump", "-"]).output().unwrap();
    let printed = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && printed.starts_with("dumped 260 keys, 1.1 MB, in "),
        "{printed}"
    );
    fs::write(&file, &output.stdout).unwrap();
    assert_eq!(read(&file), held);

    let other = TestCluster::with(Options { limits, nodes: 2, ..Options::default() });
    let printed = prints(&pipe(&other, &output.stdout));
    assert_eq!(printed, "loaded 260 keys, 1.1 MB");
    assert_holds(&other, &held);
    // A second load changes nothing; keys that are not in the dump stay.
    other.client().put(b"other", b"value").unwrap();
    other.client().put(b"GTStoDMP", b"changed").unwrap();
    let redirected =
        command(&other).args(["--load", "-"]).stdin(File::open(&file).unwrap()).output().unwrap();
    assert_eq!(prints(&redirected), "loaded 260 keys, 1.1 MB");
    held.extend(records([(&b"other"[..], &b"value"[..])]));
    assert_holds(&other, &held);
}

/// Loads input from a pipe.
fn pipe(cluster: &TestCluster, bytes: &[u8]) -> Output {
    let mut child = command(cluster)
        .args(["--load", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It need not read everything.
    let _ = child.stdin.take().unwrap().write_all(bytes);
    child.wait_with_output().unwrap()
}

#[test]
fn values_much_longer_than_those_before_are_dumped() {
    let limits = Limits { value_bytes: 1 << 20, ..Limits::default() };
    let cluster = TestCluster::with(Options { nodes: 1, copies: 1, limits, ..Options::default() });
    let client = cluster.client();
    // The short ones come first in the order of places: then a batch has thousands of keys.
    let tag = |is_early: bool| {
        let tag = (0..).map(|n: u32| format!("{{{n}}}")).find(|tag| {
            let slot = slot::slot(tag.as_bytes());
            if is_early { slot < 100 } else { slot > 16_000 }
        });
        tag.unwrap()
    };
    let (early, late) = (tag(true), tag(false));
    let short: Vec<(String, &str)> = (0..9000).map(|n| (format!("{early}{n}"), "short")).collect();
    let value = vec![7; 1 << 20];
    let long: Vec<(String, &[u8])> = (0..12).map(|n| (format!("{late}{n}"), &value[..])).collect();
    client.put_many(&short).into_iter().for_each(|placed| drop(placed.unwrap()));
    client.put_many(&long).into_iter().for_each(|placed| drop(placed.unwrap()));
    let folder = tempdir().unwrap();
    let file = folder.path().join("dump");
    assert_eq!(prints(&dump(&cluster, &file)), "dumped 9012 keys, 12.8 MB");
    let held = read(&file);
    assert_eq!(held.len(), 9012);
    for (key, want) in &long {
        assert!(held[key.as_bytes()].0 == *want, "{key}");
    }
}

#[test]
fn dumped_values_keep_their_expiry_and_expired_ones_are_left_out() {
    let cluster = TestCluster::start(3, 2);
    let client = cluster.client();
    let now = client.now_ms();
    let mut held = records([(&b"for ever"[..], &b"value"[..])]);
    held.insert(b"an hour".to_vec(), (b"value".to_vec(), Some(now + 3_600_000)));
    put_all(&client, &held);
    client.put_until(b"gone", b"value", now + 1).unwrap();
    wait_until("it has expired", || match client.get(b"gone").unwrap() {
        None => Ok(()),
        Some(_) => Err("it is there".into()),
    });
    let folder = tempdir().unwrap();
    let file = folder.path().join("dump");
    assert!(prints(&dump(&cluster, &file)).starts_with("dumped 2 keys, "));
    assert_eq!(read(&file), held);

    let other = TestCluster::start(2, 2);
    assert!(prints(&load(&other, &file)).starts_with("loaded 2 keys, "));
    assert_holds(&other, &held);
    // In an older dump some have expired; the cluster's own values of these keys stay.
    let over = |key: &[u8]| (key.to_vec(), (b"old".to_vec(), Some(now - 1)));
    let newer = (b"newer".to_vec(), None);
    write(
        &file,
        &[vec![over(b"for ever"), over(b"nothing")], vec![(b"an hour".to_vec(), newer.clone())]],
    );
    let output = load(&other, &file);
    assert!(prints(&output).starts_with("loaded 1 key, "), "{output:?}");
    assert!(output.stdout.ends_with(b" s; 2 expired\n"), "{output:?}");
    held.insert(b"an hour".to_vec(), newer);
    assert_holds(&other, &held);
}

#[test]
fn a_damaged_dump_changes_nothing() {
    let cluster = TestCluster::start(2, 2);
    let client = cluster.client();
    let pairs: Vec<(String, String)> =
        (0..3000).map(|n| (format!("key{n}"), format!("{n:01000}"))).collect();
    client.put_many(&pairs).into_iter().for_each(|placed| drop(placed.unwrap()));
    let folder = tempdir().unwrap();
    let (file, bad) = (folder.path().join("dump"), folder.path().join("bad"));
    prints(&dump(&cluster, &file));
    let good = fs::read(&file).unwrap();
    let other = TestCluster::start(2, 1);
    other.client().put(b"key1", b"as it was").unwrap();
    let as_it_was = records([(&b"key1"[..], &b"as it was"[..])]);
    let length = u32::from_be_bytes(good[HEADER + 1..HEADER + 5].try_into().unwrap()) as usize;
    let second = HEADER + 9 + length;
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    for (bytes, want) in [
        (flipped(good.len() - 1), format!("damaged at byte {}: a block", good.len() - 25)),
        (flipped(good.len() / 2), "damaged at byte ".to_owned()),
        (flipped(second + 20), format!("damaged at byte {second}: a block with a wrong checksum")),
        (flipped(20), "damaged at byte 0: a header with a wrong checksum".to_owned()),
        (good[..good.len() - 1].to_vec(), format!("damaged at byte {}: it", good.len() - 25)),
        (good[..second].to_vec(), format!("damaged at byte {second}: it ends too soon")),
        (b"#!/bin/sh\n".to_vec(), "this is no dump of GT Store".to_owned()),
        (vec![], "damaged at byte 0: it ends too soon".to_owned()),
    ] {
        fs::write(&bad, &bytes).unwrap();
        let printed = error_output(&load(&other, &bad));
        let want = format!("client: {}: {want}", bad.display());
        assert!(printed.starts_with(&want), "{printed}; not {want}");
        assert!(printed.ends_with("; nothing was changed"), "{printed}");
        // Standard input can be a file as well.
        let mut redirected = command(&other);
        redirected.args(["--load", "-"]).stdin(File::open(&bad).unwrap());
        let printed = error_output(&redirected.output().unwrap());
        assert!(printed.ends_with("; nothing was changed"), "{printed}");
        assert_holds(&other, &as_it_was);
    }
    // Input that cannot be read twice is loaded up to the damage.
    let printed = error_output(&pipe(&other, &flipped(second + 20)));
    let want = format!("client: standard input: damaged at byte {second}: a block with a wrong");
    assert!(printed.starts_with(&want), "{printed}");
    let (_, counts) = printed.split_once("; before that ").unwrap();
    let (put, rest) = counts.split_once(' ').unwrap();
    assert_eq!(rest, "keys put, 0 failed, 0 unknown");
    let put: u64 = put.parse().unwrap();
    let count = other.client().count().unwrap();
    assert!(put > 0 && (put..=put + 1).contains(&count), "{put} were put, there are {count}");
    assert!(count < 3000);
    let printed = error_output(&load(&other, &folder.path().join("none")));
    assert!(
        printed.ends_with("No such file or directory (os error 2); nothing was changed"),
        "{printed}"
    );
    let printed = error_output(&load(&other, folder.path()));
    assert!(printed.ends_with("is a directory; nothing was changed"), "{printed}");
}

#[test]
fn failed_and_oversized_puts_of_a_load_are_counted() {
    let cluster = TestCluster::start(1, 1);
    let held = records([
        (&b"short"[..], &b"value"[..]),
        (b"a longer key", b"value"),
        (b"long", b"a longer value"),
    ]);
    put_all(&cluster.client(), &held);
    let folder = tempdir().unwrap();
    let file = folder.path().join("dump");
    prints(&dump(&cluster, &file));
    let limits = Limits { key_bytes: 5, value_bytes: 5 };
    let options = Options { nodes: 1, copies: 1, limits, is_proxied: true, ..Options::default() };
    let other = TestCluster::with(options);
    let printed = error_output(&load(&other, &file));
    let want = format!("client: {}: 2 of 3 keys would not be taken; the first: ", file.display());
    assert!(printed.starts_with(&want) && printed.contains("nothing was changed"), "{printed}");
    assert_holds(&other, &Records::new());
    // Input from a pipe cannot be checked first.
    let printed = error_output(&pipe(&other, &fs::read(&file).unwrap()));
    let want = "client: standard input: 1 key put, 2 failed, 0 unknown; the first: ";
    assert!(printed.starts_with(want), "{printed}");
    assert_holds(&other, &records([(&b"short"[..], &b"value"[..])]));

    // A cluster that does not reply is not waited for again with every block.
    let blocks: Vec<Vec<(Vec<u8>, ExpiringValue)>> =
        (10..90).map(|n| vec![(format!("key{n}").into_bytes(), (vec![], None))]).collect();
    write(&file, &blocks);
    other.proxy(0).set(NetworkFault::Stall);
    let mut hasty = command(&other);
    let printed =
        error_output(&hasty.args(["--deadline-ms", "200", "--load"]).arg(&file).output().unwrap());
    let numbers: Vec<u64> = printed
        .split("; the first: key")
        .next()
        .map(|counts| counts.split(' ').filter_map(|word| word.parse().ok()).collect())
        .unwrap();
    let [put, failed, unknown, untried] = numbers[..] else { panic!("{printed}") };
    assert_eq!((put, failed + unknown + untried), (0, 80), "{printed}");
    assert!((1..=20).contains(&(failed + unknown)), "{printed}");
}

#[test]
fn a_failed_dump_leaves_the_old_file() {
    let mut cluster =
        TestCluster::with(Options { nodes: 1, copies: 1, is_proxied: true, ..Options::default() });
    put_all(&cluster.client(), &records([(&b"key"[..], &b"value"[..])]));
    let folder = tempdir().unwrap();
    let file = folder.path().join("dump");
    fs::write(&file, b"before").unwrap();
    let assert_as_before = || {
        assert_eq!(fs::read(&file).unwrap(), b"before");
        assert_eq!(names(&folder), ["dump"]);
    };
    // Interrupted in the middle.
    cluster.proxy(0).set(NetworkFault::Stall);
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        let mut command = command(&cluster);
        command.args(["--deadline-ms", "3600000", "--dump"]).arg(&file).stderr(Stdio::piped());
        let mut running = ChildProcess::start(&mut command).unwrap();
        wait_until("it has begun", || match names(&folder).len() {
            2 => Ok(()),
            files => Err(format!("{files} files")),
        });
        // The signal may arrive before the process waits for it: then it stays pending.
        running.signal(signal).unwrap();
        let status = wait_until("it ends", || {
            running.ended().map_err(|e| e.to_string())?.ok_or("it runs".to_owned())
        });
        assert_eq!(status.code(), Some(1));
        let printed = std::io::read_to_string(running.child().stderr.take().unwrap()).unwrap();
        assert_eq!(printed, format!("client: {name}: {}: no dump was made\n", file.display()));
        assert_as_before();
    }
    // No node lists the keys.
    let mut hasty = command(&cluster);
    hasty.args(["--deadline-ms", "200", "--dump"]).arg(&file);
    let printed = error_output(&hasty.output().unwrap());
    assert!(
        printed.starts_with("client: no dump was made: not enough replicas within 200ms: "),
        "{printed}"
    );
    assert_as_before();
    cluster.proxy(0).set(NetworkFault::None);
    cluster.stop_node(0);
    let printed = error_output(&hasty.output().unwrap());
    assert!(printed.starts_with("client: no dump was made: "), "{printed}");
    assert_as_before();
    // A path that cannot be written.
    let (nowhere, is_folder) = (folder.path().join("no/dump"), folder.path().to_owned());
    for path in [nowhere, is_folder] {
        let printed = error_output(&dump(&cluster, &path));
        assert!(
            printed.starts_with(&format!("client: cannot write {}: ", path.display())),
            "{printed}"
        );
    }
    assert_as_before();
}

#[test]
fn only_a_file_is_replaced() {
    let cluster = TestCluster::start(1, 1);
    put_all(&cluster.client(), &records([(&b"key"[..], &b"value"[..])]));
    let folder = tempdir().unwrap();
    let (file, link) = (folder.path().join("dump"), folder.path().join("link"));
    let mode = || fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    prints(&dump(&cluster, &file));
    assert_eq!(mode(), 0o600, "nobody else can read it");
    // Readers of the previous file can read the next one.
    fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
    fs::write(&file, b"before").unwrap();
    std::os::unix::fs::symlink("dump", &link).unwrap();
    assert_eq!(prints(&dump(&cluster, &link)), "dumped 1 key, 83 bytes");
    assert_eq!((mode(), read(&file).len()), (0o640, 1));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(prints(&dump(&cluster, Path::new("/dev/null"))), "dumped 1 key, 83 bytes");
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
    // A name without a folder is in the current folder.
    let mut here = command(&cluster);
    prints(&here.args(["--dump", "here"]).current_dir(folder.path()).output().unwrap());
    assert_eq!(read(&folder.path().join("here")).len(), 1);
}
