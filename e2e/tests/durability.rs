//! Nodes that keep their records on disk. The killed node is a process of its own.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use client::{ClientError, GTStoreClient};
use cluster::durability::Durability;
use cluster::membership::{Level, NodeState};
use e2e::{Options, TestCluster, program, under_load, wait_until};
use harness::process::Process;
use tempfile::{TempDir, tempdir};

/// Starts a node that keeps its records in `folder`, with its log beside.
fn start_process(cluster: &TestCluster, name: &str, folder: &Path, flags: &[&str]) -> Process {
    let mut all = vec![
        format!("--label={name}"),
        "--port=0".to_owned(),
        format!("--manager={}", cluster.manager_address()),
        format!("--data={}", folder.display()),
    ];
    all.extend(flags.iter().map(|&flag| flag.to_owned()));
    let log = tempfile::Builder::new().prefix("log-").tempfile_in(folder.parent().unwrap());
    let (_, log) = log.unwrap().keep().unwrap();
    let mut process = Process::new(program("storage"), all, log);
    process.start().unwrap();
    process
}

fn wait_for_end(process: &mut Process) -> ExitStatus {
    wait_until("the process ends", || process.ended().ok_or_else(|| process.printed()))
}

/// The number before these words in a line of a process's output.
fn number_before(process: &Process, words: &str) -> Option<u64> {
    let printed = process.printed();
    let (before, _) = printed.rsplit_once(words)?;
    before.split_whitespace().next_back()?.parse().ok()
}

/// Waits until this many nodes serve and every key has its copies.
fn wait_until_healthy(cluster: &TestCluster, nodes: usize) {
    wait_until("the cluster is healthy", || {
        let status = cluster.status()?;
        let active = status.nodes.iter().filter(|node| node.state == NodeState::Active).count();
        let is_well =
            active == nodes && status.nodes.len() == nodes && status.health.level == Level::Healthy;
        if is_well && !status.changing {
            Ok(())
        } else {
            Err(format!("{active}, {}", status.health))
        }
    });
}

const KEYS: usize = 3000;

/// A cluster with one node in a process of its own, which keeps its records in the folder, and with
/// keys.
fn with_process(options: Options, how: Durability) -> (TestCluster, Process, TempDir) {
    let cluster = TestCluster::with(Options { durability: how, ..options });
    let nodes = cluster.running().len();
    let dir = tempdir().unwrap();
    let process = start_process(&cluster, "durable", &dir.path().join("data"), &[]);
    wait_until_healthy(&cluster, nodes + 1);
    let pairs: Vec<(String, String)> = (0..KEYS).map(|n| (key(n), format!("value{n}"))).collect();
    // In several batches: the last write may be torn, and is then not damage.
    for some in pairs.chunks(KEYS / 10) {
        cluster.client().put_many(some).into_iter().for_each(|placed| drop(placed.unwrap()));
    }
    (cluster, process, dir)
}

fn key(n: usize) -> String {
    format!("key{n}")
}

#[test]
fn a_killed_node_recovers_its_records_and_fetches_the_differences() {
    for how in [Durability::Async, Durability::Sync] {
        let options = Options { nodes: 2, copies: 2, ..Options::default() };
        let (cluster, mut process, dir) = with_process(options, how);
        process.kill();
        wait_until_healthy(&cluster, 2);
        let client = cluster.client();
        for n in 0..60 {
            client.put(key(n).as_bytes(), b"newer").unwrap();
        }
        for n in 60..70 {
            client.delete(key(n).as_bytes()).unwrap();
        }

        let folder = dir.path().join("data");
        let flags = ["--log-level", "info"];
        let process = start_process(&cluster, "durable", &folder, &flags);
        wait_until_healthy(&cluster, 3);
        let kept = wait_until("it logs its fetches", || {
            number_before(&process, " kept by comparison").ok_or_else(|| process.printed())
        });
        let moved = number_before(&process, " records moved,").unwrap();
        // It is a replica of two thirds of all keys. Differences move with their buckets, of about
        // eight keys.
        assert!(kept > 1000, "{kept} kept, {moved} moved: {}", process.printed());
        assert!(moved < 700, "{kept} kept, {moved} moved: {}", process.printed());
        for n in 0..KEYS {
            let want = match n {
                0..60 => Some("newer".to_owned()),
                60..70 => None,
                _ => Some(format!("value{n}")),
            };
            let got = client.get(key(n).as_bytes()).unwrap();
            assert_eq!(got.map(|got| got.value), want.map(String::into_bytes), "{}", key(n));
        }
    }
}

