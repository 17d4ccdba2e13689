//! Operators' requests to the manager: the status, reconfigurations, accepting a loss. And to
//! nodes: their load.

use std::time::Instant;

use cluster::ids::{Address, Incarnation, NodeId};
use cluster::membership::Loss;
use cluster::membership::{AdminCommand, Outline, Reconfiguration};
use net_common::connection::{Connection, NetError};
use net_common::error::ErrorWord;
use net_common::message::change::{Begin, Plan, Planned};
use net_common::message::control::{
    AcceptLoss, AdoptFolder, FolderAdopted, Info, InfoRequest, LossAccepted, Status, StatusRequest,
};

use crate::backoff::{LAST_PAUSE, after};
use crate::error::ClientError;
use crate::store::GTStoreClient;

impl GTStoreClient {
    /// How the cluster is, as the manager sees it.
    ///
    /// # Errors
    /// [`ClientError::NoManager`].
    pub fn status(&self) -> Result<Status, ClientError> {
        self.ask_manager(|link| link.call::<Status>(&StatusRequest))
    }

    /// Accepts this loss, which a [`Status`] has reported: gives up records that only nodes that
    /// are down hold. Those arcs start empty, or with the records on the disks that are present.
    /// Returns the number of arcs concerned. While another view is being made the request is
    /// repeated, until the deadline; if the same is lost in a newer view by then, it is repeated
    /// for that view.
    ///
    /// # Errors
    /// [`ClientError::Changed`] if the loss has changed; [`ClientError::NoManager`], or
    /// [`ClientError::Refused`] if views change all the time; [`ClientError::Unknown`] if the
    /// connection was lost before the answer.
    pub fn accept_loss(&self, shown: &Loss) -> Result<u32, ClientError> {
        let until = Instant::now() + self.config.deadline;
        let mut shown = shown.clone();
        loop {
            let order = AcceptLoss(shown.clone());
            let asked = self.ask_patiently(|link| link.call::<LossAccepted>(&order));
            let Err(ClientError::Changed { now }) = asked else {
                return asked.map(|done| done.arcs);
            };
            // Another view, in which the very same is lost, is nothing to decide about.
            match self.status()?.loss {
                Some(loss)
                    if loss != shown && loss.gives_up_what(&shown) && Instant::now() < until =>
                {
                    shown = loss;
                }
                _ => return Err(ClientError::Changed { now }),
            }
        }
    }

    /// Accepts a node's data folder that is held back since it is, or may be, a copy (rule L5). The
    /// process that used the original must have terminated. `start` is the incarnation that waits
    /// with the folder, as a [`Status`] reports it.
    ///
    /// # Errors
    /// [`ClientError::Changed`] if it does not wait any more; [`ClientError::Refused`] if the node
    /// is a live member; [`ClientError::NoManager`].
    pub fn adopt_folder(&self, id: &NodeId, start: Incarnation) -> Result<(), ClientError> {
        let order = AdoptFolder { id: id.clone(), start };
        self.ask_patiently(|link| link.call::<FolderAdopted>(&order)).map(drop)
    }

    /// What a planned change would move if it began now.
    ///
    /// # Errors
    /// [`ClientError::NoManager`], or [`ClientError::Refused`] with the reason.
    pub fn plan(&self, change: Reconfiguration, force: bool) -> Result<Outline, ClientError> {
        let order = AdminCommand::Reconfigure { change, force };
        self.ask_manager(|link| link.call::<Planned>(&Plan(order))).map(|Planned(outline)| outline)
    }

    /// Begins a planned change of the cluster, or cancels the one that is under way (rule H5).
    /// Returns what it moves once it has begun; [`GTStoreClient::status`] reports its progress.
    /// While something else is under way the request is repeated, until the deadline.
    ///
    /// # Errors
    /// [`ClientError::NoManager`], or [`ClientError::Refused`] with the reason;
    /// [`ClientError::Unknown`] if the connection was lost before the answer: check the status.
    pub fn order(&self, order: &AdminCommand) -> Result<Outline, ClientError> {
        // It begins when every node has answered a probe, and is saved.
        self.ask_patiently(|link| link.call::<Planned>(&Begin(order.clone())))
            .map(|Planned(outline)| outline)
    }

    /// Sends a request whose answer waits for the manager's disk, and repeats it, until the
    /// deadline, while the answer is that something else is under way.
    fn ask_patiently<T>(
        &self,
        ask: impl Fn(&mut Connection) -> Result<T, NetError>,
    ) -> Result<T, ClientError> {
        let until = after(self.config.deadline);
        loop {
            let asked = self.call_manager(|link| {
                link.set_patience(self.config.deadline.max(self.config.patience));
                ask(link)
            });
            match asked {
                Err(error) if error.word() == Some(&ErrorWord::Wait) && Instant::now() < until => {
                    std::thread::sleep(LAST_PAUSE);
                }
                // The manager may have done it before it was lost.
                Err(source @ NetError::Lost { .. }) => {
                    return Err(ClientError::Unknown { why: source.to_string() });
                }
                asked => return asked.map_err(|source| self.managers_error(source)),
            }
        }
    }

    fn ask_manager<T>(
        &self,
        ask: impl FnOnce(&mut Connection) -> Result<T, NetError>,
    ) -> Result<T, ClientError> {
        self.call_manager(ask).map_err(|source| self.managers_error(source))
    }

    fn call_manager<T>(
        &self,
        ask: impl FnOnce(&mut Connection) -> Result<T, NetError>,
    ) -> Result<T, NetError> {
        let mut link = self.pool.take(self.router.manager())?;
        let answer = ask(&mut link)?;
        self.pool.put_back(link);
        Ok(answer)
    }

    /// The client error for a manager's refusal. Decided by its error word only, never by the text,
    /// which may contain names and keys.
    fn managers_error(&self, source: NetError) -> ClientError {
        match source {
            NetError::Refused { refused, .. } => match refused.word {
                ErrorWord::Changed => ClientError::Changed { now: refused.why },
                // The error already names the refusal; the manager's word would repeat it.
                ErrorWord::Refused => ClientError::Refused(refused.why),
                _ => ClientError::Refused(refused.to_string()),
            },
            source => ClientError::NoManager { address: self.router.manager().clone(), source },
        }
    }

    /// Asks every node of the view how much it holds, the nodes themselves and not the manager.
    ///
    /// # Errors
    /// [`ClientError::NotEnoughReplicas`] where a node does not answer.
    pub fn node_infos(&self) -> Result<Vec<Info>, ClientError> {
        let routes = self.router.routes();
        let ask = |address: &Address| {
            let mut link = self.pool.take(address)?;
            let info = link.call::<Info>(&InfoRequest)?;
            self.pool.put_back(link);
            Ok(info)
        };
        routes
            .view()
            .members
            .iter()
            .map(|member| {
                ask(&member.address).map_err(|error: NetError| ClientError::NotEnoughReplicas {
                    deadline: self.config.patience,
                    why: format!("{}: {error}", member.id),
                })
            })
            .collect()
    }
}
