//! Commands about the connection itself.

use super::counter::integer;
use super::{Keys, is};
use crate::redis::error::{self, Error};
use crate::redis::number;
use crate::redis::reply::Protocol;
use crate::redis::request::Args;
use crate::redis::spec::{Name, Spec};

/// About the connection itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Connection<'b> {
    /// Are you there?
    Ping(Option<&'b [u8]>),
    /// Say this.
    Echo(&'b [u8]),
    /// Choose the protocol, and say who is speaking.
    Hello(Hello<'b>),
    /// Here is the password.
    Auth {
        /// Whose: `default`, or whoever.
        user: Option<&'b [u8]>,
        /// The password.
        password: &'b [u8],
    },
    /// Use database 0. Any other is refused when it is read.
    Select,
    /// Answer `OK` and close.
    Quit,
    /// Answer `RESET`, and be as at the beginning.
    Reset,
    /// Answer `OK`: any node answers any read. Only who knows of a cluster says so.
    ReadOnly,
    /// Answer `OK`: it makes no difference here.
    Noop,
    /// CLIENT …
    Client(Client<'b>),
}

/// HELLO [protover [AUTH username password] [SETNAME clientname]].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hello<'b> {
    /// The protocol to go on in; `None`: as before.
    pub protocol: Option<Protocol>,
    /// User and password.
    pub auth: Option<(&'b [u8], &'b [u8])>,
    /// The connection's name, checked.
    pub name: Option<&'b [u8]>,
}

/// CLIENT …
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Client<'b> {
    /// Which number has the connection?
    Id,
    /// Which name?
    GetName,
    /// Name it; checked. Empty: it has none any more.
    SetName(&'b [u8]),
    /// Which library is speaking; checked.
    SetInfo(InfoName, &'b [u8]),
    /// Describe the connection.
    Info,
    /// Describe all connections, of these.
    List(Filter<'b>),
}

/// What a library says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InfoName {
    /// Its name.
    Library,
    /// Its version.
    Version,
}

/// Which connections CLIENT LIST is to describe.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Filter<'b> {
    /// All: each is a normal client here.
    All,
    /// None: those of a kind that there is not.
    None,
    /// Those of these numbers, which are numbers.
    Ids(Keys<'b>),
}

impl Filter<'_> {
    /// Whether it lets a connection of this number through.
    pub fn lets(&self, id: u64) -> bool {
        match self {
            Filter::All => true,
            Filter::None => false,
            Filter::Ids(ids) => ids.iter().any(|text| number::natural(text) == Some(id)),
        }
    }
}

/// Reads what is listed in [`Command::read`](super::Command::read).
pub fn read<'b>(spec: &Spec, args: Args<'b>) -> Result<Connection<'b>, Error> {
    let arg = |place| args.get(place).unwrap_or_default();
    let client = |client| Ok(Connection::Client(client));
    match spec.id {
        Name::Ping if args.len() > 2 => Err(Error::WrongArity(spec.name)),
        Name::Ping => Ok(Connection::Ping(args.get(1))),
        Name::Echo => Ok(Connection::Echo(arg(1))),
        Name::Hello => hello(args).map(Connection::Hello),
        Name::Auth => match args.len() {
            2 => Ok(Connection::Auth { user: None, password: arg(1) }),
            3 => Ok(Connection::Auth { user: Some(arg(1)), password: arg(2) }),
            _ => Err(Error::Syntax),
        },
        Name::Select => match integer(arg(1))? {
            0 => Ok(Connection::Select),
            _ => Err(Error::DatabaseRange),
        },
        Name::Quit => Ok(Connection::Quit),
        Name::Reset => Ok(Connection::Reset),
        Name::ReadOnly => Ok(Connection::ReadOnly),
        Name::ReadWrite => Ok(Connection::Noop),
        Name::ClientId => client(Client::Id),
        Name::ClientGetName => client(Client::GetName),
        Name::ClientSetName => client(Client::SetName(printable(arg(2), Error::ClientName)?)),
        Name::ClientSetInfo => client(set_info(arg(2), arg(3))?),
        Name::ClientInfo => client(Client::Info),
        Name::ClientList => client(Client::List(filter(args.from(2))?)),
        Name::ClientNoEvict | Name::ClientNoTouch => match arg(2) {
            switch if is(switch, "on") || is(switch, "off") => Ok(Connection::Noop),
            _ => Err(Error::Syntax),
        },
        // CLIENT without a subcommand; the others are not ours.
        _ => Err(Error::WrongArity(spec.name)),
    }
}

/// A name has to fit a word of CLIENT LIST.
fn printable(name: &[u8], otherwise: Error) -> Result<&[u8], Error> {
    if name.iter().all(|b| matches!(b, b'!'..=b'~')) { Ok(name) } else { Err(otherwise) }
}

fn hello(args: Args<'_>) -> Result<Hello<'_>, Error> {
    let mut hello = Hello::default();
    let Some(version) = args.get(1) else {
        return Ok(hello);
    };
    hello.protocol = match number::integer(version).ok_or(Error::ProtocolNumber)? {
        2 => Some(Protocol::Resp2),
        3 => Some(Protocol::Resp3),
        _ => return Err(Error::UnsupportedProtocol),
    };
    let mut options = args.from(2).iter();
    while let Some(option) = options.next() {
        let unknown = || Error::HelloOption(error::text(option, 128));
        if is(option, "auth") {
            let (Some(user), Some(password)) = (options.next(), options.next()) else {
                return Err(unknown());
            };
            hello.auth = Some((user, password));
        } else if is(option, "setname") {
            let name = options.next().ok_or_else(unknown)?;
            hello.name = Some(printable(name, Error::ClientName)?);
        } else {
            return Err(unknown());
        }
    }
    Ok(hello)
}

fn set_info<'b>(attribute: &[u8], value: &'b [u8]) -> Result<Client<'b>, Error> {
    let (which, name) = match attribute {
        _ if is(attribute, "lib-name") => (InfoName::Library, "lib-name"),
        _ if is(attribute, "lib-ver") => (InfoName::Version, "lib-ver"),
        _ => return Err(Error::UnknownInfo(error::text(attribute, 128))),
    };
    Ok(Client::SetInfo(which, printable(value, Error::ClientInfo(name))?))
}

fn filter(options: Args<'_>) -> Result<Filter<'_>, Error> {
    let (option, values) = match options.get(0) {
        None => return Ok(Filter::All),
        Some(option) => (option, options.from(1)),
    };
    if is(option, "id") && !values.is_empty() {
        return if values.iter().all(|text| number::natural(text).is_some()) {
            Ok(Filter::Ids(Keys(values)))
        } else {
            Err(Error::ClientId)
        };
    }
    match (values.len(), values.get(0)) {
        (1, Some(kind)) if is(option, "type") => match kind {
            _ if is(kind, "normal") => Ok(Filter::All),
            _ if ["master", "slave", "replica", "pubsub"].iter().any(|k| is(kind, k)) => {
                Ok(Filter::None)
            }
            _ => Err(Error::ClientType(error::text(kind, 128))),
        },
        _ => Err(Error::Syntax),
    }
}
