//! Records as lines of the log files that tools for Momentum read: mainlog, bouncelog, rejectlog.
//!
//! The fields, and what stands in them where the two programs differ, are in `docs/logs.md`. Pure:
//! who writes the lines where is another matter.

use std::fmt::{self, Display, Write as _};
use std::net::SocketAddr;

use traject_engine::Timestamp;
use traject_engine::bounce::BounceClass;
use traject_engine::config::effective::{LogFile, LogKind, LogLines};
use traject_engine::config::{Config, DEFAULT_BINDING};
use traject_engine::ids::{ConnId, MessageId};
use traject_engine::record::{Attempt, Event, Record, Via, numbered};
use traject_engine::smtp::address::{Mailbox, ReversePath};
use traject_engine::smtp::reply::Reply;
use traject_engine::smtp::stage::Stage;

/// Appends the lines of a record: most often none or one, for a reception one a recipient.
/// `config` knows the groups of bindings.
pub fn push_lines(file: &LogFile, out: &mut String, record: &Record, config: &Config) {
    let line = Line { out, config, at: record.at };
    let LogLines { receptions, deliveries, transient_failures, permanent_failures, .. } =
        file.lines;
    let LogLines { rejections, out_of_band, .. } = file.lines;
    use LogKind::{Bounce, Main, Reject};
    match (file.kind, &record.event) {
        (Main, Event::Reception { via, .. }) if receptions => match via {
            Via::Smtp { conn, peer } => line.receptions(&record.event, Some((*conn, *peer))),
            Via::Submission | Via::Notice { .. } => line.receptions(&record.event, None),
            Via::Spool => {}
        },
        (Main, Event::Delivery(attempt)) if deliveries => line.delivery(attempt),
        (Main, Event::TransientFailure { attempt, .. }) if transient_failures => {
            line.failure('T', attempt, &attempt.reply);
        }
        (Main, Event::PermanentFailure(attempt)) if permanent_failures => {
            line.failure('P', attempt, &attempt.reply);
        }
        (Main, Event::Expiry { attempt, last_reply, .. }) if permanent_failures => {
            line.failure('P', attempt, decisive(attempt, last_reply.as_ref()));
        }
        (Bounce, Event::TransientFailure { attempt, .. }) if transient_failures => {
            line.bounce('T', attempt, &attempt.reply);
        }
        (Bounce, Event::PermanentFailure(attempt)) if permanent_failures => {
            line.bounce('B', attempt, &attempt.reply);
        }
        (Bounce, Event::Expiry { attempt, last_reply, .. }) if permanent_failures => {
            line.bounce('B', attempt, decisive(attempt, last_reply.as_ref()));
        }
        (Bounce, Event::OutOfBandBounce { class, .. })
            if out_of_band && *class != BounceClass::Subscribe =>
        {
            line.out_of_band(&record.event);
        }
        (Reject, Event::Rejection { conn, peer, local, phase, reply }) if rejections => {
            line.rejection(*conn, [*peer, *local], phase, reply);
        }
        (Main | Bounce | Reject, _) => {}
    }
}

/// Appends the line that says that there would be lines if there were anything to say.
pub fn push_heartbeat(kind: LogKind, out: &mut String, now: Timestamp) {
    let seconds = now.as_secs();
    // Unwraps are OK because writing to a String cannot fail.
    match kind {
        LogKind::Main => writeln!(out, "{seconds}@@@@M").unwrap(),
        LogKind::Bounce => writeln!(out, "{seconds}@@@@M1").unwrap(),
        LogKind::Reject => writeln!(out, "{seconds}: Marker 1").unwrap(),
    }
}

/// What an expiry is about: the receiver's last words, as long as there are any.
fn decisive<'a>(attempt: &'a Attempt, last_reply: Option<&'a Reply>) -> &'a Reply {
    last_reply.unwrap_or(&attempt.reply)
}

/// What the lines of one record need.
struct Line<'a> {
    out: &'a mut String,
    config: &'a Config,
    at: Timestamp,
}

