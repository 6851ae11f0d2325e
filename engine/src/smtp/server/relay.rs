//! Who may send to whom through us.

use crate::config::effective::RelayPolicy;
use crate::smtp::address::{Mailbox, ReversePath};

/// Whether a client with this policy may send from `sender` to `recipient`.
///
/// The policy's grants are the only ones: none, and nothing is relayed. What the recipient's
/// domain grants to anybody does not extend to an address that asks that domain to send the
/// message on (`victim%example.com@relayed.example`, `example.com!victim@...`,
/// `"victim@example.com"@...`): the next hop might do so, trusting us.
pub(super) fn may_relay(policy: &RelayPolicy, sender: &ReversePath, recipient: &Mailbox) -> bool {
    let recipient_listed =
        policy.recipient_domains.iter().any(|pattern| matches(pattern, &recipient.domain));
    is_trusted(policy, sender) || (recipient_listed && !asks_for_routing(&recipient.local))
}

/// Whether a client with this policy may send from `sender` to anybody.
pub(super) fn is_trusted(policy: &RelayPolicy, sender: &ReversePath) -> bool {
    let sender_listed = || {
        sender.0.as_ref().is_some_and(|sender| {
            policy.sending_domains.iter().any(|pattern| matches(pattern, &sender.domain))
        })
    };
    policy.client_may_relay || sender_listed()
}

/// Whether a local part names a further hop.
fn asks_for_routing(local: &str) -> bool {
    local.contains(['%', '!', '@'])
}

