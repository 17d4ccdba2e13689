//! The thread that writes the log.
//!
//! It takes what has been handed in, all there is up to about a megabyte, and appends it as one
//! frame: one system call for the writes of a moment, and with `sync` one wait for the disk. In
//! `async` another thread waits for the disk, about once a second, and this one goes on appending;
//! between two groups it rests for a millisecond, so that nobody has to wake it for each write.
//!
//! When a segment is full it is closed and another begun, and when the log has become long a
//! checkpoint is made, by a thread that comes and goes. Once that is complete, what it covers is
//! removed.
//!
//! * `thread`: the thread itself, which takes groups and looks at the clock; `flusher`: the one
//!   that waits for the disk in `async`;
//! * `state`: whether the log is written, has failed, or is rebuilt;
//! * `segment`: a file of the log; `rotation`: how one follows another;
//! * `checkpointing`: when a checkpoint is made, `checkpoint_job` the thread that makes it, and
//!   `pacing` how long the log may become;
//! * `failure`: what is done when the disk fails; `retry`: how soon something is tried again.
//!
//! **When the disk fails**, or is full, with `sync` writes are refused until that is mended; in
//! `async` it is said in the log and in what the node tells of itself.
//!
//! Invariants: all segments but the last are closed, and on the disk; a checkpoint has a name only
//! when it is on the disk; nothing that a checkpoint or a segment of this life has to tell is
//! removed before the checkpoint after it is.

mod checkpoint_job;
mod checkpointing;
mod failure;
mod flusher;
mod pacing;
mod retry;
mod rotation;
mod segment;
mod state;
mod thread;

pub use thread::{Start, start};
