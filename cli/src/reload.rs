//! Another configuration for a running daemon: on SIGHUP, and when an operator asks for it.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::anyhow;
use serde::Serialize;
use traject_engine::Engine;
use traject_engine::config::{Config, Severity, Sources};
use traject_net::driver::Handle;
use traject_net::tls::TlsConfigs;
use traject_net::world::{Clock, Spool};

use crate::diagnostics;
use crate::line_log::Reopener;
use crate::notify::{Notify, Tell};

/// What a daemon was started with, and what is in force by now.
pub(crate) struct Reloader {
    path: String,
    started: Arc<Config>,
    tls: TlsConfigs,
    logs: Vec<Reopener>,
    notify: Notify,
    in_force: Mutex<InForce>,
    /// One at a time.
    turn: tokio::sync::Mutex<()>,
}

/// A configuration and the texts it was made of.
#[derive(Clone)]
pub(crate) struct InForce {
    pub(crate) config: Arc<Config>,
    pub(crate) sources: Arc<Sources>,
}

/// What came of a reload.
#[derive(Debug, Serialize)]
pub(crate) struct Reloaded {
    /// Warnings, in the manner of rustc.
    pub(crate) findings: String,
    /// What only a restart can change.
    pub(crate) needs_restart: Vec<&'static str>,
}

impl Reloader {
    pub(crate) fn new(
        path: &str,
        in_force: InForce,
        tls: TlsConfigs,
        logs: Vec<Reopener>,
        notify: Notify,
    ) -> Self {
        Self {
            path: path.to_owned(),
            started: Arc::clone(&in_force.config),
            tls,
            logs,
            notify,
            in_force: Mutex::new(in_force),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    /// Tells the service manager.
    pub(crate) fn tell(&self, tell: Tell) {
        self.notify.tell(tell);
    }

    /// The configuration in force.
    pub(crate) fn in_force(&self) -> InForce {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Opens the logs anew, reads the configuration anew and puts it in force. One that cannot be
    /// used changes nothing else: the words why, for people.
    pub(crate) async fn reload<P: Spool, C: Clock>(
        &self,
        handle: &Handle<Engine, P, C>,
    ) -> Result<Reloaded, String> {
        let _turn = self.turn.lock().await;
        self.notify.tell(Tell::Reloading);
        self.logs.iter().for_each(Reopener::reopen);
        let reloaded = self.read_and_apply(handle).await;
        self.notify.tell(Tell::Ready);
        match &reloaded {
            Err(why) => {
                tracing::error!("not reloaded, the old configuration stays; {}", why.trim_end());
            }
            Ok(Reloaded { needs_restart, .. }) => {
                for what in needs_restart {
                    tracing::warn!("{what} changed, which needs a restart");
                }
            }
        }
        reloaded
    }

    async fn read_and_apply<P: Spool, C: Clock>(
        &self,
        handle: &Handle<Engine, P, C>,
    ) -> Result<Reloaded, String> {
        let (path, tls) = (self.path.clone(), self.tls.clone());
        // Reading files would keep the engine waiting.
        let read = tokio::task::spawn_blocking(move || read(&path, &tls));
        let (new, findings) = read.await.map_err(|error| error.to_string())??;
        if !findings.is_empty() {
            tracing::warn!("{}", findings.trim_end());
        }
        let ended = |error: traject_net::driver::HandleError| error.to_string();
        handle.reload(Arc::clone(&new.config)).await.map_err(ended)?;
        // Once this is answered, it is in force.
        handle.inspect(|_| ()).await.map_err(ended)?;
        let needs_restart = needs_restart(&self.started, &new.config);
        *self.in_force.lock().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(Reloaded { findings, needs_restart })
    }
}

fn read(path: &str, tls: &TlsConfigs) -> Result<(InForce, String), String> {
    let mut loaded = diagnostics::load(path);
    loaded.diagnostics.retain(|finding| finding.severity >= Severity::Warning);
    let findings = diagnostics::text(&loaded.diagnostics, &loaded.sources);
    let Some(config) = loaded.config else {
        return Err(format!("{path} cannot be used\n{findings}"));
    };
    let checked = tls.load(&config.tls_params()).map_err(|error| anyhow!("{}", error.text()));
    checked.map_err(|error| format!("TLS: {error}"))?;
    let (config, sources) = (Arc::new(config), Arc::new(loaded.sources));
    Ok((InForce { config, sources }, findings))
}

/// What of a configuration a running daemon cannot change.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let sockets = |config: &Config| -> Vec<_> {
        let each = config.listeners().iter();
        let mut sockets: Vec<_> = each
            .flat_map(|one| one.addresses.iter().map(|address| (*address, one.backlog)))
            .collect();
        sockets.sort_unstable();
        sockets
    };
    let logs = |config: &Config| -> Vec<_> {
        let files = config.log_files().into_iter();
        files.map(|file| (file.kind, file.path, file.mode, file.heartbeat)).collect()
    };
    let (before, after) = (old.server_options(), new.server_options());
    [
        (sockets(old) != sockets(new), "the addresses to listen on"),
        (before.spool_base != after.spool_base, "spoolbase"),
        (old.security_options() != new.security_options(), "the account in `security`"),
        (logs(old) != logs(new), "the files in `ec_logger` and `bounce_logger`"),
        (before.resolv_conf != after.resolv_conf, "resolv_conf"),
    ]
    .into_iter()
    .filter_map(|(changed, what)| changed.then_some(what))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_a_restart_can_change_is_named() {
        let listen = |text: &str| format!("esmtp_listener {{ listen \"{text}\" {{ }} }}");
        let sockets = "the addresses to listen on";
        for (before, after, named) in [
            (listen("127.0.0.1:25"), listen("127.0.0.1:25") + " retry_interval = 9", vec![]),
            (listen("127.0.0.1:25"), listen("127.0.0.1:26"), vec![sockets]),
            (listen("127.0.0.1:25"), String::new(), vec![sockets]),
            (
                "spoolbase = \"/a\"".into(),
                "spoolbase = \"/b\" resolv_conf = \"/c\"".into(),
                vec!["spoolbase", "resolv_conf"],
            ),
            (
                "security { user = mail }".into(),
                "security { user = news }".into(),
                vec!["the account in `security`"],
            ),
            (
                "ec_logger { mainlog = \"/a\" }".into(),
                "ec_logger { mainlog = \"/a\" heartbeat = 9 }".into(),
                vec!["the files in `ec_logger` and `bounce_logger`"],
            ),
            (
                "ec_logger { mainlog = \"/a\" }".into(),
                "ec_logger { mainlog = \"/a\" log_deliveries = false }".into(),
                vec![],
            ),
        ] {
            let (old, new) = (Config::from_text(&before), Config::from_text(&after));
            assert_eq!(needs_restart(&old.unwrap(), &new.unwrap()), named, "{before} {after}");
        }
    }
}
