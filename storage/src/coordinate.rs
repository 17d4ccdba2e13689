//! Requests that any node accepts, for any key.
//!
//! The node that receives one acts as a client: it routes the request to the replicas and waits for
//! all of them. So programs of the original, which hash keys in their own way and ask any node, get
//! the same guarantees; and so do small programs that do not handle views.

use std::sync::Arc;

use client::{ClientError, GTStoreClient, Placed};
use cluster::ids::Address;
use cluster::limits::Limits;
use net_common::auth::Secret;
use net_common::error::ErrorWord;
use net_common::frame::{self, FORMAT_BINARY, FORMAT_TEXT, Frame, Kind};
use net_common::in_place::LocalServer;
use net_common::message::Message;
use net_common::message::coordinated::{self, Delete, Deleted, Get, GetReply, Put, PutDone};
use net_common::text;
use parking_lot::Mutex;

/// A node's own client.
pub struct Coordinator {
    manager: Address,
    secret: Option<Secret>,
    /// The node itself, whose records need no socket.
    here: LocalServer,
    /// Created at the first request: most nodes never need one.
    client: Mutex<Option<Arc<GTStoreClient>>>,
}

impl Coordinator {
    /// A coordinator that gets its views from this manager, for the node `here`.
    pub fn new(manager: Address, secret: Option<Secret>, here: LocalServer) -> Coordinator {
        Coordinator { manager, secret, here, client: Mutex::default() }
    }

    /// The client.
    ///
    /// # Errors
    /// [`ClientError::NoManager`] if it cannot be created.
    pub fn client(&self) -> Result<Arc<GTStoreClient>, ClientError> {
        if let Some(client) = &*self.client.lock() {
            return Ok(client.clone());
        }
        // Two threads may get here at the same time; the second client is dropped.
        let config = client::Config {
            secret: self.secret.clone(),
            here: Some(self.here.clone()),
            ..client::Config::new(self.manager.clone())
        };
        let made = Arc::new(GTStoreClient::init(config)?);
        Ok(self.client.lock().get_or_insert(made).clone())
    }

    /// Answers a CLIENT_PUT of format 2.
    pub fn put(&self, put: Put<'_>, out: &mut Vec<u8>) {
        match self.client().and_then(|client| client.put(put.key, put.value)) {
            Ok(placed) => PutDone(wire(&placed)).write(out),
            Err(error) => refuse(&error, out),
        }
    }

    /// Answers a CLIENT_GET of format 2.
    pub fn get(&self, get: Get<'_>, out: &mut Vec<u8>) {
        match self.client().and_then(|client| client.get(get.0)) {
            Ok(Some(got)) => {
                GetReply { primary: got.primary.as_str(), value: Some(&got.value) }.write(out);
            }
            Ok(None) => GetReply { primary: "", value: None }.write(out),
            Err(error) => refuse(&error, out),
        }
    }

    /// Answers a CLIENT_DELETE of format 2.
    pub fn delete(&self, delete: Delete<'_>, out: &mut Vec<u8>) {
        match self.client().and_then(|client| client.delete(delete.0)) {
            Ok(placed) => Deleted(wire(&placed)).write(out),
            Err(error) => refuse(&error, out),
        }
    }

    /// Answers a request of format 0.
    pub fn text(&self, frame: Frame<'_>, out: &mut Vec<u8>) {
        let answered = match Kind::from_wire(frame.kind) {
            Some(Kind::ClientPut) => self.text_put(frame.payload, Kind::PutOk, out),
            // The original's primary forwards a put to the replicas; here any node coordinates it.
            Some(Kind::ReplPut) => self.text_put(frame.payload, Kind::ReplAck, out),
            Some(Kind::ClientGet) => self.text_get(frame.payload, out),
            _ => Err(ErrorWord::Unknown),
        };
        if let Err(word) = answered {
            frame::write_error(out, FORMAT_TEXT, word, "");
        }
    }

    fn text_put(&self, payload: &[u8], ok: Kind, out: &mut Vec<u8>) -> Result<(), ErrorWord> {
        let (key, value) = text::parse_put(payload).ok_or(ErrorWord::BadPut)?;
        check_original(key)?;
        Limits::ORIGINAL.check_value(value).map_err(|_| ErrorWord::BadValue)?;
        self.client().and_then(|client| client.put(key, value)).map_err(|e| text_word(&e))?;
        frame::write(out, ok, FORMAT_TEXT, |out| out.extend_from_slice(b"ok"));
        Ok(())
    }

    /// Values that were written in other formats, and may be longer, are returned whole.
    fn text_get(&self, key: &[u8], out: &mut Vec<u8>) -> Result<(), ErrorWord> {
        check_original(key)?;
        let got = self.client().and_then(|client| client.get(key)).map_err(|e| text_word(&e))?;
        let value = got.ok_or(ErrorWord::Missing)?.value;
        frame::write(out, Kind::GetOk, FORMAT_TEXT, |out| out.extend_from_slice(&value));
        Ok(())
    }
}

/// Checks that the original accepts such a key.
fn check_original(key: &[u8]) -> Result<(), ErrorWord> {
    if key.is_empty() || Limits::ORIGINAL.check_key(key).is_err() {
        Err(ErrorWord::BadKey)
    } else {
        Ok(())
    }
}

fn wire(placed: &Placed) -> coordinated::WriteReceipt<'_> {
    // A write set has at most twice MAX_COPIES members, which fits.
    coordinated::WriteReceipt { primary: placed.primary.as_str(), copies: placed.copies as u8 }
}

fn refuse(error: &ClientError, out: &mut Vec<u8>) {
    let (word, why) = match error {
        ClientError::BadKey(why) => (ErrorWord::BadKey, why.to_string()),
        ClientError::BadValue(why) => (ErrorWord::BadValue, why.to_string()),
        ClientError::BadList(_) => (ErrorWord::BadValue, error.to_string()),
        ClientError::NoManager { .. }
        | ClientError::NotEnoughReplicas { .. }
        | ClientError::Contended { .. }
        | ClientError::Unavailable => (ErrorWord::Unavailable, error.to_string()),
        ClientError::Unknown { why } => (ErrorWord::OutcomeUnknown, why.clone()),
        ClientError::Full(_) => (ErrorWord::Full, error.to_string()),
        ClientError::TooFewCopies { .. } => (ErrorWord::FewCopies, error.to_string()),
        ClientError::Refused(why) => (ErrorWord::Refused, why.clone()),
        // Only operators receive this error.
        ClientError::Changed { .. } => (ErrorWord::Refused, error.to_string()),
    };
    frame::write_error(out, FORMAT_BINARY, word, &why);
}

/// The original's word for an error; for errors that it did not have, one of the same kind.
fn text_word(error: &ClientError) -> ErrorWord {
    match error {
        ClientError::BadKey(_) => ErrorWord::BadKey,
        ClientError::BadValue(_) | ClientError::BadList(_) => ErrorWord::BadValue,
        ClientError::Unknown { .. } => ErrorWord::OutcomeUnknown,
        ClientError::NoManager { .. }
        | ClientError::NotEnoughReplicas { .. }
        | ClientError::Contended { .. }
        | ClientError::Unavailable
        | ClientError::Full(_)
        | ClientError::Changed { .. }
        | ClientError::TooFewCopies { .. }
        | ClientError::Refused(_) => ErrorWord::Unavailable,
    }
}
