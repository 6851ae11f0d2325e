//! Whether the daemon lives, and whether it is ready for mail.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use serde_json::json;
use traject_net::driver::Phase;

use super::Daemon;
use super::answer::{Problem, Shown};

/// The phase of its life in a word.
pub(super) fn state(daemon: &Daemon) -> &'static str {
    match daemon.handle.phase() {
        Phase::Recovering => "recovering",
        Phase::Running => "running",
        Phase::Draining => "draining",
    }
}

/// 200 if the engine answers, whatever it is doing.
pub(super) async fn live(State(daemon): State<Arc<Daemon>>) -> Result<Shown, Problem> {
    // Nothing it does takes nearly so long.
    match tokio::time::timeout(PATIENCE, daemon.look(|_| ())).await {
        Ok(answer) => answer.map(|()| Shown::new(&json!({ "live": true }), "live\n".to_owned())),
        Err(_) => Err(Problem::unavailable("the engine does not answer")),
    }
}

/// 200 if clients can hand in mail.
pub(super) async fn ready(State(daemon): State<Arc<Daemon>>) -> Result<Shown, Problem> {
    match daemon.handle.phase() {
        // Nobody has to wait for what is in the spool already.
        Phase::Running | Phase::Recovering => {
            Ok(Shown::new(&json!({ "ready": true }), "ready\n".to_owned()))
        }
        Phase::Draining => Err(Problem::unavailable("the daemon is ending")),
    }
}

/// How long a living engine may take for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
