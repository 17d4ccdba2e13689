//! [`GTStoreClient`]: the calls.

use std::time::{Duration, Instant};

use cluster::ids::Address;
use cluster::read_round::ReadRound;
use cluster::version::{Version, WriterClock};
use cluster::write_round::WriteRound;
use log::debug;
use net_common::auth::Secret;
use net_common::connection::{Dial, NetError};
use net_common::message::control::{AcceptLoss, Info, InfoAsk, LossAccepted, Status, StatusAsk};
use net_common::message::data::Body;
use parking_lot::Mutex;

use crate::error::ClientError;
use crate::fanout;
use crate::links::Links;
use crate::operation::{Done, Got, Need, Op, Operation, Placed, Work};
use crate::router::Router;

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the manager is.
    pub manager: Address,
    /// How long an operation is tried before it fails; 10 s.
    pub deadline: Duration,
    /// How long one node is waited for before another attempt is made; 1 s.
    pub patience: Duration,
    /// The cluster's secret, if it has one.
    pub secret: Option<Secret>,
}

impl Config {
    /// The defaults, for a manager at `manager`.
    pub fn new(manager: Address) -> Config {
        Config {
            manager,
            deadline: Duration::from_secs(10),
            patience: Duration::from_secs(1),
            secret: None,
        }
    }
}

/// Most operations in one attempt: bounds what one frame carries and what one failure sends again.
const CHUNK_OPS: usize = 4096;

/// Most bytes of keys and values in one attempt, to send or to receive. Half a frame, so that what a
/// node's frame has besides always fits.
const CHUNK_BYTES: usize = net_common::frame::MAX_PAYLOAD / 2;

/// What a record costs in a frame besides key and value, rounded up.
const RECORD_OVERHEAD: usize = 64;

/// Waits between attempts that did not get further, when even a new view does not help: from the first,
/// doubled up to the last. A view change takes milliseconds when all goes well.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(50);

/// A client of one cluster. Share it between threads by reference; each call blocks its own thread.
pub struct GTStoreClient {
    config: Config,
    links: Links,
    router: Router,
    clock: Mutex<WriterClock>,
}

impl GTStoreClient {
    /// Connects to the manager and learns the view.
    ///
    /// # Errors
    /// [`ClientError::NoManager`] where it does not answer.
    pub fn init(config: Config) -> Result<GTStoreClient, ClientError> {
        let links = Links::new(Dial {
            connect: config.patience,
            reply: config.patience,
            secret: config.secret.clone(),
        });
        let no_manager =
            |source| ClientError::NoManager { address: config.manager.clone(), source };
        let (router, clock) = Router::new(&links, config.manager.clone()).map_err(no_manager)?;
        let mut writer = WriterClock::new(writer_id()?);
        writer.tell(clock);
        Ok(GTStoreClient { links, router, clock: Mutex::new(writer), config })
    }

    /// Gives a key a value. Blocks until all replicas hold it.
    ///
    /// # Errors
    /// [`ClientError`]; only after [`ClientError::Unknown`] can the value be, or become, visible.
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<Placed, ClientError> {
        placed(self.one(Op::Put { key, value }))
    }

