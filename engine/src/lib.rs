//! The Traject engine: a mail transfer agent without I/O.
//!
//! One value, [`Engine`], holds SMTP sessions, queues, scheduling and shaping. Time, bytes, DNS
//! answers and durability come in as [`Input`]; everything it wants comes out as [`Output`]. It
//! reads no clock, opens no socket and draws no random number that is not keyed by its seed, and
//! being `no_std` it could not. What runs it for real is `traject-net`; what runs it against a
//! simulated internet is `traject-sim`.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod binding;
mod bookkeeping;
pub mod bounce;
mod check;
pub mod config;
pub mod control;
mod delivery;
pub mod dns;
mod engine;
pub mod ids;
pub mod io;
pub mod limits;
pub mod marks;
pub mod message;
pub mod mx;
pub mod notice;
pub mod queue;
mod reception;
pub mod record;
mod reload;
pub mod rng;
mod sched;
mod securing;
pub mod shaping;
pub mod smtp;
mod snapshot;
pub mod time;
mod timers;
pub mod tls;
pub mod waits;
pub mod why;

pub use binding::binding_of_group;
pub use check::Violation;
pub use engine::Engine;
pub use io::{Input, Output};
pub use snapshot::{QueueSnapshot, SessionSnapshot, Snapshot};
pub use time::Timestamp;
pub use timers::{Wakeup, WakeupReason};
