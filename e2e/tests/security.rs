//! A cluster with a secret, and peers without it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use client::{ClientError, GTStoreClient};
use cluster::ids::NodeId;
use cluster::membership::Loss;
use e2e::{Options, RawConnection, TestCluster, frame};
use net_common::auth::{self, Secret};
use net_common::bind::{self, BindError};
use net_common::connection::NetError;
use net_common::frame::{FORMAT_BINARY, FORMAT_TEXT, Kind};
use net_common::message::Message;
use net_common::message::control::{AcceptLoss, Hello, InfoRequest, StatusRequest};
use net_common::message::coordinated::Get;
use storage::Storage;

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes()).unwrap()
}

fn right() -> Secret {
    secret("the right secret, long enough")
}

fn wrong() -> Secret {
    secret("a wrong secret, long as well")
}

fn guarded() -> TestCluster {
    TestCluster::with(Options { secret: Some(right()), ..Options::default() })
}

/// The error that a client with this secret gets.
fn refusal(cluster: &TestCluster, secret: Option<Secret>) -> String {
    let mut config = cluster.config();
    config.secret = secret;
    let begin = Instant::now();
    let error = GTStoreClient::init(config).err().expect("it must not get in");
    assert!(begin.elapsed() >= auth::SLOWED, "refusals are slowed down");
    match error {
        ClientError::NoManager { source: NetError::Refused { refused, .. }, .. } => {
            refused.to_string()
        }
        other => panic!("{other}"),
    }
}

#[test]
fn with_the_secret_everything_works() {
    let mut cluster = guarded();
    let client = cluster.client();
    client.put(b"key", b"value").unwrap();
    assert_eq!(client.get(b"key").unwrap().unwrap().value, b"value");
    // Nodes fetch from each other, and coordinate for clients.
    cluster.add_node();
    cluster.stop_node(0);
    cluster.wait_until_well();
    cluster.assert_replicas(b"key", Some(b"value"));
    client.delete(b"key").unwrap();
    assert_eq!(client.get(b"key").unwrap(), None);
    assert_eq!(client.node_infos().unwrap().len(), 3);
    assert_eq!(client.status().unwrap().health.text, "healthy");
}

#[test]
fn peers_without_the_right_secret_are_refused() {
    let cluster = guarded();
    let none = refusal(&cluster, None);
    assert_eq!(none, "auth: this cluster has a secret, prove it first (--secret-file)");
    assert_eq!(refusal(&cluster, Some(wrong())), "auth: the secret is wrong");
    cluster.wait_until_well();
}

fn assert_refused<'m>(address: SocketAddr, request: &impl Message<'m>) {
    let mut connection = RawConnection::open(address);
    let reply = connection.ask(request);
    assert!(reply.error().starts_with("auth: "), "{}", reply.error());
    connection.expect_end();
}

#[test]
fn every_request_needs_the_proof_first() {
    let cluster = guarded();
    let (node, manager) = (cluster.node_address(0), cluster.manager_address());
    assert_refused(node, &Get(b"key"));
    assert_refused(node, &InfoRequest);
    assert_refused(manager, &Hello);
    assert_refused(manager, &StatusRequest);
    assert_refused(manager, &AcceptLoss(Loss::default()));
}

#[test]
fn a_node_with_a_wrong_secret_stays_outside() {
    let cluster = guarded();
    let mut config = cluster.node_config(&NodeId::new("stranger").unwrap());
    config.secret = Some(wrong());
    let listener = bind::listen("127.0.0.1", 0, true).unwrap();
    let stranger = Storage::start(listener, None, config).unwrap();
    // It is refused at every attempt; that nothing happens can only be waited for.
    std::thread::sleep(2 * auth::SLOWED);
    assert_eq!(cluster.status().unwrap().nodes.len(), 3);
    assert!(stranger.node().routes().is_none());
}

#[test]
fn a_client_with_a_secret_does_not_trust_a_cluster_without() {
    let cluster = TestCluster::start(1, 1);
    let mut config = cluster.config();
    config.secret = Some(right());
    let error = GTStoreClient::init(config).err().unwrap();
    assert!(matches!(error, ClientError::NoManager { .. }), "{error}");
    // And the error names the remedy.
    let want = "auth: this cluster has no secret: leave out --secret-file and GTSTORE_SECRET_FILE";
    assert!(error.to_string().ends_with(want), "{error}");
}

/// The bytes that a caller with the right secret sends, recorded; the replies are discarded.
fn recorded(cluster: &TestCluster) -> (Vec<u8>, Vec<u8>) {
    let (mut connection, hello, proof) = proved(cluster.node_address(0));
    assert_eq!(connection.ask(&InfoRequest).kind, Kind::NodeInfoReply as u16);
    (hello, proof)
}

