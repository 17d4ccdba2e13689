//! What commands there are, and what is known of each before its arguments are looked at.
//!
//! The table ([`COMMANDS`]) has a row for each: its name, how many arguments it takes, where its keys stand,
//! what it does to the data. From it come the check of a request's length, the answers of COMMAND
//! ([`docs`](crate::docs)), and what a node needs to decide whether a command may run: before a password,
//! without memory.

use crate::error::{self, Error};
use crate::number;
use crate::request::Args;

mod table;

pub use table::{COMMANDS, Name};

/// One command, or one subcommand, whose name is then `client|list`.
#[derive(Debug)]
pub struct Spec {
    /// Which it is.
    pub id: Name,
    /// Its name in lower case.
    pub name: &'static str,
    /// How many arguments it has, its name counted; below 0: at least so many.
    pub arity: i64,
    /// What it does, and when it may.
    pub flags: Flags,
    /// Where its keys stand.
    pub keys: Keys,
    /// What kind of command it is.
    pub group: Group,
    /// The version of Redis (or Valkey) that had it first.
    pub since: &'static str,
    /// What follows its name.
    pub arguments: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
}

/// A set of what can be said of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags(u16);

impl Flags {
    /// Nothing.
    pub const NONE: Flags = Flags(0);
    /// It may change keys.
    pub const WRITE: Flags = Flags(1);
    /// It only looks at keys.
    pub const READONLY: Flags = Flags(1 << 1);
    /// It may take more memory, so it is refused where there is none left.
    pub const DENYOOM: Flags = Flags(1 << 2);
    /// It is for operators.
    pub const ADMIN: Flags = Flags(1 << 3);
    /// It may run before a password was given.
    pub const NO_AUTH: Flags = Flags(1 << 4);
    /// It takes the same short time whatever the data.
    pub const FAST: Flags = Flags(1 << 5);
    /// It removes its keys.
    pub const REMOVES: Flags = Flags(1 << 6);
    /// It costs much, or tells or destroys much.
    pub const DANGEROUS: Flags = Flags(1 << 7);
    /// It needs no data, so it runs whatever state the node is in.
    pub const STALE: Flags = Flags(1 << 8);
    /// Where its keys stand depends on its arguments.
    pub const MOVABLE: Flags = Flags(1 << 9);

    /// Either.
    #[must_use]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Whether all of the others are among them.
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Where a command's keys stand among its arguments. All 0: it has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keys {
    /// The place of the first.
    pub first: i64,
    /// The place of the last; below 0: counted from the end.
    pub last: i64,
    /// How far each is from the one before.
    pub step: i64,
}

/// A kind of commands, as Redis sorts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Values.
    String,
    /// Keys, whatever they hold.
    Generic,
    /// The connection itself.
    Connection,
    /// The node.
    Server,
    /// The cluster.
    Cluster,
    /// Several commands together.
    Transactions,
    /// Scripts.
    Scripting,
}

impl Group {
    /// Its name in COMMAND DOCS.
    pub fn name(self) -> &'static str {
        match self {
            Group::String => "string",
            Group::Generic => "generic",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Cluster => "cluster",
            Group::Transactions => "transactions",
            Group::Scripting => "scripting",
        }
    }
}

impl Spec {
    /// Its subcommands, if it is a family of such.
    pub fn subcommands(&self) -> &'static [Spec] {
        match self.id {
            Name::Client => &table::CLIENT,
            Name::Cluster => &table::CLUSTER,
            Name::Command => &table::COMMAND,
            Name::Config => &table::CONFIG,
            Name::Module => &table::MODULE,
            _ => &[],
        }
    }

    /// Its name without that of its family.
    fn own_name(&self) -> &'static str {
        self.name.split_once('|').map_or(self.name, |(_, own)| own)
    }

    /// The keys of a request; `None` where it cannot be told which.
    pub fn keys_of<'b>(&self, request: Args<'b>) -> Option<Vec<&'b [u8]>> {
        let Keys { first, last, step } = self.keys;
        let place = |at: i64| usize::try_from(at).ok();
        let (first, step) = (place(first)?, place(step)?);
        if step == 0 {
            return Some(Vec::new());
        }
        let last = if self.flags.has(Flags::MOVABLE) {
            // Their number stands before them.
            let count = number::natural(request.get(first - 1)?)?;
            (first - 1).checked_add(usize::try_from(count).ok()?)?
        } else if last < 0 {
            request.len().checked_add_signed(isize::try_from(last).ok()?)?
        } else {
            place(last)?
        };
        if last >= request.len() {
            return None;
        }
        (first..=last).step_by(step).map(|at| request.get(at)).collect()
    }

    fn takes(&self, arguments: usize) -> bool {
        let arguments = i64::try_from(arguments).unwrap_or(i64::MAX);
        if self.arity < 0 { arguments >= -self.arity } else { arguments == self.arity }
    }
}

/// The command that a request names, its name first; its number of arguments is right.
///
/// # Errors
/// [`Error::UnknownCommand`], [`Error::UnknownSubcommand`], [`Error::WrongArity`]; [`Error::Http`].
#[inline]
pub fn find(args: Args<'_>) -> Result<&'static Spec, Error> {
    let spec = args.get(0).and_then(command).ok_or_else(|| Error::unknown_command(args))?;
    let spec = match (spec.subcommands(), args.get(1)) {
        ([], _) | (_, None) => spec,
        (family, Some(given)) => subcommand(family, given).ok_or_else(|| {
            Error::UnknownSubcommand { command: spec.name, given: error::text(given, 128) }
        })?,
    };
    if spec.takes(args.len()) { Ok(spec) } else { Err(Error::WrongArity(spec.name)) }
}

/// The command of a name, whatever its case; `client|list` is the subcommand.
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

/// One look-up for each request there is, so it takes a hash and mostly one comparison.
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

/// The same whatever the case of letters.
const fn hash(name: &[u8]) -> usize {
    let mut hash = name.len();
    let mut at = 0;
    // The longest name has 11 letters: what is longer need not be looked at as a whole.
    while at < name.len() && at < 12 {
        hash = hash.wrapping_mul(33).wrapping_add((name[at] | 0x20) as usize);
        at += 1;
    }
    (hash ^ (hash >> 8)) % 256
}

/// Where each command stands in [`COMMANDS`], one more than its place; 0: nothing. Made at compile time.
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
    use crate::request::{Limits, Requests};

    fn found(line: &str) -> Result<&'static str, String> {
        let mut buffer = format!("{line}\n").into_bytes();
        let mut requests = Requests::default();
        requests.read(&mut buffer, &Limits::KNOWN).unwrap();
        let args = requests.each(&buffer).next().unwrap();
        find(args).map(|spec| spec.name).map_err(|e| e.to_string())
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