#[test]
fn nodes_with_folders_restart_under_load() {
    for durability in [Durability::Async, Durability::Sync] {
        let options = Options { nodes: 4, copies: 2, durability, ..Options::default() };
        let mut cluster = TestCluster::with(options);
        let pairs: Vec<(String, String)> =
            (0..KEYS).map(|n| (key(n), format!("value{n}"))).collect();
        cluster.client().put_many(&pairs).into_iter().for_each(|placed| drop(placed.unwrap()));
        under_load(&mut cluster, |cluster| {
            for number in [0, 1, 2, 3, 0] {
                cluster.stop_node(number);
                wait_until_healthy(cluster, 3);
                cluster.start_node(number);
                wait_until_healthy(cluster, 4);
                let transfer = cluster.node(number).node().transfer();
                assert!(transfer.kept > 500 && transfer.moved < 700, "{transfer:?}");
            }
        });
        let client = cluster.client();
        for (key, value) in &pairs {
            assert_eq!(client.get(key.as_bytes()).unwrap().unwrap().value, value.as_bytes());
        }
    }
}

#[test]
fn a_folder_of_another_node_or_cluster_is_refused() {
    let options = Options { nodes: 1, copies: 1, ..Options::default() };
    let (cluster, mut process, dir) = with_process(options, Durability::Async);
    let folder = dir.path().join("data");
    let flags: [&str; 0] = [];

    let mut second = start_process(&cluster, "durable", &folder, &flags);
    assert_eq!(wait_for_end(&mut second).code(), Some(2));
    assert!(second.printed().contains("is in use by durable, process "), "{}", second.printed());

    process.kill();
    let mut other = start_process(&cluster, "other", &folder, &flags);
    assert_eq!(wait_for_end(&mut other).code(), Some(2));
    assert!(other.printed().contains("belongs to durable, not to other"), "{}", other.printed());

    let durability = Durability::Async;
    let elsewhere =
        TestCluster::with(Options { nodes: 1, copies: 1, durability, ..Options::default() });
    let mut stranger = start_process(&elsewhere, "durable", &folder, &flags);
    assert_eq!(wait_for_end(&mut stranger).code(), Some(2));
    assert!(stranger.printed().contains("is of another cluster"), "{}", stranger.printed());
}

#[test]
fn a_folder_is_checked_and_salvaged() {
    let options = Options { nodes: 2, copies: 2, ..Options::default() };
    let (cluster, mut process, dir) = with_process(options, Durability::Sync);
    process.kill();
    let folder = dir.path().join("data");
    let check = || Command::new(program("storage")).arg("--check").arg(&folder).output().unwrap();
    let output = check();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(
        text.starts_with("durable of cluster ") && text.contains(" kept; synced in "),
        "{text}"
    );

    let log = folder.join("log-00000000000000000001");
    let mut bytes = fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&log, &bytes).unwrap();
    let output = check();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("log-00000000000000000001 is damaged at byte "), "{error}");

    let mut process = start_process(&cluster, "durable", &folder, &[]);
    assert_eq!(wait_for_end(&mut process).code(), Some(2));
    assert!(process.printed().contains("is damaged at byte "), "{}", process.printed());
    let flags = ["--durability", "sync", "--salvage"];
    let process = start_process(&cluster, "durable", &folder, &flags);
    wait_until_healthy(&cluster, 3);
    assert!(process.printed().contains("bytes left out from byte "), "{}", process.printed());
    wait_until("a checkpoint has replaced the damaged segment", || {
        if log.exists() { Err(process.printed()) } else { Ok(()) }
    });
    drop(process);
    assert!(check().status.success());
    let client = cluster.client();
    wait_until_healthy(&cluster, 2);
    for n in 0..KEYS {
        let got = client.get(key(n).as_bytes()).unwrap().unwrap();
        assert_eq!(got.value, format!("value{n}").into_bytes());
    }
}

