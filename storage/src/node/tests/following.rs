//! The managers that a node follows.

use super::*;

#[test]
fn l7_a_manager_that_lacks_seen_views_is_not_followed() {
    let made_by = |manager: u64, epoch: u64| {
        let mut view = view(epoch, None);
        view.line.made(Epoch(1), Epoch::NONE, ManagerIncarnation(manager));
        view
    };
    let node = at(SOURCE, [made_by(7, 1), made_by(7, 2), made_by(7, 3)]);
    let other = |theirs| NotFollowed::OtherLine { ours: Epoch(3), theirs: Epoch(theirs) };
    node.check_line(&made_by(7, 3)).unwrap();
    assert_eq!(node.check_line(&made_by(7, 2)), Err(other(2)), "an older copy");
    assert_eq!(node.check_line(&made_by(8, 5)), Err(other(5)), "and what it made since");
    assert_eq!(node.adopt(made_by(8, 5)), Err(other(5)));
    assert_eq!(node.adopt(made_by(7, 2)), Ok(false), "a late one is nothing new");
    assert_eq!(node.adopt(made_by(7, 4)), Ok(true));
}
