//! Reading scenarios: what a full one means, and what broken ones are told.

mod receivers;

use std::path::Path;
use std::time::Duration;

use traject_engine::tls::info::{CipherSuite, TlsVersion};

use super::{ConfigSource, Scenario, parse};
use crate::expect::When;
use crate::fault::{Down, FaultKind};
use crate::receiver::spec::{Act, CountedBy, Limited, Per, ReplyText, Response, Stage};
use crate::receiver::tls::{HandshakeAct, StartTlsAnswer, TlsPosture};
use crate::tls::{CertificateKind, CertificateSpec};
use crate::traffic::{Fanout, SentBy, Shape};

const FULL: &str = r#"
title = "Everything"
seed = 7
horizon = "1d"
config = "configs/a.conf"

[dns]
ttl = "10m"
latency = "3ms"

[[dns.name]]
name = "dead.test"
mx = "null"

[[dns.name]]
name = "broken.test"
failure = "servfail"

[[traffic]]
name = "bulk"
from = "news-{n}@brand.test"
to = { "a.test" = 3, "fixed@b.test" = 1 }
messages = 1_000
start = "1h"
over = "2h"
shape = "poisson"
size = { min = "2KB", max = "80KB" }
recipients = { min = 1, max = 3 }
binding = "bulk"

[[traffic]]
from = "<>"
to = ["x@a.test", "y@b.test"]
messages = 1
recipients = "all"

[[receiver]]
name = "strict"
domains = ["a.test", "B.test"]
mx = [
  "mx1.a.test",
  { host = "mx2.a.test", preference = 20, addresses = ["192.0.2.2", "2001:db8::2"] },
]
latency = "30ms"
jitter = "5ms"
extensions = ["SIZE 1000000"]

[[receiver.limit]]
what = "connections"
max = 5
reply = "421 4.7.0 Too many connections"

[[receiver.limit]]
what = "messages"
per = "all"
max = "600/h"
stage = "rcpt"
action = "reset"

[receiver.greylist]
hold = "5m"
key = ["network", "recipient"]

[[receiver.reply]]
stage = "rcpt"
recipient = "nobody*@*"
reply = "550 5.1.1 No such user"

[[receiver.reply]]
stage = "body"
probability = 0.01
after = "1h"
before = "2h"
action = "reset"
keeps_message = true

[[fault]]
at = "3h"
for = "1h"
what = "host_down"
how = "blackhole"
receiver = "strict"

[[fault]]
at = "4h"
what = "reset"
host = "mx2.a.test"

[[expect]]
that = "delivered >= 99%"
by = "12h"
receiver = "strict"

[[expect]]
never = "replies > 0"
reply = "5*"
domain = "a.test"
"#;

fn full() -> Scenario {
    parse(Path::new("scenarios/full.toml"), FULL).unwrap_or_else(|error| panic!("{error}"))
}

/// What is said about a scenario made of `text` and the least a scenario needs.
fn complaint(text: &str) -> String {
    let head = "title = \"T\"\nhorizon = \"1h\"\nconfig_text = \"\"\n";
    parse(Path::new("s.toml"), &format!("{head}{text}")).unwrap_err().to_string()
}

const TRAFFIC: &str = "[[traffic]]\nfrom = \"a@b.test\"\nto = \"c.test\"\nmessages = 1\n\
                       [[receiver]]\nname = \"c\"\ndomains = [\"c.test\"]\n";

