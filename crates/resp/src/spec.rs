//! What commands there are, and what is known of each before its arguments are looked at.
//!
//! The table ([`COMMANDS`]) has a row for each: its name, how many arguments it takes, where its
//! keys stand, what it does to the data. From it come the check of a request's length, the answers
//! of COMMAND ([`docs`](crate::docs)), and what a node needs to decide whether a command may run:
//! before a password, without memory.

use crate::args::Args;
use crate::number;

#[macro_use]
mod table;

const NO: KeyPlaces = KeyPlaces { first: 0, last: 0, step: 0 };
const ONE: KeyPlaces = KeyPlaces { first: 1, last: 1, step: 1 };
const ALL: KeyPlaces = KeyPlaces { first: 1, last: -1, step: 1 };
/// Behind a script and the number of keys, which is 1 for all scripts that are taken.
const THIRD: KeyPlaces = KeyPlaces { first: 3, last: 3, step: 1 };
const PAIRS: KeyPlaces = KeyPlaces { first: 1, last: -1, step: 2 };

/// Makes [`Name`] and a table of each section.
macro_rules! commands {
    ($($(#[$doc:meta])* $table:ident $len:literal {
        $($id:ident $name:literal $arity:literal [$($flag:ident)*] $keys:ident $group:ident
          $since:literal $arguments:literal $summary:literal)*
    })*) => {
        /// Which command.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum Name { $($($id,)*)* }

        impl Name {
            /// As it is written in the table: `get`, `client|list`.
            pub const fn text(self) -> &'static str {
                match self { $($(Name::$id => $name,)*)* }
            }
        }

        $($(#[$doc])*
        pub static $table: [Spec; $len] = [$(Spec {
            id: Name::$id,
            name: $name,
            arity: $arity,
            flags: Flags::NONE$(.with(Flags::$flag))*,
            keys: $keys,
            group: Group::$group,
            since: $since,
            arguments: $arguments,
            summary: $summary,
        },)*];)*
    };
}

command_table!(commands);

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
    pub keys: KeyPlaces,
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
pub struct KeyPlaces {
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
            Name::Client => &CLIENT,
            Name::Cluster => &CLUSTER,
            Name::Command => &COMMAND,
            Name::Config => &CONFIG,
            Name::Module => &MODULE,
            _ => &[],
        }
    }

    /// Its name without that of its family.
    pub fn own_name(&self) -> &'static str {
        self.name.split_once('|').map_or(self.name, |(_, own)| own)
    }

    /// The keys of a request; `None` where it cannot be told which.
    pub fn keys_of<'b>(&self, request: Args<'b>) -> Option<Vec<&'b [u8]>> {
        let KeyPlaces { first, last, step } = self.keys;
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

    /// Whether it takes so many arguments, its name counted.
    pub fn takes(&self, arguments: usize) -> bool {
        let arguments = i64::try_from(arguments).unwrap_or(i64::MAX);
        if self.arity < 0 { arguments >= -self.arity } else { arguments == self.arity }
    }
}
