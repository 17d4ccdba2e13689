//! `stop_service`: it stops its own service, and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use e2e::scripts::{Place, err, is_running, out, signal, unrelated_process};

#[test]
fn stop_is_quiet_after_a_crash_and_without_a_service() {
    let place = Place::new();
    let never = place.stop();
    assert_eq!((out(&never), err(&never)), (String::new(), String::new()));
    place.started("--nodes 2 --rep 1 --fresh");
    for line in 0..3 {
        place.kill(line);
    }
    let crashed = place.stop();
    assert_eq!((out(&crashed), err(&crashed)), (String::new(), String::new()));

    // A start also clears up after a crash.
    place.started("--nodes 2 --rep 1 --fresh");
    for line in 0..3 {
        place.kill(line);
    }
    place.started("--nodes 2 --rep 1 --fresh");
}

#[test]
fn stop_ends_a_process_that_does_not_listen() {
    let place = Place::new();
    place.started("--nodes 2 --rep 1 --fresh");
    signal("STOP", &place.pids()[2]);
    place.stop();
    place.assert_nothing_runs();
}

#[test]
fn stop_leaves_foreign_processes_alone() {
    let place = Place::new();
    let mut foreign = unrelated_process();
    let pid = foreign.id().to_string();

    // A file that another program has written, without a record.
    fs::write(place.path("service_pids.txt"), format!("{pid}\n")).unwrap();
    let output = place.stop();
    assert!(err(&output).contains(&format!("process {pid}")), "{output:?}");
    assert!(is_running(&mut foreign));

    // A foreign pid in the place of one of ours.
    place.started("--nodes 2 --rep 1 --fresh");
    let pids = place.pids();
    fs::write(place.path("service_pids.txt"), format!("{}\n{pid}\n{}\n", pids[0], pids[2]))
        .unwrap();
    place.stop();
    place.assert_nothing_runs();
    assert!(is_running(&mut foreign));

    // A pid that the system has reused: another start time, and then (which would take luck) the
    // same time but another program.
    place.started("--nodes 2 --rep 1 --fresh");
    let node1 = place.pids().swap_remove(1);
    let record = fs::read_to_string(place.path("service_flags.txt")).unwrap();
    let line = record.lines().find(|line| line.starts_with("process=node1 ")).unwrap();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let ticks = stat.rsplit(") ").next().unwrap().split(' ').nth(19).unwrap();
    let old_ticks = line.rsplit(' ').next().unwrap();
    for ticks in [old_ticks, ticks] {
        let other = format!("process=node1 {} {pid} {ticks}", place.port + 1);
        fs::write(place.path("service_flags.txt"), record.replace(line, &other)).unwrap();
        place.stop();
        assert!(is_running(&mut foreign));
    }
    let left: BTreeSet<String> = place.processes().into_iter().map(|(pid, _)| pid).collect();
    assert_eq!(left, BTreeSet::from([node1]), "only the one that the record has lost");
}

#[test]
fn a_copied_folder_does_not_touch_the_originals_service() {
    let place = Place::new();
    place.started("--nodes 2 --rep 1 --fresh");
    let record = fs::read_to_string(place.path("service_flags.txt")).unwrap();
    let copy = Place::new();
    for file in ["service_flags.txt", "service_pids.txt"] {
        fs::copy(place.path(file), copy.path(file)).unwrap();
    }
    // It starts a service of its own, and stops no other.
    copy.started("--nodes 2 --rep 1 --fresh");
    assert_eq!(out(&copy.stop()), "stopped manager node1 node2\n");
    fs::write(copy.path("service_flags.txt"), &record).unwrap();
    let stopped = copy.stop();
    assert_eq!(out(&stopped), "");
    let words = err(&stopped);
    assert!(words.contains("node1, process ") && words.contains(": left alone"), "{words}");
    assert!(place.client_output("--status").ends_with("health: healthy\n"));

    // A folder that was moved is still the same folder.
    let moved = tempfile::tempdir().unwrap();
    let (from, to) = (place.folder(), moved.path().join("moved"));
    fs::rename(from, &to).unwrap();
    let output = place.command(to.join("stop_service"), "").output().unwrap();
    fs::rename(&to, from).unwrap();
    assert_eq!(out(&output), "stopped manager node1 node2\n", "{output:?}");
}

