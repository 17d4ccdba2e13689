//! test1 and test2: put, get, overwrite, and get again.

use super::ScenarioError;
use super::session::ScenarioSession;
use crate::target::StoreTarget;

pub(super) fn play(
    session: &mut ScenarioSession<'_, impl StoreTarget>,
) -> Result<(), ScenarioError> {
    session.put("key1", "value1")?;
    session.get("key1")?;
    session.put("key1", "value2")?;
    session.put("key2", "value3")?;
    session.put("key3", "value4")?;
    for key in ["key1", "key2", "key3"] {
        session.get(key)?;
    }
    Ok(())
}