#[test]
fn a_full_scenario_is_read() {
    let scenario = full();
    assert_eq!((scenario.seed, scenario.horizon), (7, Duration::from_secs(86_400)));
    assert_eq!(scenario.config, ConfigSource::File("scenarios/configs/a.conf".into()));
    let bulk = &scenario.traffic[0];
    assert_eq!((bulk.messages, &bulk.shape), (1000, &Shape::Poisson));
    assert_eq!(
        (bulk.size_bytes.clone(), bulk.recipients.clone()),
        (2000..=80_000, Fanout::Drawn(1..=3))
    );
    assert_eq!(bulk.to.iter().map(|(_, weight)| *weight).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(scenario.traffic[1].from, None);
    assert_eq!(&*scenario.dns.names[0].mx[0].1, "");

    let strict = &scenario.receivers[0];
    assert_eq!(&*strict.domains[1], "b.test");
    let addresses: Vec<String> = strict
        .exchanges
        .iter()
        .flat_map(|exchange| exchange.addresses.iter().map(ToString::to_string))
        .collect();
    assert_eq!(addresses, ["198.18.0.1", "192.0.2.2", "2001:db8::2"]);
    assert_eq!(strict.limits[0].what, Limited::Connections { max: 5 });
    assert_eq!(
        (strict.limits[1].per, strict.limits[1].stage),
        (CountedBy::Source(Per::All), Stage::Rcpt)
    );
    assert_eq!(strict.rules[1].response, Response::Act(Act::Reset));
    assert!(strict.rules[1].keeps_message);
    assert!(!strict.extensions.pipelining);

    let FaultKind::HostDown { how, addresses } = &scenario.faults[0].what else { panic!() };
    assert_eq!((*how, addresses.len()), (Down::BlackHole, 3));
    assert_eq!(scenario.expectations[0].when, When::By(Duration::from_secs(43_200)));
    assert_eq!(scenario.expectations[1].to_string(), "never replies > 0 like 5*, domain a.test");
}

#[test]
fn everything_wrong_is_told_at_once_with_its_place() {
    let text = "[[trafic]]\n[[traffic]]\nfrom = \"a@b.test\"\nto = \"c.test\"\nmesages = 1\n\
                size = \"50\"\n[[receiver]]\nname = \"c\"\ndomains = [\"c.test\"]\n";
    insta::assert_snapshot!(complaint(text), @r#"
    s.toml:4:3: error: unknown key `trafic`
      |
    4 | [[trafic]]
      |   ^^^^^^
      = hint: did you mean `traffic`?

    s.toml:5:1: error: `messages` is missing
      |
    5 | [[traffic]]
      | ^^^^^^^^^^^
      = hint: how many: `messages = 1000`

    s.toml:8:1: error: unknown key `mesages`
      |
    8 | mesages = 1
      | ^^^^^^^
      = hint: did you mean `messages`?

    s.toml:9:8: error: `size`: `50` has no unit; write `50B` or `50KB`
      |
    9 | size = "50"
      |        ^^^^
    "#);
}

#[test]
fn an_empty_file_is_told_what_a_scenario_needs() {
    let error = parse(Path::new("s.toml"), "").unwrap_err();
    let messages: Vec<&str> = error.diagnostics.iter().map(|one| one.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "`title` is missing",
            "`horizon` is missing",
            "`config` is missing",
            "`traffic` is missing"
        ]
    );
}

#[test]
fn syntax_errors_have_a_place() {
    let error = parse(Path::new("s.toml"), "title = \"x\nseed = 1\n").unwrap_err().to_string();
    assert!(error.starts_with("s.toml:1:"), "{error}");
}

#[test]
fn sections_are_checked_against_each_other() {
    for (text, message, hint) in [
        (
            "[[receiver]]\nname = \"r\"\ndomains = [\"a.test\"]\n\
             [[fault]]\nat = \"1m\"\nfor = \"1m\"\nwhat = \"host_down\"\nreceiver = \"R\"\n",
            "there is no receiver `R`",
            "did you mean `r`?",
        ),
        (
            "[[receiver]]\nname = \"r\"\ndomains = [\"a.test\"]\n\
             [[fault]]\nat = \"1m\"\nfor = \"1m\"\nwhat = \"starttls_off\"\nreceiver = \"r\"\n",
            "`r` offers no STARTTLS that could be turned off",
            "[receiver.tls]",
        ),
        (
            "[[receiver]]\nname = \"r\"\ndomains = [\"a.test\"]\n\
             [receiver.tls]\nanswer = \"250 Ok\"\n",
            "`answer`: a refusal is 4xx or 5xx",
            "",
        ),
        (
            "[[receiver]]\nname = \"r\"\ndomains = [\"a.test\"]\n\
             [[receiver.tls]]\ncertificate = \"expried\"\n",
            "`expried` is not a value of `certificate`",
            "`expired`?",
        ),
        (
            "[[receiver]]\nname = \"r\"\ndomains = [\"a.test\"]\n[receiver.tls]\n\
             versions = \"TLSv1.3\"\nsuites = \"ECDHE-RSA-AES256-GCM-SHA384\"\n",
            "none of these suites belongs to one of these versions",
            "",
        ),
        (
            "[[fault]]\nat = \"1m\"\nwhat = \"host_down\"\naddress = \"192.0.2.1\"\n",
            "`for` is missing",
            "how long it lasts",
        ),
        (
            "[[traffic]]\nfrom = \"a@b.test\"\nto = \"c.test\"\nmessages = 1\nhours = [1, 2]\n",
            "`hours` goes with `shape",
            "",
        ),
        (
            "[[traffic]]\nfrom = \"a@b.test\"\nto = \"c.test\"\nmessages = 1\nshape = \"daily\"\n\
             hours = [1, 2]\n",
            "`hours` must be a list of 24 whole numbers",
            "",
        ),
        (
            "[[traffic]]\nfrom = \"a@b.test\"\nto = \"c.test\"\ntrace = \"nowhere.csv\"\n",
            "cannot read nowhere.csv",
            "",
        ),
        (
            "[[fault]]\nat = \"1m\"\nfor = \"1m\"\nwhat = \"partition\"\n",
            "`source` is missing",
            "or a `binding`",
        ),
        (
            "[[fault]]\nat = \"1m\"\nfor = \"1m\"\nwhat = \"partition\"\n\
             source = \"10.0.0.0/33\"\n",
            "`source`: expected an address",
            "",
        ),
        (
            "[[fault]]\nat = \"1m\"\nfor = \"1m\"\nwhat = \"slow\"\naddress = \"192.0.2.1\"\n",
            "`plus` is missing",
            "`times = 20`",
        ),
        (
            "[[fault]]\nat = \"1m\"\nfor = \"1m\"\nwhat = \"slow\"\nplus = \"1s\"\n\
             times = 2\naddress = \"192.0.2.1\"\n",
            "`plus` and `times` cannot both be given",
            "",
        ),
        (
            "[[event]]\nat = \"1m\"\nwhat = \"crash\"\nfor = \"0s\"\n",
            "another process takes some time",
            "",
        ),
        (
            "[[receiver]]\nname = \"r\"\ndomains = [\"a.test\"]\n\
             [[receiver]]\nname = \"s\"\ndomains = [\"a.test\"]\n",
            "`a.test` already belongs to receiver `r`",
            "",
        ),
        ("[[expect]]\nthat = \"herd_index <= 3\"\n", "`since` is missing", "no fault ends"),
        (
            "[[expect]]\nalways = \"herd_index <= 3\"\nsince = \"1h\"\n",
            "known only when it is over",
            "as `that`",
        ),
        (
            "[[expect]]\nthat = \"delivered > 3\"\nsince = \"1h\"\n",
            "`since` goes with `herd_index`",
            "",
        ),
        (
            "[[expect]]\nthat = \"connection_failures == 0\"\nsource = \"192.0.2.1\"\n",
            "this cannot be told of one of our addresses",
            "`peak_connections <= 20`",
        ),
        ("[[expect]]\nthat = \"delivred > 3\"\n", "`delivred` is not a metric", "`delivered`?"),
        ("[[expect]]\nalways = \"t95 <= 1m\"\n", "known only when it is over", "as `that`"),
        (
            "[[receiver]]\nname = \"r\"\ndomains = [\"a.test\"]\n\
             [[expect]]\nthat = \"delivered == 1\"\nexchange = \"mx.b.test\"\n",
            "there is no exchange `mx.b.test`",
            "did you mean `mx.c.test`?",
        ),
        (
            "[[receiver]]\nname = \"r\"\ndomains = [\"a.test\"]\n\
             [[expect]]\nthat = \"delivered == 100%\"\nexchange = \"mx.a.test\"\n",
            "this cannot be told of one exchange",
            "count what happens there",
        ),
        (
            "[[dns.name]]\nname = \"a.test\"\nfrom = \"5m\"\nuntil = \"5m\"\n",
            "`until` must be after `from`",
            "",
        ),
        ("[[expect]]\nthat = \"replies == 0\"\n", "`reply` is missing", "which replies"),
        (
            "[[expect]]\nthat = \"deliveries_in_window <= 9\"\n",
            "`window` is missing",
            "how long the window is",
        ),
        (
            "[[traffic]]\nname = \"x\"\nfrom = \"<>\"\nto = \"c.test\"\nmessages = 1\n\
             binding = \"a\"\nbinding_group = \"g\"\n",
            "cannot both be given",
            "",
        ),
        (
            "[[traffic]]\nname = \"x\"\nfrom = \"<>\"\nto = \"c.test\"\nmessages = 1\n\
             client = \"nobody\"\n",
            "`nobody` is not an IP address",
            "",
        ),
        (
            "[[receiver]]\nname = \"r\"\ndomains = [\"a.test\"]\nextensions = [\"XCLIENT ADR\"]\n",
            "`ADR` is not an attribute of XCLIENT",
            "did you mean `ADDR`?",
        ),
        (
            "[[receiver]]\nname = \"r\"\ndomains = [\"a.test\"]\n\
             [[receiver.reply]]\nstage = \"banner\"\nreply = [\"220 a\", \"220 b\"]\n",
            "is not of the form `220-Welcome`",
            "",
        ),
        (
            "[[receiver]]\nname = \"r\"\ndomains = [\"a.test\"]\n\
             [[receiver.reply]]\nstage = \"body\"\nrecipient = \"x@*\"\nreply = \"452 x\"\n",
            "`recipient` is not known at this stage",
            "",
        ),
        (
            "[[receiver]]\nname = \"r\"\ndomains = [\"a.test\"]\n\
             [[receiver.limit]]\nwhat = \"messages\"\nmax = 5\nreply = \"421 x\"\n",
            "`max` must be a text in quotes, not integer",
            "",
        ),
        (
            "[[receiver]]\nname = \"r\"\ndomains = [\"a.test\"]\n\
             [[receiver.reply]]\nstage = \"mail\"\nrecipient = \"*\"\nreply = \"450 x\"\n",
            "`recipient` is not known at this stage",
            "",
        ),
        (
            "[[traffic]]\nname = \"x\"\nfrom = \"<>\"\nto = { \"d.test\" = 1 }\nmessages = 1\n",
            "nobody receives mail for `d.test`",
            "did you mean `c.test`?",
        ),
        (
            "[[traffic]]\nname = \"x\"\nfrom = \"<>\"\nto = \"elsewhere.example\"\nmessages = 1\n",
            "nobody receives mail for `elsewhere.example`",
            "to the DNS alone",
        ),
        ("[[event]]\nat = \"1m\"\n", "`what` is missing", "`\"reload\"`"),
        (
            "[[event]]\nat = \"1m\"\nwhat = \"reroute\"\n",
            "`to_domain` is missing",
            "`to_domain` or `to_binding`",
        ),
        (
            "[[event]]\nat = \"1m\"\nwhat = \"suspend\"\nfor = \"0s\"\n",
            "a suspension takes some time",
            "",
        ),
        ("[[event]]\nat = \"1m\"\nwhat = \"flush\"\nreason = \"x\"\n", "unknown key `reason`", ""),
        (
            "[[event]]\nat = \"1m\"\nwhat = \"restart\"\nconfig = \"x\"\n",
            "unknown key `config`",
            "",
        ),
        (
            "[[event]]\nat = \"1m\"\nwhat = \"reload\"\n",
            "`config` is missing",
            "or the text itself as `config_text`",
        ),
    ] {
        let complaint = complaint(&format!("{TRAFFIC}{text}"));
        assert!(complaint.contains(message), "{complaint}");
        assert!(complaint.contains(hint), "{complaint}");
        assert_eq!(complaint.matches("error:").count(), 1, "{complaint}");
    }
}

#[test]
fn tls_may_change_with_time() {
    let text = r#"
[[receiver]]
name = "r"
domains = ["a.test"]
[[receiver.tls]]
after = "1h"
before = "2h"
answer = "454 4.7.0 Not now"
[[receiver.tls]]
versions = ["TLSv1.2"]
suites = "ECDHE-ECDSA-AES128-GCM-SHA256"
certificate = "self_signed"
expires = "1d12h"
names = ["*.A.test"]
inject = "250 Hello"
handshake = "stall"
wants_certificate = true
"#;
    let head = "title = \"x\"\nhorizon = \"1d\"\nconfig_text = \"\"\n";
    let scenario = parse(Path::new("s.toml"), &format!("{head}{TRAFFIC}{text}")).unwrap();
    let receiver = scenario.receivers.iter().find(|receiver| &*receiver.name == "r").unwrap();
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let refusal = ReplyText::parse("454 4.7.0 Not now").unwrap();
    let first = TlsPosture {
        window: hours(1)..hours(2),
        answer: StartTlsAnswer::Act(Act::Reply(refusal)),
        ..TlsPosture::default()
    };
    let then = TlsPosture {
        versions: vec![TlsVersion::Tls12],
        suites: vec![CipherSuite::EcdheEcdsaAes128GcmSha256],
        certificate: CertificateSpec {
            kind: CertificateKind::SelfSigned,
            expires: Some(hours(36)),
            names: vec!["*.a.test".into()],
        },
        inject: Some("250 Hello".into()),
        handshake: HandshakeAct::Stall,
        wants_certificate: true,
        ..TlsPosture::default()
    };
    assert_eq!(receiver.tls, [first, then]);
}

#[test]
fn garbage_never_panics() {
    for text in
        ["\0", "[[", "a = [[[[", "title = 1\nhorizon = true\nconfig = []", "[title]", "\u{feff}x"]
    {
        assert!(parse(Path::new("s.toml"), text).is_err());
    }
    // Cut anywhere, and with any one byte made a brace.
    for at in 0..FULL.len() {
        let _ = parse(Path::new("s.toml"), &FULL[..at]);
        let mut bytes = FULL.as_bytes().to_vec();
        bytes[at] = b'{';
        let _ = parse(Path::new("s.toml"), &String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn scenarios_and_configurations_must_fit() {
    let scenario = full();
    let config = |text| traject_engine::config::Config::from_text(text).unwrap();
    assert_eq!(scenario.check_config(&config("binding \"bulk\" { }")), Ok(()));
    let error = scenario.check_config(&config("")).unwrap_err().to_string();
    assert!(error.contains("the configuration has no binding `bulk`"), "{error}");
    assert!(error.starts_with("scenarios/full.toml:29:11: error"), "{error}");
    let ours = config("binding \"bulk\" { bind_address = \"192.0.2.2\" }");
    let error = scenario.check_config(&ours).unwrap_err().to_string();
    assert!(error.contains("`strict` has 192.0.2.2, which is our own"), "{error}");
}

#[test]
fn mail_comes_through_listeners_that_there_are() {
    let check = |through: &str, client: &str| {
        let text = format!(
            "{FULL}\n[[traffic]]\nfrom = \"a@b.test\"\nto = \"a.test\"\nmessages = 1\n\
             through = \"{through}\"\nclient = \"{client}\"\n"
        );
        let scenario = parse(Path::new("scenarios/full.toml"), &text)?;
        let text = "binding \"bulk\" { bind_address = 203.0.113.1 }\n\
                    esmtp_listener { listen \"*:25\" { } listen \"203.0.113.2:587\" { } }";
        scenario.check_config(&traject_engine::config::Config::from_text(text).unwrap())
    };
    for (through, client, wrong) in [
        ("listener", "198.51.100.9", None),
        ("203.0.113.2:587", "198.51.100.9", None),
        ("203.0.113.9:25", "198.51.100.9", None),
        ("queue", "198.51.100.9", None),
        ("203.0.113.9:587", "198.51.100.9", Some("has no such listener")),
        ("listener", "203.0.113.2", Some("203.0.113.2 is our own address")),
        ("door", "198.51.100.9", Some("`door` is none of `queue`")),
    ] {
        let found = check(through, client).map_err(|error| error.to_string());
        match wrong {
            None => assert_eq!(found, Ok(())),
            Some(wrong) => assert!(found.clone().unwrap_err().contains(wrong), "{found:?}"),
        }
    }
}

#[test]
fn a_recording_is_read_and_its_mistakes_have_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = |csv: &str, more: &str| {
        std::fs::write(folder.path().join("log.csv"), csv).unwrap();
        let text = format!("{FULL}\n[[traffic]]\nname = \"log\"\ntrace = \"log.csv\"\n{more}");
        parse(&folder.path().join("s.toml"), &text)
    };
    let read =
        scenario("time,to,binding\n2,a.test,x\n1,x@b.test a.test,y\n3,a.test,x\n", FROM).unwrap();
    let parts: Vec<_> = read
        .traffic
        .iter()
        .skip(2)
        .map(|one| (&*one.name, one.messages, one.to.len(), one.sent_by.clone()))
        .collect();
    assert_eq!(
        parts,
        [
            ("log of x", 2, 1, SentBy::Binding("x".into())),
            ("log of y", 1, 2, SentBy::Binding("y".into()))
        ]
    );
    let config = traject_engine::config::Config::from_text("binding \"bulk\" { }").unwrap();
    let unknown = read.check_config(&config).unwrap_err().to_string();
    assert!(unknown.contains("the configuration has no binding `x`"), "{unknown}");
    for (csv, more, message) in [
        ("time,to\n1,a.test\n2,z.test\n", FROM, "log.csv:3: nobody receives mail for `z.test`"),
        ("time,to\nsoon,a.test\n", FROM, "log.csv:2: `time`"),
        ("time,to,size\n1,a.test,1\n", FROM, "log.csv:2: sizes go from"),
        ("time,to\n1,a.test\n", "", "`from` is missing"),
        ("time,from\n1,<>\n", "", "`to` is missing"),
        ("time,to\n1,a.test\n", "from = \"<>\"\nto = \"a.test\"\n", "`to`: the recording says it"),
        ("time,to\n1,a.test\n", "from = \"<>\"\nmessages = 3\n", "`messages`: the recording"),
    ] {
        let wrong = scenario(csv, more).unwrap_err().to_string();
        assert!(wrong.contains(message), "{csv}: {wrong}");
    }
}

const FROM: &str = "from = \"n@brand.test\"\n";

#[test]
fn a_partition_is_of_addresses_that_mail_leaves_from() {
    let partition = |source: &str| {
        let text = format!(
            "{FULL}\n[[fault]]\nat = \"1h\"\nfor = \"1h\"\nwhat = \"partition\"\n\
             source = \"{source}\"\n[[event]]\nat = \"2h\"\nwhat = \"reload\"\n\
             config_text = \"bind_address = 203.0.113.7\"\n"
        );
        let scenario = parse(Path::new("scenarios/full.toml"), &text).unwrap();
        let text = "binding \"bulk\" { bind_address = 203.0.113.1 }";
        let config = traject_engine::config::Config::from_text(text).unwrap();
        scenario.check_config(&config)
    };
    assert_eq!(partition("203.0.113.1"), Ok(()));
    assert_eq!(partition("203.0.113.7"), Ok(()), "after the reload");
    let wrong = partition("203.0.113.8/29").unwrap_err().to_string();
    assert!(wrong.contains("no mail leaves from 203.0.113.8/29"), "{wrong}");
    assert!(wrong.contains("203.0.113.1"), "{wrong}");
}

#[test]
fn the_configuration_of_a_reload_is_named_and_loaded() {
    let text = format!(
        "{FULL}\n[[event]]\nat = \"2h\"\nwhat = \"restart\"\n\
         [[event]]\nat = \"1h30m\"\nwhat = \"reload\"\nconfig_text = \"retry_interval = 7\"\n\
         [[event]]\nat = \"1h\"\nwhat = \"reload\"\nconfig = \"nowhere.conf\"\n"
    );
    let scenario = parse(Path::new("scenarios/full.toml"), &text).unwrap();
    let at: Vec<u64> = scenario.events.iter().map(|event| event.at.as_secs()).collect();
    assert_eq!(at, [3600, 5400, 7200]);
    let [(file, missing), (inline, loaded)] = scenario.load_reloads().try_into().unwrap();
    assert_eq!(file, "scenarios/nowhere.conf");
    assert!(missing.config.is_none());
    assert_eq!(inline, "scenarios/full.toml (config_text of the event at 1h30m)");
    let config = loaded.config.unwrap();
    let options = config.delivery_options("default", "a.test");
    assert_eq!(options.retry_interval, Duration::from_secs(7));
    // A binding may be gone by then; an address of an exchange may not become ours.
    assert_eq!(scenario.check_reload(&config), Ok(()));
    let ours = traject_engine::config::Config::from_text("bind_address = \"192.0.2.2\"").unwrap();
    assert!(scenario.check_reload(&ours).unwrap_err().to_string().contains("which is our own"));
}