impl Line<'_> {
    /// Fields 0 to 4. A batch is what we call a message, a message is one recipient's share of it.
    fn start(&mut self, message: MessageId, recipient: u32, conn: Option<ConnId>, kind: char) {
        // Unwraps are OK because writing to a String cannot fail.
        write!(self.out, "{}@{message}-{recipient}@{message}", self.at.as_secs()).unwrap();
        self.optional(conn);
        self.plain(kind);
    }

    /// A field that cannot hold anything strange.
    fn plain(&mut self, value: impl Display) {
        write!(self.out, "@{value}").unwrap();
    }

    fn optional(&mut self, value: Option<impl Display>) {
        match value {
            Some(value) => self.plain(value),
            None => self.out.push('@'),
        }
    }

    fn text(&mut self, value: &str) {
        self.out.push('@');
        push_escaped(self.out, value, "@");
    }

    fn mailbox(&mut self, mailbox: &Mailbox) {
        self.text(&mailbox.local);
        self.text(&mailbox.domain);
    }

    fn sender(&mut self, ReversePath(sender): &ReversePath) {
        match sender {
            Some(mailbox) => self.mailbox(mailbox),
            None => self.out.push_str("@@"),
        }
    }

    fn binding(&mut self, binding: &str) {
        self.text(self.config.group_of(binding).unwrap_or(DEFAULT_BINDING));
        self.text(binding);
    }

    /// The last field: nothing has to be told from what follows, so `@` may stand in it.
    fn reply(self, reply: &Reply) {
        self.out.push('@');
        push_escaped(self.out, &Shown(reply).to_string(), "");
        self.out.push('\n');
    }

    fn receptions(mut self, event: &Event, client: Option<(ConnId, SocketAddr)>) {
        let Event::Reception {
            message, reverse_path, recipients, done, binding, size_bytes, ..
        } = event
        else {
            return;
        };
        for (recipient, mailbox) in numbered(recipients, done) {
            self.start(*message, recipient, client.map(|(conn, _)| conn), 'R');
            self.mailbox(mailbox);
            self.sender(reverse_path);
            self.optional(client.map(|(_, peer)| peer.ip()));
            self.plain(size_bytes);
            self.plain(if client.is_some() { "esmtp" } else { "internal" });
            self.binding(binding);
            self.out.push('\n');
        }
    }

    fn delivery(mut self, attempt: &Attempt) {
        self.start(attempt.message, attempt.recipient, attempt.conn, 'D');
        self.text(&attempt.pair.domain);
        self.plain(attempt.size_bytes);
        self.binding(&attempt.pair.binding);
        self.plain(retries(attempt));
        self.plain(attempt.age.as_secs());
        self.optional(attempt.remote.map(|remote| remote.ip()));
        self.out.push('\n');
    }

    fn failure(mut self, kind: char, attempt: &Attempt, reply: &Reply) {
        self.start(attempt.message, attempt.recipient, attempt.conn, kind);
        self.text(&attempt.pair.domain);
        self.plain(if attempt.stage == Stage::BodyReply { attempt.size_bytes } else { 0 });
        self.binding(&attempt.pair.binding);
        self.plain(attempt.stage.momentum_number());
        self.plain(retries(attempt));
        self.plain(attempt.age.as_secs());
        self.optional(attempt.remote.map(|remote| remote.ip()));
        self.reply(reply);
    }

    fn bounce(mut self, kind: char, attempt: &Attempt, reply: &Reply) {
        self.start(attempt.message, attempt.recipient, attempt.conn, kind);
        self.mailbox(&attempt.mailbox);
        self.sender(&attempt.reverse_path);
        self.binding(&attempt.pair.binding);
        self.plain(attempt.stage.momentum_number());
        self.optional(attempt.class.map(|class| class.number()));
        self.plain(attempt.size_bytes);
        self.optional(attempt.remote.map(|remote| remote.ip()));
        self.reply(reply);
    }

    /// About the message that failed, as far as the bounce tells; the server is the client that
    /// brought the bounce.
    fn out_of_band(mut self, event: &Event) {
        let Event::OutOfBandBounce {
            message,
            recipient,
            conn,
            peer,
            mailbox,
            about,
            binding,
            size_bytes,
            reply,
            class,
            ..
        } = event
        else {
            return;
        };
        self.start(*message, *recipient, Some(*conn), 'B');
        match about {
            Some(about) => self.mailbox(about),
            None => self.out.push_str("@@"),
        }
        self.mailbox(mailbox);
        self.binding(binding);
        self.plain(OUT_OF_BAND_STAGE);
        self.plain(class.number());
        self.plain(size_bytes);
        self.plain(peer.ip());
        self.reply(reply);
    }

    /// Pathways, modules and contexts are things of the original that have no like here.
    fn rejection(self, conn: ConnId, [peer, local]: [SocketAddr; 2], phase: &str, reply: &Reply) {
        let (seconds, code) = (self.at.as_secs(), reply.code);
        write!(self.out, "{seconds}: R=\"{peer}\" L=\"{local}\" C=\"{conn}\" ").unwrap();
        self.out.push_str("PATH=\"\" PATH_GRP=\"\" P=\"");
        push_escaped(self.out, phase, "\"");
        write!(self.out, "\" E={code} M=\"\" CTXCONN=[] CTXMESS=[] ").unwrap();
        if let Some(enhanced) = reply.enhanced {
            write!(self.out, "{enhanced} ").unwrap();
        }
        push_escaped(self.out, &reply.text, "");
        self.out.push('\n');
    }
}

