//! `start_service --add`: nodes that join, return, or leave.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use client::{Config, GTStoreClient};
use e2e::programs;
use e2e::scripts::{INTERRUPTS, PATIENCE, Place, ended, err, out, signal, wait_until_so};
use net_common::connection::{Connection, Dial};
use net_common::frame::PayloadLimit;
use net_common::message::coordinated::Get;

#[test]
fn a_killed_node_comes_back_on_its_line_and_a_new_one_is_appended() {
    let place = Place::new();
    place.started("--nodes 3 --rep 2 --fresh --weight 2");
    place.put_keys(20);
    let before = place.pids();
    place.kill(2);
    place.started("--add node2");
    let after = place.pids();
    assert_ne!(after[2], before[2]);
    assert_eq!((&after[..2], &after[3..]), (&before[..2], &before[3..]));

    assert!(out(&place.started("--add node4")).contains(&format!("{}", place.port + 4)));
    place.started("--add=spare");
    let pids = place.pids();
    assert_eq!((pids.len(), &pids[..4]), (6, &after[..]));
    let processes = place.processes();
    let called = |line: usize| &processes.iter().find(|(p, _)| *p == pids[line]).unwrap().1;
    for (line, want) in [
        (2, format!("--label node2 --manager 127.0.0.1:{} --weight=2", place.port)),
        (2, format!("--port {} ", place.port + 2)),
        (4, format!("--label node4 --manager 127.0.0.1:{} --weight=2", place.port)),
        (5, format!("--port {} ", place.port + 5)),
    ] {
        assert!(called(line).contains(&want), "{want}: {}", called(line));
    }
    place.assert_keys(20);
    let status = place.client_output("--status");
    assert_eq!(status.matches(" active ").count(), 5, "{status}");
    assert_eq!(out(&place.stop()), "stopped manager node1 node2 node3 node4 spare\n");
    place.assert_nothing_runs();
}

#[test]
fn a_failed_add_leaves_the_service_unchanged() {
    let place = Place::new();
    place.started("--nodes 3 --rep 2 --fresh");
    place.kill(3);
    let before = place.pids();
    let record = fs::read_to_string(place.path("service_flags.txt")).unwrap();
    // The kernel may take a moment to close the sockets of the killed process.
    let mut taken = None;
    wait_until_so("the port is free", || {
        taken = TcpListener::bind(("127.0.0.1", place.port + 3)).ok();
        taken.is_some()
    });
    let (code, words) = place.refused("--add node3");
    assert_eq!(code, 2);
    assert!(words.contains("is taken"), "{words}");
    assert_eq!(place.pids(), before);
    assert_eq!(fs::read_to_string(place.path("service_flags.txt")).unwrap(), record);
    assert_eq!(place.processes().len(), 3);
    // Nor does any of several start.
    assert_eq!(place.refused("--add node4 node3 node5").0, 2);
    assert_eq!(place.pids(), before);
    assert_eq!(place.processes().len(), 3);
    drop(taken);
    place.started("--add node3");
}

/// A client that rewrites the status with the script `how`, and passes on the rest.
fn client_with_status(how: &str) -> String {
    let client = programs().join("client");
    let client = client.display();
    format!(
        "[[ \"$*\" == *--status* ]] || exec {client} \"$@\"\ntruth() {{ {client} \"$@\"; }}\n{how}"
    )
}

#[test]
fn several_join_at_once() {
    let place = Place::new();
    place.started("--nodes 2 --rep 2 --fresh");
    place.put_keys(20);
    let before = place.pids();
    let printed = out(&place.started("--add node3 spare --add node5"));
    let printed: BTreeSet<&str> = printed.lines().collect();
    let port = |n| place.port + n;
    let want = [("node3", port(3)), ("spare", port(4)), ("node5", port(5))]
        .map(|(name, port)| format!("{name} runs on port {port}"));
    assert_eq!(printed, want.iter().map(String::as_str).collect());
    let pids = place.pids();
    assert_eq!((pids.len(), &pids[..3]), (6, &before[..]));
    let processes = place.processes();
    for (line, name) in [(3, "node3"), (4, "spare"), (5, "node5")] {
        let (_, called) = processes.iter().find(|(p, _)| *p == pids[line]).expect("it runs");
        assert!(called.contains(&format!("--label {name} ")), "line {line}: {called}");
    }
    let status = place.client_output("--status");
    assert_eq!(status.matches(" active ").count(), 5, "{status}");
    place.assert_keys(20);
    assert_eq!(out(&place.stop()), "stopped manager node1 node2 node3 spare node5\n");
}

