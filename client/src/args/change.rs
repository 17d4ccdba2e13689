//! Planned changes, as an operator writes them.

use cluster::ids::NodeId;
use cluster::lease::{HEARTBEATS_MS, MISSED};
use cluster::limits::{KEY_CEILING, MAX_COPIES, MAX_WEIGHT, VALUE_CEILING};
use cluster::membership::Reconfiguration;
use getopts::Matches;
use net_common::flags::{self, UsageError};

/// The arguments that `--plan` needs.
pub(super) const PLAN_NEEDS: &str = "--plan takes leave NODE, weight NODE=N, rep K, limits key=BYTES,value=BYTES, min-copies N, heartbeat-ms MS or missed N";

/// Combines the two terms of leases if both are given.
pub(super) fn with_missed(
    matches: &Matches,
    change: Reconfiguration,
) -> Result<Reconfiguration, UsageError> {
    let missed = flags::given_bounded(matches, "missed", None, *MISSED.start(), *MISSED.end())?;
    match change {
        Reconfiguration::Terms { heartbeat_ms, missed: None } => {
            Ok(Reconfiguration::Terms { heartbeat_ms, missed })
        }
        change
            if missed.is_none()
                || matches!(change, Reconfiguration::Terms { heartbeat_ms: None, .. }) =>
        {
            Ok(change)
        }
        _ => Err(UsageError("--missed goes with --heartbeat-ms".into())),
    }
}

/// A planned change by its name and its argument.
pub(super) fn reconfiguration(what: &str, argument: &str) -> Result<Reconfiguration, UsageError> {
    let bad = |why: String| UsageError(format!("--{what} {argument}: {why}"));
    let node = |name: &str| NodeId::new(name).map_err(|e| bad(e.to_string()));
    match what {
        "leave" => Ok(Reconfiguration::Leave(node(argument)?)),
        "weight" => {
            let (name, weight) =
                argument.split_once('=').ok_or_else(|| bad("it takes NODE=N".into()))?;
            let weight = weight.parse().ok().filter(|w| (1..=MAX_WEIGHT).contains(w));
            let weight = weight.ok_or_else(|| bad(format!("a weight is 1 to {MAX_WEIGHT}")))?;
            Ok(Reconfiguration::Weight(node(name)?, weight))
        }
        "rep" => {
            let copies = argument.parse().ok().filter(|k| (1..=MAX_COPIES).contains(k));
            copies
                .map(Reconfiguration::Copies)
                .ok_or_else(|| bad(format!("it takes 1 to {MAX_COPIES}")))
        }
        "heartbeat-ms" => {
            let heartbeat_ms = argument.parse().ok().filter(|ms| HEARTBEATS_MS.contains(ms));
            let (least, most) = (HEARTBEATS_MS.start(), HEARTBEATS_MS.end());
            let heartbeat_ms =
                heartbeat_ms.ok_or_else(|| bad(format!("it takes {least} to {most}")))?;
            Ok(Reconfiguration::Terms { heartbeat_ms: Some(heartbeat_ms), missed: None })
        }
        "missed" => {
            let missed = argument.parse().ok().filter(|missed| MISSED.contains(missed));
            let (least, most) = (MISSED.start(), MISSED.end());
            let missed = missed.ok_or_else(|| bad(format!("it takes {least} to {most}")))?;
            Ok(Reconfiguration::Terms { heartbeat_ms: None, missed: Some(missed) })
        }
        "min-copies" => {
            let copies = argument.parse().ok().filter(|n| (1..=MAX_COPIES).contains(n));
            copies
                .map(Reconfiguration::MinCopies)
                .ok_or_else(|| bad(format!("it takes 1 to {MAX_COPIES}")))
        }
        "limits" => limits(argument).map_err(bad),
        _ => Err(UsageError(PLAN_NEEDS.into())),
    }
}

/// `key=BYTES,value=BYTES`, or one of them.
fn limits(argument: &str) -> Result<Reconfiguration, String> {
    let (mut key, mut value) = (None, None);
    for part in argument.split(',') {
        let (place, least, most) = match part.split_once('=').map(|(name, _)| name) {
            Some("key") if key.is_none() => (&mut key, 1, KEY_CEILING),
            Some("value") if value.is_none() => (&mut value, 0, VALUE_CEILING),
            _ => return Err("it takes key=BYTES, value=BYTES, or both with a comma".into()),
        };
        let bytes = part.split_once('=').and_then(|(_, bytes)| bytes.parse().ok());
        let bytes = bytes.filter(|bytes| (least..=most).contains(bytes));
        *place = Some(bytes.ok_or_else(|| format!("{part}: it takes {least} to {most}"))?);
    }
    Ok(Reconfiguration::Limits { key, value })
}
