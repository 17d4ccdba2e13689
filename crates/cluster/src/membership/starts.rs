//! The starts of a process that a data folder remembers (rule L5): they distinguish a folder from
//! its copy.
//!
//! The first of them is an *anchor*: the last start of which the manager has received a heartbeat,
//! and so one by which it knows the folder. It stays however often a process starts after that
//! without contact. The others follow it, the newest last.

/// Starts that a folder remembers, and those of a copy that the manager does. They fit into one
/// sector of a disk.
pub const STARTS: usize = 32;

/// Notes a start. Where there are too many the oldest behind the anchor is forgotten.
pub fn note<T>(starts: &mut Vec<T>, start: T) {
    starts.push(start);
    while starts.len() > STARTS {
        starts.remove(1);
    }
}

/// The manager has taken a heartbeat of a start that was noted. Returns whether that is news.
pub fn anchor<T: PartialEq>(starts: &mut [T], start: &T) -> bool {
    match starts.iter().position(|noted| noted == start) {
        None | Some(0) => false,
        Some(place) => {
            starts[..=place].rotate_right(1);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_that_was_heard_is_remembered_however_many_follow() {
        let mut starts = Vec::new();
        for start in 1..=5 {
            note(&mut starts, start);
        }
        assert!(anchor(&mut starts, &4));
        assert_eq!(starts, [4, 1, 2, 3, 5]);
        for start in 6..200 {
            note(&mut starts, start);
        }
        let newest: Vec<i32> = (200 - (STARTS as i32 - 1)..200).collect();
        assert_eq!((starts[0], &starts[1..]), (4, &newest[..]));
        assert!(anchor(&mut starts, &199));
        assert!(!anchor(&mut starts, &199), "it is the anchor");
        assert!(!anchor(&mut starts, &7), "it could not be written down");
        note(&mut starts, 200);
        assert_eq!((starts.len(), starts[0], starts[STARTS - 1]), (STARTS, 199, 200));
    }
}
