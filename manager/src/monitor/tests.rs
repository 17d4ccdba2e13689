//! A manager's start, and its disk that takes nothing for a while.

use std::fs;
use std::path::Path;

use cluster::ids::{Address, Epoch, Incarnation, NodeId};
use cluster::limits::Limits;
use cluster::membership::{Report, Settings};
use cluster::view::{Member, MemberState, View};

use super::*;
use crate::requested::RequestedSettings;
use crate::state::{self, Loaded};

fn settings() -> Settings {
    let limits = Limits::default();
    Settings {
        heartbeat_ms: 100,
        missed: 3,
        arcs: 8,
        copies: 1,
        limits,
        min_copies: 1,
        durability: cluster::durability::Durability::default(),
        rebalance_ms: 300_000,
        return_ms: 5_000,
    }
}

fn config(settings: Settings, data: &Path) -> Config {
    Config {
        settings,
        asked: RequestedSettings::default(),
        limits: Default::default(),
        secret: None,
        data: Some(data.into()),
        trusts_refused: true,
    }
}

fn loaded(data: &Path) -> Saved {
    match StateFile::open(data).unwrap().load().unwrap() {
        Some(Loaded::Whole(saved)) => saved,
        other => panic!("{other:?}"),
    }
}

/// Its leases of 300 ms may not be those of the manager before.
#[test]
fn a_state_without_leases_is_waited_for_once() {
    let member = Member {
        id: NodeId::new("node1").unwrap(),
        incarnation: Incarnation(1),
        address: Address::new("127.0.0.1", 1).unwrap(),
        redis_port: 0,
        weight: 1,
        state: MemberState::Active,
        on_disk: false,
    };
    let unborn = resume::unborn(settings(), ClusterId(1));
    let view = View { epoch: Epoch(1), members: vec![member], ..unborn };
    for (lease_was_ms, longest_ms) in [(None, 30_000), (Some(20_000), 20_000), (Some(100), 300)] {
        let folder = tempfile::tempdir().unwrap();
        let before = Saved::new(view.clone(), settings().terms());
        fs::write(folder.path().join("view"), state::tests::format_4(&before)).unwrap();
        let asked = RequestedSettings { lease_was_ms, ..RequestedSettings::default() };
        let start = |settings| {
            drop(Monitor::start(&Config { asked, ..config(settings, folder.path()) }).unwrap());
            loaded(folder.path())
        };
        let found = start(settings());
        assert_eq!(found, Saved { longest_ms, ..before.clone() });
        // The next one finds it there, and its own flags do not count.
        let slower = Settings { heartbeat_ms: 60_000, ..settings() };
        assert_eq!(start(slower), found);
    }
}

fn beat(handle: &Handle, epoch: Epoch) -> (Epoch, Epoch, bool) {
    let report = Report { epoch, ..Report::default() };
    match handle.event(Event::Heartbeat(Incarnation(1), report)) {
        Some(Answer::Known { newest, active, lease }) => (newest.epoch(), active, lease.is_some()),
        other => panic!("{other:?}"),
    }
}

/// The disk is full, as it were: the folder is not there.
#[test]
fn heartbeats_are_answered_while_nothing_can_be_saved() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut monitor = Monitor::start(&config(settings(), &data)).unwrap();
    let handle = monitor.handle();
    fs::remove_dir_all(&data).unwrap();
    let who = Newcomer {
        id: NodeId::new("node1").unwrap(),
        incarnation: Incarnation(1),
        address: Address::new("127.0.0.1", 1).unwrap(),
        redis_port: 0,
        on_disk: false,
        weight: 1,
    };
    assert!(matches!(
        handle.event(Event::Register {
            who,
            returns: false,
            claim: None,
            seen: None,
            reached: Ok(())
        }),
        Some(Answer::Known { .. })
    ));
    for _ in 0..10 {
        assert_eq!(beat(&handle, Epoch::NONE), (Epoch::NONE, Epoch::NONE, false));
        std::thread::sleep(Duration::from_millis(10));
    }
    let health = || handle.status().unwrap().health.text;
    let deadline = Instant::now() + Duration::from_secs(20);
    while !health().contains("the manager cannot save its views (cannot write") {
        assert!(Instant::now() < deadline, "{}", health());
        std::thread::sleep(Duration::from_millis(10));
    }
    fs::create_dir(&data).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while beat(&handle, Epoch::NONE).0 == Epoch::NONE {
        assert!(Instant::now() < deadline, "it is not tried again");
        std::thread::sleep(Duration::from_millis(10));
    }
    // The view becomes active; that is on the disk when the manager has stopped, if not before.
    beat(&handle, Epoch(1));
    assert_eq!(handle.published().epoch(), Epoch(1));
    assert!(!health().contains("save"), "{}", health());
    monitor.stop();
    let saved = loaded(&data);
    assert_eq!((saved.active.epoch, saved.coming), (Epoch(1), None));
}

#[test]
fn a_folder_that_takes_no_state_is_found_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_owned();
    // The saved file cannot replace a folder; root may write anywhere else.
    fs::create_dir_all(data.join("view.new/in the way")).unwrap();
    let error = Monitor::start(&config(settings(), &data)).err().unwrap().to_string();
    assert!(error.starts_with("cannot write "), "{error}");
    fs::remove_dir_all(data.join("view.new")).unwrap();
    // The cluster has its name from now on, but is not born: the flags of its next start count.
    let born = |settings: Settings| {
        let monitor = Monitor::start(&config(settings, &data)).unwrap();
        monitor.handle().published().view().clone()
    };
    let first = born(settings());
    let second = born(Settings { copies: 3, ..settings() });
    assert_eq!((first.cluster, first.copies, second.copies), (second.cluster, 1, 3));
}