/// Three nodes in processes of their own, which keep their records on disk, and K = 2.
fn all_processes(how: Durability) -> (TestCluster, Vec<Process>, TempDir) {
    let options = Options { copies: 2, durability: how, ..Options::default() };
    let cluster = TestCluster::without_nodes(options);
    let dir = tempdir().unwrap();
    let nodes = (0..3).map(|n| start(&cluster, &dir, n)).collect();
    wait_until_healthy(&cluster, 3);
    (cluster, nodes, dir)
}

/// Starts the node with this number and its folder.
fn start(cluster: &TestCluster, dir: &TempDir, n: usize) -> Process {
    let flags = ["--log-level", "info"];
    start_process(cluster, &format!("node{n}"), &dir.path().join(format!("data{n}")), &flags)
}

fn put_all(cluster: &TestCluster) {
    let pairs: Vec<(String, String)> = (0..KEYS).map(|n| (key(n), format!("value{n}"))).collect();
    cluster.client().put_many(&pairs).into_iter().for_each(|placed| drop(placed.unwrap()));
}

fn read_all(cluster: &TestCluster) {
    let keys: Vec<String> = (0..KEYS).map(key).collect();
    for (n, got) in cluster.client().get_many(&keys).into_iter().enumerate() {
        assert_eq!(got.unwrap().unwrap().value, format!("value{n}").into_bytes(), "{n}");
    }
}

/// The order in which processes are killed and started does not matter, nor do their ports.
#[test]
fn a_killed_cluster_recovers_everything() {
    for how in [Durability::Async, Durability::Sync] {
        let (mut cluster, mut nodes, dir) = all_processes(how);
        put_all(&cluster);
        for round in 0..3 {
            if round == 1 {
                cluster.stop_manager();
            }
            nodes.iter_mut().for_each(Process::kill);
            if round == 2 {
                cluster.stop_manager();
            }
            if round > 0 {
                cluster.start_manager();
            }
            let order = [[0, 1, 2], [2, 0, 1], [1, 2, 0]][round];
            nodes = order.into_iter().map(|n| start(&cluster, &dir, n)).collect();
            wait_until_healthy(&cluster, 3);
            // While the manager lives, the first killed node may be dropped, and fetches
            // everything. Otherwise all are replacements, and know that all replicas have the
            // records: reads need no write-back.
            if round == 1 {
                wait_until("little is pending", || {
                    let pending = |node: &Process| number_before(node, " still pending");
                    let is_so = nodes.iter().all(|node| pending(node).is_some_and(|n| n < 300));
                    if is_so { Ok(()) } else { Err(nodes[0].printed()) }
                });
            }
            read_all(&cluster);
            cluster.client().put(b"more", format!("round{round}").as_bytes()).unwrap();
        }
        let more = cluster.client().get(b"more").unwrap().unwrap();
        assert_eq!(more.value, b"round2", "{how}");
    }
}

/// With `sync` the disk of any replica of a record is enough; with `async` each disk may have
/// records that the others lack, so all are waited for unless the operator continues without them.
#[test]
fn a_missing_node_is_waited_for_if_its_disk_may_have_more() {
    for how in [Durability::Async, Durability::Sync] {
        let (mut cluster, mut nodes, dir) = all_processes(how);
        put_all(&cluster);
        // Otherwise the first killed node may be dropped before the others are.
        cluster.stop_manager();
        nodes.iter_mut().for_each(Process::kill);
        cluster.start_manager();
        let _nodes = [start(&cluster, &dir, 0), start(&cluster, &dir, 1)];
        if how == Durability::Async {
            wait_until("the third is called for", || {
                let health = cluster.status()?.health.text;
                let is_so =
                    health.starts_with("unavailable") && health.ends_with("bring back node2");
                if is_so { Ok(()) } else { Err(health) }
            });
            wait_until("the operator goes on without", || {
                cluster.accept_loss()?;
                let status = cluster.status()?;
                if status.health.level == Level::Healthy { Ok(()) } else { Err(status.health.text) }
            });
        }
        wait_until_healthy(&cluster, 2);
        // Each record has a copy on at least one of the two.
        read_all(&cluster);
        put_all(&cluster);
        let _third = start(&cluster, &dir, 2);
        wait_until_healthy(&cluster, 3);
        read_all(&cluster);
    }
}

