//! Objections to an operator's change (rule H5).

use crate::ids::NodeId;
use crate::lease::{HEARTBEATS_MS, MISSED, Terms};
use crate::limits::{KEY_CEILING, MAX_COPIES, MAX_WEIGHT, VALUE_CEILING};
use crate::membership::admin_command::{Reconfiguration, bounds, limits_of};
use crate::membership::situation::Situation;
use crate::text::count;
use crate::time::Millis;
use crate::version::RETENTION_MS;

/// The longest lease that may be ordered, in milliseconds. A node that is away must be known to be
/// out long before the changes that it has missed are forgotten.
const MOST_LEASE_MS: Millis = RETENTION_MS / 20;

/// The objection to a change, if any. For a view in which no change is under way.
pub(super) fn objection(
    at: &Situation<'_>,
    change: &Reconfiguration,
    force: bool,
) -> Option<String> {
    let view = at.active().view();
    let member = |id: &NodeId| view.members.iter().find(|m| m.id == *id);
    let nodes = view.members.len();
    match change {
        _ if nodes == 0 => Some("no node serves yet".into()),
        Reconfiguration::Leave(id) | Reconfiguration::Weight(id, _) if member(id).is_none() => {
            Some(format!("no member is called {id}"))
        }
        Reconfiguration::Leave(id) if member(id).is_some_and(|m| at.is_out(m.incarnation)) => {
            Some(format!("{id} is down: it cannot hand over what it keeps"))
        }
        Reconfiguration::Leave(id) if nodes == 1 => Some(format!("{id} is the last node")),
        Reconfiguration::Leave(_) if nodes - 1 < view.copies && !force => Some(format!(
            "that leaves {} for {} of each key (--force does it all the same)",
            count(nodes - 1, "node"),
            count(view.copies, "copy")
        )),
        Reconfiguration::Leave(_) => None,
        Reconfiguration::Weight(_, weight) if !(1..=MAX_WEIGHT).contains(weight) => {
            Some(format!("a weight is 1 to {MAX_WEIGHT}"))
        }
        Reconfiguration::Weight(id, weight) if member(id).is_some_and(|m| m.weight == *weight) => {
            Some(format!("{id} weighs {weight} already"))
        }
        Reconfiguration::Weight(..) => None,
        Reconfiguration::Copies(copies) if !(1..=MAX_COPIES).contains(copies) => {
            Some(format!("there can be 1 to {MAX_COPIES} copies"))
        }
        Reconfiguration::Copies(copies) if *copies == view.copies => {
            Some(format!("each key has {} already", count(*copies, "copy")))
        }
        Reconfiguration::Copies(copies) if *copies < view.min_copies => Some(format!(
            "writes are to have {} copies at least: lower that first (--min-copies)",
            view.min_copies
        )),
        Reconfiguration::Limits { key, value } => {
            let wanted = limits_of(view.limits, *key, *value);
            if !wanted.is_valid() {
                return Some(format!(
                    "keys can have 1 to {KEY_CEILING} bytes at most, values 0 to {VALUE_CEILING}"
                ));
            }
            (wanted == view.limits).then(|| format!("it is so already: {}", bounds(&wanted)))
        }
        Reconfiguration::MinCopies(copies) if *copies == view.min_copies => {
            Some(format!("writes have {copies} copies at least already"))
        }
        Reconfiguration::MinCopies(copies) if !(1..=view.copies).contains(copies) => Some(format!(
            "there are {0} copies of each key: writes can be asked to have 1 to {0}",
            view.copies
        )),
        Reconfiguration::MinCopies(_) => None,
        Reconfiguration::Copies(copies) if nodes < *copies && !force => Some(format!(
            "there {} for {} (--force does it all the same)",
            if nodes == 1 { "is 1 node".to_owned() } else { format!("are {nodes} nodes") },
            count(*copies, "copy")
        )),
        Reconfiguration::Copies(_) => None,
        Reconfiguration::Terms { .. } => {
            let now = at.settings.terms();
            change.terms(now).and_then(|then| terms_objection(now, then))
        }
    }
}

/// The objection to new lease terms, if any.
fn terms_objection(now: Terms, then: Terms) -> Option<String> {
    let (least, most) = (HEARTBEATS_MS.start(), HEARTBEATS_MS.end());
    match then {
        _ if then == now => Some(format!("there is {now} already")),
        Terms { heartbeat_ms, .. } if !HEARTBEATS_MS.contains(&heartbeat_ms) => {
            Some(format!("a heartbeat comes every {least} to {most} ms"))
        }
        Terms { missed, .. } if !MISSED.contains(&missed) => {
            Some(format!("{} to {} heartbeats may be missed", MISSED.start(), MISSED.end()))
        }
        _ if then.lease_ms() > MOST_LEASE_MS => Some(format!(
            "a silent node would be waited for {} ms; {MOST_LEASE_MS} ms are the most",
            then.lease_ms()
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_that_make_no_sense_are_refused() {
        let now = Terms { heartbeat_ms: 2_000, missed: 3 };
        for (heartbeat_ms, missed, why) in [
            (2_000, 3, "there is a heartbeat every 2000 ms, out after 3 missed already"),
            (9, 3, "a heartbeat comes every 10 to 3600000 ms"),
            (3_600_001, 1, "a heartbeat comes every 10 to 3600000 ms"),
            (2_000, 0, "1 to 1000 heartbeats may be missed"),
            (2_000, 1001, "1 to 1000 heartbeats may be missed"),
            (61_000, 3, "a silent node would be waited for 183000 ms; 180000 ms are the most"),
        ] {
            let objection = terms_objection(now, Terms { heartbeat_ms, missed });
            assert_eq!(objection.as_deref(), Some(why), "{heartbeat_ms} × {missed}");
        }
        assert_eq!(terms_objection(now, Terms { heartbeat_ms: 60_000, missed: 3 }), None);
        assert_eq!(terms_objection(now, Terms { heartbeat_ms: 10, missed: 1 }), None);
    }
}
