//! Look-ups as dialogues: what is asked, what is answered, what is known then.

use alloc::string::{String, ToString};

use super::*;

const POLICY: DnsPolicy = DnsPolicy {
    mx_failures_fallback_to_a: 3,
    failure_hold: Duration::from_secs(100),
    ttl_min: Duration::ZERO,
    ttl_max: Duration::from_secs(1000),
    use_ipv6: true,
    all_first: true,
    mx_rate_limit: None,
};

#[derive(Default)]
struct World {
    routes: Routes,
    asked: Vec<(QueryId, Question)>,
    count: u64,
    /// Of the targets looked up.
    lifetime: Option<Duration>,
    life_min: Duration,
}

impl World {
    fn lookup(&mut self, destination: &str, asker: Asker, at: u64) -> String {
        self.lookup_with(POLICY, destination, asker, at)
    }

    /// `x.test`; `x.test best` for its best exchanges, `x.test host` for its addresses.
    fn lookup_with(&mut self, policy: DnsPolicy, name: &str, asker: Asker, at: u64) -> String {
        let Self { routes, asked, count, lifetime, life_min } = self;
        let now = Timestamp::from_secs(at);
        let (name, by) = match name.split_once(' ') {
            Some((name, "best")) => (name, By::BestExchanges),
            Some((name, _)) => (name, By::Addresses),
            None => (name, By::Exchanges),
        };
        let (lifetime, life_min) = (*lifetime, *life_min);
        let target = Target { lifetime, life_min, ..Target::new(&name.into(), by) };
        let lookup = routes.lookup(&target, asker, now, policy, &mut |question| {
            *count += 1;
            asked.push((QueryId(*count), question));
            QueryId(*count)
        });
        describe(&lookup)
    }

    /// Answers the oldest question, which must be `question`; returns who can go on.
    fn answer(&mut self, question: &str, answer: &str, at: u64) -> Vec<Asker> {
        let (query, asked) = self.asked.remove(0);
        assert_eq!(asked.to_string(), question);
        let Self { routes, asked, count, .. } = self;
        let now = Timestamp::from_secs(at);
        let (_, askers) = routes
            .resolved(query, parse(answer), now, &mut |question| {
                *count += 1;
                asked.push((QueryId(*count), question));
                QueryId(*count)
            })
            .unwrap();
        askers
    }

    fn nothing_asked(&self) {
        assert!(self.asked.is_empty(), "{:?}", self.asked);
        assert_eq!(self.routes.outstanding(), 0);
    }
}

fn describe(lookup: &Lookup) -> String {
    match lookup {
        Lookup::Ready(plan) => describe_plan(plan),
        Lookup::Partial(plan) => alloc::format!("{} ...", describe_plan(plan)),
        Lookup::Pending => "pending".to_string(),
        Lookup::InLine => "in line".to_string(),
        Lookup::Failed { until, failures, reply } => {
            alloc::format!("failed {failures} until {}: {reply}", until.as_secs())
        }
        Lookup::Refused(reply) => alloc::format!("refused: {reply}"),
    }
}

