//! COMMAND: the table of commands, for programs and for people.
//!
//! redis-cli asks for the docs when it starts, for completion and hints; cluster-aware clients ask
//! for the positions of keys. Routing hints (`request_policy:…`) are given only for commands that
//! report on the node's own keys: for these, clients ask all nodes and add up. One node answers any
//! other request for the whole cluster.

use crate::args::Args;
use crate::command::NamesOf;
use crate::error::Error;
use crate::glob::Pattern;
use crate::lookup;
use crate::reply::Replies;
use crate::spec::{COMMANDS, Flags, Group, Name, Spec};

/// COMMAND COUNT.
pub fn count(out: &mut Replies<'_>) {
    out.count(COMMANDS.len());
}

/// COMMAND.
pub fn all(out: &mut Replies<'_>) {
    out.array(COMMANDS.len());
    COMMANDS.iter().for_each(|spec| info_of(spec, out));
}

/// COMMAND INFO. An unknown name gets a null.
pub fn info(names: Args<'_>, out: &mut Replies<'_>) {
    if names.is_empty() {
        return all(out);
    }
    out.array(names.len());
    for name in names.iter() {
        match lookup::by_name(name) {
            Some(spec) => info_of(spec, out),
            None => out.null(),
        }
    }
}

/// COMMAND GETKEYS: the keys of a request.
///
/// # Errors
/// [`Error`] where the request is invalid or has no keys.
pub fn keys(request: Args<'_>, out: &mut Replies<'_>) -> Result<(), Error> {
    let spec = lookup::find(request).map_err(|error| match error {
        Error::WrongArity(_) => Error::NoSuchArguments,
        _ => Error::NoCommand,
    })?;
    let keys = spec.keys_of(request);
    if spec.keys.first == 0 {
        return Err(Error::NoKeys);
    }
    let keys = keys.ok_or(Error::NoSuchArguments)?;
    if keys.is_empty() {
        return Err(Error::NoKeys);
    }
    out.array(keys.len());
    keys.iter().for_each(|key| out.bulk(key));
    Ok(())
}

/// COMMAND LIST: names, including those of subcommands.
pub fn names(of: NamesOf<'_>, out: &mut Replies<'_>) {
    let pattern = match of {
        NamesOf::Pattern(pattern) => Some(Pattern::new(pattern, true)),
        _ => None,
    };
    let is_match = |spec: &&Spec| match of {
        NamesOf::All => true,
        NamesOf::None => false,
        NamesOf::Category(category) => {
            categories(spec).iter().any(|name| category.eq_ignore_ascii_case(&name.as_bytes()[1..]))
        }
        NamesOf::Pattern(_) => pattern.as_ref().is_some_and(|p| p.matches(spec.name.as_bytes())),
    };
    let all = COMMANDS.iter().flat_map(|spec| [spec].into_iter().chain(spec.subcommands()));
    let names: Vec<&str> = all.filter(is_match).map(|spec| spec.name).collect();
    out.array(names.len());
    names.iter().for_each(|name| out.text(name));
}

/// … HELP: the subcommands of a family.
pub fn help(family: Name, out: &mut Replies<'_>) {
    let spec = COMMANDS.iter().find(|spec| spec.id == family);
    let subcommands = spec.map_or(&[][..], Spec::subcommands);
    let family = family.text().to_uppercase();
    out.array(1 + 2 * subcommands.len());
    out.simple(&format!("{family} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for spec in subcommands {
        let name = spec.own_name().to_uppercase();
        out.simple(format!("{name} {}", spec.arguments).trim_end());
        out.simple(&format!("    {}", spec.summary));
    }
}

/// COMMAND DOCS. Unknown names are left out.
pub fn docs(names: Args<'_>, out: &mut Replies<'_>) {
    let named: Vec<&Spec> = match names.len() {
        0 => COMMANDS.iter().collect(),
        _ => names.iter().filter_map(lookup::by_name).collect(),
    };
    out.map(named.len());
    named.iter().for_each(|spec| docs_of(spec, out));
}

fn info_of(spec: &Spec, out: &mut Replies<'_>) {
    out.array(10);
    out.text(spec.name);
    out.integer(spec.arity);
    simples(&flags(spec), out);
    // No position can be given where it depends on the arguments.
    let is_movable = spec.flags.has(Flags::MOVABLE);
    for place in [spec.keys.first, spec.keys.last, spec.keys.step] {
        out.integer(if is_movable { 0 } else { place });
    }
    simples(&categories(spec), out);
    let tips = tips(spec.id);
    out.set(tips.len());
    tips.iter().for_each(|tip| out.text(tip));
    key_specs(spec, out);
    out.array(spec.subcommands().len());
    spec.subcommands().iter().for_each(|spec| info_of(spec, out));
}

/// How a cluster-aware client routes a request.
fn tips(command: Name) -> &'static [&'static str] {
    match command {
        Name::DbSize => &["request_policy:all_shards", "response_policy:agg_sum"],
        Name::Keys => &["request_policy:all_shards", "nondeterministic_output_order"],
        Name::RandomKey => &["request_policy:all_shards", "nondeterministic_output"],
        Name::Scan => &["nondeterministic_output", "request_policy:special"],
        Name::FlushAll | Name::FlushDb => {
            &["request_policy:all_shards", "response_policy:all_succeeded"]
        }
        _ => &[],
    }
}

