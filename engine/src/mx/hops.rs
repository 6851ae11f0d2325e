//! Which names are looked up for a queue, and one plan of what is known of them.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use crate::config::effective::DeliveryOptions;
use crate::config::routes::{Hop, NextHop};
use crate::limits;
use crate::mx::plan::{Exchange, Plan};
use crate::mx::routes::{By, Lookup, Target};

/// What has to be looked up to reach a domain: its exchanges, or what its `routes` name.
pub(crate) fn targets(domain: &Arc<str>, options: &DeliveryOptions) -> Vec<Target> {
    if options.routes.is_empty() {
        return [own(domain, options)].to_vec();
    }
    options.routes.iter().filter_map(|hop| target(hop, domain, options).ok()).collect()
}

/// What has to be looked up for one entry of `routes`.
///
/// # Errors
///
/// The entry's address: nothing has to be.
pub(crate) fn target(
    hop: &Hop,
    domain: &Arc<str>,
    options: &DeliveryOptions,
) -> Result<Target, IpAddr> {
    let target = match &hop.to {
        NextHop::OwnExchanges => own(domain, options),
        NextHop::Address(address) => return Err(*address),
        NextHop::Host(name) => Target::new(name, By::Addresses),
        NextHop::Exchanges(name) => Target::new(name, By::Exchanges),
    };
    let life_min = match options.routes.len() {
        0 | 1 => Duration::ZERO,
        _ => limits::LOOKED_UP_TOGETHER,
    };
    Ok(Target { lifetime: hop.ttl, life_min, ..target })
}

/// A domain with its own exchanges.
pub(crate) fn own(domain: &Arc<str>, options: &DeliveryOptions) -> Target {
    match options.only_best_mx {
        true => Target::new(domain, By::BestExchanges),
        false => Target::new(domain, By::Exchanges),
    }
}

/// What is known of where mail for a domain goes, from what `find` knows of each target.
pub(crate) fn look_up(
    domain: &Arc<str>,
    options: &DeliveryOptions,
    mut find: impl FnMut(&Target) -> Lookup,
) -> Lookup {
    if options.routes.is_empty() {
        return find(&own(domain, options));
    }
    let known = options.routes.iter().map(|hop| match target(hop, domain, options) {
        Ok(target) => find(&target),
        Err(address) => {
            Lookup::Ready(Arc::new(Plan::literal(&format!("{address}").into(), address)))
        }
    });
    merge(&options.routes, known.collect(), options.fully_resolve_before_smtp)
}

/// What is known of a domain with `routes`, from what is known of each of them.
///
/// Entries of equal preference share the load with the best exchanges each of them has, then with
/// the second best. With `all_first` nothing is tried before everything is known.
fn merge(hops: &[Hop], found: Vec<Lookup>, all_first: bool) -> Lookup {
    let mut exchanges = Vec::new();
    let (mut pending, mut in_line) = (false, false);
    let mut failed: Option<Lookup> = None;
    let mut refused: Option<Lookup> = None;
    for (hop, lookup) in hops.iter().zip(found) {
        match lookup {
            Lookup::Ready(plan) => exchanges.extend(placed(hop, &plan)),
            Lookup::Partial(plan) => {
                pending = true;
                exchanges.extend(placed(hop, &plan));
            }
            Lookup::Pending => pending = true,
            Lookup::InLine => (pending, in_line) = (true, true),
            Lookup::Failed { .. } => failed = Some(earlier(failed, lookup)),
            Lookup::Refused(_) => refused = refused.or(Some(lookup)),
        }
    }
    exchanges.sort_by_key(|exchange| exchange.preference);
    let plan = |exchanges| Arc::new(Plan { exchanges });
    match (exchanges.is_empty(), pending) {
        (false, false) => Lookup::Ready(plan(exchanges)),
        (false, true) if !all_first => Lookup::Partial(plan(exchanges)),
        (_, true) if in_line => Lookup::InLine,
        (_, true) => Lookup::Pending,
        (true, false) => failed.or(refused).unwrap_or(Lookup::Pending),
    }
}

/// The exchanges of one entry, best first, at its place among the entries.
fn placed(hop: &Hop, plan: &Plan) -> impl Iterator<Item = Exchange> {
    let levels = plan.exchanges.chunk_by(|a, b| a.preference == b.preference);
    (0_u32..).zip(levels).flat_map(move |(rank, level)| {
        let preference = u32::from(hop.preference) << 16 | rank;
        level.iter().map(move |one| Exchange { preference, port: hop.port, ..one.clone() })
    })
}

