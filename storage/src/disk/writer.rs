//! The thread that writes the log.
//!
//! It takes the requests of the journal, up to about a megabyte, and appends them as one frame: one
//! system call for the writes of a moment, and with `sync` one wait for the disk. In `async`
//! another thread waits for the disk, about once a second, while this one continues to append;
//! between two groups it rests for a millisecond, so that it need not be woken for each write.
//!
//! A full segment is closed, and the next one begun. When the log has become long, a temporary
//! thread writes a checkpoint. Once that is complete, the files that it covers are removed.
//!
//! * `thread`: the thread itself, which writes groups and runs timers; `flusher`: the thread that
//!   waits for the disk in `async`;
//! * `state`: whether the log is written, has failed, or is being rebuilt;
//! * `segment`: a file of the log; `rotation`: how one follows another;
//! * `checkpointing`: when a checkpoint is written; `checkpoint_job`: the thread that writes it;
//!   `pacing`: how long the log may become;
//! * `failure`: handling failures of the disk; `retry`: the pauses between attempts.
//!
//! **When the disk fails**, or is full: with `sync` writes are refused until it recovers; with
//! `async` the failure is logged and reported to the manager.
//!
//! Invariants: all segments but the last are closed and on the disk; a checkpoint has its name only
//! when it is on the disk; a checkpoint or a segment of this incarnation is removed only when the
//! next checkpoint is on the disk.

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
