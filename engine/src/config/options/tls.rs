//! Options of TLS.

use super::options;
use super::words::*;

options! {
"tls" {
    /// STARTTLS on outbound connections: `no` never, `ifavailable` where it is offered, `required`
    /// or the message waits. What TLS failed at is remembered for `host_failure_retry`.
    "tls": Word(&["no", "ifavailable", "required"]), "no", PAIR, WORKS, "conf.ref.tls";
    /// With `tls = ifavailable`: when STARTTLS is offered and fails, send in clear over a new
    /// connection (true) or wait and try again (false). A certificate that does not pass is no such
    /// failure: the mail waits.
    "tls_ifavailable_fallback": Bool, "true", PAIR, WORKS, "conf.ref.tls_ifavailable_fallback";
    /// What to check of the receiver's certificate: nothing, its chain (`ca`), its chain and name
    /// (`host`), or all of it without consequence (`optional`).
    "tls_verify": Word(&["no", "ca", "host", "optional"]), "no", PAIR, WORKS, "conf.ref.tls_verify";
    /// Certificates to trust when the receiver's is checked; the system's if it is not set.
    "tls_ca": Path, "", PAIR, WORKS, "conf.ref.tls_ca";
    /// Certificate to present: to receivers if they ask, to clients of a listener always. `none`
    /// takes an inherited one away.
    "tls_certificate": Path, "", PAIR.and(TLS_LISTENERS).and(XMPP), WORKS, "conf.ref.tls_certificate";
    /// Private key of the certificate, unless its file holds both.
    "tls_key": Path, "", PAIR.and(TLS_LISTENERS).and(XMPP), WORKS, "conf.ref.tls_key";
    /// Cipher suites to offer, in OpenSSL's syntax. It is about TLS 1.2; the suites of TLS 1.3 are
    /// offered as well unless it names some of them.
    "tls_ciphers": Text, "", PAIR.and(TLS_LISTENERS).and(XMPP), WORKS, "conf.ref.tls_ciphers";
    /// Protocol versions to offer, for example `+ALL:-TLSv1.2`. Only TLS 1.2 and 1.3 exist here.
    "tls_protocols": Text, "+ALL", PAIR.and(TLS_LISTENERS), WORKS, "conf.ref.tls_protocols";
    /// Issuers of client certificates that a listener accepts.
    "tls_client_ca": Path, "", GLOBAL.and(TLS_LISTENERS).and(XMPP), WORKS, "conf.ref.tls_client_ca";
    /// Client certificates at a listener: not asked for, demanded, or checked when offered (unset).
    "tls_verify_mode": Word(&["none", "require"]), "", TLS_LISTENERS.and(XMPP), WORKS,
        "conf.ref.tls_verify_mode";
    /// A client with a verified certificate may relay.
    "tls_verified_peer_can_relay": Bool, "false", MAIL_LISTENERS, WORKS, "ecelerity.conf";
    /// Begin with TLS, without STARTTLS. Needs `tls_certificate`.
    "use_ssl": Bool, "false", TLS_LISTENERS, WORKS, "ecelerity.conf";
    /// Seconds between looks at expired TLSA records.
    "tlsa_expire_interval": COUNT, "3600", GLOBAL, TLS, "config.options.summary";
    /// File of Diffie-Hellman parameters.
    "tls_dhparams_file": Path, "", GLOBAL, RUSTLS, "conf.ref.tls_dhparams_file";
    /// Whether DHE suites are offered.
    "tls_enable_dhe_ciphers": Bool, "true", GLOBAL, RUSTLS, "conf.ref.tls_enable_dhe_ciphers";
    /// Which TLS library is used.
    "tls_engine": Word(&["openssl", "gnutls"]), "openssl", GLOBAL, RUSTLS,
        "config.options.summary";
    /// Curves for the key exchange, in order of preference.
    "tls_ec_curve_names": Text, "", GLOBAL, RUSTLS, "config.options.summary";
    /// Hardware for cryptography.
    "crypto_engine": Text, "", GLOBAL, RUSTLS, "conf.ref.crypto_engine";
    /// How the TLS library locks.
    "crypto_lock_method": Text, "EC_SSL_DEFAULTLOCK", GLOBAL, RUSTLS,
        "conf.ref.crypto_lock_method";
    /// How the TLS library locks.
    "ssl_lock_method": Word(&["mutex", "spinlock", "default"]), "mutex", GLOBAL, RUSTLS,
        "conf.ref.ssl_lock_method";
}
}
