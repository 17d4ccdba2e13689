//! A Redis client that returns each reply as a line of text.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::wait::PATIENCE;

/// A connection to a Redis port.
pub struct Resp {
    stream: BufReader<TcpStream>,
}

impl Resp {
    /// Connects.
    ///
    /// # Panics
    /// If nothing listens.
    pub fn open(address: SocketAddr) -> Resp {
        Resp::try_open(address).expect("it listens")
    }

    /// Connects, if something listens.
    pub fn try_open(address: SocketAddr) -> io::Result<Resp> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE)).expect("it can be set");
        stream.set_write_timeout(Some(PATIENCE)).expect("it can be set");
        stream.set_nodelay(true).expect("it can be set");
        Ok(Resp { stream: BufReader::new(stream) })
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    /// Sends a command with these words.
    ///
    /// # Panics
    /// If the connection is closed.
    pub fn send<A: AsRef<[u8]>>(&mut self, words: &[A]) {
        self.stream.get_mut().write_all(&encode(words)).expect("it is open");
    }

    /// Sends a command, written with blanks between its words, and returns the reply as text.
    ///
    /// # Panics
    /// As [`Resp::reply`].
    pub fn ask(&mut self, line: &str) -> String {
        self.send(&line.split(' ').collect::<Vec<_>>());
        self.reply()
    }

    /// Sends commands together, and returns the replies as text.
    ///
    /// # Panics
    /// As [`Resp::reply`].
    pub fn pipeline(&mut self, lines: &[String]) -> Vec<String> {
        let commands = lines.iter().flat_map(|line| encode(&line.split(' ').collect::<Vec<_>>()));
        self.stream.get_mut().write_all(&commands.collect::<Vec<u8>>()).expect("it is open");
        lines.iter().map(|_| self.reply()).collect()
    }

    /// Sends a command, and returns the reply; an error if the connection closes first.
    pub fn try_ask(&mut self, line: &str) -> io::Result<String> {
        self.stream.get_mut().write_all(&encode(&line.split(' ').collect::<Vec<_>>()))?;
        self.read()
    }

    /// The next reply as text: `OK`, `:5`, `"value"`, `nil`, `[:1, nil]`, `-ERR …`.
    ///
    /// # Panics
    /// If no reply arrives in time, or it is invalid.
    pub fn reply(&mut self) -> String {
        self.read().expect("a whole reply comes")
    }

    /// The raw value of the next reply: formatting a long one takes long.
    ///
    /// # Panics
    /// If no reply arrives in time, or it is not a value.
    pub fn value(&mut self) -> Vec<u8> {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a reply comes");
        let count = line.strip_prefix('$').and_then(|rest| rest.trim_end().parse().ok());
        let count: usize = count.unwrap_or_else(|| panic!("a value comes, and not {line:?}"));
        let mut bytes = vec![0; count + 2];
        self.stream.read_exact(&mut bytes).expect("all of it comes");
        bytes.truncate(count);
        bytes
    }

    fn read(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let line = line.strip_suffix("\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        let (kind, rest) = line.split_at(1);
        let count = || rest.parse::<usize>().expect("a count");
        Ok(match kind {
            "+" => rest.to_owned(),
            "-" | ":" | "," | "#" => line.to_owned(),
            "_" => "nil".to_owned(),
            "$" | "*" if rest == "-1" => "nil".to_owned(),
            "$" | "=" => {
                let mut bytes = vec![0; count() + 2];
                self.stream.read_exact(&mut bytes)?;
                format!("\"{}\"", bytes[..bytes.len() - 2].escape_ascii())
            }
            "*" | "~" => self.replies(count())?,
            "%" => self.replies(2 * count())?,
            _ => panic!("no reply begins so: {line:?}"),
        })
    }

    fn replies(&mut self, count: usize) -> io::Result<String> {
        let shown: Vec<String> = (0..count).map(|_| self.read()).collect::<io::Result<_>>()?;
        Ok(format!("[{}]", shown.join(", ")))
    }

    /// Asserts that the connection closes, whatever else arrives before.
    ///
    /// # Panics
    /// If it does not.
    pub fn expect_end(&mut self) {
        let mut rest = [0; 4096];
        // A reset counts as a close.
        while let Ok(n @ 1..) = self.stream.read(&mut rest) {
            let _ = n;
        }
        let again = self.stream.read(&mut rest);
        assert!(!matches!(again, Ok(1..)), "it goes on");
    }
}

fn encode<A: AsRef<[u8]>>(words: &[A]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        let word = word.as_ref();
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    out
}