    /// Fetches a key's value; `None` if it has none.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn get(&self, key: &[u8]) -> Result<Option<Got>, ClientError> {
        got(self.one(Op::Get { key }))
    }

    /// Removes a key, whether it has a value or not. Blocks until all replicas know.
    ///
    /// # Errors
    /// As [`GTStoreClient::put`].
    pub fn delete(&self, key: &[u8]) -> Result<Placed, ClientError> {
        placed(self.one(Op::Delete { key }))
    }

    /// Puts many keys at once: each node gets one frame. The keys are independent; each has its own
    /// result, in their order.
    pub fn put_many<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        pairs: &[(K, V)],
    ) -> Vec<Result<Placed, ClientError>> {
        let ops: Vec<Op<'_>> = pairs
            .iter()
            .map(|(key, value)| Op::Put { key: key.as_ref(), value: value.as_ref() })
            .collect();
        self.run(&ops).into_iter().map(placed).collect()
    }

    /// Gets many keys at once; each has its own result, in their order.
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Vec<Result<Option<Got>, ClientError>> {
        let ops: Vec<Op<'_>> = keys.iter().map(|key| Op::Get { key: key.as_ref() }).collect();
        self.run(&ops).into_iter().map(got).collect()
    }

    /// Gives a key a value made of several strings, joined by commas, as the original does.
    ///
    /// # Errors
    /// As [`GTStoreClient::put`], and [`ClientError::BadList`] where a string has a comma of its own.
    pub fn put_list<S: AsRef<str>>(&self, key: &[u8], list: &[S]) -> Result<Placed, ClientError> {
        if let Some(i) = list.iter().position(|item| item.as_ref().contains(',')) {
            return Err(ClientError::BadList(i));
        }
        let items: Vec<&str> = list.iter().map(AsRef::as_ref).collect();
        self.put(key, items.join(",").as_bytes())
    }

    /// Fetches a value as the strings that it is made of.
    ///
    /// # Errors
    /// As [`GTStoreClient::get`].
    pub fn get_list(&self, key: &[u8]) -> Result<Option<Vec<String>>, ClientError> {
        let got = self.get(key)?;
        Ok(got.map(|g| String::from_utf8_lossy(&g.value).split(',').map(str::to_owned).collect()))
    }

    /// Runs a mixed batch. The operations are independent of each other, even those of one key; each
    /// has its own result, in their order.
    pub fn run(&self, ops: &[Op<'_>]) -> Vec<Result<Done, ClientError>> {
        let mut results = Vec::with_capacity(ops.len());
        let limits = self.router.routes().view().limits;
        let mut rest = ops;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest.iter().take(CHUNK_OPS).take_while(|op| {
                bytes += RECORD_OVERHEAD
                    + match op {
                        Op::Put { key, value } => key.len() + value.len(),
                        Op::Get { .. } => limits.value_bytes,
                        Op::Delete { key } => key.len(),
                    };
                bytes <= CHUNK_BYTES
            });
            // At least one: a single operation always fits a frame, or is refused by the limits.
            let (chunk, later) = rest.split_at(fits.count().max(1));
            results.extend(self.run_chunk(chunk));
            rest = later;
        }
        results
    }

    fn one(&self, op: Op<'_>) -> Result<Done, ClientError> {
        self.run_chunk(&[op]).pop().expect("an operation has a result")
    }

    fn run_chunk(&self, ops: &[Op<'_>]) -> Vec<Result<Done, ClientError>> {
        let mut batch: Vec<Operation<'_>> = ops.iter().map(|op| self.start(op)).collect();
        let until = Instant::now() + self.config.deadline;
        let mut pause = FIRST_PAUSE;
        loop {
            let routes = self.router.routes();
            let attempt = fanout::attempt(&self.links, &routes, &mut batch);
            self.clock.lock().tell(attempt.clock);
            let mut needs_view = false;
            for (operation, need) in batch.iter_mut().zip(&attempt.needs) {
                needs_view |= *need == Need::View;
                if let Need::Version(above) = *need {
                    self.freshen(operation, above);
                }
            }
            if batch.iter().all(|operation| operation.outcome.is_some()) {
                break;
            }
            let trouble = needs_view.then(|| self.refresh(&routes, &mut pause, until));
            if Instant::now() >= until {
                self.give_up(&mut batch, attempt.trouble, trouble.flatten());
                break;
            }
        }
        batch
            .into_iter()
            .map(|operation| operation.outcome.expect("the loop ends with all outcomes"))
            .collect()
    }

    fn start<'a>(&self, op: &Op<'a>) -> Operation<'a> {
        let limits = self.router.routes().view().limits;
        let (key, body) = match *op {
            Op::Put { key, value } => (key, Some(Body::Value(value))),
            Op::Delete { key } => (key, Some(Body::Tombstone)),
            Op::Get { key } => (key, None),
        };
        let mut refused = limits.check_key(key).map_err(ClientError::BadKey);
        if let Some(Body::Value(value)) = body {
            refused = refused.and(limits.check_value(value).map_err(ClientError::BadValue));
        }
        let work = match body {
            Some(body) => {
                Work::Write { body, version: self.clock.lock().draw(), round: WriteRound::new() }
            }
            None => Work::Read { round: ReadRound::new(0), place: 0 },
        };
        Operation { key, work, outcome: refused.err().map(Err) }
    }

    /// Takes a version above what the replicas told (C1).
    fn freshen(&self, operation: &mut Operation<'_>, above: Version) {
        if let Work::Write { version, round, .. } = &mut operation.work {
            let mut clock = self.clock.lock();
            clock.tell(above.clock);
            *version = clock.draw();
            round.freshen();
        }
    }

    /// Learns a newer view; if there is none, pauses. Returns what went wrong with the manager.
    fn refresh(
        &self,
        used: &cluster::view::Routes,
        pause: &mut Duration,
        until: Instant,
    ) -> Option<NetError> {
        let told = self.router.refresh(&self.links);
        if let Ok(clock) = told {
            self.clock.lock().tell(clock);
            if self.router.routes().epoch() != used.epoch() {
                *pause = FIRST_PAUSE;
                return None;
            }
        }
        let left = until.saturating_duration_since(Instant::now());
        std::thread::sleep((*pause).min(left));
        *pause = (*pause * 2).min(LAST_PAUSE);
        told.err()
    }

    fn give_up(
        &self,
        batch: &mut [Operation<'_>],
        trouble: Option<String>,
        manager: Option<NetError>,
    ) {
        let mut why = trouble.unwrap_or_else(|| "the view keeps changing".into());
        if let Some(error) = manager {
            debug!("at the deadline: {error}");
            why = format!("{why}; and no newer view: {error}");
        }
        for operation in batch.iter_mut().filter(|operation| operation.outcome.is_none()) {
            operation.give_up(self.config.deadline, &why);
        }
    }

    /// How the cluster is, as the manager sees it.
    ///
    /// # Errors
    /// [`ClientError::NoManager`].
    pub fn status(&self) -> Result<Status, ClientError> {
        self.ask_manager(|link| link.call::<Status>(&StatusAsk))
    }

    /// Goes on without what only nodes that are down have held: those keys begin empty. Returns how
    /// many arcs that concerns.
    ///
    /// # Errors
    /// [`ClientError::NoManager`], or [`ClientError::Refused`] where a view is being made just then.
    pub fn accept_loss(&self) -> Result<u32, ClientError> {
        self.ask_manager(|link| link.call::<LossAccepted>(&AcceptLoss)).map(|done| done.arcs)
    }

    fn ask_manager<T>(
        &self,
        ask: impl FnOnce(&mut net_common::connection::Connection) -> Result<T, NetError>,
    ) -> Result<T, ClientError> {
        let manager = self.router.manager();
        let asked = self.links.take(manager).and_then(|mut link| {
            let answer = ask(&mut link)?;
            self.links.put_back(link);
            Ok(answer)
        });
        asked.map_err(|source| match source {
            NetError::Refused { text, .. } => ClientError::Refused(text),
            source => ClientError::NoManager { address: manager.clone(), source },
        })
    }

    /// Asks every node of the view how much it holds, the nodes themselves and not the manager.
    ///
    /// # Errors
    /// [`ClientError::NotEnoughReplicas`] where a node does not answer.
    pub fn node_infos(&self) -> Result<Vec<Info>, ClientError> {
        let routes = self.router.routes();
        let ask = |address: &Address| {
            let mut link = self.links.take(address)?;
            let info = link.call::<Info>(&InfoAsk)?;
            self.links.put_back(link);
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

    /// Brings the view up to date now, not only when an operation finds it out of date.
    ///
    /// # Errors
    /// [`ClientError::NoManager`].
    pub fn refresh_view(&self) -> Result<(), ClientError> {
        let clock = self.router.refresh(&self.links).map_err(|source| ClientError::NoManager {
            address: self.router.manager().clone(),
            source,
        })?;
        self.clock.lock().tell(clock);
        Ok(())
    }

    /// The node that a key's reads go to first, as this client knows it; `None` while nobody serves.
    pub fn primary_of(&self, key: &[u8]) -> Option<cluster::ids::NodeId> {
        let routes = self.router.routes();
        let arc = routes.arc_of(key)?;
        routes.replicas(arc).first().map(|&place| routes.member(place).id.clone())
    }

    /// Closes all connections. Dropping the client does the same; this says it.
    pub fn finalize(self) {
        self.links.clear();
    }
}

/// 64 random bits, never 0: who writes, for as long as this client lives.
fn writer_id() -> Result<u64, ClientError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)
        .map_err(|e| ClientError::Refused(format!("the system has no random bytes: {e}")))?;
    Ok(u64::from_be_bytes(bytes).max(1))
}

fn placed(done: Result<Done, ClientError>) -> Result<Placed, ClientError> {
    done.map(|done| match done {
        Done::Placed(placed) => placed,
        Done::Got(_) => unreachable!("a write ends in a place"),
    })
}

fn got(done: Result<Done, ClientError>) -> Result<Option<Got>, ClientError> {
    done.map(|done| match done {
        Done::Got(got) => got,
        Done::Placed(_) => unreachable!("a get ends in a value or none"),
    })
}
