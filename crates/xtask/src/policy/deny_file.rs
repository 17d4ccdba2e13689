//! The lists in `deny.toml` that are checked here.
//!
//! The file is cargo-deny's, and TOML; this reads only as much of TOML as those lists have: arrays
//! of texts, and of tables in one line, whose `crate` counts. Everything else is cargo-deny's own
//! business.

/// The lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DenyFile {
    /// Licences that may be used: `allow` in `[licenses]`.
    pub licences: Vec<String>,
    /// Packages that may not: `deny` in `[bans]`.
    pub banned: Vec<String>,
    /// Where packages may come from: `allow-registry` in `[sources]`.
    pub registries: Vec<String>,
}

impl DenyFile {
    /// Reads the file's text.
    ///
    /// # Errors
    /// A list is missing, or is none.
    pub fn read(text: &str) -> Result<DenyFile, String> {
        Ok(DenyFile {
            licences: list(text, "licenses", "allow")?,
            banned: list(text, "bans", "deny")?,
            registries: list(text, "sources", "allow-registry")?,
        })
    }
}

/// A list by its section and key.
fn list(text: &str, section: &str, key: &str) -> Result<Vec<String>, String> {
    let header = format!("[{section}]");
    let mut lines = text.lines().map(without_comment);
    lines.find(|line| *line == header).ok_or_else(|| format!("deny.toml has no {header}"))?;
    let mut of_section = lines.take_while(|line| !line.starts_with('['));
    let first = of_section
        .find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='))
        .ok_or_else(|| format!("deny.toml has no {key} in {header}"))?;
    let mut array = first.trim().to_owned();
    while !array.ends_with(']') {
        let more = of_section.next().ok_or_else(|| format!("{key} in {header} does not end"))?;
        array.push_str(more);
    }
    let items = array.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let items = items.ok_or_else(|| format!("{key} in {header} is no list"))?;
    let texts = items.split(',').map(str::trim).filter(|item| !item.is_empty());
    texts.filter_map(|item| named(item).transpose()).collect()
}

/// The text of an item, or the crate of a table; nothing for another field of a table.
fn named(item: &str) -> Result<Option<String>, String> {
    let field = item.trim_start_matches('{').trim_end_matches('}').trim();
    let value = match field.split_once(" = ") {
        Some(("crate", value)) => value,
        Some(_) => return Ok(None),
        None => field,
    };
    let text = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    text.map(|text| Some(text.to_owned())).ok_or_else(|| format!("deny.toml: {item} is no text"))
}

/// A line without its comment. No text in these lists has a `#`.
fn without_comment(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[licenses] # these\nallow = [\"MIT\", \"Zlib\"]\n\n[bans]\nwildcards = \"deny\"\n\
                        deny = [\n  { crate = \"tokio\", reason = \"async\" },\n  # and\n  \"mio\",\n]\n\
                        [sources]\nallow-registry = [\"https://here\"]\n";

    #[test]
    fn lists_are_read_in_either_form() {
        let file = DenyFile::read(TEXT).unwrap();
        assert_eq!(file.licences, ["MIT", "Zlib"]);
        assert_eq!(file.banned, ["tokio", "mio"]);
        assert_eq!(file.registries, ["https://here"]);
    }

    #[test]
    fn missing_and_malformed_entries_are_reported() {
        let found = |from: &str, to: &str| DenyFile::read(&TEXT.replace(from, to)).unwrap_err();
        assert_eq!(found("[bans]", "[ban]"), "deny.toml has no [bans]");
        assert_eq!(found("allow = ", "allowed = "), "deny.toml has no allow in [licenses]");
        assert_eq!(found("\"MIT\"", "MIT"), "deny.toml: MIT is no text");
        assert_eq!(found("\"mio\",\n]", "\"mio\","), "deny in [bans] does not end");
        assert_eq!(
            found("[\"https://here\"]", "\"here\"]"),
            "allow-registry in [sources] is no list"
        );
    }
}
