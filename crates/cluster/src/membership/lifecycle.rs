//! The life of one incarnation as the manager knows it: a table of states and events.
//!
//! Two facts are independent, and every pair of them can occur: what is known of the process
//! ([`Process`]), and whether the node has left ([`Lifecycle`]). A process can end before or after
//! its node leaves, and a node that has left may register again before its process ends.
//!
//! | the process is | registers | heartbeat | connection ends | process ends | is replaced | address is taken | is out, loss accepted |
//! |---|---|---|---|---|---|---|---|
//! | `Connected` | – | – | `Disconnected` | – | `GivenUp` | `Ended` | `GivenUp` |
//! | `Disconnected` | `Connected` | `Connected` | – | `Ended` | `Ended` | `Ended` | `Ended` |
//! | `GivenUp` | `Connected` | – | `Ended` | – | – | `Ended` | – |
//! | `Ended` | `Connected` | – | – | – | – | – | – |
//!
//! `–` is no transition. In each of these the node stays what it was otherwise: `Stays` or `Left`.
//! That it *has left* is the one event that makes `Left` of `Stays`, and the process stays what it
//! was. `FolderShown` changes neither.
//!
//! What the node has reported of its holdings is a third fact ([`Evidence`]):
//!
//! | from | event | to |
//! |---|---|---|
//! | | the manager starts, and a saved view has it as a member | `Unknown` |
//! | | it registers, and was not known | `Registered` |
//! | `Unknown`, `Registered` | a heartbeat of a process that is not given up | `Reported` |
//! | `Unknown`, `Registered` | its data folder, which another process has, shows what it held | `Reported` |
//! | any | anything else | as it was |

/// What is known of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Process {
    /// The connection that carries its heartbeats is open.
    Connected,
    /// That connection has ended, or there has been none since the manager started. The process may
    /// still run.
    Disconnected,
    /// It counts as ended, and nobody has seen its connection end: another process has its folder,
    /// or an operator has gone on without it. Its heartbeats do not count until it registers again.
    GivenUp,
    /// It has ended, or counts as ended, and has no connection.
    Ended,
}

/// The life of one incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lifecycle {
    /// It has not left: it is a member, or waits to be one, or was dropped.
    Stays(Process),
    /// It has left as an operator asked (H5): it is not admitted again.
    Left(Process),
}

/// What can happen to one incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NodeEvent {
    /// It registers, again.
    Registers,
    /// It sends a heartbeat.
    Heartbeat,
    /// The connection that carries its heartbeats ends.
    ConnectionEnds,
    /// Its process has certainly ended: its port refuses (L6). While it has a connection that is
    /// news of an earlier one.
    ProcessEnds,
    /// Another process has its data folder, or the operator continues with another folder (L5).
    IsReplaced,
    /// Another process that is alive listens at its address.
    AddressTaken,
    /// It is out, and the operator has accepted the loss (H4).
    LossAccepted,
    /// A switch has dropped it as a leaver (H5).
    HasLeft,
    /// Its data folder, which another process has, shows what it held (H6).
    FolderShown,
}

impl Process {
    /// The table.
    fn after(self, event: NodeEvent) -> Process {
        use NodeEvent::{
            AddressTaken, ConnectionEnds, FolderShown, HasLeft, Heartbeat, IsReplaced,
            LossAccepted, ProcessEnds, Registers,
        };
        use Process::{Connected, Disconnected, Ended, GivenUp};
        match (self, event) {
            (_, HasLeft | FolderShown) => self,
            (_, Registers) => Connected,
            (Connected | Disconnected, Heartbeat) => Connected,
            (Connected | Disconnected, ConnectionEnds) => Disconnected,
            (GivenUp | Ended, Heartbeat) => self,
            (GivenUp | Ended, ConnectionEnds) => Ended,
            (Connected | GivenUp, ProcessEnds) => self,
            (Connected | GivenUp, IsReplaced | LossAccepted) => GivenUp,
            (Disconnected | Ended, ProcessEnds | IsReplaced | LossAccepted) => Ended,
            (_, AddressTaken) => Ended,
        }
    }
}

impl Lifecycle {
    /// What it is after an event.
    pub(super) fn after(self, event: NodeEvent) -> Lifecycle {
        match self {
            Lifecycle::Stays(process) if event == NodeEvent::HasLeft => Lifecycle::Left(process),
            Lifecycle::Stays(process) => Lifecycle::Stays(process.after(event)),
            Lifecycle::Left(process) => Lifecycle::Left(process.after(event)),
        }
    }

