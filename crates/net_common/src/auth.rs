//! Proof of the shared secret: an HMAC challenge in both directions, before anything else.
//!
//! ```text
//! caller                                answerer
//!   AUTH_HELLO      nonce of caller      →
//!                                        ←  AUTH_CHALLENGE  nonce of answerer
//!   AUTH_PROOF      HMAC("caller", both) →
//!                                        ←  AUTH_OK         HMAC("answerer", both)
//! ```
//!
//! HMAC-SHA256 under the secret, over the role, the answerer's nonce and the caller's. Both nonces
//! are 32 random bytes drawn for this connection, so a recorded handshake is worthless on the next
//! one. The role keeps one side's proof from serving as the other's. The caller proves itself
//! first: a stranger gets no proof to test passwords against. The server delays its answer to a
//! failed proof, so guessing is slow.
//!
//! The handshake neither encrypts nor signs what follows. It keeps strangers out, but not an
//! attacker who can change packets in transit.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use parking_lot::RwLock;
use sha2::Sha256;

use crate::frame::{self, FORMAT_BINARY, Frame, Kind};

/// Bytes of a nonce and of a proof.
const SIZE: usize = 32;

/// Shortest secret, in bytes: 16 random ones cannot be guessed.
pub const LEAST_SECRET: usize = 16;

/// How long a failed proof waits for its answer.
pub const SLOWED: Duration = Duration::from_millis(500);

/// The secret that all members and clients of a cluster share. Clones share one value: re-reading
/// the file changes it for all of them.
#[derive(Clone)]
pub struct Secret {
    bytes: Arc<RwLock<Vec<u8>>>,
    /// The file that it was read from, if any.
    file: Option<PathBuf>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why a secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read the secret file {file}: {source}")]
    Read {
        /// The file.
        file: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Everybody on the machine can read the file.
    #[error(
        "everybody on this machine may read or change the secret file {file} (mode {mode:03o}): chmod 600 it, \
         and if that is not your machine alone make a new secret"
    )]
    Exposed {
        /// The file.
        file: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The secret is too short.
    #[error(
        "the secret has {got} bytes, it needs {LEAST_SECRET} or more (try: head -c 32 /dev/urandom | od -An -vtx1 | tr -d ' \\n')"
    )]
    Short {
        /// Its length in bytes.
        got: usize,
    },
}

impl Secret {
    /// Creates a secret. Trailing white space is not part of it, since editors add line ends.
    ///
    /// # Errors
    /// [`SecretError::Short`].
    pub fn new(bytes: &[u8]) -> Result<Secret, SecretError> {
        let bytes = bytes.trim_ascii_end();
        if bytes.len() < LEAST_SECRET {
            return Err(SecretError::Short { got: bytes.len() });
        }
        Ok(Secret { bytes: Arc::new(RwLock::new(bytes.to_vec())), file: None })
    }

    /// Reads a secret from a file, which must not be readable by everybody.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn from_file(file: &Path) -> Result<Secret, SecretError> {
        let failed = |source| SecretError::Read { file: file.into(), source };
        let mut from = fs::File::open(file).map_err(failed)?;
        let mode = from.metadata().map_err(failed)?.mode() & 0o777;
        if mode & 0o006 != 0 {
            return Err(SecretError::Exposed { file: file.into(), mode });
        }
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).map_err(failed)?;
        Ok(Secret { file: Some(file.into()), ..Secret::new(&bytes)? })
    }

    /// Re-reads the file, if there is one, on behalf of all clones. Returns whether the secret has
    /// changed. Open connections need no new proof.
    ///
    /// # Errors
    /// [`SecretError`]; the secret is then unchanged.
    pub fn read_again(&self) -> Result<bool, SecretError> {
        let Some(file) = &self.file else { return Ok(false) };
        let new = Secret::from_file(file)?.bytes.read().clone();
        let mut bytes = self.bytes.write();
        let is_another = *bytes != new;
        *bytes = new;
        Ok(is_another)
    }

    fn mac(&self, role: &[u8], caller: &[u8], answerer: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.bytes.read())
            .expect("HMAC takes a key of any length");
        for part in [b"gtstore/2 ", role, b" ", answerer, caller] {
            mac.update(part);
        }
        mac
    }

    fn prove(&self, role: &[u8], caller: &[u8], answerer: &[u8]) -> Vec<u8> {
        self.mac(role, caller, answerer).finalize().into_bytes().to_vec()
    }

    /// Whether these bytes are the secret itself, for protocols that know passwords only. It
    /// compares two proofs, so the time does not depend on where the first difference is.
    pub fn is_password(&self, given: &[u8]) -> bool {
        let proof = |text: &[u8]| {
            let mut mac = self.mac(b"password", &[], &[]);
            mac.update(text);
            mac
        };
        let own = self.bytes.read().clone();
        proof(&own).verify_slice(&proof(given).finalize().into_bytes()).is_ok()
    }

    /// Compares in constant time.
    fn is_proof(&self, proof: &[u8], role: &[u8], caller: &[u8], answerer: &[u8]) -> bool {
        self.mac(role, caller, answerer).verify_slice(proof).is_ok()
    }
}

