//! The engine as a whole, in a world of scripts and virtual time.

mod bindings;
mod bookkeeping;
mod chaos;
mod connections;
mod control;
mod delivery;
mod notices;
mod protocol;
mod reception;
mod reload;
mod routing;
mod shaping;
mod siblings;
mod tls;
mod world;
