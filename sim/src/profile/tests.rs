//! That profiles can be read, say where they have it from, and have no dead parts.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;

use traject_engine::Timestamp;
use traject_engine::rng::Seed;

use super::*;
use crate::receiver::model::{Event, Receiver};
use crate::receiver::spec::{Act, Curve, Limited, ReceiverSpec, ReplyText, Response, Uncertain};
use crate::scenario;

/// A scenario with one receiver of a profile, and what else the receiver has.
fn scenario(profile: &str, more: &str) -> Result<ReceiverSpec, String> {
    let text = format!(
        "title = \"x\"\nhorizon = \"1d\"\nconfig_text = \"\"\n\
         [[traffic]]\nfrom = \"<>\"\nto = \"r.test\"\nmessages = 1\n\
         [[receiver]]\nname = \"r\"\ndomains = [\"r.test\"]\nprofile = \"{profile}\"\n{more}"
    );
    match scenario::parse(Path::new("s.toml"), &text) {
        Ok(mut scenario) => Ok(scenario.receivers.remove(0)),
        Err(error) => Err(error.to_string()),
    }
}

fn with(profile: &str) -> ReceiverSpec {
    scenario(profile, "").unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_file_is_built_in_and_every_value_says_where_it_is_from() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/profiles");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<String> =
        files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    files.sort();
    let names: Vec<&str> = built_in().iter().map(|profile| &*profile.name).collect();
    assert_eq!(names, files);
    assert!(names.len() >= 20);
    for profile in built_in() {
        assert!(!profile.exchanges.is_empty(), "{}", profile.name);
        assert!(!profile.values.is_empty(), "{}", profile.name);
        for Value { what, source, does, .. } in &profile.values {
            assert!(!source.is_empty() && !does.is_empty(), "{}: {what}", profile.name);
        }
    }
}

