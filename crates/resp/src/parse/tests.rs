//! The commands that lines are parsed into. Their effects, and most error texts, are in the
//! transcripts of the node that uses this crate.

use super::*;
use crate::command::{
    ClientCommand, ClusterCommand, ConnectionCommand, Hello, InfoName, Kill, ReplyMode,
    ServerCommand,
};
use crate::lookup;
use crate::read::Read;
use crate::reply::Protocol;
use crate::spec::COMMANDS;
use crate::testing::with_args;
use crate::update::{Answering, Lifetime, Only, SetCondition, Update};

const NOW: u64 = 1_900_000_000_000;

fn check(line: &str, want: Result<Command<'_>, Error>) {
    with_args(line, |args| {
        let got = lookup::find(args).and_then(|spec| Command::parse(spec, args, NOW));
        assert_eq!(got, want, "{line}");
    });
}

fn put(expiry: Option<u64>) -> Result<Command<'static>, Error> {
    Ok(Command::Put { key: b"k", value: b"v", expiry })
}

fn update(update: Update<'_>) -> Result<Command<'_>, Error> {
    Ok(Command::Update { key: b"k", update })
}

fn set(
    when: SetCondition<'static>,
    lifetime: Lifetime,
    answering: Answering,
) -> Result<Command<'static>, Error> {
    update(Update::Set { value: b"v", when, lifetime, answering })
}

#[test]
fn a_write_that_does_not_depend_on_the_key_is_a_plain_one() {
    check("set k v", put(None));
    check("set k v EX 10", put(Some(NOW + 10_000)));
    check("set k v px 10", put(Some(NOW + 10)));
    check("set k v EXAT 10", put(Some(10_000)));
    check("set k v PXAT 10", put(Some(10)));
    check("setex k 10 v", put(Some(NOW + 10_000)));
    check("psetex k 10 v", put(Some(NOW + 10)));
}

#[test]
fn a_write_that_does_is_an_update() {
    use Lifetime::{Keep, Until};
    check("set k v nx", set(SetCondition::Absent, Until(None), Answering::Ok));
    check("set k v XX ex 1", set(SetCondition::Present, Until(Some(NOW + 1000)), Answering::Ok));
    check("set k v keepttl", set(SetCondition::Always, Keep, Answering::Ok));
    check("set k v get", set(SetCondition::Always, Until(None), Answering::Before));
    check("set k v IFEQ nx get", set(SetCondition::Equals(b"nx"), Until(None), Answering::Before));
    check("setnx k v", set(SetCondition::Absent, Until(None), Answering::Number));
    check("getset k v", set(SetCondition::Always, Until(None), Answering::Before));
    check("del k", update(Update::Remove));
    check("unlink k", update(Update::Remove));
    check("getdel k", update(Update::Take));
    check("delifeq k v", update(Update::RemoveIf(b"v")));
    check("append k v", update(Update::Append(b"v")));
    check("incr k", update(Update::Add(1)));
    check("decr k", update(Update::Add(-1)));
    check("decrby k 5", update(Update::Add(-5)));
    check("persist k", update(Update::Persist));
    check("getex k px 1", update(Update::GetUntil(Some(NOW + 1))));
    check("getex k persist", update(Update::GetUntil(None)));
    let only = Only::Later;
    check("expire k -1 gt", update(Update::Expire { at: NOW as i64 - 1000, only }));
    check("pexpireat k -1 gt", update(Update::Expire { at: -1, only }));
}

#[test]
fn conditions_of_expire_go_together_or_not() {
    let at = NOW as i64 + 1000;
    for (options, only) in [
        ("", Only::Always),
        ("NX", Only::Absent),
        ("xx", Only::Present),
        ("gt xx", Only::Later),
        ("lt", Only::Sooner),
        ("XX LT xx", Only::PresentAndSooner),
    ] {
        check(&format!("expire k 1 {options}"), update(Update::Expire { at, only }));
    }
    for (options, error) in [
        ("nx xx", Error::ExpireNx),
        ("gt lt nx", Error::ExpireNx),
        ("gt xx lt", Error::ExpireGtLt),
        ("gt lt sometime", Error::ExpireOption("sometime".into())),
    ] {
        check(&format!("expire k 1 {options}"), Err(error));
    }
}

#[test]
fn each_row_of_the_table_is_read_by_the_file_of_its_group() {
    let rows = COMMANDS.iter().flat_map(|spec| [spec].into_iter().chain(spec.subcommands()));
    // A family without a subcommand has too few arguments.
    for spec in rows.filter(|spec| spec.subcommands().is_empty() || spec.takes(1)) {
        let name = spec.name.replace('|', " ");
        let more = usize::try_from(spec.arity.abs()).unwrap() - name.split(' ').count();
        with_args(&format!("{name}{}", " 1".repeat(more)), |args| {
            let parsed = Command::parse(spec, args, NOW);
            assert_ne!(parsed, Err(Error::WrongArity(spec.id)), "{}", spec.name);
        });
    }
}

#[test]
fn a_read_is_a_read() {
    let read = |read| Ok(Command::Read { key: b"k", read });
    check("get k", read(Read::Value));
    check("getex k", read(Read::Value));
    check("exists k", read(Read::Exists));
    check("touch k", read(Read::Exists));
    check("getrange k 0 -1", read(Read::Range { start: 0, end: -1 }));
}

