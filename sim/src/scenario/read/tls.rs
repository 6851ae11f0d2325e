//! `[receiver.tls]`, or `[[receiver.tls]]` for what changes with time.

use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;
use traject_engine::tls::info::{CipherSuite, TlsVersion};

use super::super::reader::Table;
use super::super::units;
use crate::receiver::spec::{Act, ReplyText};
use crate::receiver::tls::{HandshakeAct, StartTlsAnswer, TlsOffering, TlsPosture, is_consistent};
use crate::tls::{CertificateKind, CertificateSpec};
use crate::traffic::domain_name;

/// The postures of a receiver, in order.
pub(super) fn read_all(receiver: &Table<'_>) -> Vec<TlsPosture> {
    match receiver.get("tls").map(Spanned::get_ref) {
        Some(DeValue::Array(_)) => receiver.tables("tls").into_iter().map(read).collect(),
        Some(_) => receiver.table("tls").into_iter().map(read).collect(),
        None => Vec::new(),
    }
}

pub(super) fn read(table: Table<'_>) -> TlsPosture {
    let default = TlsPosture::default();
    let instant =
        |key, default| table.parsed(key, units::duration).map_or(default, Spanned::into_inner);
    let window = instant("after", Duration::ZERO)..instant("before", Duration::MAX);
    if window.is_empty() {
        table.diagnostics().error(table.span(), "`before` must be later than `after`");
    }
    let offer = table.word("offer", &TlsOffering::NAMES).unwrap_or(TlsOffering::Yes);
    let answer = table.parsed("answer", read_answer);
    let answer = answer.map_or(StartTlsAnswer::Go, Spanned::into_inner);
    let handshake = table.word("handshake", &HandshakeAct::NAMES).unwrap_or(HandshakeAct::Ok);
    let inject = table.parsed("inject", |text| {
        let plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if plain { Ok(Arc::from(text)) } else { Err("is one line of printable ASCII".to_owned()) }
    });
    let versions = list(&table, "versions", VERSIONS).unwrap_or(default.versions);
    let names: Vec<_> =
        CipherSuite::ALL.iter().map(|suite| (suite.openssl_name(), *suite)).collect();
    let suites = list(&table, "suites", &names).unwrap_or(default.suites);
    if !is_consistent(&versions, &suites) {
        let message = "none of these suites belongs to one of these versions";
        table.diagnostics().error(table.span(), message);
    }
    let certificate = read_certificate(&table);
    let wants_certificate = table.boolean("wants_certificate").unwrap_or(false);
    table.finish();
    TlsPosture {
        window,
        offer,
        answer,
        inject: inject.map(Spanned::into_inner),
        handshake,
        versions,
        suites,
        certificate,
        wants_certificate,
    }
}

fn read_certificate(table: &Table<'_>) -> CertificateSpec {
    let kind = table.word("certificate", &CertificateKind::NAMES).unwrap_or_default();
    let expires = table.parsed("expires", units::duration);
    if let Some(expires) = &expires
        && kind == CertificateKind::Expired
    {
        let message = "an `expired` certificate was so before the start";
        table.diagnostics().error(expires.span(), message);
    }
    if kind == CertificateKind::WrongName && table.has("names") {
        let message = "a `wrong_name` certificate has no `names` to be given";
        table.diagnostics().error(table.span(), message);
    }
    let mut names = Vec::new();
    for text in table.texts("names").unwrap_or_default() {
        let bare = text.get_ref().strip_prefix("*.").unwrap_or(text.get_ref());
        match domain_name(bare) {
            Ok(_) => names.push(text.get_ref().to_ascii_lowercase().into()),
            Err(why) => table.diagnostics().error(text.span(), why),
        }
    }
    CertificateSpec { kind, expires: expires.map(Spanned::into_inner), names }
}

/// A refusal, or a word for what is no answer.
fn read_answer(text: &str) -> Result<StartTlsAnswer, String> {
    Ok(match text {
        "go" => StartTlsAnswer::Go,
        "garbage" => StartTlsAnswer::Garbage,
        "reset" => StartTlsAnswer::Act(Act::Reset),
        "close" => StartTlsAnswer::Act(Act::Close),
        "stall" => StartTlsAnswer::Act(Act::Stall),
        reply => {
            let reply = ReplyText::parse(reply).map_err(|why| {
                format!("{why}; or say `go`, `garbage`, `reset`, `close` or `stall`")
            })?;
            if !(reply.is_transient() || reply.is_permanent()) {
                return Err("a refusal is 4xx or 5xx".to_owned());
            }
            StartTlsAnswer::Act(Act::Reply(reply))
        }
    })
}

/// Some of a few words; `None` when the key is not there.
fn list<T: Copy>(table: &Table<'_>, key: &'static str, words: &[(&str, T)]) -> Option<Vec<T>> {
    let mut found = Vec::new();
    for text in table.texts(key)? {
        match words.iter().find(|(word, _)| *word == text.get_ref()) {
            Some((_, value)) => found.push(*value),
            None => {
                let message = format!("`{}` is not one of `{key}`", text.get_ref());
                let known = words.iter().map(|(word, _)| *word);
                table.diagnostics().unknown(text.span(), message, text.get_ref(), known);
            }
        }
    }
    Some(found)
}

const VERSIONS: &[(&str, TlsVersion)] =
    &[("TLSv1.2", TlsVersion::Tls12), ("TLSv1.3", TlsVersion::Tls13)];