#[test]
fn all_holders_of_some_keys_die_and_come_back_while_others_live() {
    for how in [Durability::Async, Durability::Sync] {
        let (cluster, mut nodes, dir) = all_processes(how);
        put_all(&cluster);
        nodes[..2].iter_mut().for_each(Process::kill);
        wait_until("some keys are unavailable", || {
            let health = cluster.status()?.health.text;
            if health.starts_with("unavailable") { Ok(()) } else { Err(health) }
        });
        for (n, node) in nodes.iter_mut().enumerate().take(2) {
            *node = start(&cluster, &dir, n);
        }
        wait_until_healthy(&cluster, 3);
        read_all(&cluster);
    }
}

#[test]
fn a_cluster_that_lost_all_its_nodes_starts_empty_only_on_the_operators_command() {
    let (durability, copies) = (Durability::Async, 1);
    let cluster = TestCluster::without_nodes(Options { durability, copies, ..Options::default() });
    let dir = tempdir().unwrap();
    let mut process = start(&cluster, &dir, 0);
    wait_until_healthy(&cluster, 1);
    cluster.client().put(b"key", b"value").unwrap();
    process.kill();

    // Another node must not take the place of one that may return with its disk.
    let _other = start(&cluster, &dir, 1);
    wait_until("the one with the record is called for", || {
        let status = cluster.status()?;
        let is_waiting = status.nodes.iter().any(|node| node.state == NodeState::Waiting);
        let is_so = is_waiting && status.health.text.ends_with("bring back node0");
        if is_so { Ok(()) } else { Err(status.health.text) }
    });
    let read = cluster.client().get(b"key");
    assert!(matches!(read, Err(ClientError::Unavailable)), "{read:?}");

    wait_until("the operator goes on without", || {
        cluster.accept_loss()?;
        let status = cluster.status()?;
        if status.health.level == Level::Healthy { Ok(()) } else { Err(status.health.text) }
    });
    assert_eq!(cluster.client().get(b"key").unwrap(), None);
}

/// A small file system. Unmounted when dropped.
struct Small(TempDir);

impl Small {
    /// `None` where this process may not mount one.
    fn mount(bytes: usize) -> Option<Small> {
        let dir = tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).arg(dir.path());
        let is_mounted = mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        is_mounted.then_some(Small(dir))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // A leftover mount disappears with the machine.
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_refuses_writes_and_serves_reads_until_there_is_space() {
    let Some(small) = Small::mount(1 << 20) else {
        eprintln!("SKIPPED: no small file system could be mounted, which takes root");
        return;
    };
    let filler = small.0.path().join("filler");
    fs::write(&filler, vec![0; 600 << 10]).unwrap();
    let (durability, copies) = (Durability::Sync, 1);
    let cluster = TestCluster::without_nodes(Options { durability, copies, ..Options::default() });
    let folder = small.0.path().join("data");
    // Its log must not go to the full disk.
    let beside = tempdir().unwrap();
    let link = beside.path().join("data");
    std::os::unix::fs::symlink(&folder, &link).unwrap();
    fs::create_dir(&folder).unwrap();
    let process = start_process(&cluster, "durable", &link, &["--durability", "sync"]);
    wait_until_healthy(&cluster, 1);

    let mut config = cluster.config();
    config.deadline = Duration::from_millis(300);
    let client = GTStoreClient::init(config).unwrap();
    let value = [b'v'; 1000];
    let refused =
        (0..1000).find_map(|n| client.put(key(n).as_bytes(), &value).err().map(|error| (n, error)));
    let (written, first) = refused.expect("400 KB do not hold a megabyte");
    assert!(written > 100, "{written}: {first}");
    let error = client.put(b"another", &value).unwrap_err();
    assert!(matches!(error, ClientError::NotEnoughReplicas { .. }), "{error}");
    assert!(error.to_string().contains("its log cannot be written: No space left"), "{error}");
    for n in 0..written {
        let got = client.get(key(n).as_bytes());
        let got = got.unwrap_or_else(|error| panic!("{n} of {written}: {error}; first {first}"));
        assert_eq!(got.unwrap().value, value);
    }
    assert_eq!(client.get(b"another").unwrap(), None);
    assert!(process.printed().contains("writes are refused until the disk recovers"));

    fs::remove_file(&filler).unwrap();
    wait_until("it recovers", || client.put(b"another", &value).map_err(|e| e.to_string()));
    wait_until("it reports it", || {
        if process.printed().contains("the log is written again") {
            Ok(())
        } else {
            Err(process.printed())
        }
    });
    drop(process);
    let output = Command::new(program("storage")).arg("--check").arg(&folder).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text} {}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains(" synced in 256 of 256 arcs"), "{text}");
}

