use std::collections::HashMap;
use std::thread;

use super::super::{Workload, WorkloadOp};
use super::*;

const VALUE_LEN: usize = 24;
const WORKERS: u32 = 2;

/// Key 3 belongs to worker 1 of 2.
const KEY: u32 = 3;

fn expectation() -> Expectation {
    let workload = Workload::new(1, 10, 0.5, VALUE_LEN).expect("valid");
    Expectation::new(&workload, WORKERS)
}

fn value(sequence: u64) -> Vec<u8> {
    let stamp = Stamp { key_index: KEY, worker: KEY % WORKERS, sequence };
    stamp.encode(VALUE_LEN)
}

fn put(expectation: &Expectation, sequence: u64, outcome: Outcome) {
    let pending = expectation.begin_put(KEY, sequence);
    expectation.end_put(pending, outcome).expect("nothing wrong");
}

fn get(expectation: &Expectation, sequence: Option<u64>) -> Result<(), WrongAnswer> {
    let value = sequence.map(value);
    expectation.end_get(expectation.begin_get(KEY), value.as_deref())
}

#[test]
fn an_acknowledged_value_must_be_read() {
    let expectation = expectation();
    assert_eq!(get(&expectation, None), Ok(()));
    put(&expectation, 1, Outcome::Ok);
    assert_eq!(get(&expectation, Some(1)), Ok(()));
    put(&expectation, 2, Outcome::Ok);
    assert_eq!(get(&expectation, Some(2)), Ok(()));
    assert_eq!(get(&expectation, None), Err(WrongAnswer::Absent { key_index: KEY, settled: 2 }));
    assert_eq!(
        get(&expectation, Some(1)),
        Err(WrongAnswer::Stale { key_index: KEY, sequence: 1, settled: 2 })
    );
}

#[test]
fn a_read_during_a_put_may_see_either_value() {
    let expectation = expectation();
    put(&expectation, 1, Outcome::Ok);
    // The read begins first; the put begins and even ends meanwhile.
    for seen in [1, 2] {
        let read = expectation.begin_get(KEY);
        put(&expectation, 2, Outcome::Ok);
        assert_eq!(expectation.end_get(read, Some(&value(seen))), Ok(()));
        // Back to where only 1 is settled.
        expectation.keys[KEY as usize].settled.store(1, Ordering::SeqCst);
    }
    let absent = expectation.end_get(expectation.begin_get(KEY), None);
    assert!(matches!(absent, Err(WrongAnswer::Absent { settled: 1, .. })));
}

#[test]
fn absent_is_right_during_the_first_put() {
    let expectation = expectation();
    let pending = expectation.begin_put(KEY, 1);
    let early = expectation.begin_get(KEY);
    assert_eq!(get(&expectation, None), Ok(()));
    assert_eq!(expectation.end_put(pending, Outcome::Ok), Ok(()));
    assert_eq!(expectation.end_get(early, None), Ok(()), "it began before");
    assert!(matches!(get(&expectation, None), Err(WrongAnswer::Absent { .. })));
}

#[test]
fn a_value_that_was_read_must_be_read_again() {
    let expectation = expectation();
    put(&expectation, 1, Outcome::Ok);
    let pending = expectation.begin_put(KEY, 2);
    assert_eq!(get(&expectation, Some(1)), Ok(()));
    assert_eq!(get(&expectation, Some(2)), Ok(()));
    let back = get(&expectation, Some(1));
    assert!(matches!(back, Err(WrongAnswer::Stale { settled: 2, .. })));
    assert_eq!(expectation.end_put(pending, Outcome::Unknown), Ok(()));
}

#[test]
fn a_value_not_yet_sent_is_wrong() {
    let expectation = expectation();
    put(&expectation, 1, Outcome::Ok);
    assert_eq!(
        get(&expectation, Some(2)),
        Err(WrongAnswer::NeverWritten { key_index: KEY, sequence: 2, begun: 1 })
    );
    assert!(matches!(get(&expectation, Some(0)), Err(WrongAnswer::Foreign { .. })));
    assert_eq!(get(&expectation, Some(1)), Ok(()), "nothing else changed");
}

#[test]
fn an_unknown_put_may_surface_late_or_never() {
    let expectation = expectation();
    put(&expectation, 1, Outcome::Ok);
    put(&expectation, 2, Outcome::Unknown);
    assert_eq!(get(&expectation, Some(1)), Ok(()));
    assert_eq!(get(&expectation, Some(2)), Ok(()));
    put(&expectation, 3, Outcome::Ok);
    assert_eq!(get(&expectation, Some(3)), Ok(()));
    assert_eq!(get(&expectation, Some(2)), Ok(()), "it took effect late");
    assert!(matches!(get(&expectation, Some(1)), Err(WrongAnswer::Stale { .. })));
    assert!(matches!(get(&expectation, None), Err(WrongAnswer::Absent { .. })));
}

#[test]
fn a_refused_put_must_never_surface() {
    let refused = WrongAnswer::Refused { key_index: KEY, sequence: 2 };
    let read_later = expectation();
    put(&read_later, 1, Outcome::Ok);
    put(&read_later, 2, Outcome::Failed);
    assert_eq!(get(&read_later, Some(1)), Ok(()));
    assert_eq!(get(&read_later, Some(2)), Err(refused.clone()));

    let read_before = expectation();
    let pending = read_before.begin_put(KEY, 2);
    assert_eq!(get(&read_before, Some(2)), Ok(()), "it may yet succeed");
    let ended = read_before.end_put(pending, Outcome::Failed);
    assert_eq!(ended, Err(refused));
}

