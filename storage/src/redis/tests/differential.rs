//! Random commands, to this server and to a real Redis, which must give the same replies, byte by
//! byte.
//!
//! Needs `GTSTORE_TEST_REDIS=HOST:PORT` ([`transcripts`](super::transcripts)); skipped without.
//! `GTSTORE_TEST_SEEDS=2000` runs a million commands. Commands that Redis 7.0 lacks, intended
//! differences (`transcripts/ours_…`) and anything that depends on the clock are left out: times
//! are absolute, and far away or long ago.

use super::keyspace::Keyspace;
use super::random::Random;
use super::transcripts::{Server, show};

/// Commands with placeholders: `K` a key, `G` one for fractions, `V` a value, `N` a number, `F` a
/// fraction that is exact in binary, `T` a time in seconds, `U` one that is positive, `M` one in
/// milliseconds, `P` a pattern, `R` an index into a value.
const COMMANDS: [&str; 62] = [
    "SET K V",
    "SET K N",
    "SET G F",
    "SET G V",
    "GET G",
    "GETDEL G",
    "SET K V NX",
    "SET K V XX",
    "SET K V GET",
    "SET K V XX GET",
    "SET K V NX GET",
    "SET K V KEEPTTL",
    "SET K N KEEPTTL GET",
    "SET K V EXAT T",
    "SET K V PXAT M",
    "SET K V PXAT M XX GET",
    "SET K V EXAT N",
    "SET K V PX x",
    "SET K V V",
    "SET K V NX XX",
    "SET K V EXAT T KEEPTTL",
    "SETNX K V",
    "SETEX K -1 V",
    "GETSET K V",
    "GETDEL K",
    "GETEX K",
    "GETEX K PERSIST",
    "GETEX K EXAT U",
    "GETEX K PXAT U",
    "GETEX K PERSIST EXAT U",
    "GET K",
    "MGET K K K",
    "MSET K V K V",
    "MSET K V K",
    "STRLEN K",
    "APPEND K V",
    "APPEND K N",
    "GETRANGE K R R",
    "INCR K",
    "DECR K",
    "INCRBY K N",
    "DECRBY K N",
    "INCRBY K V",
    "INCRBYFLOAT G F",
    "INCRBYFLOAT G F",
    "INCRBYFLOAT G V",
    "DEL K",
    "DEL K K K",
    "UNLINK K K",
    "EXISTS K",
    "EXISTS K K K",
    "TOUCH K",
    "TYPE K",
    "EXPIREAT K T",
    "EXPIREAT K T NX",
    "EXPIREAT K T XX",
    "PEXPIREAT K M GT",
    "PEXPIREAT K M LT",
    "PEXPIREAT K N XX LT",
    "PERSIST K",
    "PEXPIRETIME K",
    "EXPIRETIME K",
];

impl Random {
    fn fill(&mut self, word: &str) -> String {
        let times = ["1", "1000000000", "4000000000", "4000000001", "5000000000", "0", "-1"];
        match word {
            "K" => self.of(&["a", "b", "ab", "a*", "[a]", "\\x00"]).to_owned(),
            "G" => self.of(&["f", "g"]).to_owned(),
            "V" => self
                .of(&["''", "x", "5", "abc", "'a b'", "-1", "\"\\xff\\n\"", "0", "nx"])
                .to_owned(),
            "N" => self
                .of(&[
                    "0",
                    "1",
                    "-1",
                    "100",
                    "9223372036854775807",
                    "-9223372036854775808",
                    "4611686018427387904",
                    "9223372036854775808",
                    "01",
                    "1.0",
                ])
                .to_owned(),
            "F" => self
                .of(&["0.25", "-0.5", "1e2", "3", "-7.75", "1.25e1", ".5", "abc", "1e", "inf"])
                .to_owned(),
            "T" => self.of(&times).to_owned(),
            "U" => self.of(&times[..5]).to_owned(),
            "M" => {
                let time = self.of(&times);
                if time.len() < 3 {
                    time.to_owned()
                } else {
                    format!("{time}{:03}", self.below(1000))
                }
            }
            "P" => {
                let parts = [
                    "*", "?", "a", "b", "[ab]", "[^a]", "\\\\*", "\\\\[", "[", "[a-c]", "]",
                    "[]-a]", "^",
                ];
                let pattern: String = (0..1 + self.below(4)).map(|_| self.of(&parts)).collect();
                format!("\"{pattern}\"")
            }
            "R" => self
                .of(&["0", "1", "-1", "2", "-3", "100", "-100", "9223372036854775807"])
                .to_owned(),
            word => word.to_owned(),
        }
    }

    fn command(&mut self) -> String {
        let template = if self.below(8) == 0 { "KEYS P" } else { self.of(&COMMANDS) };
        template.split(' ').map(|word| self.fill(word)).collect::<Vec<_>>().join(" ")
    }
}

#[test]
fn redis_gives_the_same_answers() {
    let Some(mut redis) = Server::redis() else {
        println!("SKIPPED: GTSTORE_TEST_REDIS is not set");
        return;
    };
    // Its clock is before all times that are far away, and after all that are long ago.
    let mut ours = Server::Ours(Keyspace::new(2_000_000_000_000));
    let seeds = std::env::var("GTSTORE_TEST_SEEDS").ok();
    let seeds = seeds.map_or(40, |count| count.parse().expect("a number"));
    for seed in 1..=seeds {
        let mut random = Random(seed);
        redis.ask("FLUSHALL");
        ours.ask("FLUSHALL");
        let mut history = Vec::new();
        for _ in 0..500 {
            let command = random.command();
            history.push(command.clone());
            let (want, got) = (show(&redis.ask(&command), true), show(&ours.ask(&command), true));
            if want != got {
                let before = history[history.len().saturating_sub(30)..].join("\n");
                panic!("seed {seed}: {before}\nRedis {want:#?}\nours {got:#?}");
            }
        }
    }
}
