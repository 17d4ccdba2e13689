//! A store that is a map, with a clock that stands still unless it is moved, and the thinnest shell that
//! can carry commands out: what each of them asks of a store, in one place.

use std::collections::BTreeMap;

use cluster::scan;

use crate::redis::command::{Command, Connection};
use crate::redis::edit::{Change, Edit, Held};
use crate::redis::error::Error;
use crate::redis::glob::Pattern;
use crate::redis::look::Look;
use crate::redis::reply::{Protocol, Replies};
use crate::redis::request::{Args, Limits, Requests};
use crate::redis::spec;

/// The store.
pub struct Keyspace {
    records: BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>,
    pub now_ms: u64,
}

impl Keyspace {
    pub fn new(now_ms: u64) -> Keyspace {
        Keyspace { records: BTreeMap::new(), now_ms }
    }

    /// Carries out what a client sends, and returns what it gets.
    pub fn talk(&mut self, sent: &[u8]) -> Vec<u8> {
        let (mut buffer, mut requests, mut out) = (sent.to_vec(), Requests::default(), Vec::new());
        let error = requests.read(&mut buffer, &Limits::KNOWN).err();
        for args in requests.each(&buffer) {
            let mut replies = Replies::new(&mut out, Protocol::Resp2);
            if let Err(error) = self.carry_out(args, &mut replies) {
                replies.error(&error.to_string());
            }
        }
        if let Some(error) = error {
            Replies::new(&mut out, Protocol::Resp2).error(&error.to_string());
        }
        out
    }

    fn carry_out(&mut self, args: Args<'_>, out: &mut Replies<'_>) -> Result<(), Error> {
        self.expire();
        match Command::read(spec::find(args)?, args, self.now_ms)? {
            Command::Look { key, look } => look.answer(self.held(key), self.now_ms, out),
            Command::Put { key, value, expiry } => {
                self.put(key, value.to_vec(), expiry);
                out.ok();
            }
            Command::Edit { key, edit } => self.edit(key, &edit).write(out),
            Command::GetMany(keys) => {
                out.array(keys.len());
                keys.iter().for_each(|key| Look::Value.answer(self.held(key), self.now_ms, out));
            }
            Command::PutMany(pairs) => {
                pairs.iter().for_each(|(key, value)| self.put(key, value.to_vec(), None));
                out.ok();
            }
            Command::RemoveMany(keys) => {
                out.count(keys.iter().filter(|key| self.records.remove(*key).is_some()).count());
            }
            Command::CountMany(keys) => {
                out.count(keys.iter().filter(|key| self.held(key).is_some()).count());
            }
            Command::Scan(scan) => {
                let (mut keys, next) = scan::page(self.records.keys(), scan.cursor, scan.count);
                let pattern = Pattern::new(scan.pattern.unwrap_or(b"*"), false);
                keys.retain(|key| scan.strings && pattern.matches(key));
                out.array(2);
                out.text(&next.unwrap_or(0).to_string());
                out.array(keys.len());
                keys.iter().for_each(|key| out.bulk(key));
            }
            Command::Keys(pattern) => {
                let pattern = Pattern::new(pattern, false);
                let keys: Vec<_> = self.records.keys().filter(|key| pattern.matches(key)).collect();
                out.array(keys.len());
                keys.iter().for_each(|key| out.bulk(key));
            }
            Command::RandomKey => out.bulk_or_null(self.records.keys().next().map(Vec::as_slice)),
            Command::DbSize => out.count(self.records.len()),
            Command::Flush => {
                self.records.clear();
                out.ok();
            }
            Command::Wait => out.integer(0),
            Command::Connection(Connection::Ping(None)) => out.simple("PONG"),
            Command::Connection(Connection::Ping(Some(text)) | Connection::Echo(text)) => {
                out.bulk(text);
            }
            Command::Connection(_) => out.ok(),
            Command::Transaction(_) => return Err(Error::NoTransactions),
            Command::Server(_) | Command::Cluster(_) => return Err(Error::Syntax),
        }
        Ok(())
    }

    fn edit(&mut self, key: &[u8], edit: &Edit<'_>) -> crate::redis::edit::Answer {
        let (change, answer) = edit.apply(self.held(key), self.now_ms);
        match change {
            Change::Leave => {}
            Change::Remove => {
                self.records.remove(key);
            }
            Change::Put { value, expiry } => self.put(key, value, expiry),
        }
        answer
    }

    fn put(&mut self, key: &[u8], value: Vec<u8>, expiry: Option<u64>) {
        self.records.insert(key.to_vec(), (value, expiry));
        self.expire();
    }

    fn held(&self, key: &[u8]) -> Option<Held<'_>> {
        let (value, expiry) = self.records.get(key)?;
        Some(Held { value, expiry: *expiry })
    }

    fn expire(&mut self) {
        self.records.retain(|_, (_, expiry)| expiry.is_none_or(|at| at > self.now_ms));
    }
}