/// Whether `domain` matches a pattern whose `*` stand for any characters, none included: `*.x`
/// matches `a.x` but not `x`, `*x` matches `x` and `ax`. Both in lower case.
pub(crate) fn matches(pattern: &str, domain: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == domain;
    };
    let Some(mut domain) = domain.strip_prefix(start) else { return false };
    // What lies between two stars is looked for as early as possible; that never spoils a later
    // match. Only the end is tied to its place.
    let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*') {
        let Some(at) = domain.find(part) else { return false };
        domain = &domain[at + part.len()..];
    }
    domain.ends_with(end)
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec::Vec;
    use alloc::{format, vec};

    use proptest::prelude::*;

    use super::*;
    use crate::smtp::address::{ForwardPath, forward_path, reverse_path};

    /// Relays for nobody in particular, to its own domains.
    fn closed() -> RelayPolicy {
        RelayPolicy {
            client_may_relay: false,
            sending_domains: vec![].into(),
            recipient_domains: vec!["ours.example".into(), "*.sub.example".into()].into(),
        }
    }

    fn decide(policy: &RelayPolicy, from: &str, to: &str) -> Option<bool> {
        let (_, sender) = reverse_path(from).unwrap();
        match forward_path(to) {
            Ok((_, ForwardPath::Mailbox(recipient))) => {
                Some(may_relay(policy, &sender, &recipient))
            }
            _ => None,
        }
    }

    #[test]
    fn an_empty_policy_relays_nothing() {
        for to in ["<a@ours.example>", "<a@localhost>", "<a@[127.0.0.1]>", "<a@x.sub.example>"] {
            assert_eq!(decide(&RelayPolicy::default(), "<a@ours.example>", to), Some(false));
        }
    }

    #[test]
    fn strangers_reach_our_domains_and_no_further() {
        for (to, expected) in [
            ("<a@ours.example>", Some(true)),
            ("<a@OURS.example>", Some(true)),
            ("<a@ours.example.>", Some(true)),
            ("<a@x.sub.example>", Some(true)),
            ("<\"a b\"@ours.example>", Some(true)),
            // The route is dropped, its last hop is ours.
            ("<@evil.example:a@ours.example>", Some(true)),
            ("<victim@evil.example>", Some(false)),
            ("<victim@evil.example.>", Some(false)),
            ("<a@sub.example>", Some(false)),
            ("<a@xours.example>", Some(false)),
            ("<a@ours.example.evil.example>", Some(false)),
            // Forms that ask somebody to relay.
            ("<victim%evil.example@ours.example>", Some(false)),
            ("<victim%evil.example%ours.example@ours.example>", Some(false)),
            ("<evil.example!victim@ours.example>", Some(false)),
            ("<evil.example!victim%ours.example@ours.example>", Some(false)),
            ("<\"victim@evil.example\"@ours.example>", Some(false)),
            ("<\"victim%evil.example\"@ours.example>", Some(false)),
            ("<\"victim\\@evil.example\"@ours.example>", Some(false)),
            ("<@ours.example:victim@evil.example>", Some(false)),
            ("<@ours.example,@evil.example:victim@evil.example>", Some(false)),
            ("<victim@[192.0.2.9]>", Some(false)),
            ("<victim@[IPv6:2001:db8::9]>", Some(false)),
            ("<victim@[127.0.0.1]>", Some(false)),
            ("<victim%evil.example@[127.0.0.1]>", Some(false)),
            ("<victim@localhost>", Some(false)),
            // Not addresses at all.
            ("<victim@evil.example@ours.example>", None),
            ("<victim%evil.example>", None),
            ("<evil.example!victim>", None),
            ("victim@evil.example", None),
            ("<\"victim@evil.example\">", None),
            ("<ours.example:victim@evil.example>", None),
            ("<@ours.example@evil.example:victim>", None),
        ] {
            for from in ["<>", "<spam@evil.example>", "<spam@ours.example>", "<spam@[127.0.0.1]>"] {
                assert_eq!(decide(&closed(), from, to), expected, "{from} to {to}");
            }
        }
    }

    #[test]
    fn trusted_clients_and_listed_senders_reach_everybody() {
        let trusted = RelayPolicy { client_may_relay: true, ..closed() };
        assert_eq!(decide(&trusted, "<>", "<a%b@evil.example>"), Some(true));
        let listed =
            RelayPolicy { sending_domains: vec!["*.news.example".into()].into(), ..closed() };
        for (from, expected) in [
            ("<a@x.news.example>", true),
            ("<a@news.example>", false),
            ("<a@x.news.example.evil.example>", false),
            ("<a%x.news.example@evil.example>", false),
            ("<>", false),
        ] {
            assert_eq!(decide(&listed, from, "<b@far.example>"), Some(expected), "{from}");
        }
    }

    #[test]
    fn patterns() {
        for (pattern, domain, expected) in [
            ("a.x", "a.x", true),
            ("a.x", "b.a.x", false),
            ("*", "a.x", true),
            ("*.x", "a.x", true),
            ("*.x", "x", false),
            ("*x", "badx", true),
            ("*x", "x", true),
            ("a.*", "a.b.c", true),
            ("a*a", "a", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "axbxc", true),
            ("a*b*c", "acb", false),
            ("*ab*ab", "abab", true),
            ("*ab*ab", "ab", false),
            ("**", "", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, domain), expected, "{pattern} and {domain}");
        }
    }

    /// The definition, without cleverness.
    fn matches_slowly(pattern: &[u8], domain: &[u8]) -> bool {
        match pattern {
            [] => domain.is_empty(),
            [b'*', rest @ ..] => (0..=domain.len()).any(|at| matches_slowly(rest, &domain[at..])),
            [letter, rest @ ..] => {
                domain.first() == Some(letter) && matches_slowly(rest, &domain[1..])
            }
        }
    }

    proptest! {
        #[test]
        fn matching_is_as_defined(pattern in "[ab*]{0,6}", domain in "[ab]{0,8}") {
            let slowly = matches_slowly(pattern.as_bytes(), domain.as_bytes());
            prop_assert_eq!(matches(&pattern, &domain), slowly);
        }

        /// No recipient outside the listed domains, however written, gets past the policy.
        #[test]
        fn no_open_relay(local in "[a-z%!@\"\\\\.:]{1,12}", domain in "[a-z.\\[\\]0-9]{1,12}") {
            let to = format!("<{local}@{domain}>");
            if let Some(true) = decide(&closed(), "<spam@evil.example>", &to) {
                let allowed: Vec<String> = vec!["ours.example".into()];
                prop_assert!(
                    allowed.contains(&domain) || domain.ends_with(".sub.example"), "{}", to,
                );
            }
        }
    }
}
