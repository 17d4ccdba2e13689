//! The payload of an ERROR: a word for programs, and a reason for people.
//!
//! Programs decide by the [`ErrorWord`] only, never by the reason, which may contain names and
//! keys. `docs/protocol.md` defines the words. An unknown word from a newer peer is kept as it is,
//! so that people can still read it.

use std::fmt;

/// The words, each with its text on the wire, which never changes.
macro_rules! words {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal,)*) => {
        /// The word of an ERROR.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum ErrorWord {
            $($(#[doc = $doc])* $name,)*
            /// One that is not known here: a newer peer's.
            Other(Box<str>),
        }

        impl ErrorWord {
            /// All that are known here.
            #[cfg(test)]
            const ALL: &[ErrorWord] = &[$(ErrorWord::$name),*];

            /// Its text on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $(ErrorWord::$name => $text,)*
                    ErrorWord::Other(text) => text,
                }
            }
        }

        impl From<&str> for ErrorWord {
            fn from(text: &str) -> ErrorWord {
                match text {
                    $($text => ErrorWord::$name,)*
                    other => ErrorWord::Other(other.into()),
                }
            }
        }
    };
}

words! {
    /// It serves as many connections as it may; the request was not looked at.
    Busy = "busy",
    /// The secret was not proved; the request was not looked at.
    Auth = "auth",
    /// There was no request for the idle time.
    Idle = "idle",
    /// A frame did not come within the time for one.
    Slow = "slow",
    /// A frame is larger than is taken, or an answer would be.
    TooLarge = "too large",
    /// A format or a type that is not taken here.
    Unknown = "unknown",
    /// A payload does not decode.
    Malformed = "malformed",
    /// Another live node has this name or this address.
    Taken = "taken",
    /// Not now: ask again.
    Wait = "wait",
    /// The node that registers holds records of another cluster.
    OtherCluster = "other cluster",
    /// The manager cannot reach the registering node at the address that it advertises.
    Unreachable = "unreachable",
    /// The data folder of the node that registers is, or may be, a copy.
    Copy = "copy",
    /// The node that registers has seen a view that the manager does not know.
    Older = "older",
    /// The cluster keeps all records on disk, and the registering node has no data folder.
    NoDisk = "no disk",
    /// The wall clock of the node that registers is too far off the manager's.
    Clock = "clock",
    /// It is ending.
    Stopping = "stopping",
    /// It was not done, and trying again does not help.
    Refused = "refused",
    /// The state has changed since it was shown to the operator.
    Changed = "changed",
    /// The key is too long, or empty in format 0.
    BadKey = "bad key",
    /// The value is too long.
    BadValue = "bad value",
    /// It was not done: replicas or the manager cannot be reached.
    Unavailable = "unavailable",
    /// It may or may not have been done.
    OutcomeUnknown = "outcome unknown",
    /// It was not done: a replica of the key is full.
    Full = "full",
    /// It was not done: fewer synced copies would hold it than a write has to have.
    FewCopies = "few copies",
    /// Nothing of a batch was stored: the node's log cannot be written.
    Disk = "disk",
    /// The same, but the batch may be stored, or be on its disk: as a lost answer.
    Unsure = "unsure",
    /// Format 0: the key has no value.
    Missing = "missing",
    /// Format 0: a put without `|`.
    BadPut = "bad put",
    /// Format 0: a registration that is not `id,host,port`.
    BadRegister = "bad register",
}

impl fmt::Display for ErrorWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// That a request was refused, as an ERROR carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The word that programs decide by.
    pub word: ErrorWord,
    /// The reason, for people; may be empty.
    pub why: String,
}

impl Refused {
    /// An error with this word and reason.
    pub fn new(word: ErrorWord, why: impl Into<String>) -> Refused {
        Refused { word, why: why.into() }
    }

    /// Reads the payload of an ERROR. It may be anything: text that is not ours becomes an unknown
    /// word.
    pub fn read(payload: &[u8]) -> Refused {
        let text = String::from_utf8_lossy(payload);
        let (word, why) = text.split_once(": ").unwrap_or((&text, ""));
        Refused::new(word.into(), why)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refused { word, why } = self;
        if why.is_empty() { write!(f, "{word}") } else { write!(f, "{word}: {why}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        for word in ErrorWord::ALL {
            assert!(!word.as_str().contains(':'), "{word}: what follows begins there");
            for refused in [
                Refused::new(word.clone(), ""),
                Refused::new(word.clone(), "why"),
                Refused::new(word.clone(), "node1: a: b"),
            ] {
                assert_eq!(Refused::read(refused.to_string().as_bytes()), refused);
            }
        }
    }

    #[test]
    fn an_unknown_word_is_kept() {
        for (payload, word, why) in [
            (&b"brand new: but why"[..], "brand new", "but why"),
            (b"", "", ""),
            (b"busy:", "busy:", ""),
            (b"\xff: x", "\u{fffd}", "x"),
        ] {
            let refused = Refused::read(payload);
            assert_eq!(refused, Refused::new(ErrorWord::Other(word.into()), why));
            assert_eq!(refused.to_string(), String::from_utf8_lossy(payload));
        }
    }
}
