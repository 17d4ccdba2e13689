//! The replies to a batch's requests, from the results of its operations.

use client::Got;
use resp::command::Command;
use resp::error::Error;
use resp::read::Read;
use resp::reply::Replies;
use resp::update::{Current, UpdateReply};

use super::item::PipelineItem;
use super::local::LocalReplies;
use super::rounds::BatchRounds;
use super::store::Store;
use crate::redis::bounds::ANSWER;
use crate::redis::coalesce::{Finding, KeyState};

/// Replies to the next request.
pub fn answer<S: Store>(
    item: PipelineItem<'_>,
    seen: &LocalReplies,
    rounds: &mut BatchRounds<'_, '_, S>,
    out: &mut Replies<'_>,
) {
    let start = out.len();
    let written = match item {
        PipelineItem::Refused(error) => Err(error),
        PipelineItem::Local(place) => {
            out.raw(seen.answer(place));
            Ok(())
        }
        PipelineItem::Command(command) => {
            rounds.begin();
            let written = answer_single(&command, rounds, out);
            rounds.finish();
            written
        }
        PipelineItem::Coalesced(place) => answer_coalesced(place, rounds, out),
    };
    if let Err(error) = written {
        out.truncate(start);
        out.error(&error.to_string());
    }
}

/// Replies to a command that was executed by itself.
fn answer_single<S: Store>(
    command: &Command<'_>,
    rounds: &mut BatchRounds<'_, '_, S>,
    out: &mut Replies<'_>,
) -> Result<(), Error> {
    match command {
        Command::Read { key, read } => {
            let found = rounds.got(key)?;
            read.answer(found.as_ref().map(current), rounds.now_ms(), out);
        }
        Command::Put { .. } => {
            rounds.done().map(drop)?;
            out.ok();
        }
        Command::Update { .. } => rounds.updated()?.write(out),
        Command::GetMany(keys) => {
            let start = out.len();
            out.array(keys.len());
            for key in keys.iter() {
                let found = rounds.got(key)?;
                if out.len() - start > ANSWER {
                    return Err(Error::LargeAnswer);
                }
                Read::Value.answer(found.as_ref().map(current), rounds.now_ms(), out);
            }
        }
        Command::CountMany(keys) => {
            let mut count = 0;
            for key in keys.iter() {
                count += usize::from(rounds.got(key)?.is_some());
            }
            out.count(count);
        }
        Command::PutMany(_) => {
            all(rounds.left(), || rounds.done().map(drop))?;
            out.ok();
        }
        Command::RemoveMany(_) => {
            let mut count = 0;
            all(rounds.left(), || {
                count += usize::from(rounds.updated()? == UpdateReply::Integer(1));
                Ok(())
            })?;
            out.count(count);
        }
        _ => {}
    }
    Ok(())
}

/// Replies to the next command of a merged operation.
fn answer_coalesced<S: Store>(
    place: usize,
    rounds: &mut BatchRounds<'_, '_, S>,
    out: &mut Replies<'_>,
) -> Result<(), Error> {
    match rounds.next_of(place)? {
        Finding::UpdateReply(answer) => answer.write(out),
        Finding::Seen(read, state) => {
            read.answer(state.as_deref().map(KeyState::current), rounds.now_ms(), out);
        }
    }
    Ok(())
}

fn current(got: &Got) -> Current<'_> {
    Current { value: &got.value, expiry: got.expiry }
}

/// Takes the results of all keys, whatever they are, so that the next command finds its own. Among
/// several errors, one with an unknown outcome takes precedence.
fn all(results: usize, mut take: impl FnMut() -> Result<(), Error>) -> Result<(), Error> {
    let mut trouble: Option<Error> = None;
    for _ in 0..results {
        match (take(), &trouble) {
            (Ok(()), _) | (Err(_), Some(Error::Unknown(_))) => {}
            (Err(error @ Error::Unknown(_)), _) | (Err(error), None) => trouble = Some(error),
            (Err(_), Some(_)) => {}
        }
    }
    trouble.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_outcome_takes_precedence_over_other_errors() {
        let mut errors = [
            Ok(()),
            Err(Error::TryAgain("a".into())),
            Err(Error::Unknown("b".into())),
            Err(Error::Unavailable("c".into())),
        ]
        .into_iter();
        let error = all(4, || errors.next().unwrap());
        assert_eq!(error, Err(Error::Unknown("b".into())));
        assert_eq!(errors.next(), None, "each has been taken");
    }
}