#[test]
fn an_add_waits_for_a_draining_node_but_not_for_a_running_one() {
    let place = Place::new();
    place.started("--nodes 2 --rep 2 --fresh --max-value 1000000");
    let manager = format!("127.0.0.1:{}", place.port).parse().unwrap();
    let client = GTStoreClient::init(Config::new(manager)).unwrap();
    client.put(b"large", &[b'v'; 1_000_000]).unwrap();
    // A node that is asked to exit finishes its work first: here a reply to a peer that does not
    // read.
    let node = format!("127.0.0.1:{}", place.port + 2).parse().unwrap();
    let dial =
        Dial { connect: PATIENCE, reply: PATIENCE, secret: None, payload: PayloadLimit::default() };
    let mut deaf = Connection::dial(&node, &dial).unwrap();
    for _ in 0..100 {
        deaf.push(&Get(b"large"));
    }
    deaf.flush().unwrap();
    let first = deaf.receive().unwrap().payload.len();
    assert!(first > 1_000_000);
    let before = place.pids();
    signal("TERM", &before[2]);
    place.started("--add node2");
    assert_ne!(place.pids()[2], before[2]);
    let (code, words) = place.refused("--add node2");
    assert!(code == 2 && words.contains("it runs already"), "{words}");
}

#[test]
fn a_name_that_begins_like_an_answer_is_not_an_answer() {
    let place = Place::new();
    place.started("--nodes 1 --rep 1 --fresh");
    place.started("--add waiter");
    let mut command =
        place.command(programs().join("client"), "--weight waiter=1 --deadline-ms 3600000");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = ended(child);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(err(&output), "client: refused: waiter weighs 1 already\n");
}

#[test]
fn a_manager_and_its_nodes_come_back_together() {
    let place = Place::new();
    place.started("--nodes 3 --rep 2 --fresh");
    let before = place.pids();
    for line in [0, 3] {
        place.kill(line);
    }
    let printed = out(&place.started("--add node3 node4 manager"));
    assert!(printed.starts_with(&format!("manager runs on port {}\n", place.port)), "{printed}");
    assert_eq!(printed.lines().count(), 3, "{printed}");
    let pids = place.pids();
    assert_eq!((pids.len(), &pids[1..3]), (5, &before[1..3]));
}

#[test]
fn one_failed_add_does_not_stop_the_others() {
    let storage = programs().join("storage");
    let storage = storage.display();
    let script = format!(
        "[[ $* != *--label?bad* ]] || {{ echo is broken; exit 3; }}\nexec {storage} \"$@\""
    );
    let place = Place::with_stand_ins(&[("storage", &script)]);
    place.started("--nodes 2 --rep 1 --fresh");
    let output = place.start("--add bad node3");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(out(&output), format!("node3 runs on port {}\n", place.port + 4));
    let words = err(&output);
    assert!(words.contains("bad ended with exit code 3") && words.contains("is broken"), "{words}");
    assert_eq!(place.pids().len(), 4);
    assert_eq!(place.processes().len(), 4);
    // Nothing is left of it.
    let record = fs::read_to_string(place.path("service_flags.txt")).unwrap();
    assert!(record.contains("node3") && !record.contains("bad"), "{record}");

    // A refusal by the program has the exit code of a refusal, as at the first start.
    let script = script.replace("exit 3", "exit 2");
    fs::write(place.bin.join("storage"), format!("#!/usr/bin/env bash\n{script}\n")).unwrap();
    assert_eq!(place.refused("--add bad").0, 2);
    assert_eq!(place.pids().len(), 4);
}

#[test]
fn an_add_is_done_when_its_nodes_serve_whatever_the_health() {
    let how = "truth \"$@\" | sed 's/^health: .*/health: degraded: no word from node1/'";
    let place = Place::with_stand_ins(&[("client", &client_with_status(how))]);
    place.started("--nodes 2 --rep 1 --fresh");
    let since = Instant::now();
    place.started("--add node3");
    // Well before the 30 s in which nothing may change.
    assert!(since.elapsed() < Duration::from_secs(25));
}

