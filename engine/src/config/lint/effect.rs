//! Options that cannot have an effect where they are, because of what other options say.

use alloc::format;
use alloc::string::ToString as _;
use alloc::vec::Vec;

use super::super::diagnostic::Diagnostic;
use super::super::options::{OptionId, Status, id};
use super::{NO_EFFECT, View, warn};

/// Options that mean something only where another one has one of these values (any, if there are
/// none). They are reported when it has none of them anywhere.
const NEEDS: &[(OptionId, OptionId, &[&str])] = &[
    (id("lmtp_port"), id("delivery_method"), &["LMTP"]),
    (id("response_transcode_pattern"), id("response_transcode_replace"), &[]),
    (id("response_transcode_replace"), id("response_transcode_pattern"), &[]),
    (id("delay_dsn_retry_interval"), id("generate_delay_dsn"), &["true"]),
    (id("delay_dsn_max_retry_interval"), id("generate_delay_dsn"), &["true"]),
    (id("tls_ifavailable_fallback"), id("tls"), &["ifavailable"]),
    (id("tls_ca"), id("tls_verify"), &["ca", "host", "optional"]),
    (id("tls_key"), id("tls_certificate"), &[]),
    (id("tls_verify_mode"), id("tls_client_ca"), &[]),
    (id("tls_verified_peer_can_relay"), id("tls_client_ca"), &[]),
];

/// Options that another one in the same stanza makes meaningless.
const OVERRULED: &[(OptionId, OptionId, &str)] = &[
    (id("retry_interval"), id("never_retry"), "true"),
    (id("max_retry_interval"), id("never_retry"), "true"),
    (id("max_retries"), id("never_retry"), "true"),
    (id("remote_smtp_port"), id("delivery_method"), "LMTP"),
    (id("bounces_inline_original"), id("generate_bounces"), "false"),
    (id("mailerdaemon"), id("generate_bounces"), "false"),
];

pub(super) fn check(view: &View<'_>, found: &mut Vec<Diagnostic>) {
    let layers = view.layers();
    for &(option, needed, values) in NEEDS.iter().filter(|(option, ..)| works(*option)) {
        let fits = |value: &str| values.is_empty() || values.contains(&value);
        let built_in = view.defaults[needed.index()].as_ref();
        let set = layers.iter().filter_map(|layer| layer.settings.get(&needed));
        let mut all = set.map(|setting| &setting.value).chain(built_in);
        if all.any(|value| fits(&value.to_string())) {
            continue;
        }
        for setting in layers.iter().filter_map(|layer| layer.settings.get(&option)) {
            let needed = needed.spec().name;
            let help = match values {
                [] => format!("`{needed}` is set nowhere"),
                _ => format!("`{needed}` is nowhere {}", values.join(" or ")),
            };
            found.push(warn(NO_EFFECT, setting, "this has no effect").help(help));
        }
    }
    for &(option, other, value) in OVERRULED.iter().filter(|(option, ..)| works(*option)) {
        for layer in &layers {
            let (Some(setting), Some(cause)) =
                (layer.settings.get(&option), layer.settings.get(&other))
            else {
                continue;
            };
            if cause.value.to_string() == value {
                let label = format!("because of `{} = {value}`", other.spec().name);
                found.push(
                    warn(NO_EFFECT, setting, "this has no effect").related(cause.span, label),
                );
            }
        }
    }
}

/// What does not work has a warning of its own.
fn works(option: OptionId) -> bool {
    option.spec().status == Status::Works
}