/// The stage of a bounce that came by mail.
const OUT_OF_BAND_STAGE: u8 = 21;

/// Attempts before this one.
fn retries(attempt: &Attempt) -> u16 {
    attempt.attempts.saturating_sub(1)
}

/// A reply in which our own words can be told from a peer's.
struct Shown<'a>(&'a Reply);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reply { code, enhanced, text, local } = self.0;
        write!(f, "{code}")?;
        if let Some(enhanced) = enhanced {
            write!(f, " {enhanced}")?;
        }
        if *local {
            f.write_str(" [internal]")?;
        }
        if text.is_empty() { Ok(()) } else { write!(f, " {text}") }
    }
}

/// Appends `text` so that it can neither end the line nor hold one of `delimiters`: those, control
/// characters, the line ends of Unicode and backslashes are written as `\x40` or `\u{2028}`.
fn push_escaped(out: &mut String, text: &str, delimiters: &str) {
    for character in text.chars() {
        match character {
            '\\' | '\0'..='\x1f' | '\x7f' => push_hex(out, character),
            '\u{80}'..='\u{9f}' | '\u{2028}' | '\u{2029}' => out.extend(character.escape_unicode()),
            _ if delimiters.contains(character) => push_hex(out, character),
            _ => out.push(character),
        }
    }
}