/// Of two failures: asked again when the first may be, and failed as often as the one that failed
/// least.
fn earlier(known: Option<Lookup>, lookup: Lookup) -> Lookup {
    match (known, lookup) {
        (
            Some(Lookup::Failed { until: a, failures: m, reply }),
            Lookup::Failed { until: b, failures: n, .. },
        ) => Lookup::Failed { until: a.min(b), failures: m.min(n), reply },
        (_, lookup) => lookup,
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};

    use super::*;
    use crate::config::Config;
    use crate::config::routes::read;
    use crate::smtp::reply::{EnhancedCode, Reply};
    use crate::time::Timestamp;

    fn hops(entries: &[&str]) -> Arc<[Hop]> {
        let entries: Vec<Arc<str>> = entries.iter().map(|entry| Arc::from(*entry)).collect();
        read(&entries).unwrap()
    }

    /// `10 a, 20 b` is a plan, with `...` one that is not complete; `?` is pending; `in line`;
    /// `failed 3 until 9`; anything else is refused.
    fn lookup(text: &str) -> Lookup {
        let exchange = |(n, record): (usize, &str)| {
            let (preference, name) = record.split_once(' ').unwrap();
            let addresses = [IpAddr::from([192, 0, 2, n as u8])].to_vec();
            let preference = preference.parse().unwrap();
            Exchange { name: name.into(), preference, port: None, addresses }
        };
        let plan = |text: &str| {
            Arc::new(Plan { exchanges: text.split(", ").enumerate().map(exchange).collect() })
        };
        if let Some(rest) = text.strip_prefix("failed ") {
            let (failures, until) = rest.split_once(" until ").unwrap();
            let reply = Reply::local(451, EnhancedCode(4, 4, 3), text);
            let until = Timestamp::from_secs(until.parse().unwrap());
            return Lookup::Failed { until, failures: failures.parse().unwrap(), reply };
        }
        match text.strip_suffix(" ...") {
            _ if text == "?" => Lookup::Pending,
            _ if text == "in line" => Lookup::InLine,
            Some(part) => Lookup::Partial(plan(part)),
            None if text.starts_with(char::is_numeric) => Lookup::Ready(plan(text)),
            None => Lookup::Refused(Reply::local(554, EnhancedCode(5, 4, 4), text)),
        }
    }

    fn show(lookup: &Lookup) -> String {
        let plan = |plan: &Plan| {
            let one = |e: &Exchange| {
                format!("{}.{} {}", e.preference >> 16, e.preference & 0xffff, e.name)
            };
            plan.exchanges.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        match lookup {
            Lookup::Ready(all) => plan(all),
            Lookup::Partial(part) => format!("{} ...", plan(part)),
            Lookup::Pending => "?".into(),
            Lookup::InLine => "in line".into(),
            Lookup::Failed { until, failures, .. } => {
                format!("failed {failures} until {}", until.as_secs())
            }
            Lookup::Refused(reply) => reply.to_string(),
        }
    }

    #[test]
    fn entries_make_one_plan() {
        let list = &["a", "b"][..];
        let equal = &["smtp://a?pref=10&type=mx", "smtp://b?pref=10&type=mx"][..];
        for (entries, found, all_first, expected) in [
            (list, ["5 a1, 7 a2", "0 b"], true, "0.0 a1, 0.1 a2, 1.0 b"),
            // The best of each share the load, whatever their MX preferences are.
            (equal, ["5 a1, 7 a2", "50 b1, 60 b2"], true, "10.0 a1, 10.0 b1, 10.1 a2, 10.1 b2"),
            (list, ["no such domain", "0 b"], true, "1.0 b"),
            (list, ["failed 1 until 9", "0 b"], true, "1.0 b"),
            (list, ["?", "0 b"], true, "?"),
            (list, ["?", "0 b"], false, "1.0 b ..."),
            (list, ["in line", "0 b"], false, "1.0 b ..."),
            (list, ["in line", "0 b"], true, "in line"),
            (list, ["?", "in line"], true, "in line"),
            (list, ["0 a ...", "?"], false, "0.0 a ..."),
            (list, ["0 a ...", "0 b"], true, "?"),
            (list, ["?", "no such domain"], false, "?"),
            (list, ["failed 2 until 9", "?"], true, "?"),
            (list, ["failed 2 until 9", "no such domain"], true, "failed 2 until 9"),
            (list, ["failed 5 until 9", "failed 2 until 12"], true, "failed 2 until 9"),
            (list, ["no host", "no name"], true, "554 5.4.4 no host"),
        ] {
            let found = found.map(lookup).to_vec();
            assert_eq!(show(&merge(&hops(entries), found, all_first)), expected, "{expected}");
        }
    }

    #[test]
    fn what_is_looked_up() {
        for (config, expected) in [
            ("", "x.test by Exchanges"),
            ("relay_domains = ( x.test )", "x.test by BestExchanges"),
            (
                "relay_domains = ( x.test ) only_use_best_mx_for_relay_domains = false",
                "x.test by Exchanges",
            ),
            ("relay_domains = ( *.test )", "x.test by BestExchanges"),
            (
                "routes = ( hub 192.0.2.1 \"smtp://out?type=mx&ttl=9\" __mx__ )",
                "hub by Addresses together, out by Exchanges for 9 together, \
                 x.test by Exchanges together",
            ),
            ("routes = ( hub )", "hub by Addresses"),
            ("routes = ( 192.0.2.1 )", ""),
        ] {
            let options = Config::from_text(config).unwrap().delivery_options("default", "x.test");
            let show = |target: Target| {
                let life = target.lifetime.map(|life| format!(" for {}", life.as_secs()));
                let together = if target.life_min.is_zero() { "" } else { " together" };
                format!("{} by {:?}{}{together}", target.name, target.by, life.unwrap_or_default())
            };
            let shown: Vec<String> =
                targets(&"x.test".into(), &options).into_iter().map(show).collect();
            assert_eq!(shown.join(", "), expected, "{config}");
        }
    }
}
