//! Local reads: replies without a round trip to other nodes.

use std::ops::Range;

use cluster::limits::Limits;
use resp::reply::{Protocol, Replies};
use resp::update::Current;

use super::item::PipelineItem;
use super::outcome::BatchOutcome;
use crate::node::Node;
use crate::redis::bounds::BYTES;
use resp::command::Command;

/// The results of local reads.
#[derive(Default)]
pub struct LocalReplies {
    /// Replies, one after the other.
    answers: Vec<u8>,
    /// The limits that are certainly in force: no key beyond them exists.
    limits: Option<Limits>,
}

impl LocalReplies {
    /// Whether a key can exist. If not, no node need be asked for it.
    pub fn can_exist(&self, key: &[u8]) -> bool {
        self.limits.is_none_or(|limits| limits.check_key(key).is_ok())
    }

    /// The reply at this place.
    pub fn answer(&self, place: Range<usize>) -> &[u8] {
        &self.answers[place]
    }
}

/// Replies from this node's own records where it may (see [`Node::read_local`]), so that no other
/// node is asked. At most as much as may be held at once: the rest is read together with other
/// nodes' keys.
pub fn read_here(
    items: &mut [PipelineItem<'_>],
    node: &Node,
    now_ms: u64,
    protocol: Protocol,
) -> (LocalReplies, BatchOutcome) {
    let (mut seen, mut outcome) = (LocalReplies::default(), BatchOutcome::default());
    node.read_local(|local| {
        seen.limits = local.limits();
        for item in items {
            let PipelineItem::Command(Command::Read { key, read }) = item else { continue };
            let start = seen.answers.len();
            if start >= BYTES {
                break;
            }
            let found = local.key(key, |held| {
                let current = held.map(|(value, expiry)| Current { value, expiry });
                read.answer(current, now_ms, &mut Replies::new(&mut seen.answers, protocol));
                current.is_some()
            });
            let Some(is_hit) = found else { continue };
            outcome.count_read(is_hit);
            *item = PipelineItem::Local(start..seen.answers.len());
        }
    });
    (seen, outcome)
}