fn push_hex(out: &mut String, character: char) {
    // Unwrap is OK because writing to a String cannot fail.
    write!(out, "\\x{:02x}", u32::from(character)).unwrap();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use traject_engine::config::effective::BounceBehavior;
    use traject_engine::notice::NoticeKind;
    use traject_engine::record::{ClearReason, GiveUp, Pair, Transport};
    use traject_engine::smtp::reply::EnhancedCode;

    use super::*;

    fn mailbox(local: &str, domain: &str) -> Mailbox {
        Mailbox { local: local.into(), domain: domain.into() }
    }

    fn attempt(stage: Stage, reply: Reply) -> Attempt {
        Attempt {
            message: MessageId(0xabc),
            recipient: 1,
            mailbox: mailbox("bob", "user.test"),
            reverse_path: ReversePath(Some(mailbox("ann", "our.test"))),
            size_bytes: 4321,
            pair: Pair { binding: "red".into(), domain: "user.test".into() },
            attempts: 3,
            age: Duration::from_millis(61_900),
            took: Duration::from_secs(1),
            conn: Some(ConnId(0x1e)),
            remote: Some("192.0.2.9:25".parse().unwrap()),
            transport: Transport::Clear { why: ClearReason::NotOffered },
            stage,
            reply,
            class: Some(BounceClass::InvalidRecipient),
            quiet: false,
        }
    }

    fn reply(line: &str) -> Reply {
        Reply::parse(line, false).unwrap()
    }

    fn ours() -> Reply {
        Reply::local(554, EnhancedCode(5, 4, 7), "message too old")
    }

    fn reception(via: Via, recipients: Vec<Mailbox>) -> Event {
        reception_without(via, recipients, &[])
    }

    fn reception_without(via: Via, recipients: Vec<Mailbox>, done: &[u32]) -> Event {
        Event::Reception {
            message: MessageId(0xabc),
            via,
            reverse_path: ReversePath(None),
            recipients,
            done: done.into(),
            binding: "blue".into(),
            size_bytes: 99,
        }
    }

    fn rejection(phase: &str, text: &str) -> Event {
        Event::Rejection {
            conn: ConnId(7),
            peer: "[2001:db8::1]:4000".parse().unwrap(),
            local: "198.51.100.1:25".parse().unwrap(),
            phase: phase.into(),
            reply: reply(text),
        }
    }

    fn out_of_band(class: BounceClass) -> Event {
        Event::OutOfBandBounce {
            message: MessageId(0xabc),
            recipient: 0,
            conn: ConnId(5),
            peer: "203.0.113.7:999".parse().unwrap(),
            mailbox: mailbox("ann+1", "bounces.our.test"),
            about: Some(mailbox("bob", "user.test")),
            binding: "blue".into(),
            size_bytes: 3000,
            reply: reply("552 5.2.2 full @ last"),
            class,
            behavior: BounceBehavior::Blackhole,
        }
    }

    const KINDS: [LogKind; 3] = [LogKind::Main, LogKind::Bounce, LogKind::Reject];

    /// The lines of all three files.
    fn lines(event: Event) -> [String; 3] {
        lines_with("", event)
    }

    fn lines_with(options: &str, event: Event) -> [String; 3] {
        let groups = "binding_group \"colours\" { binding \"red\" { } } binding \"blue\" { }";
        let config = Config::from_text(&format!("{groups} {options}")).unwrap();
        let record = Record { at: Timestamp(1_700_000_000_999_999), event };
        KINDS.map(|kind| {
            let mut out = String::new();
            push_lines(&config.log_file(kind), &mut out, &record, &config);
            out
        })
    }

    #[test]
    fn every_record_has_its_lines_and_every_field_its_place() {
        let smtp = || Via::Smtp { conn: ConnId(5), peer: "203.0.113.7:999".parse().unwrap() };
        let two = || vec![mailbox("bob", "user.test"), mailbox("eve", "[192.0.2.1]")];
        let no_conn = |mut attempt: Attempt| {
            (attempt.conn, attempt.remote, attempt.attempts, attempt.class) = (None, None, 0, None);
            attempt
        };
        let refused = || attempt(Stage::RcptTo, reply("550 5.1.1 No such user"));
        let expired = |last_reply| Event::Expiry {
            attempt: no_conn(attempt(Stage::Queue, ours())),
            why: GiveUp::MaxTime,
            last_reply,
        };
        for (event, [main, bounce, reject]) in [
            (
                reception(smtp(), two()),
                [
                    "1700000000@abc-0@abc@5@R@bob@user.test@@@203.0.113.7@99@esmtp@default@blue\n\
                     1700000000@abc-1@abc@5@R@eve@[192.0.2.1]@@@203.0.113.7@99@esmtp@default@blue\n",
                    "",
                    "",
                ],
            ),
            (
                reception(Via::Submission, vec![mailbox("bob", "user.test")]),
                ["1700000000@abc-0@abc@@R@bob@user.test@@@@99@internal@default@blue\n", "", ""],
            ),
            (
                reception(
                    Via::Notice { of: MessageId(5), kind: NoticeKind::Failed, told: vec![0] },
                    vec![mailbox("bob", "user.test")],
                ),
                ["1700000000@abc-0@abc@@R@bob@user.test@@@@99@internal@default@blue\n", "", ""],
            ),
            // What is done has a number and no line: a bounce that was read and dropped.
            (
                reception_without(smtp(), two(), &[0, 2]),
                [
                    "1700000000@abc-1@abc@5@R@bob@user.test@@@203.0.113.7@99@esmtp@default@blue\n\
                     1700000000@abc-3@abc@5@R@eve@[192.0.2.1]@@@203.0.113.7@99@esmtp@default@blue\n",
                    "",
                    "",
                ],
            ),
            // It was received by the process before.
            (reception(Via::Spool, two()), ["", "", ""]),
            (
                Event::Delivery(attempt(Stage::BodyReply, reply("250 2.0.0 ok"))),
                ["1700000000@abc-1@abc@1e@D@user.test@4321@colours@red@2@61@192.0.2.9\n", "", ""],
            ),
            (
                Event::TransientFailure {
                    attempt: attempt(Stage::BodyReply, reply("451 try later")),
                    next_attempt_at: Timestamp(0),
                },
                [
                    "1700000000@abc-1@abc@1e@T@user.test@4321@colours@red@9@2@61@192.0.2.9@\
                     451 try later\n",
                    "1700000000@abc-1@abc@1e@T@bob@user.test@ann@our.test@colours@red@9@10@4321@\
                     192.0.2.9@451 try later\n",
                    "",
                ],
            ),
            (
                Event::PermanentFailure(refused()),
                [
                    "1700000000@abc-1@abc@1e@P@user.test@0@colours@red@5@2@61@192.0.2.9@\
                     550 5.1.1 No such user\n",
                    "1700000000@abc-1@abc@1e@B@bob@user.test@ann@our.test@colours@red@5@10@4321@\
                     192.0.2.9@550 5.1.1 No such user\n",
                    "",
                ],
            ),
            (
                expired(None),
                [
                    "1700000000@abc-1@abc@@P@user.test@0@colours@red@0@0@61@@\
                     554 5.4.7 [internal] message too old\n",
                    "1700000000@abc-1@abc@@B@bob@user.test@ann@our.test@colours@red@0@@4321@@\
                     554 5.4.7 [internal] message too old\n",
                    "",
                ],
            ),
            (
                expired(Some(reply("452 full"))),
                [
                    "1700000000@abc-1@abc@@P@user.test@0@colours@red@0@0@61@@452 full\n",
                    "1700000000@abc-1@abc@@B@bob@user.test@ann@our.test@colours@red@0@@4321@@\
                     452 full\n",
                    "",
                ],
            ),
            (
                rejection("rcpt", "550 5.7.1 relaying denied"),
                [
                    "",
                    "",
                    "1700000000: R=\"[2001:db8::1]:4000\" L=\"198.51.100.1:25\" C=\"7\" PATH=\"\" \
                     PATH_GRP=\"\" P=\"rcpt\" E=550 M=\"\" CTXCONN=[] CTXMESS=[] 5.7.1 relaying \
                     denied\n",
                ],
            ),
            (
                out_of_band(BounceClass::MailboxFull),
                [
                    "",
                    "1700000000@abc-0@abc@5@B@bob@user.test@ann+1@bounces.our.test@default@blue@21@\
                     22@3000@203.0.113.7@552 5.2.2 full @ last\n",
                    "",
                ],
            ),
            (Event::Reconfigured { queues: 1, moved: 0 }, ["", "", ""]),
        ] {
            assert_eq!(lines(event.clone()), [main, bounce, reject], "{event:?}");
        }
    }

    #[test]
    fn nobody_can_forge_a_line_or_a_field() {
        let hostile = "x@y\r\n1@2@3@4@D\u{85}\u{2028}\\\u{1b}[2J\0\"z";
        let mut attempt = attempt(Stage::RcptTo, ours());
        attempt.reply.text = hostile.into();
        attempt.mailbox = mailbox(hostile, hostile);
        attempt.reverse_path = ReversePath(Some(mailbox(hostile, hostile)));
        attempt.pair = Pair { binding: hostile.into(), domain: hostile.into() };
        let failed = Event::PermanentFailure(attempt.clone());
        let [main, bounce, _] = lines(failed);
        let [delivered, ..] = lines(Event::Delivery(attempt));
        let [received, ..] = lines(reception(Via::Submission, vec![mailbox(hostile, hostile)]));
        let mut refused = rejection(hostile, "550 no");
        if let Event::Rejection { reply, .. } = &mut refused {
            reply.text = hostile.into();
        }
        let [.., rejected] = lines(refused);
        let strange = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        for line in [&main, &bounce, &delivered, &received, &rejected] {
            assert!(!line.strip_suffix('\n').unwrap().contains(strange), "{line:?}");
        }
        assert_eq!(delivered.matches('@').count(), 11, "{delivered}");
        assert_eq!(received.matches('@').count(), 13, "{received}");
        // Free text is last: who splits as often as there are fields has all of it.
        let shown = r#"x@y\x0d\x0a1@2@3@4@D\u{85}\u{2028}\x5c\x1b[2J\x00"z"#;
        let text = format!("554 5.4.7 [internal] {shown}\n");
        assert_eq!(main.splitn(14, '@').last(), Some(&*text));
        assert_eq!(bounce.splitn(16, '@').last(), Some(&*text));
        assert_eq!(rejected.matches('"').count(), 15, "{rejected}");
        assert!(rejected.ends_with(&format!(" CTXMESS=[] {shown}\n")), "{rejected}");
    }

    #[test]
    fn heartbeats_tell_silence_from_death() {
        for (kind, line) in KINDS.into_iter().zip(["12@@@@M\n", "12@@@@M1\n", "12: Marker 1\n"]) {
            let mut out = String::new();
            push_heartbeat(kind, &mut out, Timestamp::from_secs(12));
            assert_eq!(out, line);
        }
    }

    #[test]
    fn each_switch_silences_its_own_lines() {
        let smtp = Via::Smtp { conn: ConnId(5), peer: "203.0.113.7:999".parse().unwrap() };
        let failed = || attempt(Stage::RcptTo, reply("550 5.1.1 No such user"));
        let delayed = || attempt(Stage::RcptTo, reply("451 later"));
        let events = [
            reception(smtp, vec![mailbox("bob", "user.test")]),
            Event::Delivery(attempt(Stage::BodyReply, reply("250 ok"))),
            Event::TransientFailure { attempt: delayed(), next_attempt_at: Timestamp(0) },
            Event::PermanentFailure(failed()),
            Event::Expiry { attempt: failed(), why: GiveUp::MaxTime, last_reply: None },
            rejection("rcpt", "550 no"),
            out_of_band(BounceClass::MailboxFull),
            // Its subject is no message of ours.
            out_of_band(BounceClass::Subscribe),
        ];
        // The letters of the lines of each file, over all events.
        for (options, told) in [
            ("", ["RDTPP", "TBBB", "#"]),
            ("ec_logger { log_receptions = false }", ["DTPP", "TBBB", "#"]),
            ("ec_logger { log_deliveries = false }", ["RTPP", "TBBB", "#"]),
            ("ec_logger { log_transient_failures = false }", ["RDPP", "TBBB", "#"]),
            ("ec_logger { log_permanent_failures = false }", ["RDT", "TBBB", "#"]),
            ("ec_logger { log_rejections = false }", ["RDTPP", "TBBB", ""]),
            ("bounce_logger { log_transient_failures = false }", ["RDTPP", "BBB", "#"]),
            ("bounce_logger { log_inband_bounces = false }", ["RDTPP", "TB", "#"]),
            ("bounce_logger { log_outofband_bounces = false }", ["RDTPP", "TBB", "#"]),
            ("ec_logger { enabled = false log_deliveries = false }", ["RDTPP", "TBBB", "#"]),
        ] {
            let mut letters = [const { String::new() }; 3];
            for event in &events {
                for (line, letters) in lines_with(options, event.clone()).iter().zip(&mut letters) {
                    let letter = line.split('@').nth(4).unwrap_or("#");
                    letters.push_str(if line.is_empty() { "" } else { letter });
                }
            }
            assert_eq!(letters, told, "{options}");
        }
    }
}
