//! Failures of a handshake in the engine's terms.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::{AlertDescription, CertificateError, Error, OtherError};
use traject_engine::tls::info::{CertificateFault, TlsError};

/// Why a handshake failed, from what its stream said.
pub(super) fn tls_error(error: &io::Error) -> TlsError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(error) => of_rustls(error),
        None => TlsError::Lost,
    }
}

fn of_rustls(error: &Error) -> TlsError {
    match error {
        Error::AlertReceived(alert) => TlsError::Alert(alert_name(*alert).into()),
        Error::InvalidCertificate(error) => TlsError::Certificate(certificate_fault(error)),
        Error::NoCertificatesPresented => TlsError::Certificate(CertificateFault::Missing),
        Error::PeerIncompatible(_) => TlsError::NothingInCommon,
        Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::InvalidMessage(_)
        | Error::DecryptError
        | Error::PeerMisbehaved(_)
        | Error::PeerSentOversizedRecord => TlsError::Garbage,
        other => TlsError::Local(other.to_string().into()),
    }
}

/// What is wrong with a certificate, from what rustls says of it.
pub(super) fn certificate_fault(error: &CertificateError) -> CertificateFault {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            CertificateFault::Expired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            CertificateFault::NotYetValid
        }
        CertificateError::UnknownIssuer => CertificateFault::UnknownIssuer,
        CertificateError::Revoked => CertificateFault::Revoked,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            CertificateFault::WrongName
        }
        CertificateError::Other(OtherError(other)) if other.is::<SelfSigned>() => {
            CertificateFault::SelfSigned
        }
        _ => CertificateFault::Invalid,
    }
}

/// What rustls has no word for: a certificate that issued itself.
#[derive(Debug)]
struct SelfSigned;

impl fmt::Display for SelfSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("self-signed certificate")
    }
}

impl std::error::Error for SelfSigned {}

/// The error for a certificate that issued itself.
pub(super) fn self_signed() -> CertificateError {
    CertificateError::Other(OtherError(Arc::new(SelfSigned)))
}

/// An error and what caused it, on one line.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The name of an alert in RFC 8446 section 6, or its number.
fn alert_name(alert: AlertDescription) -> String {
    let number = u8::from(alert);
    let known = ALERTS.iter().find(|(code, _)| *code == number);
    known.map_or_else(|| format!("alert {number}"), |(_, name)| (*name).to_owned())
}

/// RFC 8446 appendix B.2; those it calls reserved are still sent in TLS 1.2.
const ALERTS: &[(u8, &str)] = &[
    (0, "close_notify"),
    (10, "unexpected_message"),
    (20, "bad_record_mac"),
    (21, "decryption_failed"),
    (22, "record_overflow"),
    (30, "decompression_failure"),
    (40, "handshake_failure"),
    (41, "no_certificate"),
    (42, "bad_certificate"),
    (43, "unsupported_certificate"),
    (44, "certificate_revoked"),
    (45, "certificate_expired"),
    (46, "certificate_unknown"),
    (47, "illegal_parameter"),
    (48, "unknown_ca"),
    (49, "access_denied"),
    (50, "decode_error"),
    (51, "decrypt_error"),
    (60, "export_restriction"),
    (70, "protocol_version"),
    (71, "insufficient_security"),
    (80, "internal_error"),
    (86, "inappropriate_fallback"),
    (90, "user_canceled"),
    (100, "no_renegotiation"),
    (109, "missing_extension"),
    (110, "unsupported_extension"),
    (111, "certificate_unobtainable"),
    (112, "unrecognized_name"),
    (113, "bad_certificate_status_response"),
    (114, "bad_certificate_hash_value"),
    (115, "unknown_psk_identity"),
    (116, "certificate_required"),
    (120, "no_application_protocol"),
];

#[cfg(test)]
mod tests {
    use rustls::{InvalidMessage, PeerIncompatible, PeerMisbehaved};

    use super::*;

    fn told(error: Error) -> TlsError {
        tls_error(&io::Error::new(io::ErrorKind::InvalidData, error))
    }

    #[test]
    fn failures_are_told_apart() {
        let alert = |name: &str| TlsError::Alert(name.into());
        let local = "failed to get random bytes";
        for (error, expected) in [
            (Error::AlertReceived(AlertDescription::HandshakeFailure), alert("handshake_failure")),
            (Error::AlertReceived(AlertDescription::UnknownCA), alert("unknown_ca")),
            (Error::AlertReceived(AlertDescription::Unknown(200)), alert("alert 200")),
            (
                Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
                TlsError::NothingInCommon,
            ),
            (Error::NoCertificatesPresented, TlsError::Certificate(CertificateFault::Missing)),
            (Error::InvalidMessage(InvalidMessage::InvalidContentType), TlsError::Garbage),
            (Error::PeerMisbehaved(PeerMisbehaved::UnsolicitedCertExtension), TlsError::Garbage),
            (Error::DecryptError, TlsError::Garbage),
            (Error::FailedToGetRandomBytes, TlsError::Local(local.into())),
        ] {
            assert_eq!(told(error.clone()), expected, "{error:?}");
        }
        for kind in [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset] {
            assert_eq!(tls_error(&kind.into()), TlsError::Lost);
        }
    }

    #[test]
    fn faults_are_told_apart() {
        for (error, expected) in [
            (CertificateError::Expired, CertificateFault::Expired),
            (CertificateError::NotValidYet, CertificateFault::NotYetValid),
            (CertificateError::UnknownIssuer, CertificateFault::UnknownIssuer),
            (CertificateError::Revoked, CertificateFault::Revoked),
            (CertificateError::NotValidForName, CertificateFault::WrongName),
            (self_signed(), CertificateFault::SelfSigned),
            (CertificateError::BadSignature, CertificateFault::Invalid),
            (CertificateError::BadEncoding, CertificateFault::Invalid),
        ] {
            let told = told(Error::InvalidCertificate(error.clone()));
            assert_eq!(told, TlsError::Certificate(expected), "{error:?}");
        }
    }

    #[test]
    fn every_alert_rustls_knows_has_a_name() {
        for number in 0..=u8::MAX {
            let alert = AlertDescription::from(number);
            let known = !matches!(alert, AlertDescription::Unknown(_)) && number != 0x79;
            assert_eq!(!alert_name(alert).starts_with("alert "), known, "{alert:?}");
        }
    }
}