#[test]
fn a_value_without_its_source_date_or_confidence_is_no_value() {
    let good = "name = \"X\"\n[[limit]]\nwhat = \"connections\"\nmax = 5\nreply = \"421 x\"\n\
                source = \"a page\"\nas_of = \"2026-02\"\nconfidence = \"low\"\n";
    assert!(parse("x", Path::new("x.toml"), good).is_ok());
    for (without, message) in [
        ("source = \"a page\"\n", "`source` is missing"),
        ("as_of = \"2026-02\"\n", "`as_of` is missing"),
        ("confidence = \"low\"\n", "`confidence` is missing"),
        ("name = \"X\"\n", "`name` is missing"),
    ] {
        let error = parse("x", Path::new("x.toml"), &good.replace(without, "")).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
    for (instead_of, write, message) in [
        ("2026-02", "lately", "a date is a year"),
        ("\"low\"", "\"none\"", "not a value of `confidence`"),
        ("max = 5", "max = { min = 5, max = 5 }", "`min` must be more than nothing"),
    ] {
        let text = good.replace(instead_of, write);
        let error = parse("x", Path::new("x.toml"), &text).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[test]
fn a_seed_draws_within_the_range_and_the_same_again() {
    let spec = with("google");
    let connections = |seed| {
        let (drawn, told) = spec.drawn(Seed::from_u64(seed));
        let Limited::Connections { max } = drawn.limits[0].what else { panic!() };
        assert_eq!(told[0].what, "connections per address");
        assert_eq!(told[0].value, max.to_string());
        max
    };
    let Some(Uncertain { least, most }) = spec.limits[0].range else { panic!() };
    let all: BTreeSet<u32> = (0..200).map(connections).collect();
    assert!(all.len() > 50 && all.iter().all(|max| (least..=most).contains(max)), "{all:?}");
    assert_eq!(connections(7), connections(7));
    // The profile decides, not what a scenario calls the receiver.
    let renamed = ReceiverSpec { name: "other".into(), ..spec.clone() };
    assert_eq!(renamed.drawn(Seed::from_u64(7)).1, spec.drawn(Seed::from_u64(7)).1);
}

#[test]
fn a_scenario_overrides_adds_and_leaves_out() {
    let plain = with("mimecast");
    assert_eq!(plain.profile.as_deref(), Some("mimecast"));
    assert!(plain.greylist.is_some() && !plain.tls.is_empty());

    let more = "[[receiver.limit]]\nwhat = \"connections\"\nper = \"all\"\nmax = 3\n\
                reply = \"421 mine\"\n[[receiver.limit]]\nwhat = \"messages\"\nmax = \"9/h\"\n\
                reply = \"451 mine\"\n[[receiver.reply]]\nstage = \"data\"\nreply = \"451 x\"\n";
    let changed = scenario("mimecast", more).unwrap();
    let limits: Vec<String> = changed.limits.iter().map(Limit::name).collect();
    let expected = ["connections of everybody", "messages per address", "messages per connection"];
    assert_eq!(limits, expected);
    assert_eq!(changed.limits[0].what, Limited::Connections { max: 3 });
    assert_eq!(changed.rules.len(), plain.rules.len() + 1);

    let less = scenario("mimecast", "without = [\"greylist\", \"tls\", \"limit\"]\n").unwrap();
    assert!(less.greylist.is_none() && less.tls.is_empty() && less.limits.is_empty());

    let misspelt = scenario("gogle", "").unwrap_err();
    assert!(misspelt.contains("there is no profile `gogle`"), "{misspelt}");
    assert!(misspelt.contains("did you mean `google`?"), "{misspelt}");
    let part = scenario("google", "without = [\"limits\"]\n").unwrap_err();
    assert!(part.contains("`limits` is not a part of a profile"), "{part}");
    let gone = scenario("gone.toml", "").unwrap_err();
    assert!(gone.contains("cannot read gone.toml"), "{gone}");
}

#[test]
fn a_profile_can_be_a_file_beside_the_scenario() {
    let folder = std::env::temp_dir().join(format!("traject-profile-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let text = "name = \"Mine\"\n[greylist]\nhold = \"7m\"\nsource = \"our log\"\n\
                as_of = \"2026\"\nconfidence = \"high\"\n";
    fs::write(folder.join("mine.toml"), text).unwrap();
    fs::write(folder.join("bad.toml"), text.replace("high", "sure")).unwrap();
    let read = |profile: &str| {
        let scenario = format!(
            "title = \"x\"\nhorizon = \"1d\"\nconfig_text = \"\"\n\
             [[traffic]]\nfrom = \"<>\"\nto = \"r.test\"\nmessages = 1\n\
             [[receiver]]\nname = \"r\"\ndomains = [\"r.test\"]\nprofile = \"{profile}\"\n"
        );
        scenario::parse(&folder.join("s.toml"), &scenario)
    };
    let receiver = &read("mine.toml").unwrap().receivers[0];
    assert_eq!(receiver.greylist.as_ref().unwrap().hold.as_secs(), 420);
    let error = read("bad.toml").unwrap_err().to_string();
    assert!(error.contains("bad.toml:6:14: `sure` is not a value of `confidence`"), "{error}");
    fs::remove_dir_all(&folder).unwrap();
}

/// Every reply that a receiver can give.
fn replies(spec: &ReceiverSpec) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut add = |response: &Response| match response {
        Response::Act(Act::Reply(reply)) => drop(all.insert(reply.to_string())),
        Response::OneOf { replies, .. } => all.extend(replies.iter().map(ReplyText::to_string)),
        Response::Act(act) => panic!("{act:?} is not looked for"),
        Response::Tarpit(_) => panic!("tarpits are not looked for"),
    };
    for limit in &spec.limits {
        add(&limit.response);
        limit.escalation.iter().for_each(|escalation| add(&escalation.block.response));
    }
    spec.rules.iter().for_each(|rule| add(&rule.response));
    if let Some(unknown) = &spec.unknown {
        add(&Response::Act(Act::Reply(unknown.reply.clone())));
        unknown.trip.iter().for_each(|trip| add(&trip.block.response));
    }
    if let Some(greylist) = &spec.greylist {
        add(&Response::Act(Act::Reply(greylist.reply.clone())));
    }
    all
}

/// The same receiver with rules that often act, and no rate of messages above `most`.
fn hastened(spec: &ReceiverSpec, most: u32) -> ReceiverSpec {
    let mut spec = spec.drawn(Seed::from_u64(1)).0;
    for limit in &mut spec.limits {
        if let Limited::MessageRate { max, .. } = limit.what {
            limit.what = limit.what.with_max(max.min(most));
        }
    }
    for rule in &mut spec.rules {
        if rule.probability.most() < 1.0 {
            rule.probability = Curve::constant(0.5);
        }
    }
    spec
}

/// Deals with a receiver in every way that is too much, and collects what it says.
struct Pest {
    receiver: Receiver,
    host: Arc<str>,
    heard: BTreeSet<String>,
}

impl Pest {
    fn say(&mut self, at: u64, session: &mut crate::receiver::model::Session, event: Event<'_>) {
        let decision = self.receiver.decide(Timestamp::from_secs(at), session, event);
        if let Some(Act::Reply(reply)) = decision.act {
            self.heard.insert(reply.to_string());
        }
    }

    /// A session of so many messages, each to one recipient, a hundred at once and then one a
    /// second; it ends, or stays open.
    fn session(&mut self, at: u64, source: u8, messages: usize, user: &str, ends: bool) {
        let source = IpAddr::from([192, 0, source, 1]);
        let host = Arc::clone(&self.host);
        let mut session = self.receiver.connect(Timestamp::from_secs(at), source, &host);
        self.say(at, &mut session, Event::Banner);
        for n in 0..messages {
            let at = at + n.saturating_sub(100) as u64;
            let (sender, recipient) = (format!("news{n}@b.test"), format!("{user}{n}@r.test"));
            let mail = Event::Mail { sender: &sender, eight_bit: false, size: Some(90_000_000) };
            self.say(at, &mut session, mail);
            self.say(at, &mut session, Event::Rcpt(&recipient));
            self.say(at, &mut session, Event::Data);
            let message = (u64::from(source.is_ipv4()) << 32) + n as u64;
            let body = Event::Body { message, recipient: None, eight_bit: false, size: 90_000_000 };
            self.say(at, &mut session, body);
            session.end_transaction();
        }
        if ends {
            self.receiver.close(&session);
        }
    }
}

/// What a receiver never says, whatever is done to it. A rate may be too high to be reached, and
/// once it is reached other limits are not.
fn unheard(spec: &ReceiverSpec) -> Vec<String> {
    let heard = [50, u32::MAX].map(|most| heard(hastened(spec, most)));
    let heard: BTreeSet<String> = heard.into_iter().flatten().collect();
    replies(spec).difference(&heard).cloned().collect()
}

/// What a receiver says to a pest.
fn heard(spec: ReceiverSpec) -> BTreeSet<String> {
    let receiver = Receiver::new(Arc::new(spec), Seed::from_u64(1), Timestamp::from_secs(0));
    let mut pest = Pest { receiver, host: "mx.r.test".into(), heard: BTreeSet::new() };
    // Many connections one after the other; a message over each; many messages over one.
    for n in 0..1000 {
        pest.session(n / 100, 1, 0, "", true);
    }
    for n in 0..600 {
        pest.session(n / 100, 2, 1, &format!("user{n}-"), true);
    }
    pest.session(0, 3, 1100, "user", true);
    // The same again after a time, for those whom a greylist has put off.
    pest.session(7200, 3, 1100, "user", true);
    for n in 0..200 {
        pest.session(n / 100, 4, 1, &format!("nobody{n}-"), true);
    }
    for _ in 0..600 {
        pest.session(0, 5, 0, "", false);
    }
    pest.heard
}

#[test]
fn every_reply_of_every_profile_can_be_heard() {
    for profile in built_in() {
        let dead = unheard(&with(&profile.name));
        assert!(dead.is_empty(), "{} never says {dead:?}", profile.name);
    }
}

#[test]
fn a_rule_behind_one_that_always_acts_is_found_to_be_dead() {
    let text = "[[receiver.reply]]\nstage = \"mail\"\nreply = \"451 first\"\n\
                [[receiver.reply]]\nstage = \"mail\"\nprobability = 0.5\nreply = \"450 second\"\n";
    let spec = scenario("earthlink", text).unwrap();
    assert_eq!(unheard(&spec), ["450 second"]);
}
