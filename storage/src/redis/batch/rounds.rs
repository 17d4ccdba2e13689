//! The results of a batch, fetched in rounds and consumed command by command.
//!
//! The length of the values that a batch reads is not known in advance. So reads that would exceed
//! the memory bound wait until earlier ones are answered: a missing result starts another round.

use client::{Done, Got, ItemOutcome};
use resp::error::Error;
use resp::update::UpdateReply;

use super::outcome::BatchOutcome;
use super::plan::{BatchPlan, Context};
use super::store::Store;
use crate::redis::bounds::BYTES;
use crate::redis::coalesce::{Coalesced, Finding, Findings, KeyState};
use crate::redis::translate::refusal;

/// The results of a batch.
pub struct BatchRounds<'p, 'b, S> {
    store: Option<S>,
    plan: BatchPlan<'p>,
    /// The next part to consume.
    next: usize,
    /// The end of the present command's parts.
    end: usize,
    /// The next reply of an update.
    answer: usize,
    coalesced: &'p [Coalesced<'b>],
    /// The results of each merged operation's commands, once the store was asked, or the error that
    /// they all share.
    findings: Vec<Option<Result<Findings<'p, 'b>, Error>>>,
    context: Context<'p>,
    outcome: BatchOutcome,
}

impl<'p, 'b, S: Store> BatchRounds<'p, 'b, S> {
    /// A plan whose operations have not been run. `outcome` has the statistics so far.
    pub fn new(
        store: Option<S>,
        plan: BatchPlan<'p>,
        coalesced: &'p [Coalesced<'b>],
        context: Context<'p>,
        outcome: BatchOutcome,
    ) -> BatchRounds<'p, 'b, S> {
        let findings = coalesced.iter().map(|_| None).collect();
        BatchRounds {
            store,
            plan,
            next: 0,
            end: 0,
            answer: 0,
            coalesced,
            findings,
            context,
            outcome,
        }
    }

    /// The statistics so far.
    pub fn outcome(&self) -> BatchOutcome {
        self.outcome
    }

    /// When the batch began.
    pub fn now_ms(&self) -> u64 {
        self.context.now_ms
    }

    /// Starts on the results of the next command.
    pub fn begin(&mut self) {
        self.end = self.plan.ends.pop_front().expect("the parts of each command end somewhere");
    }

    /// The number of its results that are left.
    pub fn left(&self) -> usize {
        self.end - self.next
    }

    /// Finishes the command. Results that it did not read are skipped.
    pub fn finish(&mut self) {
        self.plan.parts[self.next..self.end].fill_with(|| None);
        self.next = self.end;
    }

    /// The next result. There is one for every operation of a command.
    pub fn done(&mut self) -> Result<Done, Error> {
        self.next += 1;
        self.take(self.next - 1)
    }

    /// The next result, which is an update's, and its reply.
    pub fn updated(&mut self) -> Result<UpdateReply, Error> {
        let done = self.done();
        self.answer += 1;
        let mut answers = self.context.answers.borrow_mut();
        let answer = std::mem::replace(&mut answers[self.answer - 1], UpdateReply::Null);
        done.map(|_| answer)
    }

    /// The content of a key, which is the next result, unless the key cannot exist.
    pub fn got(&mut self, key: &[u8]) -> Result<Option<Got>, Error> {
        let found = match self.context.seen.can_exist(key).then(|| self.done()).transpose()? {
            Some(Done::Got(got)) => got,
            Some(Done::Placed(_)) | None => None,
        };
        self.outcome.count_read(found.is_some());
        Ok(found)
    }

    /// The result of the next command of a merged operation.
    pub fn next_of(&mut self, place: usize) -> Result<Finding, Error> {
        let (one, part) = (&self.coalesced[place], self.plan.first_coalesced + place);
        let mut findings = match self.findings[place].take() {
            Some(findings) => findings,
            None => self.find(one, part),
        };
        let finding = match &mut findings {
            Ok(findings) => {
                Ok(findings.next().expect("each command of it has found something out"))
            }
            Err(error) => Err(error.clone()),
        };
        if one.advance() {
            let Context { clock, limits, .. } = self.context;
            self.plan.parts[part] = one.part(clock, limits).map(ItemOutcome::Left);
        } else {
            self.findings[place] = Some(findings);
        }
        let finding = finding?;
        if let Finding::Seen(_, state) = &finding {
            self.outcome.count_read(state.is_some());
        }
        Ok(finding)
    }

    /// The results of a merged operation's commands; asks the store if necessary.
    fn find(&mut self, one: &'p Coalesced<'b>, part: usize) -> Result<Findings<'p, 'b>, Error> {
        let got = match one.is_asked().then(|| self.take(part)).transpose()? {
            Some(Done::Got(got)) => got.map(KeyState::got),
            Some(Done::Placed(_)) | None => None,
        };
        Ok(one.findings(got, self.context.limits))
    }

    /// Takes the result of a part; runs it if necessary.
    fn take(&mut self, part: usize) -> Result<Done, Error> {
        if self.is_left(part) {
            self.round(part);
        }
        let done =
            self.plan.parts[part].take().and_then(ItemOutcome::over).expect("a part has a result");
        if let Ok(Done::Placed(placed)) = &done {
            self.outcome.copies = Some(placed.copies);
        }
        done.map_err(|error| refusal(&error))
    }

    fn is_left(&self, part: usize) -> bool {
        matches!(self.plan.parts[part], Some(ItemOutcome::Left(_)))
    }

    /// Runs this part, and as many of the others as fit the memory bound.
    fn round(&mut self, first: usize) {
        let held = self.held();
        let mut asked = vec![first];
        match first.checked_sub(self.plan.first_coalesced) {
            // Otherwise it would hold still more, until the last of its commands is answered.
            Some(place) if held >= BYTES => self.coalesced[place].run_next_alone(),
            _ => {
                let all = 0..self.plan.parts.len();
                asked.extend(all.filter(|&part| part != first && self.is_left(part)));
            }
        }
        let parts = asked.iter().filter_map(|&part| match self.plan.parts[part].take() {
            Some(ItemOutcome::Left(left)) => Some(left),
            _ => None,
        });
        let parts = parts.collect();
        let ran = self.store.as_ref().map(|store| store.run(parts, BYTES.saturating_sub(held)));
        for (part, ran) in asked.into_iter().zip(ran.into_iter().flatten()) {
            self.plan.parts[part] = Some(ran);
        }
    }

    /// The number of bytes held for commands that are yet to be answered.
    fn held(&self) -> usize {
        let results = self.plan.parts.iter().map(|ran| match ran {
            Some(ItemOutcome::Over(Ok(Done::Got(Some(got))))) => got.value.len(),
            _ => 0,
        });
        let answers = self.context.answers.borrow();
        let answers = answers.iter().skip(self.answer).map(|answer| match answer {
            UpdateReply::Bulk(value) => value.len(),
            _ => 0,
        });
        let bases = self.coalesced.iter().map(Coalesced::held);
        let findings = self.findings.iter().flatten().flatten().map(Findings::held);
        let held = results.sum::<usize>() + answers.sum::<usize>();
        held + bases.sum::<usize>() + findings.sum::<usize>()
    }
}
