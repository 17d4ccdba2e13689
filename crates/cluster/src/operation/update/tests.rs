//! C5 in short sequences of the members' replies and their consequences.

use super::*;
use crate::ids::Epoch;
use crate::view::MemberState::{Active, Joining};
use crate::view::tests::{member, view};

/// Two replicas, and in the second epoch a joiner: the write set is then 0, 1, 2.
fn routes(epoch: u64) -> Routes {
    let mut members = vec![member(1, Active), member(2, Active)];
    let mut arcs = view(epoch, 2, members.clone(), &[0, 1]);
    if epoch == 2 {
        members.push(member(3, Joining));
        arcs = view(epoch, 2, members, &[0, 1]);
        arcs.coming = Some(arcs.with_assignment(vec![2, 1]));
    }
    Routes::new(arcs)
}

fn plain(clock: Clock) -> Version {
    Version::plain(clock, 1)
}

fn op(count: u64) -> Op {
    Op { writer: 9, count }
}

fn held(version: Version, state: State, clock: Clock) -> Found<u32> {
    let body = (version != Version::ABSENT).then_some(7);
    Found { version, body, state, epoch: Epoch(1), clock }
}

fn committed(version: Version) -> Found<u32> {
    held(version, State::Committed, 99)
}

/// Answers a fence, the synced members first.
fn fence(round: &mut RmwRound<u32>, synced: &[Found<u32>], blind: &[Found<u32>]) -> Need {
    for (place, found) in synced.iter().enumerate() {
        round.got(place as u16, ReadAnswer::Found(found.clone()));
    }
    for (i, found) in blind.iter().enumerate() {
        round.got((synced.len() + i) as u16, ReadAnswer::Blind(found.clone()));
    }
    let (need, outcome) = round.conclude();
    assert_eq!(outcome, None);
    need
}

/// A round that has sent its swap of `plain(5)` under the first epoch.
fn swapping() -> RmwRound<u32> {
    let mut round = RmwRound::new();
    assert_eq!(round.begin(&routes(1), 0), [0, 1]);
    assert_eq!(round.request(), Request::Fence);
    assert_eq!(fence(&mut round, &[committed(plain(5)), committed(plain(5))], &[]), Need::Choice);
    assert_eq!(round.choose(op(1), Choice::Replace(Some(8))), (Need::Attempt, None));
    assert_eq!(round.begin(&routes(1), 0), [0], "the primary alone");
    round
}

/// Ends the attempt with these replies.
fn replies(round: &mut RmwRound<u32>, replies: &[WriteReply]) -> (Need, Option<Outcome<u32>>) {
    replies.iter().for_each(|reply| round.wrote(*reply));
    round.conclude()
}

const STORED: WriteReply = WriteReply::Answer(WriteAnswer::Stored);
const REFUSED_EPOCH: WriteReply = WriteReply::Answer(WriteAnswer::WrongEpoch);

fn differs(version: Version) -> WriteReply {
    WriteReply::Answer(WriteAnswer::Differs(version))
}

#[test]
fn fence_choose_swap_spread() {
    let mut round = swapping();
    let version = plain(5).successor(op(1));
    let expected = Some(plain(5));
    assert_eq!(round.request(), Request::Write { version, body: &Some(8), born: 99, expected });
    assert_eq!(replies(&mut round, &[STORED]), (Need::Attempt, None));
    assert_eq!(round.begin(&routes(1), 0), [1], "the others");
    assert_eq!(
        round.request(),
        Request::Write { version, body: &Some(8), born: 99, expected: None }
    );
    let end = replies(&mut round, &[STORED]);
    assert_eq!(end, (Need::Nothing, Some(Outcome::Written)));
    assert_eq!(round.committed(&Outcome::Written), Some(version));
}

#[test]
fn a_primary_that_is_the_whole_write_set_ends_it() {
    let routes = Routes::new(view(1, 1, vec![member(1, Active)], &[0, 0]));
    let mut round = RmwRound::new();
    assert_eq!(round.begin(&routes, 0), [0]);
    assert_eq!(fence(&mut round, &[committed(plain(5))], &[]), Need::Choice);
    round.choose(op(1), Choice::Replace(Some(8)));
    assert_eq!(round.begin(&routes, 0), [0]);
    assert_eq!(replies(&mut round, &[STORED]), (Need::Nothing, Some(Outcome::Written)));
}

