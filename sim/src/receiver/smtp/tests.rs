//! Dialogues with a fake exchange over the simulated network.

mod starttls;

use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsConnector, TlsStream};
use traject_engine::rng::Seed;
use traject_engine::smtp::data::DotWriter;

use super::*;
use crate::body::BodyFacts;
use crate::network::{Link, SimWorld, WorldOptions};
use crate::receiver::spec::{
    Bandwidth, Curve, Exchange, Extensions, Latency, ReplyText, Response, Rule, Stage,
    XclientAttributes,
};
use crate::tls::Entropy;

/// One step of a client's script.
enum Step {
    /// Sends this and waits for a reply that starts so.
    Say(&'static str, &'static str),
    /// Sends the content of message 9 and waits for such a reply, or for none if it is empty.
    Content(&'static str),
    /// Shakes hands; whether that succeeds.
    Secure(bool),
    /// Sends this after the pause, whatever was said.
    Blurt(Duration, &'static str),
    /// The exchange ends the connection: orderly or not.
    Ends(bool),
}
use Step::{Blurt, Content as Sends, Ends, Say, Secure};

#[derive(Default)]
struct Seen(Mutex<(Vec<String>, Vec<String>)>);

impl Witness for Seen {
    fn answered(&self, _: Timestamp, message: MessageId, recipients: &[String], answer: Answer) {
        if answer.taken {
            self.0.lock().unwrap().0.push(format!("{message} for {}", recipients.join(" ")));
        }
    }

    fn breach(&self, _at: Timestamp, breach: Breach) {
        self.0.lock().unwrap().1.push(breach.what);
    }
}

fn spec(extensions: Extensions, rules: Vec<Rule>) -> ReceiverSpec {
    ReceiverSpec {
        name: "r".into(),
        profile: None,
        domains: vec!["a.test".into()],
        exchanges: vec![Exchange {
            host: "mx.a.test".into(),
            preference: 10,
            addresses: vec!["198.18.0.1".parse().unwrap()],
        }],
        protocol: Protocol::Smtp,
        port: 25,
        latency: Latency { base: Duration::from_millis(20), jitter: Duration::ZERO },
        extensions,
        limits: Vec::new(),
        unknown: None,
        bandwidth: Bandwidth::default(),
        greylist: None,
        rules,
        tls: Vec::new(),
    }
}

fn rule(stage: Stage, act: Act) -> Rule {
    Rule {
        stage,
        exchange: None,
        source: None,
        ehlo: None,
        client: None,
        sender: None,
        recipient: None,
        unannounced_8bit: false,
        larger_than: None,
        probability: Curve::constant(1.0),
        range: None,
        window: Duration::ZERO..Duration::MAX,
        delay: Duration::ZERO,
        response: Response::Act(act),
        keeps_message: false,
    }
}

fn reply(line: &str) -> Act {
    Act::Reply(ReplyText::parse(line).unwrap())
}

/// Plays a script; answers with (messages taken, breaches).
fn play(spec: ReceiverSpec, script: Vec<Step>) -> (Vec<String>, Vec<String>) {
    let mut world = SimWorld::new(WorldOptions {
        epoch: Timestamp::from_secs(1000),
        sources: vec!["192.0.2.1".parse().unwrap()],
        link: Link { latency: spec.latency.base, ..Link::default() },
        ..WorldOptions::default()
    });
    let (network, farm, clock) = (world.network(), world.farm(), world.clock());
    let seed = Seed::from_u64(1);
    let bodies = BodyFactory::new(seed);
    let model = Receiver::new(Arc::new(spec), seed, Timestamp::from_secs(1000));
    let seen = Arc::new(Seen::default());
    let _entropy = Entropy::enter(seed);
    let pki = Arc::new(Pki::new(seed, Timestamp::from_secs(1000)));
    let client = client_config(&pki, &clock);
    let site = Arc::new(Site::new(model, bodies.clone(), Arc::clone(&seen), pki));
    let exchange = SocketAddr::from(([198, 18, 0, 1], 25));
    world
        .run(async move {
            let listener = farm.bind(exchange, 10).await.unwrap();
            let serving = serve(site, "mx.a.test".into(), farm.clone(), clock.clone(), listener);
            farm.spawn(serving);
            let (stream, _) = network.connect(None, exchange).await.unwrap();
            let mut stream = MaybeTls::Plain(stream);
            for step in script {
                if let Secure(expected) = step {
                    stream = secure(stream, &client, expected).await;
                } else {
                    take(step, &mut stream, &clock, &bodies).await;
                }
            }
        })
        .unwrap();
    // The exchange may still be busy with the last step.
    let clock = world.clock();
    let later = clock.now() + Duration::from_secs(1);
    world.run(async move { clock.sleep_until(later).await }).unwrap();
    let seen = seen.0.lock().unwrap();
    (seen.0.clone(), seen.1.clone())
}

/// A client that trusts whom the simulated world trusts.
fn client_config(pki: &Pki, clock: &impl Clock) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(pki.root().clone()).unwrap();
    let (provider, time) = (Arc::new(crate::tls::provider()), crate::tls::time_of(clock));
    let config = ClientConfig::builder_with_details(provider, time)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

async fn secure<S>(stream: MaybeTls<S>, config: &Arc<ClientConfig>, expected: bool) -> MaybeTls<S>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let stream = stream.into_inner().unwrap();
    let name = "mx.a.test".try_into().unwrap();
    let connect = TlsConnector::from(Arc::clone(config)).connect(name, stream).into_fallible();
    match connect.await {
        Ok(stream) => {
            assert!(expected, "the handshake succeeded");
            MaybeTls::Tls(Box::new(TlsStream::Client(stream)))
        }
        Err((error, stream)) => {
            assert!(!expected, "{error}");
            MaybeTls::Plain(stream)
        }
    }
}

async fn take<S, C>(step: Step, stream: &mut S, clock: &C, bodies: &BodyFactory)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    C: Clock,
{
    match step {
        Secure(_) => unreachable!("is for the caller"),
        Say(line, expected) => {
            stream.write_all(line.as_bytes()).await.unwrap();
            expect(stream, expected).await;
        }
        Sends(expected) => {
            let facts = BodyFacts { message: MessageId(9), size_bytes: 3000, eight_bit: false };
            let mut wire = Vec::new();
            let mut writer = DotWriter::default();
            writer.encode(&bodies.body(facts).piece(0), &mut wire);
            writer.finish(&mut wire);
            stream.write_all(&wire).await.unwrap();
            if !expected.is_empty() {
                expect(stream, expected).await;
            }
        }
        Blurt(pause, text) => {
            clock.sleep_until(clock.now() + pause).await;
            // The exchange may have left.
            let _ = stream.write_all(text.as_bytes()).await;
        }
        Ends(orderly) => {
            let mut rest = Vec::new();
            let end = stream.read_to_end(&mut rest).await;
            assert_eq!((end.is_ok(), &rest[..]), (orderly, &b""[..]));
        }
    }
}

/// Reads until what came ends a reply, and compares its start.
async fn expect<S: tokio::io::AsyncRead + Unpin>(stream: &mut S, expected: &str) {
    let mut heard = String::new();
    let lines = expected.matches('\n').count().max(1);
    loop {
        let mut bytes = [0; 512];
        let read = stream.read(&mut bytes).await.unwrap();
        heard.push_str(str::from_utf8(&bytes[..read]).unwrap());
        let last = heard.lines().last().unwrap_or("");
        let complete = heard.ends_with("\r\n") && last.get(3..4) != Some("-");
        if read == 0 || (complete && heard.lines().count() >= lines) {
            break;
        }
    }
    assert!(heard.starts_with(expected), "{heard:?} instead of {expected:?}");
}

const EHLO: Step = Say("EHLO mail.brand.test\r\n", "250-mx.a.test\r\n250-PIPELINING\r\n250-SIZE ");

fn hello() -> Vec<Step> {
    vec![Say("", "220 mx.a.test ESMTP"), EHLO]
}

fn script(steps: impl IntoIterator<Item = Step>) -> Vec<Step> {
    hello().into_iter().chain(steps).collect()
}

#[test]
fn a_message_is_taken_with_the_recipients_that_were_accepted() {
    let mut unknown = rule(Stage::Rcpt, reply("550 5.1.1 No such user"));
    unknown.recipient = Some(crate::glob::Glob::new("no*"));
    let dialogue = script([
        Say(
            "MAIL FROM:<n@brand.test> SIZE=3000\r\nRCPT TO:<x@a.test>\r\nRCPT TO:<no@a.test>\r\n\
             DATA\r\n",
            "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n550 5.1.1 No such user\r\n354 ",
        ),
        Sends("250 2.0.0 Ok"),
        Say("QUIT\r\n", "221 "),
        Ends(true),
    ]);
    let (taken, breaches) = play(spec(Extensions::default(), vec![unknown]), dialogue);
    assert_eq!(taken, ["9 for x@a.test"]);
    assert_eq!(breaches, [""; 0]);
}

#[test]
fn refusals_ends_and_silence_are_played() {
    let extensions = Extensions::default();
    let busy = spec(extensions, vec![rule(Stage::Banner, reply("421 4.3.2 Busy"))]);
    assert_eq!(play(busy, vec![Say("", "421 4.3.2 Busy"), Ends(true)]).1, [""; 0]);

    let reset = spec(extensions, vec![rule(Stage::Mail, Act::Reset)]);
    let mail = "MAIL FROM:<>\r\n";
    play(reset, script([Blurt(Duration::ZERO, mail), Ends(false)]));

    let close = spec(extensions, vec![rule(Stage::Mail, Act::Close)]);
    play(close, script([Blurt(Duration::ZERO, mail), Ends(true)]));

    let stall = spec(extensions, vec![rule(Stage::Mail, Act::Stall)]);
    play(stall, script([Blurt(Duration::ZERO, mail), Blurt(Duration::from_secs(900), "")]));
}

#[test]
fn a_transaction_is_reset_or_not() {
    let dialogue = |reply| script([Say("MAIL FROM:<>\r\n", "250 "), Say("RSET\r\n", reply)]);
    let plain = || Extensions::default();
    assert_eq!(play(spec(plain(), Vec::new()), dialogue("250 2.0.0 Ok")).1, [""; 0]);
    let refusing = rule(Stage::Rset, reply("502 5.5.1 What?"));
    assert_eq!(play(spec(plain(), vec![refusing]), dialogue("502 5.5.1")).1, [""; 0]);
}

#[test]
fn a_message_kept_by_a_receiver_that_resets_is_taken() {
    let mut lost = rule(Stage::Body, Act::Reset);
    lost.keeps_message = true;
    let group = "MAIL FROM:<>\r\nRCPT TO:<x@a.test>\r\nDATA\r\n";
    let dialogue = |end: [Step; 2]| {
        let sent = Say(group, "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 ");
        script([sent].into_iter().chain(end))
    };
    let lost = spec(Extensions::default(), vec![lost]);
    let (taken, breaches) = play(lost, dialogue([Sends(""), Ends(false)]));
    assert_eq!((taken.len(), breaches.len()), (1, 0));

    let refused = rule(Stage::Body, reply("451 4.3.0 Later"));
    let refused = spec(Extensions::default(), vec![refused]);
    let end = [Sends("451 4.3.0 Later"), Say("QUIT\r\n", "221 ")];
    let (taken, breaches) = play(refused, dialogue(end));
    assert_eq!((taken.len(), breaches.len()), (0, 0));
}

#[test]
fn in_lmtp_each_recipient_has_a_reply_of_its_own() {
    let mut full = rule(Stage::Body, reply("452 4.2.2 Full"));
    full.recipient = Some(crate::glob::Glob::new("y@*"));
    let mut store = spec(Extensions::default(), vec![full]);
    store.protocol = Protocol::Lmtp;
    let dialogue = vec![
        Say("", "220 mx.a.test"),
        Say("EHLO us.test\r\n", "500 "),
        Say("LHLO us.test\r\n", "250-mx.a.test\r\n250-PIPELINING\r\n250-SIZE "),
        Say(
            "MAIL FROM:<>\r\nRCPT TO:<x@a.test>\r\nRCPT TO:<y@a.test>\r\nRCPT TO:<z@a.test>\r\n\
             DATA\r\n",
            "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n250 2.1.5 Ok\r\n250 2.1.5 Ok\r\n354 ",
        ),
        Sends("250 2.0.0 Ok\r\n452 4.2.2 Full\r\n250 2.0.0 Ok"),
        Say("QUIT\r\n", "221 "),
        Ends(true),
    ];
    let (taken, breaches) = play(store, dialogue);
    assert_eq!(taken, ["9 for x@a.test", "9 for z@a.test"]);
    assert_eq!(breaches, [""; 0]);
}

#[test]
fn a_client_is_introduced_and_then_greeted_anew() {
    let mut blocked = rule(Stage::Mail, reply("550 5.7.1 Blocked"));
    blocked.client = Some(crate::glob::Glob::new("203.0.113.7"));
    let extensions = Extensions { xclient: XclientAttributes::ALL, ..Extensions::default() };
    let dialogue = script([
        Say("XCLIENT ADDR=203.0.113.7\r\n", "220 mx.a.test"),
        EHLO,
        Say("MAIL FROM:<>\r\n", "550 5.7.1 Blocked"),
        Say("XCLIENT ADDR=[UNAVAILABLE]\r\n", "220 mx.a.test"),
        EHLO,
        Say("MAIL FROM:<>\r\n", "250 "),
    ]);
    assert_eq!(play(spec(extensions, vec![blocked]), dialogue).1, [""; 0]);
}

#[test]
fn a_reply_of_many_lines_is_sent_as_it_is_written() {
    let lines = ReplyText::parse_lines(&["220-Welcome", "521 No"]).unwrap();
    let mixed = spec(Extensions::default(), vec![rule(Stage::Banner, Act::Reply(lines))]);
    let dialogue = vec![Say("", "220-Welcome\r\n521 No\r\n"), Blurt(Duration::ZERO, "EHLO a\r\n")];
    let (_, breaches) = play(mixed, dialogue);
    assert!(breaches[0].contains("refused service"), "{breaches:?}");
}

#[test]
fn liberties_are_breaches() {
    let plain = Extensions { pipelining: false, ..Extensions::default() };
    let ms = Duration::from_millis;
    let plain_hello = || [Say("", "220 "), Say("EHLO a.test\r\n", "250-mx.a.test\r\n250-SIZE ")];
    for (extensions, steps, breach) in [
        (plain, vec![Blurt(ms(1), "EHLO a.test\r\n")], "before it can have heard"),
        (plain, vec![Say("", "220 "), Blurt(ms(0), "HELP\r\n")], "no command"),
        (plain, vec![Say("", "220 "), Blurt(ms(0), "EHLO a.test\n")], "without CRLF"),
        (plain, vec![Say("", "220 "), Blurt(ms(0), "MAIL FROM:<>\r\n")], "before EHLO"),
        (
            Extensions::default(),
            vec![Say("", "220 "), Blurt(ms(0), "EHLO a.test\r\nMAIL FROM:<>\r\n")],
            "before the reply to Ehlo",
        ),
        (
            plain,
            plain_hello()
                .into_iter()
                .chain([Blurt(ms(0), "MAIL FROM:<>\r\nRCPT TO:<x@a.test>\r\n")])
                .collect(),
            "before the reply to Mail",
        ),
        (
            plain,
            plain_hello()
                .into_iter()
                .chain([
                    Say("MAIL FROM:<>\r\n", "250 "),
                    Say("RCPT TO:<x@a.test>\r\n", "250 "),
                    Say("DATA\r\n", "354 "),
                    Blurt(ms(0), "hello\r\n.\r\n"),
                ])
                .collect(),
            "within its first line",
        ),
    ] {
        let (_, breaches) = play(spec(extensions, Vec::new()), steps);
        assert!(breaches.len() == 1 && breaches[0].contains(breach), "{breach}: {breaches:?}");
    }
}
