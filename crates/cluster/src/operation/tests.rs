//! C1 and C3 in short sequences of replies and their consequences.

use super::*;
use crate::operation::write::WriteReply;
use crate::view::MemberState::Active;
use crate::view::tests::{member, view};

fn routes(epoch: u64) -> Routes {
    Routes::new(view(epoch, 2, vec![member(1, Active), member(2, Active)], &[0, 1]))
}

fn found(version: Version, state: State, epoch: u64) -> ReadAnswer<u32> {
    ReadAnswer::Found(Found { version, body: Some(7), state, epoch: Epoch(epoch), clock: 99 })
}

const V: Version = Version { clock: 5, writer: 1, ..Version::ABSENT };

fn stored(operation: &mut Operation<u32>) {
    operation.wrote(WriteReply::Answer(WriteAnswer::Stored));
}

#[test]
fn a_put_is_done_when_all_have_stored_it() {
    let mut put = Operation::write(V, Some(7));
    assert_eq!(put.begin(&routes(1), b"k").len(), 2);
    assert_eq!(
        put.request(),
        Request::Write { version: V, body: &Some(7), born: 5, expected: None }
    );
    stored(&mut put);
    stored(&mut put);
    assert_eq!(put.conclude(), Need::Nothing);
    assert_eq!((put.outcome(), put.committed()), (Some(&Outcome::Written), Some(V)));
}

#[test]
fn a_committed_record_is_shown_at_once() {
    let mut get = Operation::read();
    assert_eq!(get.begin(&routes(1), b"k").len(), 1);
    assert_eq!(get.got(0, Some(found(V, State::Committed, 1))), Need::Nothing);
    assert_eq!((get.outcome(), get.committed()), (Some(&Outcome::Got(Some(7), 0)), None));
}

#[test]
fn a_pending_record_is_written_back_before_it_is_shown() {
    let mut get = Operation::read();
    get.begin(&routes(1), b"k");
    assert_eq!(get.got(0, Some(found(V, State::Pending, 1))), Need::Attempt);
    assert_eq!(get.outcome(), None, "nobody may see it yet");
    assert_eq!(get.begin(&routes(1), b"k"), [1], "the primary has just shown that it holds it");
    assert_eq!(
        get.request(),
        Request::Write { version: V, body: &Some(7), born: 99, expected: None }
    );
    get.wrote(WriteReply::Answer(WriteAnswer::Superseded(Version::plain(9, 9))));
    assert_eq!(get.conclude(), Need::Nothing);
    assert_eq!((get.outcome(), get.committed()), (Some(&Outcome::Got(Some(7), 0)), Some(V)));
}

#[test]
fn c6_an_expired_value_is_absent_once_all_hold_its_tombstone_unless_its_life_was_extended() {
    let end = V.expired();
    let gone = |state| {
        let found = Found { version: end, body: None, state, epoch: Epoch(1), clock: 99 };
        Some(ReadAnswer::<u32>::Found(found))
    };
    let prolonged = V.successor(Op { writer: 3, count: 1 });
    for (reply, is_gone) in [
        (WriteAnswer::Stored, true),
        (WriteAnswer::Superseded(Version::plain(9, 9)), true),
        (WriteAnswer::Superseded(prolonged), false),
    ] {
        let mut get = Operation::read();
        get.begin(&routes(1), b"k");
        assert_eq!(get.got(0, gone(State::Pending)), Need::Attempt, "no read acts on it alone");
        assert_eq!(get.begin(&routes(1), b"k"), [1]);
        get.wrote(WriteReply::Answer(reply));
        if is_gone {
            assert_eq!(get.conclude(), Need::Nothing);
            assert_eq!((get.outcome(), get.committed()), (Some(&Outcome::Got(None, 0)), Some(end)));
        } else {
            assert_eq!((get.conclude(), get.outcome()), (Need::Attempt, None));
            // The replica that was read first may report the tombstone each time: all are asked.
            assert_eq!(get.begin(&routes(1), b"k"), [0, 1]);
            assert_eq!(get.request(), Request::Fence);
            get.got(0, gone(State::Pending));
            get.got(1, Some(found(prolonged, State::Pending, 1)));
            assert_eq!((get.conclude(), get.outcome()), (Need::Attempt, None));
            assert_eq!(get.begin(&routes(1), b"k"), [0, 1]);
            assert!(
                matches!(get.request(), Request::Write { version, .. } if version == prolonged)
            );
            get.wrote(WriteReply::Answer(WriteAnswer::Stored));
            get.wrote(WriteReply::Answer(WriteAnswer::Stored));
            assert_eq!(get.conclude(), Need::Nothing);
            assert_eq!(get.outcome(), Some(&Outcome::Got(Some(7), 0)));
            assert_eq!((get.committed(), get.may_exist()), (Some(prolonged), false));
        }
    }
}

