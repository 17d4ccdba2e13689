//! EVAL and EVALSHA of the scripts that release locks.
//!
//! There is no Lua here. But almost every lock that is built on Redis is released by one short
//! script, "remove the key if it holds my token", and extended by another; each is a
//! read-modify-write of one key. So these scripts are recognized: those of redis-py's `Lock` by
//! their hash, the common idioms by their text, regardless of spaces, quotes and case. Any other
//! script is refused.

use super::argument::integer;
use crate::args::Args;
use crate::command::Command;
use crate::error::Error;
use crate::spec::Name;
use crate::update::{Prolong, Update};

/// The effect of a script on its one key, given its arguments.
#[derive(Clone, Copy)]
enum Recipe {
    /// Removes the key if it holds argument 1.
    Release,
    /// If the key holds argument 1: sets its time to live to argument 2.
    Reset(ArgumentUnit),
    /// The same, if the key has an expiry; argument 3 `0`: adds to the remaining time.
    Extend,
}

/// The unit of argument 2.
#[derive(Clone, Copy)]
enum ArgumentUnit {
    Seconds,
    Milliseconds,
}

/// The scripts of redis-py's `Lock`, unchanged since version 3.5 at least.
const HASHES: [(&str, Recipe); 3] = [
    ("c3f8721cbb97f72bc19e972846bd7aaf91901658", Recipe::Release),
    ("a4e8783852e6b949f9ef3a97212805108459a890", Recipe::Extend),
    ("1cac51482acf5858da00f6d685d68f886cd6b6b2", Recipe::Reset(ArgumentUnit::Milliseconds)),
];

/// The effect of each idiom if the key holds the token; otherwise it does nothing and returns 0.
const IDIOMS: [(&str, Recipe); 3] = [
    (r#"redis.call("del",keys[1])"#, Recipe::Release),
    (r#"redis.call("pexpire",keys[1],argv[2])"#, Recipe::Reset(ArgumentUnit::Milliseconds)),
    (r#"redis.call("expire",keys[1],argv[2])"#, Recipe::Reset(ArgumentUnit::Seconds)),
];

/// Length in bytes of the longest script that is recognized: several times the longest idiom.
const LONGEST: usize = 1024;

/// EVAL script numkeys key arg ..., and EVALSHA hash ....
pub fn parse<'b>(name: Name, args: Args<'b>, now_ms: u64) -> Result<Command<'b>, Error> {
    let keys = integer(args.at(2))?;
    if keys < 0 {
        return Err(Error::NegativeKeys);
    }
    if usize::try_from(keys).is_ok_and(|keys| keys > args.len() - 3) {
        return Err(Error::TooManyKeys);
    }
    let recipe = match name {
        Name::EvalSha => by_hash(args.at(1)).ok_or(Error::NoScript)?,
        _ => by_text(args.at(1)).ok_or(Error::NoScripting)?,
    };
    let (key, token) = (args.at(3), args.at(4));
    if keys != 1 || args.len() < 5 {
        return Err(Error::NoScripting);
    }
    let update = match recipe {
        Recipe::Release => Update::RemoveIf(token),
        Recipe::Reset(unit) => {
            let time = integer(args.at(5))?;
            let by_ms = match unit {
                ArgumentUnit::Milliseconds => time,
                ArgumentUnit::Seconds => {
                    time.checked_mul(1000).ok_or(Error::InvalidExpire(Name::Expire))?
                }
            };
            Update::ProlongIf { token, by_ms: checked(by_ms, now_ms)?, how: Prolong::Reset }
        }
        Recipe::Extend => {
            let how = if args.at(6) == b"0" { Prolong::Add } else { Prolong::Replace };
            Update::ProlongIf { token, by_ms: checked(integer(args.at(5))?, now_ms)?, how }
        }
    };
    Ok(Command::Update { key, update })
}

/// Checks that a time can be added to an expiry.
fn checked(by_ms: i64, now_ms: u64) -> Result<i64, Error> {
    let is_fine = i64::try_from(now_ms).is_ok_and(|now| now.checked_add(by_ms).is_some());
    if is_fine { Ok(by_ms) } else { Err(Error::InvalidExpire(Name::PExpire)) }
}

fn by_hash(hash: &[u8]) -> Option<Recipe> {
    let is = |known: &str| hash.eq_ignore_ascii_case(known.as_bytes());
    HASHES.iter().find(|(known, _)| is(known)).map(|(_, recipe)| *recipe)
}

fn by_text(script: &[u8]) -> Option<Recipe> {
    if script.len() > LONGEST {
        return None;
    }
    let script = std::str::from_utf8(script).ok()?;
    let plain: String = script
        .chars()
        .filter(|c| !c.is_whitespace() && *c != ';')
        .map(|c| if c == '\'' { '"' } else { c.to_ascii_lowercase() })
        .collect();
    let then = plain.strip_prefix(r#"ifredis.call("get",keys[1])==argv[1]then"#)?;
    let does = then.strip_suffix("elsereturn0end").or_else(|| then.strip_suffix("endreturn0"))?;
    let does = does.strip_prefix("return")?;
    IDIOMS.iter().find(|(known, _)| *known == does).map(|(_, recipe)| *recipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idioms_are_known_however_they_are_written() {
        for script in [
            r#"if redis.call("get",KEYS[1]) == ARGV[1] then return redis.call("del",KEYS[1]) else return 0 end"#,
            "if redis.call('GET', KEYS[1]) == ARGV[1]\nthen\n  return redis.call('DEL', KEYS[1]);\nelse\n  return 0;\nend",
            "if redis.call('get', KEYS[1]) == ARGV[1] then\n\treturn redis.call('del', KEYS[1])\nend\nreturn 0",
        ] {
            assert!(matches!(by_text(script.as_bytes()), Some(Recipe::Release)), "{script}");
        }
        let prolong = r#"if redis.call("get", KEYS[1]) == ARGV[1] then return redis.call("pexpire", KEYS[1], ARGV[2]) else return 0 end"#;
        assert!(matches!(
            by_text(prolong.as_bytes()),
            Some(Recipe::Reset(ArgumentUnit::Milliseconds))
        ));
        for script in [
            "return 1",
            "",
            r#"if redis.call("get",KEYS[1]) == ARGV[1] then return redis.call("del",KEYS[2]) else return 0 end"#,
            r#"if redis.call("get",KEYS[1]) ~= ARGV[1] then return redis.call("del",KEYS[1]) else return 0 end"#,
            r#"if redis.call("get",KEYS[1]) == ARGV[1] then redis.call("del",KEYS[1]) else return 0 end"#,
        ] {
            assert!(by_text(script.as_bytes()).is_none(), "{script}");
        }
        assert!(by_text(&b" ".repeat(LONGEST + 1)).is_none());
    }
}
