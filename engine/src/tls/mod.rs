//! TLS as the engine sees it: what it asks of a handshake, and what it learns of one.
//!
//! The engine decides; the driver does the cryptography on the connection's bytes. A handshake is
//! an [`Output::StartTls`](crate::Output::StartTls), answered by one
//! [`Input::Secured`](crate::Input::Secured).

pub mod ciphers;
pub mod info;
pub mod params;
pub mod policy;
pub mod protocols;
