//! Ctrl-C ends long work with what there is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Context as _;

use crate::error::{CommandError, ErrorKind};

/// A flag that Ctrl-C sets. The first one ends what is done, the second one the process.
pub(crate) fn flag() -> Result<Arc<AtomicBool>, CommandError> {
    let flag = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&flag);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("cannot wait for Ctrl-C")
        .map_err(|error| CommandError::new(ErrorKind::System, error))?;
    thread::spawn(move || {
        runtime.block_on(async {
            while tokio::signal::ctrl_c().await.is_ok() {
                if raised.swap(true, Ordering::Relaxed) {
                    std::process::exit(ErrorKind::Interrupted.exit_code().into());
                }
            }
        });
    });
    Ok(flag)
}
