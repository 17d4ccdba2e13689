//! The commands of the client program.

use std::io::{self, IsTerminal, Read, StdoutLock, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cluster::ids::{Address, NodeId};
use cluster::membership::{Level, WaitingFolder};
use cluster::text::count;
use net_common::flags::FAILED;
use net_common::logging::escaped;
use net_common::message::control::Status;
use net_common::output;

use crate::args::{Args, Command};
use crate::backoff::after;
use crate::dump::{self, DumpError};
use crate::status::{self, begin_empty};
use crate::{ClientError, Config, Done, GTStoreClient, Placed, UpdateAction};

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The cluster.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Standard input or output.
    #[error("standard input or output: {0}")]
    Io(#[from] io::Error),
    /// A dump.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// The value is not a number, or the sum is out of range.
    #[error("{0} holds no integer of 64 bits, or the sum is none; nothing was changed")]
    NotAnInteger(String),
    /// It is not clear which data folder is meant.
    #[error("{0}")]
    WhichFolder(String),
    /// The nodes that were waited for did not all come.
    #[error("{}: {how}", count(*.want, "node").with("was waited for", "were waited for"))]
    Waited {
        /// How many nodes should serve.
        want: usize,
        /// How it was at the deadline.
        how: String,
    },
}

impl CommandError {
    /// The exit code, without an error message, when the reader of standard output is gone. The
    /// command counts as done as far as it was read; only a dump must be complete.
    fn code_without_reader(&self) -> Option<ExitCode> {
        let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        match self {
            CommandError::Io(error) if is_gone(error) => Some(ExitCode::SUCCESS),
            CommandError::Dump(DumpError::Write { source, .. }) if is_gone(source) => {
                Some(ExitCode::from(FAILED))
            }
            _ => None,
        }
    }
}

/// Runs one command. Returns the exit code; a key that is not there is [`FAILED`].
///
/// # Errors
/// [`CommandError`].
pub fn run(args: Args) -> Result<ExitCode, CommandError> {
    match args.command {
        Command::Wait(nodes) => wait(&args.config, nodes).map(|()| ExitCode::SUCCESS),
        Command::Status { json, watch: false, check: true } => check(args.config, json),
        command => {
            let store = GTStoreClient::init(args.config)?;
            let code = with(&store, command);
            store.finalize();
            code.or_else(|error| error.code_without_reader().ok_or(error))
        }
    }
}

fn with(store: &GTStoreClient, command: Command) -> Result<ExitCode, CommandError> {
    let mut out = io::stdout().lock();
    match command {
        Command::Put { key, value, if_absent, expire_ms } => {
            let value = match value {
                Some(value) => value.into_bytes(),
                None => read_value()?,
            };
            let until = expire_ms.map(|ms| store.now_ms() + ms);
            let Some(placed) = put(store, &key, &value, if_absent, until)? else {
                output::print_stderr(format_args!("{key} is there already"));
                return Ok(ExitCode::from(FAILED));
            };
            writeln!(out, "OK, {}", placed.primary)?;
        }
        Command::Add { key, by } => writeln!(out, "{key}, {}", add(store, &key, by)?)?,
        Command::TimeToLive(key) => {
            let Some(got) = store.get(key.as_bytes())? else { return Ok(not_found(&key)) };
            match got.expiry {
                Some(until) => writeln!(out, "{key}, {} ms", until.saturating_sub(store.now_ms()))?,
                None => writeln!(out, "{key}, for ever")?,
            }
        }
        Command::Scan(prefix) => scan(store, prefix.as_bytes(), &mut out)?,
        Command::Get { key, raw } => return get(store, &key, raw, &mut out),
        Command::Delete(key) => {
            // A look first, for the message alone: the delete itself takes effect either way.
            let was_there = store.get(key.as_bytes())?.is_some();
            let placed = store.delete(key.as_bytes())?;
            if !was_there {
                return Ok(not_found(&key));
            }
            writeln!(out, "OK, {}", placed.primary)?;
        }
        Command::Dump(path) => dump(store, &path, &mut out)?,
        Command::Load(path) => load(store, &path, &mut out)?,
        Command::Status { json, watch: false, .. } => show(&store.status()?, json, &mut out)?,
        Command::Status { json, watch: true, .. } => return watch(store, json, &mut out),
        Command::Order(order) => writeln!(out, "OK, {}", status::moved(&store.order(&order)?))?,
        Command::Plan { change, force, json } => {
            let outline = store.plan(change, force)?;
            if json {
                writeln!(out, "{:#}", status::outline_json(&outline))?;
            } else {
                writeln!(out, "{}", status::outline(&outline))?;
            }
        }
        Command::AdoptFolder { id, at, yes } => {
            return adopt_folder(store, &id, at.as_ref(), yes, &mut out);
        }
        Command::AcceptLoss { yes } => accept_loss(store, yes, &mut out)?,
        Command::Wait(_) => unreachable!("waiting needs no client yet"),
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Fetches a value and prints it: all of it, and with `raw` nothing else.
fn get(
    store: &GTStoreClient,
    key: &str,
    raw: bool,
    out: &mut StdoutLock<'_>,
) -> Result<ExitCode, CommandError> {
    let Some(got) = store.get(key.as_bytes())? else { return Ok(not_found(key)) };
    if raw {
        out.write_all(&got.value)?;
    } else {
        write!(out, "{key}, ")?;
        // Programs get the bytes as they are; a terminal must not be sent codes.
        if out.is_terminal() && got.value.iter().any(u8::is_ascii_control) {
            write!(out, "{}", escaped(&got.value))?;
        } else {
            out.write_all(&got.value)?;
        }
        writeln!(out, ", {}", got.primary)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn dump(store: &GTStoreClient, path: &Path, out: &mut StdoutLock<'_>) -> Result<(), CommandError> {
    let start = Instant::now();
    let dumped = dump::to_file(store, path)?;
    let did = dump::amount(dumped.keys, dumped.bytes, start.elapsed());
    // Where the dump itself went to standard output nothing else may.
    if path == Path::new("-") {
        output::print_stderr(format_args!("dumped {did}"));
    } else {
        writeln!(out, "dumped {did}")?;
    }
    Ok(())
}

fn load(store: &GTStoreClient, path: &Path, out: &mut StdoutLock<'_>) -> Result<(), CommandError> {
    let start = Instant::now();
    let loaded = dump::from_file(store, path)?;
    let did = dump::amount(loaded.done, loaded.bytes, start.elapsed());
    match loaded.expired {
        0 => writeln!(out, "loaded {did}")?,
        expired => writeln!(out, "loaded {did}; {expired} expired")?,
    }
    Ok(())
}

/// Puts a value, perhaps only where there is none, and until a time. `None` if there is one.
fn put(
    store: &GTStoreClient,
    key: &str,
    value: &[u8],
    if_absent: bool,
    until: Option<u64>,
) -> Result<Option<Placed>, ClientError> {
    let key = key.as_bytes();
    if !if_absent {
        return until
            .map_or_else(|| store.put(key, value), |until| store.put_until(key, value, until))
            .map(Some);
    }
    let done = store.update(key, |found| match (found, until) {
        (Some(_), _) => UpdateAction::Leave,
        (None, None) => UpdateAction::Put(value.to_vec()),
        (None, Some(until)) => UpdateAction::PutUntil(value.to_vec(), until),
    })?;
    match done {
        Done::Placed(placed) => Ok(Some(placed)),
        Done::Got(_) => Ok(None),
    }
}

/// Adds to the number in a key, and keeps its expiry time. Returns the sum.
fn add(store: &GTStoreClient, key: &str, by: i64) -> Result<i64, CommandError> {
    let mut sum = None;
    let added = store.update_with_expiry(key.as_bytes(), |held| {
        let number = held.map_or(Some(0), |held| str::from_utf8(held.value).ok()?.parse().ok());
        sum = number.and_then(|number: i64| number.checked_add(by));
        match (sum, held.and_then(|held| held.expiry)) {
            (None, _) => UpdateAction::Leave,
            (Some(sum), None) => UpdateAction::Put(sum.to_string().into_bytes()),
            (Some(sum), Some(until)) => UpdateAction::PutUntil(sum.to_string().into_bytes(), until),
        }
    });
    added.map(drop)?;
    sum.ok_or_else(|| CommandError::NotAnInteger(key.to_owned()))
}

/// Keys that are asked for at once.
const PAGE: usize = 1000;

/// Prints the keys that begin with a prefix, as they are listed: each key once, on a line of its
/// own, with non-printable bytes escaped.
fn scan(
    store: &GTStoreClient,
    prefix: &[u8],
    out: &mut StdoutLock<'_>,
) -> Result<(), CommandError> {
    let mut from = Some(0);
    while let Some(place) = from {
        let page = store.list(place, PAGE)?;
        for key in page.keys.iter().filter(|key| key.starts_with(prefix)) {
            writeln!(out, "{}", escaped(key))?;
        }
        from = page.next;
    }
    Ok(())
}

/// Prints the status.
fn show(status: &Status, json: bool, out: &mut impl Write) -> io::Result<()> {
    if json {
        writeln!(out, "{:#}", status::json(status))
    } else {
        writeln!(out, "{}", status::table(status))
    }
}

/// The exit code of a check when the manager is unreachable. The others are those of [`Level`].
const UNREACHABLE: u8 = 3;

/// Prints the status, for a monitoring that looks at the exit code only: whether anybody reads it
/// does not matter.
fn check(config: Config, json: bool) -> Result<ExitCode, CommandError> {
    let asked = GTStoreClient::init(config).and_then(|store| store.status());
    Ok(ExitCode::from(match asked {
        Ok(status) => {
            show(&status, json, &mut output::LenientStdout::lock())?;
            status.health.level as u8
        }
        Err(error) => {
            output::print_stderr(format_args!("client: {error}"));
            UNREACHABLE
        }
    }))
}

/// How often a status that is watched is looked at.
const WATCH: Duration = Duration::from_secs(1);

/// Shows the status repeatedly, until it is interrupted. On a terminal each replaces the one
/// before; elsewhere they follow one another, JSON on a line each. It waits for a manager that is
/// unreachable.
fn watch(
    store: &GTStoreClient,
    json: bool,
    out: &mut StdoutLock<'_>,
) -> Result<ExitCode, CommandError> {
    const CLEAR: &str = "\x1b[2J\x1b[H";
    let clear = if out.is_terminal() && !json { CLEAR } else { "" };
    loop {
        let text = match (store.status(), json) {
            (Ok(status), true) => status::json(&status).to_string(),
            (Ok(status), false) => format!("{clear}{}\n", status::table(&status)),
            (Err(error), true) => serde_json::json!({ "error": error.to_string() }).to_string(),
            (Err(error), false) => format!("{clear}{error}\n"),
        };
        // It exits silently when its reader is gone.
        if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(WATCH);
    }
}

fn not_found(key: &str) -> ExitCode {
    output::print_stderr(format_args!("{key} not found"));
    ExitCode::from(FAILED)
}

fn read_value() -> io::Result<Vec<u8>> {
    let mut value = Vec::new();
    // One byte beyond every cluster's limit is enough to get the right error.
    let most = cluster::limits::VALUE_CEILING as u64 + 1;
    io::stdin().lock().take(most).read_to_end(&mut value)?;
    Ok(value)
}

fn accept_loss(store: &GTStoreClient, yes: bool, out: &mut impl Write) -> Result<(), CommandError> {
    let Status { health, loss, .. } = store.status()?;
    let Some(loss) = loss else {
        writeln!(out, "nothing is lost: {health}")?;
        return Ok(());
    };
    if !yes {
        writeln!(out, "{health}")?;
        writeln!(out, "{}", status::loss(&loss))?;
        if !is_confirmed("Go on without their keys, for good", out)? {
            return Ok(());
        }
    }
    match (store.accept_loss(&loss)? as usize, loss.empty.len()) {
        // Somebody was quicker, or they are back.
        (0, _) => writeln!(out, "nothing is lost any more")?,
        (_, empty) => writeln!(out, "OK, {}", begin_empty(empty))?,
    }
    Ok(())
}

fn adopt_folder(
    store: &GTStoreClient,
    id: &NodeId,
    at: Option<&Address>,
    yes: bool,
    out: &mut impl Write,
) -> Result<ExitCode, CommandError> {
    let waiting = store.status()?.folders;
    let is_meant =
        |f: &&WaitingFolder| f.id == *id && at.is_none_or(|address| f.address == *address);
    let meant: Vec<&WaitingFolder> = waiting.iter().filter(is_meant).collect();
    let [folder] = meant[..] else {
        let places: Vec<String> = meant.iter().map(|folder| folder.address.to_string()).collect();
        let why = if places.is_empty() {
            format!("no data folder of {id} waits there; --status shows those that wait")
        } else {
            format!(
                "several data folders of {id} wait, at {}: choose one with --at",
                places.join(", ")
            )
        };
        return Err(CommandError::WhichFolder(why));
    };
    if !yes {
        writeln!(out, "{folder}")?;
        writeln!(
            out,
            "What was acknowledged after it was copied is lost where no other node holds it."
        )?;
        if !is_confirmed(
            &format!("Go on with the data folder at {}, for good", folder.address),
            out,
        )? {
            return Ok(ExitCode::SUCCESS);
        }
    }
    store.adopt_folder(id, folder.start)?;
    writeln!(out, "OK, the data folder at {} is the one of {id}", folder.address)?;
    Ok(ExitCode::SUCCESS)
}

/// Asks a question, and reports if the answer is not yes.
fn is_confirmed(question: &str, out: &mut impl Write) -> io::Result<bool> {
    write!(out, "{question}? Type yes: ")?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    let is_yes = answer.trim() == "yes";
    if !is_yes {
        writeln!(out, "nothing was changed")?;
    }
    Ok(is_yes)
}

/// How often a cluster that is coming up is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until `nodes` nodes serve, no change is under way, and each of them has answered a read.
fn wait(config: &Config, nodes: usize) -> Result<(), CommandError> {
    let until = after(config.deadline);
    loop {
        let how = match is_up(config, nodes) {
            Ok(None) => return Ok(()),
            Ok(Some(how)) => how,
            Err(error) => error.to_string(),
        };
        if Instant::now() >= until {
            return Err(CommandError::Waited { want: nodes, how });
        }
        std::thread::sleep(LOOK);
    }
}

/// `None` if the cluster is up, otherwise what it lacks.
fn is_up(config: &Config, nodes: usize) -> Result<Option<String>, ClientError> {
    let left = config.deadline.min(config.patience);
    let store = GTStoreClient::init(Config { deadline: left, ..config.clone() })?;
    let status = store.status()?;
    let serving = status::serving(&status).len();
    // Fewer nodes than copies are as healthy as they can be.
    let is_well = status.health.level == Level::Healthy || usize::from(status.copies) > nodes;
    if serving < nodes || status.changing || !is_well {
        return Ok(Some(format!("{serving} serve, {}", status.health)));
    }
    // Keys of many arcs, so that every node is asked for some; none of them needs to exist.
    let keys: Vec<String> = (0..64 * nodes).map(|n| format!("{{{n}}}")).collect();
    store.get_many(&keys).into_iter().try_for_each(|got| got.map(drop))?;
    Ok(None)
}