#[test]
fn an_add_waits_while_something_moves_and_no_longer() {
    // It joins, and has one key more at each status request, up to 100; then it is active.
    let how = "[[ -e logs/node3.log ]] || exit 0; n=$(($(cat asked) + 1)); echo $n >asked\n\
        ((n < 100)) && state=joining || state=$(cat then)\n\
        echo \"node3 $state 127.0.0.1:1 $((n < 100 ? n : 100)) 0\"; echo 'health: healing: 9 arcs to copy'";
    let place = Place::with_stand_ins(&[("client", &client_with_status(how))]);
    let script = place.path("start_service");
    let text = fs::read_to_string(&script).unwrap();
    let impatient = text.replace("readonly wait_ms=30000 ", "readonly wait_ms=2000 ");
    assert_ne!(text, impatient);
    place.started("--nodes 2 --rep 1 --fresh");
    fs::write(&script, impatient).unwrap();

    fs::write(place.path("asked"), "0").unwrap();
    fs::write(place.path("then"), "active").unwrap();
    let since = Instant::now();
    place.started("--add node3");
    assert!(since.elapsed() > Duration::from_secs(2), "the machine is too fast for this test");

    place.kill(3);
    fs::write(place.path("asked"), "99").unwrap();
    fs::write(place.path("then"), "down").unwrap();
    let output = place.start("--add node3");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let words = err(&output);
    assert!(words.contains("node3 runs, but does not serve yet; client --status"), "{words}");
    // Better present and waiting than gone.
    assert_eq!((place.pids().len(), place.processes().len()), (4, 4));
    assert_eq!(out(&place.stop()), "stopped manager node1 node2 node3\n");
}

#[test]
fn an_interrupted_add_leaves_started_nodes_running() {
    // Nothing ever serves; but the manager must not seem to have earlier views.
    let how = "truth \"$@\" | sed 's/ active / down   /'";
    let place = Place::with_stand_ins(&[("client", &client_with_status(how))]);
    place.started("--nodes 1 --rep 1 --fresh");
    for (n, (name, want)) in INTERRUPTS.into_iter().enumerate() {
        let (one, two) = (format!("node{}", 2 * n + 2), format!("node{}", 2 * n + 3));
        let start = place.interruptible(&format!("--add {one} {two}"));
        wait_until_so("it starts both", || place.has_process(&format!("--label {two} ")));
        signal(name, &start.id().to_string());
        let output = ended(start);
        assert_eq!(output.status.code(), Some(want), "{output:?}");
        let words = err(&output);
        for node in [&one, &two] {
            assert!(words.contains(&format!("{node} runs, but does not serve yet")), "{words}");
            assert!(place.has_process(&format!("--label {node} ")), "{node}");
        }
        assert_eq!(place.pids().len(), 2 * n + 4);
    }
    let printed = out(&place.stop());
    assert_eq!(printed, "stopped manager node1 node2 node3 node4 node5 node6 node7\n");
    place.assert_nothing_runs();
}

#[test]
fn a_node_that_has_left_is_not_reported_missing_and_may_come_back() {
    let place = Place::new();
    place.started("--nodes 3 --rep 2 --fresh");
    let before = place.pids();
    let leaves = |line: usize, name: &str| {
        let pid = place.pids().swap_remove(line);
        place.client_output(&format!("--leave {name}"));
        wait_until_so("it ends", || !place.processes().iter().any(|(p, _)| *p == pid));
    };
    leaves(3, "node3");
    place.started("--add node4");
    place.started("--add node3");
    let pids = place.pids();
    assert_eq!((pids.len(), &pids[..3]), (5, &before[..3]));
    assert_ne!(pids[3], before[3]);
    leaves(3, "node3");
    let stopped = place.stop();
    assert_eq!(out(&stopped), "stopped manager node1 node2 node4\n");
    assert_eq!(err(&stopped), "");
    place.assert_nothing_runs();
}

#[test]
fn a_killed_manager_comes_back_and_clients_go_on() {
    let place = Place::new();
    place.started("--nodes 3 --rep 2 --fresh");
    let manager = format!("127.0.0.1:{}", place.port).parse().unwrap();
    let client = GTStoreClient::init(Config::new(manager)).unwrap();
    client.put(b"key1", b"value1").unwrap();
    let before = place.pids();
    place.kill(0);
    let (code, words) = place.refused("--add node4");
    assert_eq!(code, 2);
    assert!(words.contains("the manager is down"), "{words}");
    place.started("--add manager");
    let after = place.pids();
    assert_ne!(after[0], before[0]);
    assert_eq!(after[1..], before[1..]);
    client.put(b"key2", b"value2").unwrap();
    for (key, want) in [("key1", "value1"), ("key2", "value2")] {
        let got = client.get(key.as_bytes()).unwrap().expect("it was stored");
        assert_eq!(got.value, want.as_bytes());
        assert!(
            place.client_output(&format!("--get {key}")).starts_with(&format!("{key}, {want}, "))
        );
    }
    client.finalize();
    wait_until_so("all nodes have registered again", || {
        let status = place.client_output("--status");
        status.ends_with("health: healthy\n") && status.matches(" active ").count() == 3
    });
}
