//! The Redis port of a cluster's nodes, over raw sockets.

use e2e::{Options, Resp, TestCluster};

mod cluster;
mod connections;
mod failures;
mod peers;
mod pipelines;
mod strings;

fn options() -> Options {
    Options { has_redis: true, ..Options::default() }
}

fn open(cluster: &TestCluster, node: usize) -> Resp {
    Resp::open(cluster.redis_address(node))
}
