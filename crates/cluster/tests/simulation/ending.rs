//! The end of a run: all faults are over, the operator does what is needed, and the cluster must
//! become healthy.

use cluster::arcs::ArcSet;
use cluster::membership::Health;
use cluster::replica::State;
use cluster::version::Version;
use cluster::view::Routes;

use crate::world::{ARCS, Key, Micros, World};

impl World {
    /// All faults end, and no new ones begin. Stopped processes continue at their own time, since
    /// frames that have arrived for them are handled only then. Returns when the last of them does.
    pub fn calm(&mut self) -> Micros {
        self.log(|_| "no more faults".into());
        self.is_calm = true;
        self.cuts.clear();
        if let Some(place) = self.copies_at {
            self.drop_node(place);
            self.slots[place].copy_of = None;
        }
        let mut until = self.now.max(self.manager.paused_until);
        if self.manager.gate.is_none() {
            self.start_manager();
        }
        for slot in 0..self.slots.len() {
            match &mut self.slots[slot].process {
                Some(process) => until = until.max(process.paused_until),
                None if self.rng.chance(500) => self.start_node(slot),
                None => {}
            }
        }
        until
    }

    /// The operator's actions when all faults are over: start nodes where there are too few, and
    /// accept losses, after a while in which everything else must be served.
    pub fn restore_by_hand(&mut self) {
        let Some(membership) = self.manager.membership() else { return };
        let (active, newest) = (membership.active().clone(), membership.newest().epoch());
        let running = self.slots.iter().filter(|slot| slot.process.is_some()).count();
        let is_few = running < active.view().copies;
        let lost = membership.lost(self.now / 1000);
        let mut places = 0..self.slots.len();
        let spare = places
            .find(|&place| self.slots[place].process.is_none() && self.copies_at != Some(place));
        if is_few && let Some(slot) = spare {
            self.start_node(slot);
        }
        if lost.is_empty() || active.epoch() != newest || !self.has_waited_for_losses() {
            return;
        }
        if self.plan.outages {
            return self.bring_back();
        }
        if !self.plan.loses {
            return self.fail(format!("{} arcs are lost, and K copies never were", lost.len()));
        }
        if let Err(why) = self.check_losses(&active, &lost) {
            return self.fail(why);
        }
        self.look_and_accept();
    }

    /// Compares the manager's lost arcs with the nodes' records.
    fn check_losses(&self, active: &Routes, lost: &[usize]) -> Result<(), String> {
        for arc in 0..active.arcs() {
            let holds = |&place: &u16| {
                let slot = usize::from(active.member(place).address.port() - 6000);
                self.slots[slot].process.as_ref().is_some_and(|process| {
                    process.pid == active.member(place).incarnation.0
                        && process.holdings.synced().contains(arc)
                })
            };
            let is_held = active.write_set(arc).iter().any(holds);
            if is_held == lost.contains(&arc) {
                return Err(format!("arc {arc}: held {is_held}, lost {}", lost.contains(&arc)));
            }
        }
        // H4: nothing else waits for offline nodes with lost arcs.
        let is_served = |arc: usize| !lost.contains(&arc);
        self.unserved(is_served).map_or(Ok(()), Err)
    }

    /// Why the cluster is not healthy, if it is not.
    pub fn unhealed(&self) -> Option<String> {
        let Some(membership) = self.manager.membership() else {
            return Some("there is no manager".into());
        };
        let (active, newest) = (membership.active(), membership.newest());
        let health = || Some(format!("{:?}", membership.health(self.now / 1000)));
        if active.epoch() != newest.epoch() || active.view().is_changing() {
            return health();
        }
        let processes = self.slots.iter().filter_map(|slot| slot.process.as_ref());
        for process in processes.clone() {
            let holdings = &process.holdings;
            let is_member =
                active.view().member(&process.who.id, process.who.incarnation).is_some();
            if !is_member || holdings.epoch() != active.epoch() || !holdings.missing().is_empty() {
                return health();
            }
        }
        if active.view().members.len() != processes.count() {
            return health();
        }
        if let Some(why) = self.uneven(active) {
            return Some(why);
        }
        let state = membership.state();
        if state.longest_ms > state.terms.lease_ms() {
            return Some(format!("leases of {} ms may be out", state.longest_ms));
        }
        match membership.health(self.now / 1000) {
            Health::Healthy => None,
            _ => health(),
        }
    }