fn describe_plan(plan: &Plan) -> String {
    let one = |e: &Exchange| alloc::format!("{} {} {:?}", e.preference, e.name, e.addresses);
    plan.exchanges.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// `10 a, 20 b` (MX), `192.0.2.1 192.0.2.2` (addresses) or the name of an error; TTL 60 unless
/// `ttl N:` precedes.
fn parse(text: &str) -> Result<DnsAnswer, DnsError> {
    let (ttl, text) = match text.strip_prefix("ttl ") {
        Some(rest) => rest.split_once(": ").map(|(n, t)| (n.parse().unwrap(), t)).unwrap(),
        None => (60, text),
    };
    let ttl = Duration::from_secs(ttl);
    let error = |kind| Err(DnsError { kind, ttl, text: "".into() });
    let data = match text {
        "nxdomain" => return error(DnsErrorKind::NxDomain),
        "nodata" => return error(DnsErrorKind::NoData),
        "servfail" => return error(DnsErrorKind::ServFail),
        "timeout" => return error(DnsErrorKind::Timeout),
        _ if text.split(' ').all(|word| word.parse::<IpAddr>().is_ok()) => {
            DnsData::Addresses(text.split(' ').map(|word| word.parse().unwrap()).collect())
        }
        _ => DnsData::Mx(
            text.split(", ")
                .map(|record| {
                    let (preference, exchange) = record.split_once(' ').unwrap();
                    let exchange = exchange.trim_end_matches('.').into();
                    MxRecord { preference: preference.parse().unwrap(), exchange }
                })
                .collect(),
        ),
    };
    Ok(DnsAnswer { data, ttl })
}

#[test]
fn exchanges_then_their_addresses_then_a_plan() {
    let mut world = World::default();
    assert_eq!(world.lookup("x.test", 7, 0), "pending");
    assert_eq!(world.lookup("x.test", 8, 0), "pending");
    assert_eq!(world.answer("MX x.test", "20 b, 10 a", 1), [0; 0]);
    assert_eq!(world.answer("A/AAAA a", "192.0.2.1", 1), [0; 0]);
    assert_eq!(world.answer("A/AAAA b", "192.0.2.2 2001:db8::2", 2), [7, 8]);
    let plan = "10 a [192.0.2.1], 20 b [192.0.2.2, 2001:db8::2]";
    assert_eq!(world.lookup("x.test", 7, 2), plan);
    world.nothing_asked();
    // The oldest answer is from second 1 and lives for 60 s.
    assert_eq!(world.lookup("x.test", 7, 61), plan);
    assert_eq!(world.lookup("x.test", 7, 62), "pending");
}

#[test]
fn addresses_are_shared_between_destinations() {
    let mut world = World::default();
    world.lookup("x.test", 1, 0);
    world.lookup("y.test", 2, 0);
    world.answer("MX x.test", "10 mx", 0);
    world.answer("MX y.test", "10 mx", 0);
    assert_eq!(world.answer("A/AAAA mx", "192.0.2.1", 0), [1, 2]);
    world.nothing_asked();
    // A third one finds the address known: one question only.
    world.lookup("z.test", 3, 0);
    assert_eq!(world.answer("MX z.test", "10 mx", 0), [3]);
    assert_eq!(world.lookup("z.test", 3, 0), "10 mx [192.0.2.1]");
    world.nothing_asked();
}

#[test]
fn an_exchange_that_another_asks_for_anew_meanwhile_is_waited_for() {
    let mut world = World::default();
    world.lookup("shared host", 2, 0);
    world.answer("A/AAAA shared", "ttl 5: 192.0.2.1", 0);
    // One exchange is known, the other is asked for; somebody else asks for the first one again.
    world.lookup("x.test", 1, 4);
    world.answer("MX x.test", "10 shared, 20 slow", 4);
    assert_eq!(world.lookup("shared host", 2, 6), "pending");
    assert_eq!(world.answer("A/AAAA slow", "192.0.2.9", 6), [0; 0]);
    assert_eq!(world.answer("A/AAAA shared", "192.0.2.1", 7), [2, 1]);
    world.nothing_asked();
}

#[test]
fn without_mx_the_domain_is_its_own_exchange() {
    let mut world = World::default();
    world.lookup("x.test", 1, 0);
    world.answer("MX x.test", "nodata", 0);
    assert_eq!(world.answer("A/AAAA x.test", "192.0.2.1", 0), [1]);
    assert_eq!(world.lookup("x.test", 1, 0), "0 x.test [192.0.2.1]");
}

#[test]
fn a_definite_no_is_final_for_its_ttl() {
    for (mx, address, verdict) in [
        ("0 .", None, "refused: 550 5.4.4 the domain does not accept mail (null MX)"),
        ("nxdomain", None, "refused: 554 5.4.4 no such domain"),
        ("nodata", Some("nodata"), "refused: 554 5.4.4 no exchange of the domain has an address"),
        ("5 mx", Some("nxdomain"), "refused: 554 5.4.4 no exchange of the domain has an address"),
    ] {
        let mut world = World::default();
        world.lookup("x.test", 1, 0);
        let mut askers = world.answer("MX x.test", mx, 0);
        if let Some(address) = address {
            let name = world.asked[0].1.to_string();
            askers = world.answer(&name, address, 0);
        }
        assert_eq!(askers, [1], "{mx}");
        assert_eq!(world.lookup("x.test", 1, 60), verdict);
        assert_eq!(world.lookup("x.test", 1, 61), "pending");
    }
}

#[test]
fn failures_hold_count_and_fall_back_to_addresses() {
    let mut world = World::default();
    for (failures, text) in [(1, "servfail"), (2, "timeout"), (3, "servfail")] {
        let at = failures * 100;
        assert_eq!(world.lookup("x.test", 1, at), "pending");
        assert_eq!(world.answer("MX x.test", text, at), [1]);
        let failed = world.lookup("x.test", 1, at + 99);
        let head = alloc::format!("failed {failures} until {}: 451 4.4.3", at + 100);
        assert!(failed.starts_with(&head), "{failed}");
        world.nothing_asked();
    }
    // mx_failures_fallback_to_a = 3: the fourth look-up asks for addresses.
    assert_eq!(world.lookup("x.test", 1, 400), "pending");
    assert_eq!(world.answer("A/AAAA x.test", "ttl 5: 192.0.2.1", 400), [1]);
    assert_eq!(world.lookup("x.test", 1, 405), "0 x.test [192.0.2.1]");
    // An answer clears the count: MX records are asked for again.
    assert_eq!(world.lookup("x.test", 1, 406), "pending");
    world.answer("MX x.test", "servfail", 406);
    assert!(world.lookup("x.test", 1, 407).starts_with("failed 1 until 506"));
}

#[test]
fn a_name_without_addresses_is_no_verdict_while_its_exchanges_are_unknown() {
    for (address, known) in [("nodata", "failed 4"), ("nxdomain", "refused: 554 5.4.4")] {
        let mut world = World::default();
        for at in [0, 100, 200] {
            world.lookup("x.test", 1, at);
            world.answer("MX x.test", "servfail", at);
        }
        world.lookup("x.test", 1, 300);
        world.answer("A/AAAA x.test", address, 300);
        let lookup = world.lookup("x.test", 1, 301);
        assert!(lookup.starts_with(known), "{lookup}");
    }
}

#[test]
fn fallback_minus_one_asks_for_mx_once() {
    let policy = DnsPolicy { mx_failures_fallback_to_a: -1, ..POLICY };
    let mut world = World::default();
    world.lookup_with(policy, "x.test", 1, 0);
    world.answer("MX x.test", "timeout", 0);
    world.lookup_with(policy, "x.test", 1, 100);
    assert_eq!(world.asked[0].1.to_string(), "A/AAAA x.test");
}

#[test]
fn an_exchange_that_fails_is_left_out_while_another_is_known() {
    let mut world = World::default();
    world.lookup("x.test", 1, 0);
    world.answer("MX x.test", "10 a, 20 b", 0);
    world.answer("A/AAAA a", "servfail", 0);
    assert_eq!(world.answer("A/AAAA b", "192.0.2.2", 0), [1]);
    assert_eq!(world.lookup("x.test", 1, 0), "20 b [192.0.2.2]");
}

#[test]
fn all_exchanges_failing_is_a_failure_not_a_refusal() {
    let mut world = World::default();
    world.lookup("x.test", 1, 0);
    world.answer("MX x.test", "10 a, 20 b", 0);
    world.answer("A/AAAA a", "nxdomain", 0);
    assert_eq!(world.answer("A/AAAA b", "timeout", 0), [1]);
    assert!(world.lookup("x.test", 1, 0).starts_with("failed 1 until 100"));
}

#[test]
fn ttl_zero_serves_those_who_waited() {
    let mut world = World::default();
    world.lookup("x.test", 1, 0);
    world.answer("MX x.test", "ttl 0: 10 a", 3);
    assert_eq!(world.answer("A/AAAA a", "ttl 0: 192.0.2.1", 3), [1]);
    assert_eq!(world.lookup("x.test", 1, 3), "10 a [192.0.2.1]");
    assert_eq!(world.lookup("x.test", 1, 4), "pending");
}

#[test]
fn ttls_are_clamped() {
    let together = DnsPolicy { ttl_max: Duration::from_secs(1), ..POLICY };
    let mut world = World { life_min: Duration::from_secs(10), ..World::default() };
    world.lookup_with(together, "x.test", 1, 0);
    world.answer("MX x.test", "ttl 0: 10 a", 0);
    world.answer("A/AAAA a", "ttl 100000: 192.0.2.1", 0);
    assert_eq!(world.lookup_with(together, "x.test", 1, 10), "10 a [192.0.2.1]");
    // Who asks for it alone does not believe it for so long.
    world.life_min = Duration::ZERO;
    assert_eq!(world.lookup_with(together, "x.test", 2, 10), "pending");

    let policy = DnsPolicy { ttl_min: Duration::from_secs(10), ..POLICY };
    let mut world = World::default();
    world.lookup_with(policy, "x.test", 1, 0);
    world.answer("MX x.test", "ttl 0: 10 a", 0);
    world.answer("A/AAAA a", "ttl 100000: 192.0.2.1", 0);
    assert_eq!(world.lookup_with(policy, "x.test", 1, 10), "10 a [192.0.2.1]");
    assert_eq!(world.lookup_with(policy, "x.test", 1, 11), "pending");
    // The address lives for max_dns_ttl: the new MX answer is enough.
    world.answer("MX x.test", "ttl 100000: 10 a", 11);
    world.nothing_asked();
    assert_eq!(world.lookup_with(policy, "x.test", 1, 1000), "10 a [192.0.2.1]");
    assert_eq!(world.lookup_with(policy, "x.test", 1, 1001), "pending");
}

#[test]
fn an_answer_that_lives_shorter_than_the_look_up_serves_those_who_waited() {
    let mut world = World::default();
    world.lookup("x.test", 1, 0);
    world.answer("MX x.test", "ttl 1: 10 a", 0);
    assert_eq!(world.answer("A/AAAA a", "ttl 100: 192.0.2.1", 5), [1]);
    assert_eq!(world.lookup("x.test", 1, 5), "10 a [192.0.2.1]");
    assert_eq!(world.lookup("x.test", 1, 6), "pending");
}

#[test]
fn a_lifetime_of_its_own_replaces_the_ttl() {
    let policy = DnsPolicy { ttl_min: Duration::from_secs(10), ..POLICY };
    for (lifetime, ttl) in [(30, 5), (30, 600), (3, 600)] {
        let mut world = World { lifetime: Some(Duration::from_secs(lifetime)), ..World::default() };
        world.lookup_with(policy, "hub host", 1, 0);
        world.answer("A/AAAA hub", &alloc::format!("ttl {ttl}: 192.0.2.1"), 0);
        let known = "0 hub [192.0.2.1]";
        assert_eq!(world.lookup_with(policy, "hub host", 1, lifetime), known);
        assert_eq!(world.lookup_with(policy, "hub host", 1, lifetime + 1), "pending");
        assert_eq!(world.asked.len(), 1, "the host is asked about again");
    }
}

#[test]
fn of_a_relay_domain_only_the_best_exchanges_count() {
    let mut world = World::default();
    world.lookup("x.test best", 1, 0);
    world.answer("MX x.test", "20 us, 10 a, 10 b", 0);
    world.answer("A/AAAA a", "nodata", 0);
    assert_eq!(world.answer("A/AAAA b", "192.0.2.2", 0), [1]);
    assert_eq!(world.lookup("x.test best", 1, 0), "10 b [192.0.2.2]");
    world.nothing_asked();
    // A worse one does not stand in for them.
    world.lookup("y.test best", 1, 0);
    world.answer("MX y.test", "20 b, 10 a", 0);
    let refused = "refused: 554 5.4.4 no exchange of the domain has an address";
    assert_eq!(world.lookup("y.test best", 1, 0), refused);
}

#[test]
fn the_addresses_of_a_host_need_no_exchanges() {
    let mut world = World::default();
    world.lookup("hub host", 1, 0);
    assert_eq!(world.answer("A/AAAA hub", "192.0.2.1", 0), [1]);
    assert_eq!(world.lookup("hub host", 1, 0), "0 hub [192.0.2.1]");
    // As a domain it may have exchanges.
    assert_eq!(world.lookup("hub", 1, 0), "pending");
    assert_eq!(world.asked[0].1.to_string(), "MX hub");
}

#[test]
fn the_eager_go_on_with_what_is_known_and_the_others_wait() {
    let eager = DnsPolicy { all_first: false, ..POLICY };
    let mut world = World::default();
    world.lookup_with(eager, "x.test", 1, 0);
    world.lookup("x.test", 2, 0);
    // Nothing is known, but the eager one may look.
    assert_eq!(world.answer("MX x.test", "10 a, 20 b, 30 c", 0), [1]);
    assert_eq!(world.lookup_with(eager, "x.test", 1, 0), "pending");
    world.asked.swap(0, 1);
    assert_eq!(world.answer("A/AAAA b", "192.0.2.2", 1), [1]);
    assert_eq!(world.lookup_with(eager, "x.test", 1, 1), "20 b [192.0.2.2] ...");
    assert_eq!(world.lookup("x.test", 2, 1), "pending");
    assert_eq!(world.answer("A/AAAA a", "192.0.2.1", 2), [1]);
    let best = "10 a [192.0.2.1], 20 b [192.0.2.2] ...";
    assert_eq!(world.lookup_with(eager, "x.test", 1, 2), best);
    assert_eq!(world.answer("A/AAAA c", "nodata", 3), [1, 2]);
    let all = "10 a [192.0.2.1], 20 b [192.0.2.2]";
    assert_eq!(world.lookup("x.test", 2, 3), all);
    assert_eq!(world.lookup_with(eager, "x.test", 1, 3), all);
    // What is known already is there at once.
    world.lookup_with(eager, "y.test", 1, 3);
    world.answer("MX y.test", "10 d, 20 b", 3);
    assert_eq!(world.lookup_with(eager, "y.test", 1, 3), "20 b [192.0.2.2] ...");
}

#[test]
fn questions_for_exchanges_wait_in_line() {
    use crate::shaping::throttle::Rate;
    let rate = Rate { events: 1, per: Duration::from_secs(10) };
    let limit = MxRateLimit { rate, waiting_max: 1 };
    let policy = DnsPolicy { mx_rate_limit: Some(limit), ..POLICY };
    let mut world = World::default();
    for (name, known) in [("a.test", "pending"), ("b.test", "in line"), ("c.test", "pending")] {
        assert_eq!(world.lookup_with(policy, name, 2, 0), known, "{name}");
    }
    // The second waits, the third found the line full.
    let asked: Vec<String> = world.asked.iter().map(|(_, asked)| asked.to_string()).collect();
    assert_eq!(asked, ["MX a.test", "MX c.test"]);
    assert_eq!(world.routes.next_turn(Timestamp::from_secs(1)), Some(Timestamp::from_secs(10)));
    assert_eq!(world.lookup_with(policy, "b.test", 4, 5), "in line");
    world.asked.clear();
    let World { routes, asked, .. } = &mut world;
    routes.take_turns(Timestamp::from_secs(10), &mut |question| {
        asked.push((QueryId(99), question));
        QueryId(99)
    });
    assert_eq!(world.routes.next_turn(Timestamp::from_secs(10)), None);
    assert_eq!(world.answer("MX b.test", "nxdomain", 10), [2, 4]);
    // Addresses are not limited.
    world.lookup_with(policy, "hub host", 1, 10);
    assert_eq!(world.asked[0].1.to_string(), "A/AAAA hub");
}

#[test]
fn without_use_ipv6_its_addresses_do_not_exist() {
    let policy = DnsPolicy { use_ipv6: false, ..POLICY };
    let mut world = World::default();
    world.lookup_with(policy, "x.test", 1, 0);
    world.answer("MX x.test", "10 a, 20 b", 0);
    world.answer("A/AAAA a", "2001:db8::1", 0);
    world.answer("A/AAAA b", "2001:db8::2 192.0.2.2", 0);
    assert_eq!(world.lookup_with(policy, "x.test", 1, 0), "20 b [192.0.2.2]");
    world.lookup_with(policy, "y.test", 1, 0);
    world.answer("MX y.test", "10 a", 0);
    let refused = "refused: 554 5.4.4 no exchange of the domain has an address";
    assert_eq!(world.lookup_with(policy, "y.test", 1, 0), refused);
}

#[test]
fn literals_need_no_dns() {
    let mut world = World::default();
    let plan = "0 [192.0.2.1] [192.0.2.1]";
    assert_eq!(world.lookup("[192.0.2.1]", 1, 0), plan);
    world.nothing_asked();
}

#[test]
fn what_has_expired_is_forgotten_in_the_end() {
    let mut world = World::default();
    for n in 0..limits::ROUTES_KEPT {
        let name = alloc::format!("d{n}.test");
        world.lookup(&name, 1, 0);
        world.answer(&alloc::format!("MX {name}"), "nxdomain", 0);
    }
    assert_eq!(world.routes.routes.len(), limits::ROUTES_KEPT);
    world.lookup("one-more.test", 1, 61);
    assert_eq!(world.routes.routes.len(), 1);
}

#[test]
fn what_is_in_use_is_kept_and_not_looked_through_each_time() {
    let mut world = World::default();
    for n in 1..limits::ROUTES_KEPT {
        let name = alloc::format!("d{n}.test");
        world.lookup(&name, 1, 0);
        world.answer(&alloc::format!("MX {name}"), "ttl 900: nxdomain", 0);
    }
    world.lookup("slow.test", 1, 0);
    world.answer("MX slow.test", "ttl 900: 10 b.mx.test, 20 a.mx.test", 0);
    world.answer("A/AAAA b.mx.test", "ttl 60: 192.0.2.2", 0);
    assert_eq!(world.routes.left, 0);
    world.lookup("one-more.test", 1, 61);
    assert_eq!(world.routes.left, limits::ROUTES_KEPT);
    // The address of b.mx.test has expired, but a plan that is being made still counts on it.
    assert_eq!(world.answer("A/AAAA a.mx.test", "nodata", 61), [1]);
    assert_eq!(world.lookup("slow.test", 1, 61), "10 b.mx.test [192.0.2.2]");
}
