//! Nodes that die and return while clients continue.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use e2e::{Options, Resp, TestCluster, wait_until};

use crate::{open, options};

#[test]
fn expiry_times_survive_a_death_and_a_return() {
    let mut cluster = TestCluster::with(Options { nodes: 4, copies: 3, ..options() });
    let mut node = open(&cluster, 0);
    const KEYS: usize = 300;
    let set: Vec<String> = (0..KEYS)
        .flat_map(|n| {
            [
                format!("SET long:{n} v PX 10000000"),
                format!("SET short:{n} v PX 4000"),
                format!("SET renewed:{n} v PX 4000"),
            ]
        })
        .collect();
    assert!(node.pipeline(&set).iter().all(|answer| answer == "OK"));
    cluster.stop_node(3);
    let renew: Vec<String> = (0..KEYS).map(|n| format!("PERSIST renewed:{n}")).collect();
    // In a second of mid-failure each command may have to be repeated.
    let answers = node.pipeline(&renew);
    assert!(answers.iter().all(|answer| answer == ":1"), "{answers:?}");
    cluster.wait_until_well();
    cluster.start_node(3);
    cluster.wait_until_well();
    let mut other = open(&cluster, 3);
    for n in 0..KEYS {
        let ttl = other.ask(&format!("PTTL long:{n}"));
        let ttl: u64 = ttl[1..].parse().unwrap_or_else(|_| panic!("{ttl}"));
        assert!((1..=10_000_000).contains(&ttl), "{ttl}");
        assert_eq!(other.ask(&format!("PTTL renewed:{n}")), ":-1");
        wait_until("it has expired", || match other.ask(&format!("GET short:{n}")).as_str() {
            "nil" => Ok(()),
            value => Err(value.to_owned()),
        });
        assert_eq!(node.ask(&format!("EXISTS short:{n}")), ":0");
    }
    assert_eq!(node.ask("DBSIZE"), format!(":{}", 2 * KEYS));
    cluster.assert_replicas(b"short:0", None);
    cluster.assert_replicas(b"renewed:0", Some(b"v"));
    let held: u64 = (0..4).map(|n| cluster.node(n).node().size().keys).sum();
    assert_eq!(held, 3 * 2 * KEYS as u64, "their memory is given back");
}

#[test]
fn a_cluster_reports_lost_keys() {
    let mut cluster = TestCluster::with(Options { nodes: 2, copies: 1, ..options() });
    let mut node = open(&cluster, 0);
    let reports = |node: &mut Resp, state: &str| match node.ask("CLUSTER INFO") {
        text if text.contains(&format!("cluster_state:{state}\\r")) => Ok(text),
        other => Err(other),
    };
    wait_until("all is well", || reports(&mut node, "ok"));
    cluster.stop_node(1);
    let text = wait_until("its keys are lost", || reports(&mut node, "fail"));
    let slots = |name: &str| -> u32 {
        let found = text.split("\\r\\n").find_map(|line| line.trim_matches('"').strip_prefix(name));
        found.expect("it is reported").parse().expect("a number")
    };
    let (ok, lost) = (slots("cluster_slots_ok:"), slots("cluster_slots_fail:"));
    assert!(ok > 0 && lost > 0 && ok + lost == 16_384, "{text}");
}

/// A connection to one of several nodes, and to the next one when that is down.
struct Roaming {
    addresses: Vec<SocketAddr>,
    at: usize,
    node: Option<Resp>,
}

impl Roaming {
    fn new(cluster: &TestCluster, first: usize, nodes: usize) -> Roaming {
        let addresses = (0..nodes).map(|n| cluster.redis_address(n)).collect();
        Roaming { addresses, at: first % nodes, node: None }
    }

    /// The reply; an error if the connection closed before it arrived.
    fn ask(&mut self, line: &str) -> Result<String, String> {
        let mut node = self.node.take().unwrap_or_else(|| {
            wait_until("some node listens", || {
                self.at = (self.at + 1) % self.addresses.len();
                Resp::try_open(self.addresses[self.at]).map_err(|e| e.to_string())
            })
        });
        let answer = node.try_ask(line).map_err(|e| e.to_string())?;
        self.node = Some(node);
        Ok(answer)
    }