#[test]
fn a_choice_of_no_change_is_a_read() {
    let mut round = RmwRound::new();
    round.begin(&routes(1), 0);
    fence(&mut round, &[committed(plain(5)), committed(plain(5))], &[]);
    let end = round.choose(op(1), Choice::Leave);
    assert_eq!(end, (Need::Nothing, Some(Outcome::Got(Some(7), 0))));
    assert!(!round.may_exist());
}

#[test]
fn a_base_that_not_all_hold_committed_is_written_back_first() {
    for (a, b) in [
        (held(plain(5), State::Pending, 90), held(plain(5), State::Committed, 90)),
        (committed(plain(4)), held(plain(5), State::Pending, 90)),
        (committed(Version::ABSENT), held(plain(5), State::Pending, 90)),
    ] {
        let mut round = RmwRound::new();
        round.begin(&routes(1), 0);
        assert_eq!(fence(&mut round, &[a, b], &[]), Need::Attempt);
        assert_eq!(round.begin(&routes(1), 0), [0, 1]);
        let want = Request::Write { version: plain(5), body: &Some(7), born: 90, expected: None };
        assert_eq!(round.request(), want);
        assert_eq!(replies(&mut round, &[STORED, STORED]), (Need::Choice, None));
        assert_eq!(round.found().map(|found| found.version), Some(plain(5)));
    }
}

#[test]
fn a_fence_needs_every_member_and_a_synced_primary() {
    let answer = || ReadAnswer::Found(committed(plain(5)));
    let mut round = RmwRound::new();
    round.begin(&routes(1), 0);
    round.got(0, answer());
    round.got(1, ReadAnswer::WrongEpoch);
    assert_eq!(round.conclude(), (Need::View, None));
    // The answers of the previous attempt do not count.
    round.begin(&routes(1), 0);
    round.got(1, answer());
    assert_eq!(round.conclude(), (Need::View, None));
    round.begin(&routes(1), 0);
    round.got(0, ReadAnswer::Blind(committed(plain(5))));
    round.got(1, answer());
    assert_eq!(round.conclude(), (Need::Choice, None));
    assert_eq!(round.choose(op(1), Choice::Replace(Some(8))), (Need::View, None));
}

#[test]
fn of_members_that_are_not_synced_only_successors_count() {
    let successor = plain(5).successor(op(3));
    for (blind, base) in [(plain(9), plain(5)), (successor, successor)] {
        let mut round = RmwRound::new();
        assert_eq!(round.begin(&routes(2), 0), [0, 1, 2]);
        let synced = [committed(plain(5)), committed(plain(5))];
        let need = fence(&mut round, &synced, &[held(blind, State::Pending, 80)]);
        assert_eq!(need, Need::Attempt, "not all hold it committed");
        round.begin(&routes(2), 0);
        let want = Request::Write {
            version: base,
            body: &Some(7),
            born: if base == blind { 80 } else { 99 },
            expected: None,
        };
        assert_eq!(round.request(), want);
    }
}

#[test]
fn r5_where_there_is_nothing_the_successor_stands_above_dropped_tombstones() {
    let mut round = RmwRound::new();
    round.begin(&routes(1), 0);
    let clock = crate::version::clock_at(10 * crate::version::RETENTION_MS);
    let absent = held(Version::ABSENT, State::Committed, clock);
    assert_eq!(fence(&mut round, &[absent.clone(), absent], &[]), Need::Choice);
    round.choose(op(1), Choice::Replace(Some(8)));
    round.begin(&routes(1), 0);
    let Request::Write { version, expected, born, .. } = round.request() else { panic!() };
    assert_eq!((version, born), (Version::first(clock, op(1)), clock));
    assert_eq!(expected, Some(Version::ABSENT));
}

#[test]
fn r7_a_successor_is_born_at_the_lowest_clock_of_the_fence() {
    let mut round = RmwRound::new();
    round.begin(&routes(1), 0);
    let answers = [held(plain(5), State::Committed, 90), held(plain(5), State::Committed, 80)];
    fence(&mut round, &answers, &[]);
    round.choose(op(1), Choice::Replace(None));
    round.begin(&routes(1), 0);
    assert!(matches!(round.request(), Request::Write { born: 80, .. }));
}

