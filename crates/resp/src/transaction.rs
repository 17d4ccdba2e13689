//! MULTI to EXEC, as far as supported: commands are counted, and none of them is executed.
//!
//! There are no transactions. A client learns that at the one place where it matters: EXEC replies
//! that nothing was done, and why. Everything before EXEC behaves as in Redis, since clients send a
//! whole transaction at once: if MULTI were refused instead, the commands after it would be
//! executed one by one, and again when the client retries.

use crate::args::Args;
use crate::command::{self, Command};
use crate::error::Error;
use crate::reply::Replies;
use crate::spec::{Name, Spec};

/// The state of a connection between MULTI and EXEC. It stores no command, so its size is constant.
#[derive(Debug, Default)]
pub struct TransactionState {
    open: Option<OpenTransaction>,
    /// Whether it watches keys for changes. Changes are not tracked, so EXEC cannot rule them out.
    is_watching: bool,
}

/// The commands since MULTI.
#[derive(Debug, Default)]
struct OpenTransaction {
    queued: usize,
    /// Whether one of them was invalid.
    is_spoilt: bool,
}

impl TransactionState {
    /// Parses a request, on a node whose wall clock shows `now_ms`: `found` is its command, or the
    /// error of the lookup.
    ///
    /// # Errors
    /// [`Error`]; EXEC will then refuse the whole transaction.
    pub fn parse<'b>(
        &mut self,
        found: Result<&Spec, Error>,
        args: Args<'b>,
        now_ms: u64,
    ) -> Result<Command<'b>, Error> {
        let Some(open) = &mut self.open else { return Command::parse(found?, args, now_ms) };
        match found {
            Ok(spec) if is_done_at_once(spec.id) => Command::parse(spec, args, now_ms),
            // In Redis its arguments are checked when it is executed.
            Ok(_) => Ok(Command::Transaction(command::TransactionCommand::Queue)),
            Err(Error::WrongArity(Name::Exec)) => {
                self.open = None;
                Err(Error::ExecArity)
            }
            Err(error) => {
                open.is_spoilt = true;
                Err(error)
            }
        }
    }

    /// The number of queued commands; `None`: no MULTI is open.
    pub fn queued(&self) -> Option<usize> {
        self.open.as_ref().map(|open| open.queued)
    }

    /// Replies to a command about transactions.
    ///
    /// # Errors
    /// [`Error`]; nothing was done.
    pub fn answer(
        &mut self,
        command: &command::TransactionCommand<'_>,
        out: &mut Replies<'_>,
    ) -> Result<(), Error> {
        match command {
            command::TransactionCommand::Multi if self.open.is_some() => {
                return Err(Error::NestedMulti);
            }
            command::TransactionCommand::Multi => self.open = Some(OpenTransaction::default()),
            command::TransactionCommand::Queue => {
                self.open.iter_mut().for_each(|open| open.queued += 1);
                out.simple("QUEUED");
                return Ok(());
            }
            command::TransactionCommand::Exec => {
                let TransactionState { open, is_watching } = std::mem::take(self);
                let OpenTransaction { queued, is_spoilt } = open.ok_or(Error::ExecWithoutMulti)?;
                if is_spoilt {
                    return Err(Error::ExecSpoilt);
                }
                // An empty transaction is trivially executed.
                if queued > 0 || is_watching {
                    return Err(Error::NoTransactions);
                }
                out.array(0);
                return Ok(());
            }
            command::TransactionCommand::Discard if self.open.is_none() => {
                return Err(Error::DiscardWithoutMulti);
            }
            command::TransactionCommand::Discard => *self = TransactionState::default(),
            command::TransactionCommand::Watch(_) if self.open.is_some() => {
                return Err(Error::WatchInMulti);
            }
            command::TransactionCommand::Watch(_) => self.is_watching = true,
            command::TransactionCommand::Unwatch => self.is_watching = false,
        }
        out.ok();
        Ok(())
    }
}

/// Whether Redis executes a command at once instead of queueing it.
fn is_done_at_once(command: Name) -> bool {
    matches!(
        command,
        Name::Multi | Name::Exec | Name::Discard | Name::Watch | Name::Quit | Name::Reset
    )
}