/// L5: a copy of a data folder that was seen beside its original does not count, whichever node
/// stops and starts again, until an operator adopts it.
#[test]
fn a_copied_data_folder_never_replaces_its_original() {
    let (durability, copies) = (Durability::Sync, 1);
    let mut cluster =
        TestCluster::without_nodes(Options { durability, copies, ..Options::default() });
    let dir = tempdir().unwrap();
    let mut original = start(&cluster, &dir, 0);
    wait_until_healthy(&cluster, 1);
    let client = cluster.client();
    for n in 0..20 {
        client.put(key(n).as_bytes(), b"before").unwrap();
    }
    let copy_to = |name: &str| {
        let copied = dir.path().join(name);
        fs::create_dir(&copied).unwrap();
        for entry in fs::read_dir(dir.path().join("data0")).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copied.join(entry.file_name())).unwrap();
        }
        copied
    };
    let copied = copy_to("copied");
    put_all(&cluster);

    let start_copy = |cluster: &TestCluster| start_process(cluster, "node0", &copied, &[]);
    let is_held_back = |cluster: &TestCluster| match cluster.status()?.folders.as_slice() {
        [folder] if folder.is_copy => Ok(folder.clone()),
        other => Err(format!("{other:?}")),
    };
    let mut copy = start_copy(&cluster);
    wait_until("it is seen beside the original", || is_held_back(&cluster));
    original.kill();
    cluster.stop_manager();
    copy.kill();
    cluster.start_manager();
    let mut copy = start_copy(&cluster);
    wait_until("it is known nevertheless", || is_held_back(&cluster));
    let status = cluster.status().unwrap();
    assert!(status.health.text.ends_with("bring back node0"), "{}", status.health);
    let mut original = start(&cluster, &dir, 0);
    wait_until_healthy(&cluster, 1);
    read_all(&cluster);

    // The operator may continue with a copy; not while the original is present.
    let first = wait_until("it waits yet", || is_held_back(&cluster)).start;
    copy.kill();
    let copied = copy_to("copied again");
    let _copy = start_process(&cluster, "node0", &copied, &[]);
    let id = wait_until("the other copy is seen, and the first has gone", || {
        let folder = is_held_back(&cluster)?;
        if folder.start == first { Err(format!("{folder:?}")) } else { Ok(folder.id) }
    });
    let adopt = |cluster: &TestCluster| {
        let folder = is_held_back(cluster)?;
        cluster.client().adopt_folder(&id, folder.start).map_err(|error| error.to_string())
    };
    let refused = adopt(&cluster).unwrap_err();
    assert!(refused.contains("node0 is there"), "{refused}");
    original.kill();
    wait_until("the operator goes on with the copy", || adopt(&cluster));
    wait_until("it is the node", || {
        let status = cluster.status()?;
        let is_so = status.nodes.iter().any(|node| node.state == NodeState::Active);
        if is_so && status.folders.is_empty() { Ok(()) } else { Err(format!("{status:?}")) }
    });
    read_all(&cluster);
}
