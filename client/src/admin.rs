//! What an operator asks the manager for: the status, changes, what to go on without. And the
//! nodes: how much they hold.

use std::time::Instant;

use cluster::ids::{Address, Incarnation, NodeId};
use cluster::membership::Loss;
use cluster::membership::order::{Order, Outline, Wish};
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

    /// Goes on without what only nodes that are down have held: without this, which a [`Status`]
    /// has told. Those keys begin empty, or with what is on the disks that are there. Returns how
    /// many arcs that concerns. While a view is being made it is asked for again, until the
    /// deadline; where the same is lost in another view by then, that is what is asked for.
    ///
    /// # Errors
    /// [`ClientError::Changed`] where another loss is there by now; [`ClientError::NoManager`], or
    /// [`ClientError::Refused`] where views are being made all the time;
    /// [`ClientError::Unknown`] where the manager was lost before it answered.
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

    /// Goes on with a node's data folder that is held back since it is, or may be, a copy (rule
    /// L5): whoever had it before has ended. `start` is the one that waits with it, which a
    /// [`Status`] has told.
    ///
    /// # Errors
    /// [`ClientError::Changed`] where it does not wait any more; [`ClientError::Refused`] where the
    /// node is there; [`ClientError::NoManager`].
    pub fn adopt_folder(&self, id: &NodeId, start: Incarnation) -> Result<(), ClientError> {
        let order = AdoptFolder { id: id.clone(), start };
        self.ask_patiently(|link| link.call::<FolderAdopted>(&order)).map(drop)
    }

    /// What a planned change would move, were it begun now.
    ///
    /// # Errors
    /// [`ClientError::NoManager`], or [`ClientError::Refused`] with what speaks against it.
    pub fn plan(&self, wish: Wish, force: bool) -> Result<Outline, ClientError> {
        let order = Order::Change { wish, force };
        self.ask_manager(|link| link.call::<Planned>(&Plan(order))).map(|Planned(outline)| outline)
    }

    /// Begins a planned change of the cluster, or cancels the one that is under way (rule H5).
    /// Returns what it moves once it has begun; [`GTStoreClient::status`] tells how far it is.
    /// While something else is under way it is asked for again, until the deadline.
    ///
    /// # Errors
    /// [`ClientError::NoManager`], or [`ClientError::Refused`] with what speaks against it;
    /// [`ClientError::Unknown`] where the manager was lost before it answered: look at the status.
    pub fn order(&self, order: &Order) -> Result<Outline, ClientError> {
        // It begins when every node has answered a probe, and is saved.
        self.ask_patiently(|link| link.call::<Planned>(&Begin(order.clone())))
            .map(|Planned(outline)| outline)
    }

    /// Asks for what takes as long as the manager's disk takes; and again, until the deadline, as
    /// long as the answer is that something else is under way.
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

    /// What it means that the manager did not do as it was asked. Decided by its word, and never by
    /// what follows: names and keys may be in that.
    fn managers_error(&self, source: NetError) -> ClientError {
        match source {
            NetError::Refused { refused, .. } => match refused.word {
                ErrorWord::Changed => ClientError::Changed { now: refused.why },
                // The error says that it was refused; the manager's word for it need not say so
                // again.
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