    /// The state of the manager and the nodes, to find out why a run does not end.
    pub fn describe_state(&self) -> String {
        let Some(membership) = self.manager.membership() else { return "no manager".into() };
        let routes = membership.newest();
        let arcs = |set: &ArcSet| format!("{:?}", set.ones().collect::<Vec<_>>());
        let mut lines = vec![format!("{} of {}", membership.active().epoch(), routes.epoch())];
        for (place, member) in routes.view().members.iter().enumerate() {
            let view = routes.view();
            lines.push(format!(
                "place {place}: {} {} {:?} keeps {} {:?} {:?}",
                member.id,
                member.incarnation,
                member.state,
                arcs(routes.arcs_of(place as u16)),
                view.sole_holder(place),
                view.replacement(place)
            ));
        }
        for node in membership.nodes() {
            let claim = node.claim.as_ref().map(|c| (c.of, c.epoch, arcs(&c.synced)));
            lines.push(format!(
                "{} {} gone {} unheard {} at {} synced {} revived {} claims {claim:?}",
                node.who.id,
                node.who.incarnation,
                node.is_gone(),
                node.is_unreported(),
                node.report.epoch,
                arcs(&node.report.synced),
                arcs(&node.report.revived),
            ));
        }
        for process in self.slots.iter().filter_map(|slot| slot.process.as_ref()) {
            let holdings = &process.holdings;
            lines.push(format!(
                "{} {} runs at {}: synced {} revived {} missing {:?}",
                process.who.id,
                process.pid,
                holdings.epoch(),
                arcs(holdings.synced()),
                arcs(holdings.revived()),
                holdings.missing()
            ));
        }
        lines.join("\n")
    }

    /// A description of an uneven assignment, if it is uneven.
    fn uneven(&self, active: &Routes) -> Option<String> {
        let view = active.view();
        let all: u64 = view.members.iter().map(|m| u64::from(m.weight)).sum();
        let is_fair = |(place, weight): (u16, u64)| {
            let owns = view.arcs.iter().filter(|&&owner| owner == place).count() as u64;
            let share = ARCS as u64 * weight;
            (share / all..=share.div_ceil(all)).contains(&owns)
        };
        let weights = view.members.iter().map(|m| u64::from(m.weight));
        let is_even = (0u16..).zip(weights).all(is_fair);
        (!is_even).then(|| format!("the assignment is uneven: {view:?}"))
    }

    /// Compares all replicas of each key: where a version is committed at one, all hold it or a
    /// newer one.
    ///
    /// # Errors
    /// The key of which a replica does not.
    pub fn check_replicas(&self) -> Result<(), String> {
        let (active, _) = self.views();
        for (key, info) in self.keys.iter().enumerate() {
            let key = key as Key;
            let held: Vec<(usize, Version, State)> = active
                .replicas(info.arc)
                .iter()
                .filter_map(|&place| {
                    let slot = usize::from(active.member(place).address.port() - 6000);
                    let process = self.slots[slot].process.as_ref()?;
                    let stored = process.table.get(&key);
                    let absent = (slot, Version::ABSENT, State::Committed);
                    Some(stored.map_or(absent, |s| (slot, s.version, s.state)))
                })
                .collect();
            let committed = held.iter().filter(|(_, _, state)| *state == State::Committed);
            // In a long run replicas drop a tombstone at different times.
            let is_aging = self.plan.speed > 1_000;
            let top = committed.map(|(_, version, _)| *version).max().unwrap_or_default();
            if !is_aging && held.iter().any(|(_, version, _)| *version < top) {
                return Err(format!("k{key} is committed, and some replica misses it: {held:?}"));
            }
        }
        Ok(())
    }
}
