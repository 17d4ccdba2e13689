//! Descriptions of a connection: HELLO, CLIENT LIST, CLIENT INFO.

use std::fmt;

use crate::info::REDIS_VERSION;
use crate::reply::{Protocol, Replies};

/// The facts of one connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnectionFacts {
    /// Its number, unique for the lifetime of the node's process.
    pub id: u64,
    /// The peer's address.
    pub peer: String,
    /// The node's address on this connection.
    pub local: String,
    /// The name that the client gave it.
    pub name: String,
    /// The client library's name.
    pub library: String,
    /// The client library's version.
    pub library_version: String,
    /// Seconds since the connection was opened.
    pub age_s: u64,
    /// Seconds since its last command.
    pub idle_s: u64,
    /// Bytes received that are not answered yet.
    pub input_bytes: usize,
    /// Bytes that it can receive without allocating more memory.
    pub input_capacity: usize,
    /// Bytes of replies that are not sent yet.
    pub output_bytes: usize,
    /// The last command.
    pub command: &'static str,
    /// The protocol version in use.
    pub protocol: Protocol,
    /// The number of commands queued since MULTI; `None`: no MULTI is open.
    pub queued: Option<usize>,
}

impl fmt::Display for ConnectionFacts {
    /// A line of CLIENT LIST, without the line end. Names contain no spaces; those that do were
    /// refused.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConnectionFacts { id, peer, local, name, age_s, idle_s, .. } = self;
        write!(
            f,
            "id={id} addr={peer} laddr={local} fd=-1 name={name} age={age_s} idle={idle_s} "
        )?;
        let (qbuf, free, omem) = (self.input_bytes, self.input_capacity, self.output_bytes);
        let (flags, multi) = match self.queued {
            None => ("N", -1),
            Some(queued) => ("x", i64::try_from(queued).unwrap_or(i64::MAX)),
        };
        write!(f, "flags={flags} db=0 sub=0 psub=0 ssub=0 multi={multi} ")?;
        write!(f, "qbuf={qbuf} qbuf-free={free} argv-mem=0 ")?;
        write!(
            f,
            "multi-mem=0 rbs=0 rbp=0 obl={omem} oll=0 omem={omem} tot-mem={} ",
            qbuf + free + omem
        )?;
        let (command, protocol) = (self.command, self.protocol.number());
        write!(f, "events=r cmd={command} user=default redir=-1 resp={protocol} ")?;
        write!(f, "lib-name={} lib-ver={}", self.library, self.library_version)
    }
}

/// The lines of CLIENT LIST.
pub fn list<'f>(clients: impl Iterator<Item = &'f ConnectionFacts>) -> String {
    clients.map(|facts| format!("{facts}\n")).collect()
}

/// Replies to HELLO, in the protocol that it has chosen.
pub fn hello(id: u64, out: &mut Replies<'_>) {
    out.map(7);
    for (name, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        out.text(name);
        out.text(value);
    }
    out.text("proto");
    out.integer(out.protocol().number());
    out.text("id");
    out.integer(i64::try_from(id).unwrap_or(i64::MAX));
    for (name, value) in [("mode", "cluster"), ("role", "master")] {
        out.text(name);
        out.text(value);
    }
    out.text("modules");
    out.array(0);
}

/// Replies to ROLE: every node is a master, and there is no replication stream to have an offset
/// in.
pub fn role(out: &mut Replies<'_>) {
    out.array(3);
    out.text("master");
    out.integer(0);
    out.array(0);
}

/// Replies to TIME.
pub fn time(now_us: u64, out: &mut Replies<'_>) {
    out.array(2);
    out.text(&(now_us / 1_000_000).to_string());
    out.text(&(now_us % 1_000_000).to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(protocol: Protocol, write: impl Fn(&mut Replies<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut Replies::new(&mut out, protocol));
        String::from_utf8(out).unwrap().replace("\r\n", " ")
    }

    #[test]
    fn hello_in_both_protocols() {
        let rest = "$4 mode $7 cluster $4 role $6 master $7 modules *0 ";
        assert_eq!(
            written(Protocol::Resp2, |out| hello(7, out)),
            format!("*14 $6 server $5 redis $7 version $5 7.2.4 $5 proto :2 $2 id :7 {rest}")
        );
        assert_eq!(
            written(Protocol::Resp3, |out| hello(7, out)),
            format!("%7 $6 server $5 redis $7 version $5 7.2.4 $5 proto :3 $2 id :7 {rest}")
        );
    }

    #[test]
    fn a_connection_is_a_line_of_words() {
        let facts = ConnectionFacts {
            id: 3,
            peer: "127.0.0.1:44838".into(),
            local: "127.0.0.1:7001".into(),
            name: "me".into(),
            library: "redis-py".into(),
            command: "client|list",
            input_bytes: 10,
            output_bytes: 5,
            ..ConnectionFacts::default()
        };
        let line = list([&facts].into_iter());
        assert!(line.starts_with("id=3 addr=127.0.0.1:44838 laddr=127.0.0.1:7001 fd=-1 name=me "));
        assert!(line.ends_with(" resp=2 lib-name=redis-py lib-ver=\n"));
        assert!(line.contains(" tot-mem=15 "));
        assert!(line.trim_end().split(' ').all(|word| word.contains('=')));
        assert!(line.contains(" flags=N ") && line.contains(" multi=-1 "));
        let queued = ConnectionFacts { queued: Some(2), ..facts }.to_string();
        assert!(queued.contains(" flags=x ") && queued.contains(" multi=2 "));
    }

    #[test]
    fn role_and_time() {
        assert_eq!(written(Protocol::Resp2, role), "*3 $6 master :0 *0 ");
        let time = written(Protocol::Resp2, |out| time(1_900_000_000_000_123, out));
        assert_eq!(time, "*2 $10 1900000000 $3 123 ");
    }
}