#[test]
fn somebody_was_quicker() {
    let mut round = swapping();
    assert_eq!(replies(&mut round, &[differs(plain(6))]), (Need::Turn, None));
    assert!(!round.may_exist());
    round.begin(&routes(1), 0);
    assert_eq!(round.request(), Request::Fence);
}

#[test]
fn r8_after_a_lost_reply_the_identical_swap_goes_out_again() {
    let sibling = plain(5).successor(op(2));
    for (reply, need, outcome) in [
        (STORED, Need::Attempt, None),
        // A sibling stands in its place: it was never stored.
        (differs(sibling), Need::Turn, None),
        (differs(plain(6)), Need::Nothing, Some(Outcome::Unknown)),
        (differs(sibling.successor(op(3))), Need::Nothing, Some(Outcome::Unknown)),
    ] {
        let mut round = swapping();
        let first = format!("{:?}", round.request());
        assert_eq!(replies(&mut round, &[WriteReply::Lost]), (Need::View, None));
        assert!(round.may_exist());
        assert_eq!(round.begin(&routes(1), 0), [0]);
        assert_eq!(format!("{:?}", round.request()), first);
        assert_eq!(replies(&mut round, &[reply]), (need, outcome), "{reply:?}");
    }
}

#[test]
fn r1_under_a_new_epoch_the_fence_decides_the_outcome() {
    let own = plain(5).successor(op(1));
    let sibling = plain(5).successor(op(2));
    assert!(sibling > own);
    for (top, need, outcome) in [
        // The highest version: completed, and done.
        (own, Need::Attempt, None),
        // Lost: try again, with the present version as the base.
        (plain(5), Need::Choice, None),
        (sibling, Need::Choice, None),
        (plain(6), Need::Nothing, Some(Outcome::Unknown)),
        (own.successor(op(3)), Need::Nothing, Some(Outcome::Unknown)),
    ] {
        let mut round = swapping();
        replies(&mut round, &[WriteReply::Lost]);
        assert_eq!(round.begin(&routes(3), 0), [0, 1]);
        assert_eq!(round.request(), Request::Fence, "never the swap under another epoch");
        let state = if top == own { State::Pending } else { State::Committed };
        round.got(0, ReadAnswer::Found(held(top, state, 99)));
        round.got(1, ReadAnswer::Found(held(top, state, 99)));
        assert_eq!(round.conclude(), (need, outcome), "{top:?} on top");
        assert_eq!(round.may_exist(), need != Need::Choice);
        if need == Need::Attempt {
            round.begin(&routes(3), 0);
            let end = replies(&mut round, &[STORED, STORED]);
            assert_eq!(end, (Need::Nothing, Some(Outcome::Written)));
            assert_eq!(round.committed(&Outcome::Written), Some(own));
        }
    }
}

#[test]
fn a_successor_that_was_stored_is_spread_only_under_its_own_epoch() {
    let mut round = swapping();
    replies(&mut round, &[STORED]);
    round.begin(&routes(1), 0);
    assert_eq!(replies(&mut round, &[REFUSED_EPOCH]), (Need::View, None));
    // In the same epoch the identical write, in another the fence.
    round.begin(&routes(1), 0);
    assert!(matches!(round.request(), Request::Write { expected: None, .. }));
    assert_eq!(replies(&mut round, &[REFUSED_EPOCH]), (Need::View, None));
    round.begin(&routes(2), 0);
    assert_eq!(round.request(), Request::Fence);
    assert!(round.may_exist());
}

#[test]
fn a_swap_that_was_never_sent_is_not_done() {
    for reply in [WriteReply::Unsent, REFUSED_EPOCH, WriteReply::Answer(WriteAnswer::NoLease)] {
        let mut round = swapping();
        assert_eq!(replies(&mut round, &[reply]), (Need::View, None));
        assert!(!round.may_exist());
    }
    let mut round = swapping();
    let refused = WriteAnswer::BadValue;
    let end = replies(&mut round, &[WriteReply::Answer(refused)]);
    assert_eq!(end, (Need::Nothing, Some(Outcome::Refused(refused))));
}
