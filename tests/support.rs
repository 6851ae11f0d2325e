//! What the end-to-end tests share: the built daemon as a process, a name server and a next hop
//! of our own around it, clients that speak SMTP byte by byte, and mail that is hard to carry.
//!
//! Nothing here leaves 127.0.0.1. Tests that need programs of others look for them with
//! [`find_tool`] and say so when they are missing.

mod arrivals;
mod client;
mod daemon;
mod dns_server;
mod json_schema;
mod mail;
mod sink;
mod tools;

pub use arrivals::{Arrivals, without_trace};
pub use client::{Client, Reply, Volume};
pub use daemon::{Daemon, Site, binary};
pub use json_schema::violations;
pub use mail::Mail;
pub use sink::{Delivery, REFUSED, Sink};
pub use tools::{Missing, Unable, cargo, find_tool, free_port, target, wait_until, workspace};
