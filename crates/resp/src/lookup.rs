//! Finds the command that a request names.

use crate::args::Args;
use crate::error::{self, Error};
use crate::spec::{COMMANDS, Spec};

/// Finds the command that a request names with its first argument; checks the number of arguments.
///
/// # Errors
/// [`Error::UnknownCommand`], [`Error::UnknownSubcommand`], [`Error::WrongArity`]; [`Error::Http`].
#[inline]
pub fn find(args: Args<'_>) -> Result<&'static Spec, Error> {
    let spec = args.get(0).and_then(command).ok_or_else(|| Error::unknown_command(args))?;
    let spec = match (spec.subcommands(), args.get(1)) {
        ([], _) | (_, None) => spec,
        (family, Some(given)) => subcommand(family, given).ok_or_else(|| {
            Error::UnknownSubcommand { command: spec.id, given: error::quoted(given) }
        })?,
    };
    if spec.takes(args.len()) { Ok(spec) } else { Err(Error::WrongArity(spec.id)) }
}

/// Finds a command by name, ignoring case; `client|list` is a subcommand.
pub fn by_name(name: &[u8]) -> Option<&'static Spec> {
    let mut parts = name.splitn(2, |&b| b == b'|');
    let spec = parts.next().and_then(command)?;
    match parts.next() {
        None => Some(spec),
        Some(own) => subcommand(spec.subcommands(), own),
    }
}

fn subcommand(family: &'static [Spec], name: &[u8]) -> Option<&'static Spec> {
    family.iter().find(|spec| name.eq_ignore_ascii_case(spec.own_name().as_bytes()))
}

/// A lookup happens for every request, so it costs a hash and usually one comparison.
fn command(name: &[u8]) -> Option<&'static Spec> {
    let mut place = hash(name);
    loop {
        let spec = match PLACES[place] {
            0 => return None,
            at => &COMMANDS[usize::from(at) - 1],
        };
        if name.eq_ignore_ascii_case(spec.name.as_bytes()) {
            return Some(spec);
        }
        place = (place + 1) % PLACES.len();
    }
}

/// Ignores the case of letters.
const fn hash(name: &[u8]) -> usize {
    let mut hash = name.len();
    let mut at = 0;
    // The longest name has 11 letters: of a longer one the beginning is enough.
    while at < name.len() && at < 12 {
        hash = hash.wrapping_mul(33).wrapping_add((name[at] | 0x20) as usize);
        at += 1;
    }
    (hash ^ (hash >> 8)) % 256
}

/// The index of each command in [`COMMANDS`] plus one, by hash; 0: empty. Computed at compile time.
static PLACES: [u8; 256] = {
    let mut places = [0; 256];
    let mut at = 0;
    while at < COMMANDS.len() {
        let mut place = hash(COMMANDS[at].name.as_bytes());
        while places[place] != 0 {
            place = (place + 1) % 256;
        }
        places[place] = at as u8 + 1;
        at += 1;
    }
    places
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Flags, Group};
    use crate::testing::with_args;

    fn found(line: &str) -> Result<&'static str, String> {
        with_args(line, find).map(|spec| spec.name).map_err(|e| e.to_string())
    }

    #[test]
    fn every_command_is_found_by_its_name_and_no_name_twice() {
        for spec in &COMMANDS {
            assert!(std::ptr::eq(by_name(spec.name.as_bytes()).unwrap(), spec), "{}", spec.name);
            assert!(by_name(spec.name.to_uppercase().as_bytes()).is_some());
            for sub in spec.subcommands() {
                assert!(std::ptr::eq(by_name(sub.name.as_bytes()).unwrap(), sub), "{}", sub.name);
            }
        }
        assert!(by_name(b"").is_none() && by_name(b"gett").is_none() && by_name(b"g").is_none());
        assert!(by_name(b"get|x").is_none() && by_name(&[b'x'; 1000]).is_none());
    }

    #[test]
    fn rows_make_sense() {
        for spec in COMMANDS.iter().flat_map(|spec| [spec].into_iter().chain(spec.subcommands())) {
            let Spec { name, flags, keys, .. } = spec;
            assert_eq!(*name, name.to_lowercase());
            assert!(spec.arity != 0 && spec.summary.ends_with('.'), "{name}");
            assert!(!(flags.has(Flags::WRITE) && flags.has(Flags::READONLY)), "{name}");
            assert!(!flags.has(Flags::DENYOOM) || flags.has(Flags::WRITE), "{name}");
            assert_eq!(keys.first == 0, keys.step == 0, "{name}");
            assert!(keys.last < 0 || keys.last >= keys.first, "{name}");
            let least = spec.arity.abs() + i64::from(spec.group == Group::Scripting);
            assert!(least > keys.first, "{name}");
        }
    }

    #[test]
    fn errors_are_in_the_words_of_redis() {
        for (line, want) in [
            ("foo", "ERR unknown command 'foo', with args beginning with: "),
            ("foo a 'b c'", "ERR unknown command 'foo', with args beginning with: 'a' 'b c' "),
            ("POST / HTTP/1.1", "ERR this port does not speak HTTP"),
            ("Host: localhost", "ERR this port does not speak HTTP"),
            ("get", "ERR wrong number of arguments for 'get' command"),
            ("GET a b", "ERR wrong number of arguments for 'get' command"),
            ("client", "ERR wrong number of arguments for 'client' command"),
            ("client foo", "ERR unknown subcommand 'foo'. Try CLIENT HELP."),
            ("client setname", "ERR wrong number of arguments for 'client|setname' command"),
            ("client getname x", "ERR wrong number of arguments for 'client|getname' command"),
            ("config get", "ERR wrong number of arguments for 'config|get' command"),
            ("command count x", "ERR wrong number of arguments for 'command|count' command"),
            ("getex", "ERR wrong number of arguments for 'getex' command"),
        ] {
            assert_eq!(found(line).unwrap_err(), want, "{line}");
        }
        for (line, want) in [
            ("GeT k", "get"),
            ("CLIENT SetName x", "client|setname"),
            ("command", "command"),
            ("MSET a 1 b 2", "mset"),
        ] {
            assert_eq!(found(line).unwrap(), want);
        }
    }

    #[test]
    fn long_arguments_of_an_unknown_command_are_cut() {
        let error = found(&format!("foo {} {} x", "a".repeat(100), "b".repeat(100))).unwrap_err();
        let shown = error.rsplit(": ").next().unwrap();
        assert_eq!(shown, format!("'{}' '{}' ", "a".repeat(100), "b".repeat(25)));
    }
}
