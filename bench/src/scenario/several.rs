//! single: three clients at once, each of which puts a list and reads it back.

use std::io::Write;
use std::thread;

use super::ScenarioError;
use super::session::ScenarioSession;
use crate::target::StoreTarget;

const CLIENTS: usize = 3;

const LIST: [&str; 2] = ["phone", "phone_case"];

pub(super) fn play<T: StoreTarget>(
    init: &(impl Fn() -> Result<T, ScenarioError> + Sync),
    copies: usize,
    out: &mut dyn Write,
) -> Result<(), ScenarioError> {
    // Each prints to its own buffer, so that their lines are not mixed.
    let pages: Vec<(Vec<u8>, Result<(), ScenarioError>)> = thread::scope(|scope| {
        let clients: Vec<_> = (1..=CLIENTS)
            .map(|number| {
                scope.spawn(move || {
                    let mut page = Vec::new();
                    let outcome = shop(init, &format!("client{number}"), copies, &mut page);
                    (page, outcome)
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("a client does not panic")).collect()
    });
    for (page, _) in &pages {
        out.write_all(page)?;
    }
    pages.into_iter().try_for_each(|(_, outcome)| outcome)
}

/// The operations of one client.
fn shop<T: StoreTarget>(
    init: &impl Fn() -> Result<T, ScenarioError>,
    id: &str,
    copies: usize,
    page: &mut Vec<u8>,
) -> Result<(), ScenarioError> {
    let target = init()?;
    let mut session = ScenarioSession::new(&target, copies, page);
    session.put_list(id, &LIST)?;
    session.get(id)?;
    session.check_list(id, &LIST)
}
