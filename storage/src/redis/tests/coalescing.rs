//! Random pipelines, in one packet and one command at a time: the replies and the final content
//! must be the same, whichever commands are merged ([`coalesce`](crate::redis::coalesce)).
//!
//! All commands about keys take part: with times that have passed, that pass during the execution,
//! or soon after, and that are far away; with keys and values beyond the limits; on a store whose
//! clock may be behind.
//!
//! `GTSTORE_TEST_PIPELINES=1000000` runs that many.

use cluster::limits::Limits;

use super::keyspace::Keyspace;
use super::random::Random;
use resp::spec::{COMMANDS, Flags, Name, Spec};

/// Pipelines of a default run: a second of a debug build.
const PIPELINES: u64 = 20_000;

/// The time at the start. All times are near it, except for those far away.
const NOW: u64 = 1_900_000_000_000;

/// Small, so that values grow beyond them.
const LIMITS: Limits = Limits { key_bytes: 4, value_bytes: 6 };

/// A recognized script, by its effect.
const SCRIPTS: [&str; 3] = [
    "EVALSHA c3f8721cbb97f72bc19e972846bd7aaf91901658 1 K V",
    "EVALSHA a4e8783852e6b949f9ef3a97212805108459a890 1 K V R 0",
    "EVALSHA 1cac51482acf5858da00f6d685d68f886cd6b6b2 1 K V R",
];

/// The arguments of a command, with placeholders: `K` a key, `V` a value, `N` a number, `F` a
/// fraction, `S` and `M` a time in seconds and in milliseconds, `E` and `R` the same relative to
/// now, `P` an index. No command about keys may be missing.
fn arguments(command: &Spec) -> &'static [&'static str] {
    match command.id {
        Name::Get
        | Name::GetDel
        | Name::StrLen
        | Name::Incr
        | Name::Decr
        | Name::Type
        | Name::Ttl
        | Name::PTtl
        | Name::ExpireTime
        | Name::PExpireTime
        | Name::Persist => &["K"],
        Name::Set => &[
            "K V",
            "K N",
            "K V NX",
            "K V XX",
            "K V GET",
            "K V IFEQ V",
            "K V KEEPTTL",
            "K N PXAT M",
            "K N NX PXAT M",
            "K V XX PX R",
            "K V GET PXAT M",
            "K V IFEQ V PX R",
            "K V NX GET EX E",
            "K V EXAT S",
            "K V XX EXAT S",
            "K V KEEPTTL XX GET",
        ],
        Name::SetNx | Name::GetSet | Name::DelIfEq | Name::Append => &["K V"],
        Name::SetEx => &["K E V"],
        Name::PSetEx => &["K R V"],
        Name::GetEx => &["K", "K PERSIST", "K PXAT M", "K PX R", "K EX E", "K EXAT S"],
        Name::MGet | Name::Exists | Name::Touch | Name::Del | Name::Unlink => {
            &["K", "K K", "K K K"]
        }
        Name::MSet => &["K V", "K V K V", "K V K V K V"],
        Name::GetRange => &["K P P"],
        Name::IncrBy | Name::DecrBy => &["K N"],
        Name::IncrByFloat => &["K F"],
        Name::Expire => &["K E", "K E NX", "K E XX", "K E GT", "K E LT"],
        Name::PExpire => &["K R", "K R NX", "K R XX", "K R GT", "K R LT"],
        Name::ExpireAt => &["K S", "K S NX", "K S XX", "K S GT", "K S LT"],
        Name::PExpireAt => &["K M", "K M NX", "K M XX", "K M GT", "K M LT"],
        Name::Scan => &["0", "0 COUNT 2"],
        Name::Keys => &["*"],
        Name::DbSize => &[""],
        _ => &[],
    }
}