#[test]
fn a_folder_that_machines_share_is_stopped_on_the_one_that_started_it() {
    let place = Place::new();
    place.started("--nodes 1 --rep 1 --fresh");
    let file = place.path("service_flags.txt");
    let record = fs::read_to_string(&file).unwrap();
    let machine = record.lines().find(|line| line.starts_with("machine=")).expect("it is recorded");
    let elsewhere = record.replace(machine, "machine=other-host other-boot pid:[1]");
    fs::write(&file, &elsewhere).unwrap();
    for (script, arguments) in
        [("stop_service", ""), ("start_service", "--nodes 1 --rep 1"), ("start_service", "--add x")]
    {
        let output = place.run(script, arguments);
        assert_eq!(output.status.code(), Some(2), "{script} {arguments}: {output:?}");
        let want = "was started on other-host, which shares this folder: stop it there";
        assert!(err(&output).contains(want), "{script} {arguments}: {output:?}");
        assert_eq!(fs::read_to_string(&file).unwrap(), elsewhere);
    }
    // A copy of it is another folder.
    let folder = record.lines().find(|line| line.starts_with("folder=")).expect("it is recorded");
    fs::write(&file, elsewhere.replace(folder, "folder=1")).unwrap();
    assert_eq!(out(&place.stop()), "stopped manager node1\n");
}

#[test]
fn a_user_without_permission_does_not_forget_a_service() {
    let as_other = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let is_root = Command::new("setpriv").args(as_other).arg("true").status();
    if !is_root.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: setpriv is missing or refused: this needs root");
        return;
    }
    let place = Place::new();
    fs::set_permissions(place.folder(), fs::Permissions::from_mode(0o777)).unwrap();
    place.started("--nodes 2 --rep 1 --fresh");
    let record = place.path("service_flags.txt");
    // A user with read access to the record sees no processes; one without does not even know of
    // any.
    for mode in [0o644, 0o600] {
        fs::set_permissions(&record, fs::Permissions::from_mode(mode)).unwrap();
        for script in ["stop_service", "start_service --nodes 1 --rep 1"] {
            let call = format!("{} {}", as_other.join(" "), place.path(script).display());
            let output = place.command("setpriv", &call).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{call}: {output:?}");
            let words = err(&output);
            assert!(words.contains("root's, ") && words.contains("may not"), "{words}");
        }
    }
    assert_eq!(out(&place.stop()), "stopped manager node1 node2\n");
    place.assert_nothing_runs();
}

#[test]
fn some_of_a_service_may_be_stopped_and_started_again() {
    let place = Place::new();
    place.started("--nodes 3 --rep 2 --fresh");
    let before = place.pids();
    for name in ["node9", "node2 node9", "node2 --all"] {
        let output = place.run("stop_service", name);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
    assert_eq!(place.processes().len(), 4);
    assert_eq!(out(&place.run("stop_service", "node2")), "stopped node2\n");
    assert_eq!(place.processes().len(), 3);
    let again = place.run("stop_service", "node2");
    assert!(again.status.success() && again.stdout.is_empty(), "{again:?}");
    place.started("--add node2");
    let after = place.pids();
    assert_ne!(after[2], before[2]);
    assert_eq!((&after[..2], &after[3..]), (&before[..2], &before[3..]));
    assert_eq!(out(&place.run("stop_service", "node3 manager")), "stopped manager node3\n");
    assert_eq!(out(&place.stop()), "stopped node1 node2\n");
    place.assert_nothing_runs();
}