const CALLER: &[u8] = b"caller";
const ANSWERER: &[u8] = b"answerer";

fn nonce() -> io::Result<[u8; SIZE]> {
    let mut nonce = [0; SIZE];
    getrandom::fill(&mut nonce).map_err(io::Error::from)?;
    Ok(nonce)
}

fn message(out: &mut Vec<u8>, kind: Kind, bytes: &[u8]) {
    frame::write(out, kind, FORMAT_BINARY, |out| out.extend_from_slice(bytes));
}

/// The answerer's side: it guards the connection until the secret is proved.
#[derive(Debug)]
pub enum AuthGate {
    /// There is no secret, so requests may pass.
    None,
    /// The secret was proved, so requests may pass.
    Open,
    /// Waits for the caller's nonce.
    Closed(Secret),
    /// Waits for the caller's proof over these nonces, its own last.
    Challenged(Secret, Vec<u8>, [u8; SIZE]),
}

/// The answer to a caller that tries to prove a secret to a server without one.
pub const NO_SECRET: &str =
    "this cluster has no secret: leave out --secret-file and GTSTORE_SECRET_FILE";

/// The gate's verdict on a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// Go on; the answer, if any, was written.
    On,
    /// Pause, then send this word and close the connection.
    Refused(&'static str),
}

impl AuthGate {
    /// A gate that requires the secret, if there is one.
    pub fn new(secret: Option<&Secret>) -> AuthGate {
        secret.map_or(AuthGate::None, |secret| AuthGate::Closed(secret.clone()))
    }

    /// Whether requests may pass.
    pub fn is_open(&self) -> bool {
        matches!(self, AuthGate::None | AuthGate::Open)
    }

    /// Whether this frame starts a handshake although the server has no secret.
    pub fn is_needless(&self, frame: &Frame<'_>) -> bool {
        matches!(self, AuthGate::None) && frame.kind == Kind::AuthHello as u16
    }

    /// Whether this frame may pass. With a secret only the binary format passes: the text format
    /// has no handshake.
    pub fn lets_pass(&self, frame: Frame<'_>) -> bool {
        match self {
            AuthGate::None => true,
            AuthGate::Open => frame.format == FORMAT_BINARY,
            AuthGate::Closed(_) | AuthGate::Challenged(..) => false,
        }
    }

    /// Handles one frame of the handshake.
    ///
    /// # Errors
    /// If the operating system has no random bytes.
    pub fn frame(&mut self, frame: Frame<'_>, out: &mut Vec<u8>) -> io::Result<Passage> {
        if frame.format != FORMAT_BINARY {
            return Ok(Passage::Refused("this cluster has a secret, so format 0 is off"));
        }
        match (&*self, Kind::from_wire(frame.kind)) {
            (AuthGate::Closed(secret), Some(Kind::AuthHello)) if frame.payload.len() == SIZE => {
                let own = nonce()?;
                message(out, Kind::AuthChallenge, &own);
                *self = AuthGate::Challenged(secret.clone(), frame.payload.to_vec(), own);
                Ok(Passage::On)
            }
            (AuthGate::Challenged(secret, caller, own), Some(Kind::AuthProof))
                if secret.is_proof(frame.payload, CALLER, caller, own) =>
            {
                message(out, Kind::AuthOk, &secret.prove(ANSWERER, caller, own));
                *self = AuthGate::Open;
                Ok(Passage::On)
            }
            (AuthGate::Challenged(..), Some(Kind::AuthProof)) => {
                Ok(Passage::Refused("the secret is wrong"))
            }
            _ => Ok(Passage::Refused("this cluster has a secret, prove it first (--secret-file)")),
        }
    }
}

/// The caller's side, first step: writes AUTH_HELLO and returns the nonce in it.
///
/// # Errors
/// If the operating system has no random bytes.
pub fn hello(out: &mut Vec<u8>) -> io::Result<[u8; SIZE]> {
    let own = nonce()?;
    message(out, Kind::AuthHello, &own);
    Ok(own)
}

/// The caller's side, second step: answers the challenge with AUTH_PROOF.
pub fn answer(secret: &Secret, own: &[u8], challenge: &[u8], out: &mut Vec<u8>) {
    message(out, Kind::AuthProof, &secret.prove(CALLER, own, challenge));
}