#[test]
fn foreign_and_damaged_values_are_reported() {
    let expectation = expectation();
    put(&expectation, 1, Outcome::Ok);
    let stamp = |key_index, worker| Stamp { key_index, worker, sequence: 1 };
    let mut damaged = value(1);
    damaged[VALUE_LEN - 1] ^= 1;
    for planted in [
        stamp(5, 1).encode(VALUE_LEN),
        stamp(KEY, 0).encode(VALUE_LEN),
        stamp(KEY, 1).encode(VALUE_LEN - 1),
        stamp(KEY, 1).encode(VALUE_LEN + 1),
        damaged,
        Vec::new(),
        vec![0xFF; 1_000],
    ] {
        let ended = expectation.end_get(expectation.begin_get(KEY), Some(&planted));
        assert!(matches!(ended, Err(WrongAnswer::Foreign { .. })), "{planted:?}");
    }
}

#[test]
fn errors_name_the_actual_and_the_expected_value() {
    let expectation = expectation();
    put(&expectation, 5, Outcome::Ok);
    let error = get(&expectation, Some(4)).expect_err("stale");
    assert_eq!(error.to_string(), "key 3 has value 4, yet 5 was there before the read");
}

/// A store of one map, right or with a planted fault, for real threads.
struct MapStore {
    values: Mutex<HashMap<u32, Vec<Vec<u8>>>>,
    fault: Option<StoreFault>,
}

#[derive(Clone, Copy, Debug)]
enum StoreFault {
    /// Every 64th read returns the value before the last.
    OldValue,
    /// Every 64th read finds nothing.
    Nothing,
    /// Every 64th read returns the value of another key.
    OtherKey,
    /// Every 64th put is acknowledged and dropped.
    LostPut,
}

impl MapStore {
    fn put(&self, key_index: u32, value: &[u8], count: u64) {
        if matches!(self.fault, Some(StoreFault::LostPut)) && count.is_multiple_of(64) {
            return;
        }
        let mut values = self.values.lock();
        values.entry(key_index).or_default().push(value.to_vec());
    }

    fn get(&self, key_index: u32, count: u64) -> Option<Vec<u8>> {
        let values = self.values.lock();
        let history = values.get(&key_index)?;
        match self.fault.filter(|_| count.is_multiple_of(64)) {
            Some(StoreFault::OldValue) => history.iter().nth_back(1).cloned(),
            Some(StoreFault::Nothing) => None,
            Some(StoreFault::OtherKey) => values.get(&(key_index ^ 2))?.last().cloned(),
            _ => history.last().cloned(),
        }
    }
}

/// What `WORKERS` threads in batches of 4 find wrong with a store.
fn errors_of(fault: Option<StoreFault>) -> Vec<WrongAnswer> {
    let workload = Workload::new(3, 16, 0.5, VALUE_LEN).expect("valid");
    let expectation = Expectation::new(&workload, WORKERS);
    let store = MapStore { values: Mutex::new(HashMap::new()), fault };
    let run = |worker| {
        let mut stream = workload.stream(worker, WORKERS, 4).expect("valid");
        let mut wrong = Vec::new();
        for count in 0..5_000 {
            // The whole batch is begun before any of it is carried out.
            let (mut puts, mut gets) = (Vec::new(), Vec::new());
            for op in stream.next_batch() {
                match op {
                    WorkloadOp::Put { key_index, sequence, value } => {
                        puts.push((expectation.begin_put(key_index, sequence), key_index, value))
                    }
                    WorkloadOp::Get { key_index } => {
                        gets.push((expectation.begin_get(key_index), key_index));
                    }
                }
            }
            for (pending, key_index, value) in puts {
                store.put(key_index, &value, count);
                wrong.extend(expectation.end_put(pending, Outcome::Ok).err());
            }
            for (pending, key_index) in gets {
                let value = store.get(key_index, count);
                wrong.extend(expectation.end_get(pending, value.as_deref()).err());
            }
        }
        wrong
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|worker| scope.spawn(move || run(worker))).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
    })
}

#[test]
fn a_correct_store_raises_no_alarm() {
    assert_eq!(errors_of(None), []);
}

#[test]
fn planted_faults_are_found() {
    for fault in
        [StoreFault::OldValue, StoreFault::Nothing, StoreFault::OtherKey, StoreFault::LostPut]
    {
        let wrong = errors_of(Some(fault));
        let kind_fits = |wrong: &WrongAnswer| match fault {
            StoreFault::OldValue | StoreFault::LostPut => {
                matches!(wrong, WrongAnswer::Stale { .. } | WrongAnswer::Absent { .. })
            }
            StoreFault::Nothing => matches!(wrong, WrongAnswer::Absent { .. }),
            StoreFault::OtherKey => {
                matches!(wrong, WrongAnswer::Foreign { .. } | WrongAnswer::Absent { .. })
            }
        };
        assert!(wrong.len() > 10, "{fault:?}: {} found", wrong.len());
        assert!(wrong.iter().all(kind_fits), "{fault:?}: {wrong:?}");
    }
}
