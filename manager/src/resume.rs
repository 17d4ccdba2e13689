//! The state that a manager starts from: the saved one, or that of a new cluster.

use cluster::ids::{ClusterId, Epoch};
use cluster::membership::{Saved, Settings};
use cluster::view::View;
use log::{info, warn};

use crate::requested::RequestedSettings;
use crate::state::{Loaded, StateError, StateFile};

/// The complete saved state from a file.
pub(crate) fn continued(
    file: &StateFile,
    settings: &Settings,
    asked: &RequestedSettings,
) -> Result<Option<Saved>, StateError> {
    let saved = match file.load()? {
        None => return Ok(None),
        // The cluster does not exist yet: this start's settings apply.
        Some(
            Loaded::Whole(Saved { active, coming: None, .. })
            | Loaded::Views { active, coming: None },
        ) if active.epoch == Epoch::NONE => {
            let unborn = unborn(*settings, active.cluster);
            return Ok(Some(Saved::new(unborn, settings.terms())));
        }
        Some(Loaded::Whole(saved)) => {
            if let Some(ms) = asked.lease_was_ms.filter(|ms| *ms != saved.longest_ms) {
                let is = saved.longest_ms;
                warn!(
                    "--lease-was {ms} is not used: by the saved state leases of {is} ms may be valid"
                );
            }
            saved
        }
        Some(Loaded::Views { active, coming }) => {
            let terms = settings.terms();
            let longest_ms = asked.longest_assumed_ms(settings);
            warn!(
                "the saved state is of a version that did not save how long leases are: this once a silent node \
                 is out after {longest_ms} ms (the longer of this start's lease and 30 s; --lease-was MS sets \
                 how long they were)"
            );
            Saved { coming, longest_ms, ..Saved::new(active, terms) }
        }
    };
    let Saved { terms, longest_ms, .. } = &saved;
    info!("continues from view {}, {terms}", saved.active.epoch);
    if *longest_ms > terms.lease_ms() {
        info!("leases of {longest_ms} ms may be valid");
    }
    asked.unused(&saved).iter().for_each(|line| warn!("{line}"));
    Ok(Some(saved))
}

/// The view that nodes had seen and this folder lacked at the previous start, and whether the
/// operator accepts that.
pub(crate) fn shown(
    file: Option<&StateFile>,
    saved: &Saved,
    asked: &RequestedSettings,
) -> Result<(Epoch, bool), StateError> {
    let Some(file) = file else { return Ok((Epoch::NONE, false)) };
    let seen = file.shown()?;
    let knows = saved.coming.as_ref().unwrap_or(&saved.active).epoch;
    match (seen > Epoch::NONE, asked.accept_older) {
        (true, true) => warn!(
            "--accept-older: if this folder lacks view {seen}, as was reported, this manager continues once a node is there \
that has seen it"
        ),
        (false, true) => warn!(
            "--accept-older is not used: what this folder lacks has not been reported. If it lacks something this \
             manager reports it and exits; then --accept-older counts"
        ),
        (_, false) if seen > knows => warn!(
            "this folder is an older copy: nodes had seen view {seen} when it was started before, and it knows none \
             after {knows}. This manager serves nobody"
        ),
        (_, false) => {}
    }
    Ok((seen, asked.accept_older))
}

/// The first view of a new cluster with these settings.
pub(crate) fn unborn(settings: Settings, cluster: ClusterId) -> View {
    let view = View::unborn(cluster, settings.copies, settings.limits);
    let Settings { durability, min_copies, .. } = settings;
    View { durability, min_copies, ..view }
}
