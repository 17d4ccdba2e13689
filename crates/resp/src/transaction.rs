//! MULTI to EXEC, as far as it goes here: commands are counted, and none of them is carried out.
//!
//! There are no transactions. A client learns that at the one place where it matters: EXEC says
//! that nothing was done, and why. All before it goes as in Redis, since clients send a whole
//! transaction at once: were MULTI refused instead, what follows would be done one by one, and
//! again when the client tries again.

use crate::args::Args;
use crate::command::{self, Command};
use crate::error::Error;
use crate::reply::Replies;
use crate::spec::{Name, Spec};

/// Where a connection stands between MULTI and EXEC. It keeps no command, so it takes no room.
#[derive(Debug, Default)]
pub struct Transaction {
    open: Option<Open>,
    /// Whether it waits for keys to change, which is not looked at: EXEC may not vouch for them.
    is_watching: bool,
}

/// What has come since MULTI.
#[derive(Debug, Default)]
struct Open {
    queued: usize,
    /// Whether something was no command.
    is_spoilt: bool,
}

impl Transaction {
    /// Reads a request, at a node whose wall clock shows `now_ms`: `found` is its command, or why
    /// it is none.
    ///
    /// # Errors
    /// [`Error`], and EXEC will refuse the whole.
    pub fn parse<'b>(
        &mut self,
        found: Result<&Spec, Error>,
        args: Args<'b>,
        now_ms: u64,
    ) -> Result<Command<'b>, Error> {
        let Some(open) = &mut self.open else { return Command::parse(found?, args, now_ms) };
        match found {
            Ok(spec) if is_done_at_once(spec.id) => Command::parse(spec, args, now_ms),
            // Its arguments are looked at when it is carried out, in Redis.
            Ok(_) => Ok(Command::Transaction(command::Transaction::Queue)),
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

    /// How many commands are queued; `None`: there was no MULTI.
    pub fn queued(&self) -> Option<usize> {
        self.open.as_ref().map(|open| open.queued)
    }

    /// Answers what is about transactions.
    ///
    /// # Errors
    /// [`Error`]; nothing was done.
    pub fn answer(
        &mut self,
        said: &command::Transaction<'_>,
        out: &mut Replies<'_>,
    ) -> Result<(), Error> {
        match said {
            command::Transaction::Multi if self.open.is_some() => return Err(Error::NestedMulti),
            command::Transaction::Multi => self.open = Some(Open::default()),
            command::Transaction::Queue => {
                self.open.iter_mut().for_each(|open| open.queued += 1);
                out.simple("QUEUED");
                return Ok(());
            }
            command::Transaction::Exec => {
                let Transaction { open, is_watching } = std::mem::take(self);
                let Open { queued, is_spoilt } = open.ok_or(Error::ExecWithoutMulti)?;
                if is_spoilt {
                    return Err(Error::ExecSpoilt);
                }
                // Where nothing is to be done that is easily said.
                if queued > 0 || is_watching {
                    return Err(Error::NoTransactions);
                }
                out.array(0);
                return Ok(());
            }
            command::Transaction::Discard if self.open.is_none() => {
                return Err(Error::DiscardWithoutMulti);
            }
            command::Transaction::Discard => *self = Transaction::default(),
            command::Transaction::Watch(_) if self.open.is_some() => {
                return Err(Error::WatchInMulti);
            }
            command::Transaction::Watch(_) => self.is_watching = true,
            command::Transaction::Unwatch => self.is_watching = false,
        }
        out.ok();
        Ok(())
    }
}

/// What Redis does not queue.
fn is_done_at_once(command: Name) -> bool {
    matches!(
        command,
        Name::Multi | Name::Exec | Name::Discard | Name::Watch | Name::Quit | Name::Reset
    )
}
