//! Format 0: the original's text payloads.
//!
//! One request a connection: PUT `key|value` (the first `|` splits), GET `key`, register
//! `id,host,port`, heartbeat `id`; replies `ok`, the value, or the word of an error. The table is
//! `K#id,host,port,token;id,host,port,token;…`, one token a node, in ascending order. Programs of
//! the original hash keys themselves and choose nodes by token; the chosen node coordinates.

use cluster::ids::{Address, NodeId};
use cluster::view::{MemberState, View};

/// Splits a put's payload at the first `|`; `None` if there is none.
pub fn parse_put(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = payload.iter().position(|&b| b == b'|')?;
    Some((&payload[..at], &payload[at + 1..]))
}

/// Reads `id,host,port`.
pub fn parse_register(payload: &[u8]) -> Option<(NodeId, Address)> {
    let text = std::str::from_utf8(payload).ok()?;
    let mut fields = text.split(',');
    let (id, host, port) = (fields.next()?, fields.next()?, fields.next()?);
    if fields.next().is_some() {
        return None;
    }
    let address = Address::new(host.trim(), port.trim().parse().ok()?).ok()?;
    Some((NodeId::new(id.trim()).ok()?, address))
}

/// The table of a view: every node that serves, with tokens that cut the space of 64-bit hashes
/// into equal parts, so that the original's clients spread their requests evenly.
pub fn table(view: &View) -> String {
    let serving: Vec<_> = view.members.iter().filter(|m| m.state != MemberState::Joining).collect();
    let part = u64::MAX / serving.len().max(1) as u64;
    let nodes: Vec<String> = serving
        .iter()
        .enumerate()
        .map(|(i, m)| {
            // The last token is the highest hash, so that no hash lies beyond all tokens.
            let token = if i + 1 == serving.len() { u64::MAX } else { part * (i as u64 + 1) };
            format!("{},{},{},{token}", m.id, m.address.host(), m.address.port())
        })
        .collect();
    format!("{}#{}", view.copies, nodes.join(";"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::ids::{ClusterId, Epoch, Incarnation};
    use cluster::limits::Limits;
    use cluster::view::Member;

    #[test]
    fn puts_split_at_the_first_bar() {
        assert_eq!(parse_put(b"k|v|w"), Some((&b"k"[..], &b"v|w"[..])));
        assert_eq!(parse_put(b"|"), Some((&b""[..], &b""[..])));
        assert_eq!(parse_put(b"kv"), None);
    }

    #[test]
    fn registrations() {
        let (id, address) = parse_register(b"node1,127.0.0.1,6001").unwrap();
        assert_eq!((id.as_str(), address.to_string()), ("node1", "127.0.0.1:6001".into()));
        for bad in ["", "node1", "node1,host", "node1,host,0", "node1,host,x", "a,b,1,2", "a b,c,1"]
        {
            assert!(parse_register(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(parse_register(&[0xff, 0xfe]).is_none());
    }

    #[test]
    fn the_table_has_one_rising_token_a_node() {
        let member = |n: u16| Member {
            id: NodeId::new(&format!("node{n}")).unwrap(),
            incarnation: Incarnation(1),
            address: Address::new("127.0.0.1", 6000 + n).unwrap(),
            redis_port: 0,
            on_disk: false,
            weight: 1,
            state: MemberState::Active,
        };
        let mut view = View {
            epoch: Epoch(1),
            members: vec![member(1), member(2)],
            ..View::unborn(ClusterId(1), 2, Limits::default())
        };
        assert_eq!(
            table(&view),
            "2#node1,127.0.0.1,6001,9223372036854775807;node2,127.0.0.1,6002,18446744073709551615"
        );
        view.members.clear();
        assert_eq!(table(&view), "2#");
    }
}
