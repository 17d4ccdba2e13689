use super::*;

fn workload(keys: u32, read_fraction: f64) -> Workload {
    Workload::new(7, keys, read_fraction, 32).expect("valid")
}

#[test]
fn equal_seeds_draw_equal_operations_and_workers_differ() {
    let draw = |seed, worker| {
        let workload = Workload::new(seed, 1_000, 0.5, 32).expect("valid");
        let mut stream = workload.stream(worker, 4, 10).expect("valid");
        (0..100).map(|_| stream.next_op()).collect::<Vec<_>>()
    };
    assert_eq!(draw(1, 0), draw(1, 0));
    assert_ne!(draw(1, 0), draw(2, 0));
    let keys = |ops: Vec<WorkloadOp>| ops.iter().map(WorkloadOp::key_index).collect::<Vec<_>>();
    assert_ne!(keys(draw(1, 0)), keys(draw(1, 1)));
}

#[test]
fn a_batch_has_distinct_keys_and_a_writer_only_its_own() {
    for keys in [8, 9, 11, 100] {
        for zipf in [false, true] {
            let mut workload = workload(keys, 0.3);
            if zipf {
                workload = workload.with_zipf(YCSB_SKEW).expect("valid");
            }
            for worker in 0..4 {
                let mut stream = workload.stream(worker, 4, keys / 4).expect("valid");
                for _ in 0..200 {
                    let batch = stream.next_batch();
                    assert_eq!(batch.len() as u32, keys / 4);
                    let distinct: HashSet<u32> = batch.iter().map(WorkloadOp::key_index).collect();
                    assert_eq!(distinct.len(), batch.len());
                    for op in batch {
                        assert!(op.key_index() < keys);
                        if let WorkloadOp::Put { key_index, .. } = op {
                            assert_eq!(key_index % 4, worker);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn values_are_numbered_from_one_for_each_key() {
    let mut stream = workload(20, 0.0).stream(1, 2, 1).expect("valid");
    let mut counts = [0; 20];
    for _ in 0..500 {
        let WorkloadOp::Put { key_index, sequence, value } = stream.next_op() else {
            panic!("nothing is read");
        };
        counts[key_index as usize] += 1;
        assert_eq!(sequence, counts[key_index as usize]);
        let stamp = Stamp { key_index, worker: 1, sequence };
        assert_eq!(value.len(), 32);
        assert_eq!(Stamp::decode(&value, 32), Some(stamp));
    }
}

#[test]
fn the_fraction_of_reads_is_kept() {
    for (fraction, range) in [(0.0, 0..=0), (0.5, 4_800..=5_200), (1.0, 10_000..=10_000)] {
        let mut stream = workload(1_000, fraction).stream(0, 1, 1).expect("valid");
        let reads =
            (0..10_000).filter(|_| matches!(stream.next_op(), WorkloadOp::Get { .. })).count();
        assert!(range.contains(&reads), "{reads} of 10,000 for {fraction}");
    }
}

#[test]
fn the_own_keys_of_all_workers_are_all_keys() {
    let workload = workload(10, 0.5);
    let mut all: Vec<u32> = (0..3)
        .flat_map(|worker| workload.stream(worker, 3, 1).expect("valid").own_keys())
        .collect();
    all.sort_unstable();
    assert_eq!(all, (0..10).collect::<Vec<_>>());
}

#[test]
fn every_own_key_can_be_filled_first() {
    let mut stream = workload(10, 0.5).stream(1, 3, 1).expect("valid");
    let filled: Vec<u32> =
        stream.own_keys().map(|key_index| stream.put(key_index).key_index()).collect();
    assert_eq!(filled, [1, 4, 7]);
}

#[test]
#[should_panic(expected = "key 2 is not worker 1's")]
fn another_workers_key_cannot_be_written() {
    let mut stream = workload(10, 0.5).stream(1, 3, 1).expect("valid");
    stream.put(2);
}

#[test]
fn keys_have_the_prefix_and_the_index() {
    assert_eq!(workload(10, 0.5).key(9), "tp_key_9");
    let renamed = workload(10, 0.5).with_prefix("lb_").expect("short enough");
    assert_eq!(renamed.key(0), "lb_0");
}

#[test]
fn an_invalid_workload_is_refused_with_the_reason() {
    use WorkloadError as E;
    let new = |keys, reads| Workload::new(0, keys, reads, 8).map(|_| ());
    assert_eq!(new(0, 0.5), Err(E::Keys(0)));
    assert_eq!(new(MAX_KEYS + 1, 0.5), Err(E::Keys(MAX_KEYS + 1)));
    assert_eq!(new(1, 1.5), Err(E::ReadFraction(1.5)));
    assert!(matches!(new(1, f64::NAN), Err(E::ReadFraction(_))));
    assert_eq!(new(MAX_KEYS, 0.5), Ok(()));

    let some = || workload(101, 0.5);
    assert!(some().with_prefix("12345678901234567").is_ok());
    let long = some().with_prefix("123456789012345678").map(|_| ());
    assert_eq!(long, Err(E::KeyTooLong("123456789012345678100".to_owned())));
    for skew in [0.0, 1.0, -1.0, f64::NAN] {
        assert!(matches!(some().with_zipf(skew), Err(E::Skew(_))));
    }

    let stream = |worker, workers, batch| some().stream(worker, workers, batch).map(|_| ());
    assert_eq!(stream(3, 4, 25), Ok(()));
    let (worker, workers) = (4, 4);
    assert_eq!(stream(4, 4, 1), Err(E::Worker { worker, workers }));
    assert!(matches!(stream(0, 0, 1), Err(E::Worker { .. })));
    assert!(matches!(stream(0, 4, 0), Err(E::Batch { .. })));
    assert!(matches!(stream(0, 102, 1), Err(E::Batch { .. })));
    assert_eq!(
        stream(0, 4, 26).map_err(|error| error.to_string()),
        Err("101 keys among 4 workers do not fill batches of 26".to_owned())
    );
}
