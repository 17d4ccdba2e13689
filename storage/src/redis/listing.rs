//! Commands about all keys of the cluster, on any node; or, for cluster-aware clients that ask each
//! node and add up, about the keys in this node's own arcs.
//!
//! SCAN's cursor is the place to continue from ([`cluster::scan`]), so any node can continue where
//! another one stopped. KEYS and FLUSHALL go through the whole listing, page by page.

use client::{GTStoreClient, Op};
use cluster::arcs::ArcSet;
use cluster::scan::first_of;
use cluster::slot::SLOTS;
use resp::command::Command;
use resp::error::Error;
use resp::glob::Pattern;
use resp::listing::{keys, page};
use resp::reply::Replies;

use super::bounds::{ANSWER, PAGE};
use super::translate::refusal;

/// The keys to list.
pub struct RedisListing<'l> {
    /// The client that lists them.
    pub client: &'l GTStoreClient,
    /// The arcs whose keys are listed; `None`: all.
    pub arcs: Option<&'l ArcSet>,
}

/// Replies to a command about all keys; ignores others. A flush always removes all keys.
///
/// # Errors
/// [`Error`], also where the operator has not allowed a flush.
pub fn answer(
    command: &Command<'_>,
    listing: &RedisListing<'_>,
    may_flush: bool,
    out: &mut Replies<'_>,
) -> Result<(), Error> {
    let RedisListing { client, .. } = *listing;
    match command {
        Command::Scan(scan) => {
            let (keys, next) = list(listing, scan.cursor, scan.count)?;
            page(scan, keys, next, out);
        }
        Command::Keys(pattern) => {
            let pattern = Pattern::new(pattern, false);
            let (mut found, mut bytes) = (Vec::new(), 0);
            each_page(listing, |page| {
                for key in page.into_iter().filter(|key| pattern.matches(key)) {
                    bytes += key.len();
                    found.push(key);
                }
                if bytes > ANSWER { Err(Error::LargeAnswer) } else { Ok(()) }
            })?;
            keys(&found, out);
        }
        Command::RandomKey => {
            let mut random = [0; 8];
            getrandom::fill(&mut random)
                .map_err(|e| Error::Refused(format!("the system has no random bytes: {e}")))?;
            let from = u64::from_be_bytes(random) % (first_of(1) * u64::from(SLOTS));
            let found = match first_key(listing, from)? {
                None => first_key(listing, 0)?,
                found => found,
            };
            out.bulk_or_null(found.as_deref());
        }
        Command::DbSize => {
            let count = client.count_of(listing.arcs).map_err(|e| refusal(&e))?;
            out.integer(i64::try_from(count).unwrap_or(i64::MAX));
        }
        Command::Flush if !may_flush => return Err(Error::FlushForbidden),
        Command::Flush => {
            each_page(&RedisListing { client, arcs: None }, |keys| {
                let ops: Vec<Op<'_>> = keys.iter().map(|key| Op::Delete { key }).collect();
                client.run(&ops).into_iter().try_for_each(|done| match done {
                    Ok(_) => Ok(()),
                    Err(error) => Err(refusal(&error)),
                })
            })?;
            out.ok();
        }
        _ => {}
    }
    Ok(())
}

fn list(
    listing: &RedisListing<'_>,
    from: u64,
    most: usize,
) -> Result<(Vec<Vec<u8>>, Option<u64>), Error> {
    let listed = listing.client.list_of(listing.arcs, from, most).map_err(|e| refusal(&e))?;
    Ok((listed.keys, listed.next))
}

/// The first key from a place on. A page may be empty though there are more keys: when its keys
/// have just been removed.
fn first_key(listing: &RedisListing<'_>, from: u64) -> Result<Option<Vec<u8>>, Error> {
    let (mut from, mut most) = (Some(from), 1);
    while let Some(place) = from {
        let (keys, next) = list(listing, place, most)?;
        if let Some(first) = keys.into_iter().next() {
            return Ok(Some(first));
        }
        (from, most) = (next, PAGE);
    }
    Ok(None)
}

fn each_page(
    listing: &RedisListing<'_>,
    mut with: impl FnMut(Vec<Vec<u8>>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut from = Some(0);
    while let Some(place) = from {
        let (keys, next) = list(listing, place, PAGE)?;
        with(keys)?;
        from = next;
    }
    Ok(())
}