impl Random {
    fn hole(&mut self, hole: &str, now_ms: u64) -> String {
        let near = |random: &mut Random| random.below(25) as i64 - 8;
        match hole {
            "K" => self.of(&["a", "a", "a", "b", "b", "c", "''", "long!"]).to_owned(),
            "V" => self.of(&["''", "x", "5", "abc", "-1", "toolong"]).to_owned(),
            "N" => self.of(&["0", "1", "-1", "99999", "-99999", "x"]).to_owned(),
            "F" => self.of(&["0.5", "-1", "99999.5", "x"]).to_owned(),
            "P" => self.of(&["0", "1", "-1", "-2", "3"]).to_owned(),
            "S" => (now_ms as i64 / 1000 + near(self) / 4).to_string(),
            "E" => (near(self) / 4).to_string(),
            "M" if self.below(6) == 0 => self.of(&["1", "4000000000000"]).to_owned(),
            "M" => (now_ms as i64 + near(self)).to_string(),
            "R" if self.below(6) == 0 => self.of(&["-4000000000000", "4000000000"]).to_owned(),
            "R" => near(self).to_string(),
            word => word.to_owned(),
        }
    }

    fn line(&mut self, templates: &[String], now_ms: u64) -> String {
        let template = &templates[self.below(templates.len())];
        let words: Vec<_> = template.split(' ').map(|word| self.hole(word, now_ms)).collect();
        words.join(" ") + "\r\n"
    }
}

/// Each command with the same frequency, however many forms it has.
fn templates() -> Vec<Vec<String>> {
    let about_keys = |spec: &&Spec| {
        let is_on_data = spec.flags.has(Flags::WRITE) || spec.flags.has(Flags::READONLY);
        is_on_data && !matches!(spec.id, Name::LolWut)
    };
    let named = COMMANDS.iter().filter(about_keys).map(|spec| match spec.id {
        Name::Eval | Name::EvalSha => SCRIPTS.map(str::to_owned).to_vec(),
        // These would leave nothing, or depend on chance.
        Name::FlushAll | Name::FlushDb | Name::RandomKey => vec!["DBSIZE".to_owned()],
        _ => {
            let arguments = arguments(spec);
            assert!(!arguments.is_empty(), "{} takes no part", spec.name);
            arguments
                .iter()
                .map(|rest| format!("{} {rest}", spec.name).trim_end().to_owned())
                .collect()
        }
    });
    named.collect()
}

#[test]
fn a_pipeline_equals_its_commands_one_by_one() {
    let pipelines = std::env::var("GTSTORE_TEST_PIPELINES").ok();
    let pipelines = pipelines.map_or(PIPELINES, |count| count.parse().expect("a number"));
    let templates = templates();
    let (mut together, mut one_by_one) = (Keyspace::new(NOW), Keyspace::new(NOW));
    (together.limits, one_by_one.limits) = (LIMITS, LIMITS);
    for seed in 1..=pipelines {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let (pause, lag, behind) = (random.below(8), random.below(4), random.below(4));
        let before = one_by_one.records();
        for keyspace in [&mut together, &mut one_by_one] {
            // Its clock never goes back.
            keyspace.now_ms += 8 + pause as u64;
            keyspace.lag_ms = lag as u64;
            keyspace.behind_ms = behind as u64;
        }
        // In every other pipeline some parts run in later rounds.
        together.left.set(if seed % 2 == 0 { random.below(1 << 30) as u64 } else { 0 });
        // With few kinds of commands, the same ones meet more often.
        let (first, kinds) = (random.below(templates.len()), 2 + random.below(templates.len()));
        let lines: Vec<String> = (0..1 + random.below(12))
            .map(|_| {
                let kind = (first + random.below(kinds) * 7) % templates.len();
                random.line(&templates[kind], one_by_one.now_ms)
            })
            .collect();
        let want: Vec<u8> =
            lines.iter().flat_map(|line| one_by_one.exchange(line.as_bytes())).collect();
        let got = together.exchange(lines.concat().as_bytes());
        let shown = |bytes: &[u8]| bytes.escape_ascii().to_string().replace("\\r\\n", " ");
        assert!(
            got == want && together.records() == one_by_one.records(),
            "seed {seed}, at {}, lag {lag}, behind {behind}, on {before:?}\n{}in one packet {}\none by one {}",
            one_by_one.now_ms,
            lines.concat(),
            shown(&got),
            shown(&want)
        );
    }
    let (few, many) = (together.asked.get(), one_by_one.asked.get());
    assert!(few * 2 < many, "{few} times for what takes {many} one by one");
}
