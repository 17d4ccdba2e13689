//! Replies that list keys: SCAN and KEYS.

use crate::command::Scan;
use crate::glob::Pattern;
use crate::reply::Replies;

/// Replies to KEYS with these keys.
pub fn keys<K: AsRef<[u8]>>(keys: &[K], out: &mut Replies<'_>) {
    out.array(keys.len());
    keys.iter().for_each(|key| out.bulk(key.as_ref()));
}

/// Replies to SCAN, which has reached these keys: with those that match, and the place to continue
/// from, unless the listing is complete.
pub fn page<K: AsRef<[u8]>>(
    scan: &Scan<'_>,
    mut page: Vec<K>,
    next: Option<u64>,
    out: &mut Replies<'_>,
) {
    let pattern = Pattern::new(scan.pattern.unwrap_or(b"*"), false);
    page.retain(|key| scan.strings && pattern.matches(key.as_ref()));
    out.array(2);
    // 0 means the end; the first place is never a place to continue from.
    out.text(&next.unwrap_or(0).to_string());
    keys(&page, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Protocol;

    fn listed(scan: Scan<'_>, next: Option<u64>) -> String {
        let mut out = Vec::new();
        page(&scan, vec!["one", "two"], next, &mut Replies::new(&mut out, Protocol::Resp3));
        String::from_utf8(out).unwrap().replace("\r\n", " ")
    }

    #[test]
    fn keys_that_do_not_match_are_left_out() {
        let all = Scan { cursor: 0, pattern: None, count: 10, strings: true };
        assert_eq!(listed(all, None), "*2 $1 0 *2 $3 one $3 two ");
        assert_eq!(listed(all, Some(17)), "*2 $2 17 *2 $3 one $3 two ");
        assert_eq!(listed(Scan { pattern: Some(b"t*"), ..all }, None), "*2 $1 0 *1 $3 two ");
        assert_eq!(listed(Scan { strings: false, ..all }, Some(17)), "*2 $2 17 *0 ");
    }
}