    fn process(self) -> Process {
        match self {
            Lifecycle::Stays(process) | Lifecycle::Left(process) => process,
        }
    }

    /// Whether the connection that carries its heartbeats is open.
    pub fn is_connected(self) -> bool {
        matches!(self.process(), Process::Connected | Process::GivenUp)
    }

    /// Whether its process has ended, or counts as ended.
    pub fn is_gone(self) -> bool {
        matches!(self.process(), Process::GivenUp | Process::Ended)
    }

    /// Whether it has left as an operator asked.
    pub fn has_left(self) -> bool {
        matches!(self, Lifecycle::Left(_))
    }
}

/// Whether one incarnation has reported its holdings since the manager started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// It was a member before the manager started. It may hold whatever a member may.
    Unknown,
    /// It has registered and nothing more: a registration may arrive long after its process has
    /// ended. It holds nothing.
    Registered,
    /// Its report, or its folder, shows what it holds. After a heartbeat it was alive after the
    /// manager had taken its registration.
    Reported,
}

impl Evidence {
    /// What it is after an event. Heartbeats of a process that is gone do not count.
    pub(super) fn after(self, event: NodeEvent, is_gone: bool) -> Evidence {
        match event {
            NodeEvent::Heartbeat if !is_gone => Evidence::Reported,
            NodeEvent::FolderShown => Evidence::Reported,
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use NodeEvent::{
        AddressTaken, ConnectionEnds, FolderShown, HasLeft, Heartbeat, IsReplaced, LossAccepted,
        ProcessEnds, Registers,
    };
    use Process::{Connected, Disconnected, Ended, GivenUp};

    /// The table of the module's paragraph, row by row.
    const EVENTS: [NodeEvent; 7] =
        [Registers, Heartbeat, ConnectionEnds, ProcessEnds, IsReplaced, AddressTaken, LossAccepted];
    const TABLE: [(Process, [Process; 7]); 4] = [
        (Connected, [Connected, Connected, Disconnected, Connected, GivenUp, Ended, GivenUp]),
        (Disconnected, [Connected, Connected, Disconnected, Ended, Ended, Ended, Ended]),
        (GivenUp, [Connected, GivenUp, Ended, GivenUp, GivenUp, Ended, GivenUp]),
        (Ended, [Connected, Ended, Ended, Ended, Ended, Ended, Ended]),
    ];

    #[test]
    fn every_state_and_every_event() {
        for (from, row) in TABLE {
            for (event, to) in EVENTS.into_iter().zip(row) {
                let after = |state: Lifecycle| state.after(event);
                assert_eq!(
                    after(Lifecycle::Stays(from)),
                    Lifecycle::Stays(to),
                    "{from:?} {event:?}"
                );
                assert_eq!(after(Lifecycle::Left(from)), Lifecycle::Left(to), "{from:?} {event:?}");
            }
            assert_eq!(Lifecycle::Stays(from).after(HasLeft), Lifecycle::Left(from));
            assert_eq!(Lifecycle::Left(from).after(HasLeft), Lifecycle::Left(from));
            assert_eq!(Lifecycle::Stays(from).after(FolderShown), Lifecycle::Stays(from));
            assert_eq!(Lifecycle::Left(from).after(FolderShown), Lifecycle::Left(from));
        }
    }

    #[test]
    fn evidence_after_every_event() {
        for from in [Evidence::Unknown, Evidence::Registered, Evidence::Reported] {
            for event in EVENTS.into_iter().chain([HasLeft]).filter(|event| *event != Heartbeat) {
                assert_eq!(
                    [false, true].map(|gone| from.after(event, gone)),
                    [from; 2],
                    "{event:?}"
                );
            }
            assert_eq!(from.after(Heartbeat, false), Evidence::Reported);
            assert_eq!(from.after(Heartbeat, true), from, "it has to register again");
            assert_eq!(
                [false, true].map(|gone| from.after(FolderShown, gone)),
                [Evidence::Reported; 2]
            );
        }
    }

    #[test]
    fn no_two_states_read_alike() {
        let read = |state: Lifecycle| (state.is_connected(), state.is_gone(), state.has_left());
        let states: Vec<Lifecycle> = TABLE
            .iter()
            .flat_map(|(process, _)| [Lifecycle::Stays(*process), Lifecycle::Left(*process)])
            .collect();
        let all: std::collections::BTreeSet<_> = states.iter().map(|state| read(*state)).collect();
        assert_eq!(all.len(), states.len());
    }
}