#[test]
fn an_expiry_beyond_64_bits_is_an_error_of_its_command() {
    check("set k v px 9223372036854775807", Err(Error::InvalidExpire(Name::Set)));
    check("set k v exat 9223372036854776", Err(Error::InvalidExpire(Name::Set)));
    check("set k v exat 9223372036854775", put(Some(9_223_372_036_854_775_000)));
    check("setex k 9223372036854775 v", Err(Error::InvalidExpire(Name::SetEx)));
    check("pexpire k 9223372036854775807", Err(Error::InvalidExpire(Name::PExpire)));
    check(
        "expireat k -9223372036854775",
        update(Update::Expire { at: -9_223_372_036_854_775_000, only: Only::Always }),
    );
}

#[test]
fn first_commands_of_clients() {
    let connection = |connection| Ok(Command::Connection(connection));
    let client = |client| connection(ConnectionCommand::Client(client));
    let hello = Hello { protocol: Some(Protocol::Resp3), ..Hello::default() };
    check("hello", connection(ConnectionCommand::Hello(Hello::default())));
    check("HELLO 3", connection(ConnectionCommand::Hello(hello)));
    check(
        "HELLO 3 AUTH default secret SETNAME me",
        connection(ConnectionCommand::Hello(Hello {
            auth: Some((b"default", b"secret")),
            name: Some(b"me"),
            ..hello
        })),
    );
    check("AUTH secret", connection(ConnectionCommand::Auth { user: None, password: b"secret" }));
    check(
        "CLIENT SETINFO LIB-NAME redis-py",
        client(ClientCommand::SetInfo(InfoName::Library, b"redis-py")),
    );
    check(
        "client setinfo lib-ver 5.0.1",
        client(ClientCommand::SetInfo(InfoName::Version, b"5.0.1")),
    );
    check("client setinfo lib-name 'a b'", Err(Error::ClientInfo("lib-name")));
    check("client setinfo lib-nam a", Err(Error::UnknownInfo("lib-nam".into())));
    check(
        "CLIENT MAINT_NOTIFICATIONS ON",
        Err(Error::UnknownSubcommand {
            command: Name::Client,
            given: "MAINT_NOTIFICATIONS".into(),
        }),
    );
    check("readonly", connection(ConnectionCommand::ReadOnly));
    check("readwrite", connection(ConnectionCommand::Noop));
    check("command", Ok(Command::Server(ServerCommand::Commands)));
}

#[test]
fn operators_list_kill_and_pause_connections() {
    let client = |client| Ok(Command::Connection(ConnectionCommand::Client(client)));
    check("client reply ON", client(ClientCommand::Reply(ReplyMode::On)));
    check("client reply skip", client(ClientCommand::Reply(ReplyMode::SkipNext)));
    check("client reply maybe", Err(Error::Syntax));
    let all = Kill {
        is_one: false,
        id: None,
        peer: None,
        local: None,
        is_normal: true,
        skips_caller: true,
    };
    let one = Kill { is_one: true, peer: Some(b"1.2.3.4:5"), skips_caller: false, ..all };
    check("client kill 1.2.3.4:5", client(ClientCommand::Kill(one)));
    check("client kill id 7", client(ClientCommand::Kill(Kill { id: Some(7), ..all })));
    check(
        "client kill type replica skipme no laddr 1.2.3.4:5",
        client(ClientCommand::Kill(Kill {
            is_normal: false,
            skips_caller: false,
            local: Some(b"1.2.3.4:5"),
            ..all
        })),
    );
    check("client kill user default", client(ClientCommand::Kill(all)));
    check("client kill id 0", Err(Error::KillId));
    check("client kill id x", Err(Error::KillId));
    check("client kill user nobody", Err(Error::NoUser("nobody".into())));
    check("client kill type x", Err(Error::ClientType("x".into())));
    check("client kill skipme maybe", Err(Error::Syntax));
    check("client kill id 1 addr", Err(Error::Syntax));
    check("client pause 10", client(ClientCommand::Pause { ms: 10, writes_only: false }));
    check("client pause 10 write", client(ClientCommand::Pause { ms: 10, writes_only: true }));
    check("client pause 10 some", Err(Error::PauseMode));
    check("client pause x", Err(Error::TimeoutNumber));
    check("client pause -1", Err(Error::NegativeTimeout));
    check("client unblock 5 error", client(ClientCommand::Unblock));
    check("client unblock 5 x", Err(Error::UnblockReason));
    check("client unblock x", Err(Error::NotAnInteger));
}

#[test]
fn slots_are_slots() {
    let slot = |slot| Ok(Command::Cluster(ClusterCommand::CountKeysInSlot(slot)));
    check("cluster countkeysinslot 16383", slot(16_383));
    check("cluster countkeysinslot 16384", Err(Error::InvalidSlot));
    check("cluster countkeysinslot -1", Err(Error::InvalidSlot));
    check("cluster countkeysinslot x", Err(Error::NotAnInteger));
}

#[test]
fn client_list_takes_numbers_and_kinds() {
    let listed = |line: &str, id| {
        with_args(&format!("client list {line}"), |args| {
            let parsed = Command::parse(lookup::find(args).unwrap(), args, NOW).unwrap();
            let Command::Connection(ConnectionCommand::Client(ClientCommand::List(filter))) =
                parsed
            else {
                panic!("{parsed:?}");
            };
            filter.admits(id)
        })
    };
    assert!(listed("", 7) && listed("type NORMAL", 7) && listed("id 3 7", 7));
    assert!(!listed("id 3 7", 4) && !listed("type pubsub", 7));
}