#[test]
fn a_pending_record_of_another_replica_is_written_back_to_all() {
    let mut get = Operation::read();
    get.begin(&routes(1), b"k");
    assert_eq!(get.got(0, None), Need::Attempt);
    get.begin(&routes(1), b"k");
    get.got(1, Some(found(V, State::Pending, 1)));
    assert_eq!(get.begin(&routes(1), b"k").len(), 2);
}

#[test]
fn a_pending_record_of_the_only_replica_can_be_read() {
    let alone = Routes::new(view(1, 1, vec![member(1, Active)], &[0, 0]));
    let mut get = Operation::read();
    get.begin(&alone, b"k");
    get.got(0, Some(found(V, State::Pending, 1)));
    assert_eq!(get.begin(&alone, b"k"), [0]);
    stored(&mut get);
    assert_eq!(get.conclude(), Need::Nothing);
}

#[test]
fn a_write_back_that_fails_reads_again() {
    for reply in [WriteReply::Lost, WriteReply::Unsent, WriteReply::Answer(WriteAnswer::WrongEpoch)]
    {
        let mut get = Operation::read();
        get.begin(&routes(1), b"k");
        get.got(0, Some(found(V, State::Pending, 1)));
        get.begin(&routes(1), b"k");
        get.wrote(reply);
        assert_eq!(get.conclude(), Need::View);
        get.begin(&routes(1), b"k");
        assert_eq!(get.request(), Request::Read);
    }
}

#[test]
fn r1_a_record_is_not_carried_into_another_epoch() {
    let mut get = Operation::read();
    get.begin(&routes(1), b"k");
    get.got(0, Some(found(V, State::Pending, 1)));
    get.begin(&routes(2), b"k");
    assert_eq!(get.request(), Request::Read);
}

#[test]
fn a_pending_record_of_a_newer_view_sends_the_reader_for_that_view() {
    let mut get = Operation::read();
    get.begin(&routes(1), b"k");
    assert_eq!(get.got(0, Some(found(V, State::Pending, 2))), Need::View);
    get.begin(&routes(2), b"k");
    assert_eq!(get.got(0, Some(found(V, State::Pending, 2))), Need::Attempt);
    assert!(get.is_collecting());
}

#[test]
fn f12_blind_answers_alone_do_not_complete_a_write_back() {
    let mut get = Operation::read();
    get.begin(&routes(1), b"k");
    get.got(0, Some(found(V, State::Pending, 1)));
    get.begin(&routes(1), b"k");
    get.wrote(WriteReply::Answer(WriteAnswer::BlindStored));
    get.wrote(WriteReply::Answer(WriteAnswer::BlindStored));
    assert_eq!(get.conclude(), Need::View);
}

#[test]
fn a_get_goes_to_the_next_replica_and_then_for_a_new_view() {
    let mut get: Operation<u32> = Operation::read();
    let routes = routes(1);
    let first = get.begin(&routes, b"k").to_vec();
    assert_eq!(get.got(0, None), Need::Attempt);
    let second = get.begin(&routes, b"k").to_vec();
    assert_ne!(first, second);
    assert_eq!(get.got(0, Some(ReadAnswer::NoLease)), Need::View);
    assert_eq!(get.begin(&routes, b"k"), first);
}

#[test]
fn a_put_superseded_by_all_takes_a_fresh_version_once() {
    let newer = Version::plain(9, 9);
    let mut put = Operation::write(V, Some(7));
    for (need, outcome) in [(Need::Version(newer), None), (Need::Nothing, Some(Outcome::Written))] {
        put.begin(&routes(1), b"k");
        put.wrote(WriteReply::Answer(WriteAnswer::Superseded(newer)));
        put.wrote(WriteReply::Answer(WriteAnswer::Superseded(newer)));
        assert_eq!(put.conclude(), need);
        assert_eq!(put.outcome(), outcome.as_ref());
        put.freshen(Version::plain(10, 1));
    }
}

#[test]
fn a_finisher_ends_when_its_epoch_is_over() {
    let record =
        Found { version: V, body: Some(7), state: State::Pending, epoch: Epoch(1), clock: 99 };
    let mut finish = Operation::finish(record);
    assert_eq!(finish.begin(&routes(1), b"k").len(), 2);
    assert!(finish.is_collecting());
    finish.wrote(WriteReply::Answer(WriteAnswer::WrongEpoch));
    assert_eq!(finish.conclude(), Need::View);
    assert!(!finish.is_collecting(), "it would have to read again, which is not its business");
}