/// An authenticated connection, and the bytes of its handshake.
fn proved(address: SocketAddr) -> (RawConnection, Vec<u8>, Vec<u8>) {
    let mut connection = RawConnection::open(address);
    let mut hello = Vec::new();
    let own = auth::hello(&mut hello).unwrap();
    connection.send(&hello);
    let challenge = connection.receive().unwrap();
    assert_eq!(challenge.kind, Kind::AuthChallenge as u16);
    let mut proof = Vec::new();
    auth::answer(&right(), &own, &challenge.payload, &mut proof);
    connection.send(&proof);
    let answer = connection.receive().unwrap();
    assert_eq!(answer.kind, Kind::AuthOk as u16);
    assert!(auth::is_answerer(&right(), &own, &challenge.payload, &answer.payload));
    assert!(!auth::is_answerer(&wrong(), &own, &challenge.payload, &answer.payload));
    (connection, hello, proof)
}

/// A client with the secret does not need the format without a handshake.
#[test]
fn format_0_stays_off_after_the_handshake() {
    let cluster = guarded();
    cluster.client().put(b"k", b"v").unwrap();
    for address in [cluster.node_address(0), cluster.manager_address()] {
        for kind in [Kind::ClientPut, Kind::ClientGet, Kind::StorageRegister, Kind::ClientHello] {
            let (mut connection, ..) = proved(address);
            connection.send(&frame(kind as u16, FORMAT_TEXT, b"k|v"));
            assert_eq!(connection.receive().unwrap().error(), "auth");
            connection.expect_end();
        }
    }
}

#[test]
fn a_recorded_handshake_opens_nothing() {
    let cluster = guarded();
    let (hello, proof) = recorded(&cluster);
    for node in 0..2 {
        let mut connection = RawConnection::open(cluster.node_address(node));
        connection.send(&hello);
        assert_eq!(connection.receive().unwrap().kind, Kind::AuthChallenge as u16);
        let begin = Instant::now();
        connection.send(&proof);
        assert_eq!(connection.receive().unwrap().error(), "auth: the secret is wrong");
        assert!(begin.elapsed() >= auth::SLOWED);
        connection.expect_end();
    }
    // All at once, followed by a request: the only reply is one error.
    let mut connection = RawConnection::open(cluster.node_address(0));
    let request = frame(Kind::NodeInfo as u16, FORMAT_BINARY, b"");
    connection.send(&[hello, proof, request].concat());
    assert_eq!(connection.receive().unwrap().kind, Kind::AuthChallenge as u16);
    assert_eq!(connection.receive().unwrap().error(), "auth: the secret is wrong");
    connection.expect_end();
}

#[test]
fn proofs_of_every_wrong_shape_are_refused() {
    let cluster = guarded();
    let kinds = [Kind::AuthHello, Kind::AuthProof, Kind::AuthChallenge, Kind::AuthOk];
    let mut refused: Vec<RawConnection> = Vec::new();
    for kind in kinds {
        for size in [0, 1, 31, 33, 64, 100_000] {
            let mut connection = RawConnection::open(cluster.node_address(0));
            connection.send(&frame(kind as u16, FORMAT_BINARY, &vec![0; size]));
            refused.push(connection);
        }
    }
    for connection in &mut refused {
        assert!(connection.receive().unwrap().error().starts_with("auth: "));
        connection.expect_end();
    }
}

#[test]
fn guessing_does_not_slow_down_authorized_clients() {
    let cluster = guarded();
    let client = cluster.client();
    client.put(b"key", b"value").unwrap();
    let mut guesses: Vec<RawConnection> = (0..50)
        .map(|_| {
            let mut connection = RawConnection::open(cluster.node_address(0));
            connection.send(&frame(Kind::AuthProof as u16, FORMAT_BINARY, &[0; 32]));
            connection
        })
        .collect();
    let begin = Instant::now();
    client.put(b"key", b"newer").unwrap();
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    for guess in &mut guesses {
        assert!(guess.receive().unwrap().error().starts_with("auth: "));
    }
}

#[test]
fn beyond_loopback_a_secret_is_needed() {
    for host in ["0.0.0.0", "::"] {
        match bind::listen(host, 0, false) {
            Err(error @ BindError::Open(_)) => {
                let text = error.to_string();
                assert!(text.contains("--secret-file"), "it names the flag: {text}");
            }
            other => panic!("{host}: {other:?}"),
        }
    }
    bind::listen("0.0.0.0", 0, true).unwrap();
}