fn simples(words: &[&str], out: &mut Replies<'_>) {
    out.set(words.len());
    words.iter().for_each(|word| out.simple(word));
}

fn flags(spec: &Spec) -> Vec<&'static str> {
    let names = [
        (Flags::WRITE, "write"),
        (Flags::READONLY, "readonly"),
        (Flags::DENYOOM, "denyoom"),
        (Flags::ADMIN, "admin"),
        (Flags::STALE, "loading"),
        (Flags::STALE, "stale"),
        (Flags::FAST, "fast"),
        (Flags::NO_AUTH, "no_auth"),
        (Flags::MOVABLE, "movablekeys"),
    ];
    names.iter().filter(|(flag, _)| spec.flags.has(*flag)).map(|(_, name)| *name).collect()
}

fn categories(spec: &Spec) -> Vec<&'static str> {
    let is = |flag| spec.flags.has(flag);
    let touches_keys = is(Flags::WRITE) || is(Flags::READONLY);
    let mut categories = Vec::new();
    let mut add = |holds: bool, name| categories.extend(holds.then_some(name));
    add(touches_keys && matches!(spec.group, Group::Generic | Group::Server), "@keyspace");
    add(is(Flags::READONLY), "@read");
    add(is(Flags::WRITE), "@write");
    add(spec.group == Group::String, "@string");
    add(is(Flags::ADMIN), "@admin");
    add(is(Flags::FAST), "@fast");
    add(!is(Flags::FAST), "@slow");
    add(is(Flags::DANGEROUS) || is(Flags::ADMIN), "@dangerous");
    add(spec.group == Group::Connection, "@connection");
    add(spec.group == Group::Transactions, "@transaction");
    add(spec.group == Group::Scripting, "@scripting");
    categories
}

/// Key positions again, in the form that Redis 7 uses.
fn key_specs(spec: &Spec, out: &mut Replies<'_>) {
    if spec.keys.first == 0 {
        return out.array(0);
    }
    let is = |flag| spec.flags.has(flag);
    let does: &[&str] = match () {
        () if is(Flags::REMOVES) => &["RM", "delete"],
        () if is(Flags::WRITE) => &["RW", "access", "update"],
        () => &["RO", "access"],
    };
    if is(Flags::MOVABLE) {
        out.array(1);
        out.map(3);
        out.text("flags");
        simples(does, out);
        out.text("begin_search");
        searched(out, "index", &[("index", spec.keys.first - 1)]);
        out.text("find_keys");
        return searched(out, "keynum", &[("keynumidx", 0), ("firstkey", 1), ("keystep", 1)]);
    }
    // Counted from the first key, unless counted from the end.
    let last = if spec.keys.last < 0 { spec.keys.last } else { spec.keys.last - spec.keys.first };
    out.array(1);
    out.map(3);
    out.text("flags");
    simples(does, out);
    out.text("begin_search");
    searched(out, "index", &[("index", spec.keys.first)]);
    out.text("find_keys");
    searched(out, "range", &[("lastkey", last), ("keystep", spec.keys.step), ("limit", 0)]);
}

fn searched(out: &mut Replies<'_>, how: &str, spec: &[(&str, i64)]) {
    out.map(2);
    out.text("type");
    out.text(how);
    out.text("spec");
    out.map(spec.len());
    for (name, number) in spec {
        out.text(name);
        out.integer(*number);
    }
}

