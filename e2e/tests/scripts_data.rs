//! `start_service` on old data: `--fresh` wipes it; otherwise it is used.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use e2e::scripts::Place;

#[test]
fn a_start_with_too_few_nodes_names_the_missing_ones_before_a_wipe() {
    let place = Place::new();
    place.started("--nodes 3 --rep 1 --fresh --durability sync");
    place.started("--add spare");
    place.put_keys(40);
    place.stop();
    let script = place.path("start_service");
    let text = fs::read_to_string(&script).unwrap();
    fs::write(&script, text.replace("readonly wait_ms=30000 ", "readonly wait_ms=2000 ")).unwrap();
    let (code, words) = place.refused("--nodes 2 --rep 1");
    assert_eq!(code, 1);
    let lines: Vec<&str> = words.lines().collect();
    let at = |part: &str| {
        lines
            .iter()
            .position(|line| line.contains(part))
            .unwrap_or_else(|| panic!("{part}: {words}"))
    };
    let order = [
        at("bring back node3, spare"),
        at("in which there was node3 spare too"),
        at("./start_service --nodes 3 starts up to node3"),
        at("start spare by hand"),
        at("--fresh wipes it"),
    ];
    assert!(order.is_sorted(), "{words}");
    place.assert_nothing_runs();
}

#[test]
fn fresh_wipes_logs_and_data_and_nothing_else() {
    let place = Place::new();
    place.started("--nodes 1 --rep 1 --fresh");
    place.stop();
    let old = ["data/old", "data/manager/old", "logs/old.log"];
    let kept = ["logs/perf_throughput.csv", "notes.txt"];
    for file in old.iter().chain(&kept) {
        fs::write(place.path(file), "old").unwrap();
    }
    let log = |place: &Place| fs::read_to_string(place.path("logs/node1.log")).unwrap().len();
    let before = log(&place);
    place.started("--nodes 1 --rep 1");
    assert!(old.iter().all(|file| place.path(file).exists()));
    assert!(log(&place) > before, "the log goes on");
    place.stop();
    place.started("--nodes 1 --rep 1 --fresh");
    assert!(!old.iter().any(|file| place.path(file).exists()));
    assert!(kept.iter().all(|file| place.path(file).exists()));
}

/// Whether a folder holds nothing.
fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).expect("a folder").next().is_none()
}

#[test]
fn fresh_empties_links_to_other_disks_and_leaves_them() {
    let place = Place::new();
    let disk = tempfile::tempdir().unwrap();
    let on_disk = |name: &str| disk.path().join(name);
    for folder in ["data", "node1", "elsewhere", "data/node2/lost+found"] {
        fs::create_dir_all(on_disk(folder)).unwrap();
    }
    for file in ["data/old", "data/node2/old", "node1/old", "node1.log", "elsewhere/kept"] {
        fs::write(on_disk(file), "old").unwrap();
    }
    fs::create_dir(place.path("logs")).unwrap();
    let links = [
        ("data", place.path("data")),
        ("node1", on_disk("data/node1")),
        ("not mounted", on_disk("data/node3")),
        ("node1.log", place.path("logs/node1.log")),
    ];
    for (to, from) in &links {
        symlink(on_disk(to), from).unwrap();
    }
    symlink(on_disk("elsewhere"), on_disk("node1/strange")).unwrap();
    place.started("--nodes 1 --rep 1 --fresh");
    for (to, from) in &links {
        assert_eq!(fs::read_link(from).unwrap(), on_disk(to));
    }
    for gone in ["data/old", "data/node2/old", "node1/old", "node1/strange"] {
        assert!(fs::symlink_metadata(on_disk(gone)).is_err(), "{gone}");
    }
    assert!(on_disk("elsewhere/kept").exists(), "a link far down was followed");
    assert!(on_disk("data/node2/lost+found").exists());
    assert!(!is_empty(&on_disk("node1")) && on_disk("data/manager/view").exists());
    let log = fs::read_to_string(on_disk("node1.log")).unwrap();
    assert!(!log.starts_with("old") && log.contains("listening on"), "{log}");
}

#[test]
fn fresh_empties_mount_points_and_leaves_them() {
    // A private mount, which disappears with its processes.
    let can_mount = Command::new("unshare").args(["-m", "true"]).status();
    if !can_mount.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: unshare is missing or refused: this needs root");
        return;
    }
    for mounted in ["data", "data/node1"] {
        let place = Place::new();
        let script = format!(
            "set -e; mkdir -p {mounted}; mount -t tmpfs -o size=50m tmpfs {mounted}; echo >{mounted}/old
            ./start_service --nodes 1 --rep 1 --fresh; ./stop_service
            ./start_service --nodes 1 --rep 1 --fresh; ./stop_service
            mountpoint -q {mounted}; [[ ! -e {mounted}/old ]]"
        );
        let mut command = place.command("unshare", "-m bash -c");
        let output = command.arg(script).current_dir(place.folder()).output().unwrap();
        assert!(output.status.success(), "{mounted}: {output:?}");
    }
}