/// The caller's side, last step: whether the answerer knows the secret too.
pub fn is_answerer(secret: &Secret, own: &[u8], challenge: &[u8], proof: &[u8]) -> bool {
    secret.is_proof(proof, ANSWERER, own, challenge)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::frame::{FORMAT_TEXT, FrameReader};

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes()).unwrap()
    }

    /// Hands the one frame in `bytes` to `with`.
    fn frame<T>(bytes: &[u8], with: impl FnOnce(Frame<'_>) -> T) -> T {
        let mut reader = FrameReader::new();
        while reader.fill(&mut &bytes[..]).unwrap() < bytes.len() && bytes.len() < 512 {}
        with(reader.next_frame().unwrap().unwrap())
    }

    /// Runs a handshake and returns the caller's last message, the gate's verdict and its reply.
    fn shake(gate: &mut AuthGate, caller: &Secret) -> (Vec<u8>, Passage, Vec<u8>) {
        let (mut sent, mut reply) = (Vec::new(), Vec::new());
        let own = hello(&mut sent).unwrap();
        assert_eq!(frame(&sent, |f| gate.frame(f, &mut reply)).unwrap(), Passage::On);
        let challenge = frame(&reply, |f| f.payload.to_vec());
        let mut proof = Vec::new();
        answer(caller, &own, &challenge, &mut proof);
        reply.clear();
        let passage = frame(&proof, |f| gate.frame(f, &mut reply)).unwrap();
        if passage == Passage::On {
            assert!(frame(&reply, |f| is_answerer(caller, &own, &challenge, f.payload)));
        }
        (proof, passage, sent)
    }

    #[test]
    fn a_password_is_the_whole_secret() {
        let secret = Secret::new(b"a secret that is long enough\n").unwrap();
        assert!(secret.is_password(b"a secret that is long enough"));
        for wrong in [&b""[..], b"a secret that is long", b"a secret that is long enough\n"] {
            assert!(!secret.is_password(wrong));
        }
    }

    #[test]
    fn the_right_secret_opens_and_a_wrong_one_does_not() {
        let right = secret("sixteen bytes or more");
        let mut gate = AuthGate::new(Some(&right));
        assert_eq!(shake(&mut gate, &right).1, Passage::On);
        assert!(gate.is_open());
        for format in [FORMAT_TEXT, FORMAT_BINARY] {
            let asked = Frame { kind: Kind::ClientGet as u16, format, payload: b"key" };
            assert_eq!(gate.lets_pass(asked), format == FORMAT_BINARY);
            assert!(AuthGate::new(None).lets_pass(asked));
        }
        let mut gate = AuthGate::new(Some(&right));
        let passage = shake(&mut gate, &secret("another secret of the kind")).1;
        assert_eq!(passage, Passage::Refused("the secret is wrong"));
        assert!(!gate.is_open());
        assert!(AuthGate::new(None).is_open());
    }

    #[test]
    fn a_recorded_handshake_is_refused() {
        let right = secret("sixteen bytes or more");
        let (proof, passage, opening) = shake(&mut AuthGate::new(Some(&right)), &right);
        assert_eq!(passage, Passage::On);
        let mut gate = AuthGate::new(Some(&right));
        let mut reply = Vec::new();
        frame(&opening, |f| gate.frame(f, &mut reply)).unwrap();
        let replayed = frame(&proof, |f| gate.frame(f, &mut reply)).unwrap();
        assert_eq!(replayed, Passage::Refused("the secret is wrong"));
    }

    #[test]
    fn requests_before_the_proof_are_refused() {
        let right = secret("sixteen bytes or more");
        for (kind, format) in [(Kind::ClientGet, 0), (Kind::Read, 2), (Kind::AuthProof, 2)] {
            let mut bytes = Vec::new();
            frame::write(&mut bytes, kind, format, |out| out.extend_from_slice(b"key"));
            let mut gate = AuthGate::new(Some(&right));
            let passage = frame(&bytes, |f| gate.frame(f, &mut Vec::new())).unwrap();
            assert!(matches!(passage, Passage::Refused(_)), "{kind:?}");
        }
    }

    #[test]
    fn secrets_are_long_enough_and_not_printed() {
        assert!(matches!(Secret::new(b"short\n"), Err(SecretError::Short { got: 5 })));
        let same = Secret::new(b"sixteen bytes or more\n").unwrap();
        assert_eq!(*same.bytes.read(), *secret("sixteen bytes or more").bytes.read());
        assert_eq!(format!("{same:?}"), "Secret(…)");
    }

    #[test]
    fn a_file_must_be_private_and_can_be_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        let keep = |text: &str, mode: u32| {
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        };
        for (mode, is_private) in
            [(0o600, true), (0o400, true), (0o440, true), (0o644, false), (0o602, false)]
        {
            keep("sixteen bytes or more\n", mode);
            match Secret::from_file(&file) {
                Ok(_) => assert!(is_private, "{mode:o}"),
                Err(SecretError::Exposed { mode: found, .. }) => {
                    assert_eq!((found, is_private), (mode, false));
                }
                Err(other) => panic!("{mode:o}: {other}"),
            }
        }
        keep("sixteen bytes or more\n", 0o600);
        let secret = Secret::from_file(&file).unwrap();
        let clone = secret.clone();
        assert!(!secret.read_again().unwrap());
        keep("another secret of the kind\n", 0o600);
        assert!(secret.read_again().unwrap());
        assert!(clone.is_password(b"another secret of the kind"));
        keep("short", 0o600);
        assert!(secret.read_again().is_err() && clone.is_password(b"another secret of the kind"));
    }
}