fn docs_of(spec: &Spec, out: &mut Replies<'_>) {
    let arguments = arguments(spec.arguments);
    let subcommands = spec.subcommands();
    out.text(spec.name);
    out.map(3 + usize::from(!arguments.is_empty()) + usize::from(!subcommands.is_empty()));
    for (name, value) in
        [("summary", spec.summary), ("since", spec.since), ("group", spec.group.name())]
    {
        out.text(name);
        out.text(value);
    }
    if !arguments.is_empty() {
        out.text("arguments");
        out.array(arguments.len());
        arguments.iter().for_each(|argument| argument.write(out));
    }
    if !subcommands.is_empty() {
        out.text("subcommands");
        out.map(subcommands.len());
        subcommands.iter().for_each(|spec| docs_of(spec, out));
    }
}

/// An argument as a hint shows it.
#[derive(Debug, PartialEq, Eq)]
struct Argument<'s> {
    text: &'s str,
    is_optional: bool,
}

impl Argument<'_> {
    fn write(&self, out: &mut Replies<'_>) {
        out.map(3 + usize::from(self.is_optional));
        for (name, value) in [
            ("name", self.text),
            ("type", if self.text == "key" { "key" } else { "string" }),
            ("display_text", self.text),
        ] {
            out.text(name);
            out.text(value);
        }
        if self.is_optional {
            out.text("flags");
            simples(&["optional"], out);
        }
    }
}

