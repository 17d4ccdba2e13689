//! The table of commands, and the properties of each that are known before its arguments are
//! parsed.
//!
//! The table ([`COMMANDS`]) has a row for each command: its name, the number of its arguments, the
//! positions of its keys, its effect on data. From it come the check of a request's length, the
//! replies to COMMAND ([`docs`](crate::docs)), and what a node needs to decide whether a command
//! may run: before authentication, without memory.

use crate::args::Args;
use crate::number;

#[macro_use]
mod table;

const NO: KeyPlaces = KeyPlaces { first: 0, last: 0, step: 0 };
const ONE: KeyPlaces = KeyPlaces { first: 1, last: 1, step: 1 };
const ALL: KeyPlaces = KeyPlaces { first: 1, last: -1, step: 1 };
/// After a script and the number of keys, which is 1 for all accepted scripts.
const THIRD: KeyPlaces = KeyPlaces { first: 3, last: 3, step: 1 };
const PAIRS: KeyPlaces = KeyPlaces { first: 1, last: -1, step: 2 };

/// Defines [`Name`] and a table for each section.
macro_rules! commands {
    ($($(#[$doc:meta])* $table:ident $len:literal {
        $($id:ident $name:literal $arity:literal [$($flag:ident)*] $keys:ident $group:ident
          $since:literal $arguments:literal $summary:literal)*
    })*) => {
        /// The identity of a command.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum Name { $($($id,)*)* }

        impl Name {
            /// Its text in the table: `get`, `client|list`.
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

/// A command or a subcommand; a subcommand's name is of the form `client|list`.
#[derive(Debug)]
pub struct Spec {
    /// Its identity.
    pub id: Name,
    /// Its name in lower case.
    pub name: &'static str,
    /// The number of its arguments, its name included; below 0: at least so many.
    pub arity: i64,
    /// Its properties.
    pub flags: Flags,
    /// The positions of its keys.
    pub keys: KeyPlaces,
    /// Its group.
    pub group: Group,
    /// The version of Redis (or Valkey) that introduced it.
    pub since: &'static str,
    /// The arguments after its name.
    pub arguments: &'static str,
    /// A sentence about its effect.
    pub summary: &'static str,
}

/// A set of properties of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags(u16);

impl Flags {
    /// Nothing.
    pub const NONE: Flags = Flags(0);
    /// It may change keys.
    pub const WRITE: Flags = Flags(1);
    /// It only reads keys.
    pub const READONLY: Flags = Flags(1 << 1);
    /// It may take more memory, so it is refused when none is left.
    pub const DENYOOM: Flags = Flags(1 << 2);
    /// It is for operators.
    pub const ADMIN: Flags = Flags(1 << 3);
    /// It may run before authentication.
    pub const NO_AUTH: Flags = Flags(1 << 4);
    /// It takes constant time, whatever the data.
    pub const FAST: Flags = Flags(1 << 5);
    /// It removes its keys.
    pub const REMOVES: Flags = Flags(1 << 6);
    /// It is expensive, or reveals or destroys much.
    pub const DANGEROUS: Flags = Flags(1 << 7);
    /// It needs no data, so it runs whatever state the node is in.
    pub const STALE: Flags = Flags(1 << 8);
    /// The positions of its keys depend on its arguments.
    pub const MOVABLE: Flags = Flags(1 << 9);

    /// The union of both sets.
    #[must_use]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Whether all of the other properties are included.
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The positions of a command's keys among its arguments. All 0: it has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyPlaces {
    /// The index of the first.
    pub first: i64,
    /// The index of the last; below 0: counted from the end.
    pub last: i64,
    /// The distance between neighbours.
    pub step: i64,
}

/// A group of commands, as Redis defines them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Values.
    String,
    /// Keys, whatever their content.
    Generic,
    /// The connection itself.
    Connection,
    /// The node.
    Server,
    /// The cluster.
    Cluster,
    /// Transactions.
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
    /// Its subcommands, if it is a family.
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

    /// The keys of a request; `None` where they cannot be determined.
    pub fn keys_of<'b>(&self, request: Args<'b>) -> Option<Vec<&'b [u8]>> {
        let KeyPlaces { first, last, step } = self.keys;
        let place = |at: i64| usize::try_from(at).ok();
        let (first, step) = (place(first)?, place(step)?);
        if step == 0 {
            return Some(Vec::new());
        }
        let last = if self.flags.has(Flags::MOVABLE) {
            // The number of keys comes before them.
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

    /// Whether it accepts this number of arguments, its name included.
    pub fn takes(&self, arguments: usize) -> bool {
        let arguments = i64::try_from(arguments).unwrap_or(i64::MAX);
        if self.arity < 0 { arguments >= -self.arity } else { arguments == self.arity }
    }
}