    /// The same, repeated until a reply shows the outcome.
    fn ask_again(&mut self, line: &str) -> String {
        wait_until("it is answered", || match self.ask(line) {
            Ok(answer) if !answer.starts_with('-') => Ok(answer),
            Ok(error) | Err(error) => Err(error),
        })
    }
}

#[test]
fn every_acknowledged_incr_counts_once_through_a_death_and_a_return() {
    const CONNECTIONS: usize = 8;
    const EACH: u64 = 150;
    let mut cluster = TestCluster::with(Options { copies: 3, ..options() });
    let (done, unknown) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for n in 0..CONNECTIONS {
            let (done, unknown, mut node) = (&done, &unknown, Roaming::new(&cluster, n, 3));
            scope.spawn(move || {
                for _ in 0..EACH {
                    let count = match node.ask("INCR counter") {
                        Ok(answer) if answer.starts_with(':') => done,
                        Ok(error) if error.starts_with("-ERR outcome unknown") => unknown,
                        // Certainly not done.
                        Ok(error) if error.starts_with("-TRYAGAIN") => continue,
                        Ok(error) => panic!("{error}"),
                        Err(_) => unknown,
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        wait_until("some are through", || match done.load(Ordering::Relaxed) {
            n if n < 2 * EACH => Err(format!("{n}")),
            _ => Ok(()),
        });
        cluster.stop_node(2);
        cluster.start_node(2);
    });
    let sum = Roaming::new(&cluster, 0, 3).ask_again("INCRBY counter 0");
    let sum: u64 = sum.strip_prefix(':').expect("a number").parse().unwrap();
    let (done, unknown) = (done.into_inner(), unknown.into_inner());
    assert!(done > 2 * EACH, "{done}");
    assert!((done..=done + unknown).contains(&sum), "{done} done, {unknown} unknown: {sum}");
}

#[test]
fn a_lock_is_held_by_one_at_a_time_through_a_death_and_a_return() {
    const CONTENDERS: usize = 8;
    const TURNS: u64 = 200;
    let mut cluster = TestCluster::with(Options { nodes: 4, copies: 3, ..options() });
    let (holders, turns) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for me in 0..CONTENDERS {
            let (holders, turns, mut node) = (&holders, &turns, Roaming::new(&cluster, me, 4));
            scope.spawn(move || {
                let mut tries = Vec::new();
                while turns.load(Ordering::SeqCst) < TURNS {
                    let token = format!("{me}.{}", tries.len());
                    tries.push(token.clone());
                    let token = match node.ask(&format!("SET lock {token} NX PX 600000")) {
                        Ok(answer) if answer == "OK" => token,
                        // Held; perhaps by an attempt whose reply was lost.
                        Ok(_) | Err(_) => {
                            let held = node.ask_again("GET lock");
                            match tries.iter().find(|token| format!("\"{token}\"") == held) {
                                Some(token) => token.clone(),
                                None => continue,
                            }
                        }
                    };
                    assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0, "two hold it");
                    turns.fetch_add(1, Ordering::SeqCst);
                    thread::yield_now();
                    assert_eq!(holders.fetch_sub(1, Ordering::SeqCst), 1, "two hold it");
                    // Repeated if the reply is lost: then the lock may be released already.
                    let released = node.ask_again(&format!("DELIFEQ lock {token}"));
                    assert!([":0", ":1"].contains(&&released[..]), "{released}");
                }
            });
        }
        for number in [3, 1] {
            let before = turns.load(Ordering::SeqCst);
            wait_until("some have had their turn", || match turns.load(Ordering::SeqCst) {
                n if n < (before + TURNS / 4).min(TURNS) => Err(format!("{n}")),
                _ => Ok(()),
            });
            cluster.stop_node(number);
            cluster.start_node(number);
        }
    });
    assert_eq!(Roaming::new(&cluster, 0, 4).ask_again("GET lock"), "nil");
}