/// Splits the line of arguments at the spaces outside brackets.
fn arguments(line: &str) -> Vec<Argument<'_>> {
    let mut arguments = Vec::new();
    let (mut start, mut depth) = (0, 0usize);
    for (at, byte) in line.bytes().chain([b' ']).enumerate() {
        match byte {
            b'[' | b'<' => depth += 1,
            b']' | b'>' => depth = depth.saturating_sub(1),
            b' ' if depth == 0 => {
                let text = &line[start..at];
                let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
                if !text.is_empty() {
                    arguments.push(Argument {
                        text: inner.unwrap_or(text),
                        is_optional: inner.is_some(),
                    });
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, ServerCommand};
    use crate::reply::Protocol;
    use crate::testing::with_args;

    fn asked(line: &str, protocol: Protocol) -> String {
        let mut bytes = Vec::new();
        let mut out = Replies::new(&mut bytes, protocol);
        with_args(line, |args| {
            match Command::parse(lookup::find(args).unwrap(), args, 0).unwrap() {
                Command::Server(ServerCommand::Commands) => all(&mut out),
                Command::Server(ServerCommand::CommandCount) => count(&mut out),
                Command::Server(ServerCommand::CommandInfo(names)) => info(names, &mut out),
                Command::Server(ServerCommand::CommandDocs(names)) => docs(names, &mut out),
                Command::Server(ServerCommand::CommandNames(of)) => names(of, &mut out),
                Command::Server(ServerCommand::Help(family)) => help(family, &mut out),
                Command::Server(ServerCommand::CommandKeys(request)) => {
                    if let Err(error) = keys(request, &mut out) {
                        out.error(&error.to_string());
                    }
                }
                other => panic!("{other:?}"),
            }
        });
        String::from_utf8(bytes).unwrap().replace("\r\n", " ")
    }

    /// The number of values, nested ones included; checks that all of them are complete.
    fn values(text: &str) -> usize {
        fn value<'t>(words: &mut impl Iterator<Item = &'t str>) {
            let word = words.next().expect("a value");
            let nested = match (&word[..1], word[1..].parse::<usize>()) {
                ("*" | "~", Ok(n)) => n,
                ("%", Ok(n)) => 2 * n,
                ("$", Ok(_)) => {
                    words.next().expect("its bytes");
                    0
                }
                _ => 0,
            };
            (0..nested).for_each(|_| value(words));
        }
        // Texts of several words would break the comparison.
        let mut words = text.split(' ').filter(|w| !w.is_empty());
        value(&mut words);
        words.count()
    }

    #[test]
    fn docs_for_programs() {
        let get = "$3 get :2 *2 +readonly +fast :1 :1 :1 *3 +@read +@string +@fast *0 *1 *6 $5 flags *2 +RO \
                   +access $12 begin_search *4 $4 type $5 index $4 spec *2 $5 index :1 $9 find_keys *4 $4 type \
                   $5 range $4 spec *6 $7 lastkey :0 $7 keystep :1 $5 limit :0 *0 ";
        assert_eq!(asked("command info get", Protocol::Resp2), format!("*1 *10 {get}"));
        assert_eq!(asked("command info nothing GET", Protocol::Resp2), format!("*2 $-1 *10 {get}"));
        let count = asked("command info dbsize", Protocol::Resp3);
        let tips = "~2 $25 request_policy:all_shards $23 response_policy:agg_sum ";
        assert!(count.contains(tips), "{count}");
        let mset = asked("command info mset", Protocol::Resp3);
        assert!(
            mset.contains(":-3 ~2 +write +denyoom :1 :-1 :2 ~3 +@write +@string +@slow"),
            "{mset}"
        );
        assert!(mset.contains("%3 $7 lastkey :-1 $7 keystep :2 $5 limit :0"), "{mset}");
        assert!(
            asked("command info client|list", Protocol::Resp2)
                .starts_with("*1 *10 $11 client|list :-2")
        );
        assert_eq!(asked("command count", Protocol::Resp2), format!(":{} ", COMMANDS.len()));
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            let everything = asked("command", protocol);
            assert!(everything.starts_with(&format!("*{} *10 ", COMMANDS.len())));
            assert_eq!(values(&everything), 0, "nothing is left over");
            assert_eq!(asked("command info", protocol), everything);
        }
    }

    #[test]
    fn keys_of_requests() {
        for (line, want) in [
            ("get a", "*1 $1 a "),
            ("mset a 1 b 2", "*2 $1 a $1 b "),
            ("del a b c", "*3 $1 a $1 b $1 c "),
            ("eval script 1 a b", "*1 $1 a "),
            ("eval script 2 a b c", "*2 $1 a $1 b "),
            ("eval script 0 a", "-ERR The command has no key arguments "),
            ("eval script 3 a", "-ERR Invalid number of arguments specified for command "),
            ("ping a", "-ERR The command has no key arguments "),
            ("get a b", "-ERR Invalid number of arguments specified for command "),
            ("nosuch a", "-ERR Invalid command specified "),
        ] {
            assert_eq!(asked(&format!("command getkeys {line}"), Protocol::Resp2), want, "{line}");
        }
        let eval = asked("command info eval", Protocol::Resp2);
        assert!(eval.starts_with("*1 *10 $4 eval :-3 *2 +write +movablekeys :0 :0 :0 "), "{eval}");
        assert!(eval.contains("$4 type $6 keynum "), "{eval}");
    }

    #[test]
    fn names_of_commands() {
        let listed = |rest: &str| asked(&format!("command list {rest}"), Protocol::Resp2);
        assert_eq!(listed("filterby pattern GE*t"), "*2 $3 get $6 getset ");
        assert_eq!(listed("filterby pattern client|i*"), "*2 $9 client|id $11 client|info ");
        assert_eq!(listed("filterby module x"), "*0 ");
        assert!(listed("filterby aclcat transaction").contains(" multi "));
        assert_eq!(listed("filterby aclcat nothing"), "*0 ");
        assert!(listed("").contains("$4 mget ") && listed("").contains("$9 client|id "));
        let help = asked("config help", Protocol::Resp2);
        let want = "*7 +CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are: +GET parameter \
                    [parameter ...] +    Returns the configuration. +RESETSTAT ";
        assert!(help.starts_with(want), "{help}");
    }

    #[test]
    fn docs_for_people() {
        assert_eq!(
            asked("command docs ttl nothing", Protocol::Resp3),
            "%1 $3 ttl %4 $7 summary $45 Returns the time to live of a key in seconds. $5 since $5 1.0.0 $5 group \
             $7 generic $9 arguments *1 %3 $4 name $3 key $4 type $3 key $12 display_text $3 key "
        );
        let config = asked("command docs config", Protocol::Resp3);
        assert!(config.contains("$11 subcommands %3 $10 config|get %4"), "{config}");
        assert!(
            asked("command docs", Protocol::Resp2)
                .starts_with(&format!("*{} ", 2 * COMMANDS.len()))
        );
    }

    #[test]
    fn arguments_are_split() {
        let argument = |text, is_optional| Argument { text, is_optional };
        assert_eq!(
            arguments("key value [NX | XX] [A [B c]] <ON | OFF>"),
            [
                argument("key", false),
                argument("value", false),
                argument("NX | XX", true),
                argument("A [B c]", true),
                argument("<ON | OFF>", false),
            ]
        );
        assert_eq!(arguments(""), []);
    }
}
