//! Mail coming in: what clients are told, and when a message is ours.

use crate::world::{World, accepting};
use traject_engine::Input;
use traject_engine::ids::ConnId;
use traject_engine::io::SpoolError;
use traject_engine::record::{Event, numbered};
use traject_engine::smtp::data::{BodyError, BodyInfo};

const CONFIG: &str = "
    hostname = \"relay.test\"
    relay_hosts = ( 127.0.0.1/32 )
    Esmtp_Listener = ( 127.0.0.1:25 )
";

/// A client that has said DATA and was told to go on.
fn client_in_data(world: &mut World) -> ConnId {
    let conn = world.accept(1);
    assert!(world.heard(conn).starts_with("220 relay.test"));
    let said = world.client(conn, "EHLO client.test\r\n");
    assert!(said.ends_with("250 ENHANCEDSTATUSCODES\r\n") || said.contains("PIPELINING"));
    let envelope =
        "MAIL FROM:<s@from.test>\r\nRCPT TO:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n";
    let said = world.client(conn, envelope);
    let codes: Vec<&str> = said.lines().map(|line| &line[..3]).collect();
    assert_eq!(codes, ["250", "250", "250", "354"]);
    assert_eq!(world.bodies_wanted.len(), 1);
    conn
}

fn body_done(world: &mut World, conn: ConnId) {
    let info = BodyInfo {
        size_bytes: 500,
        eight_bit: false,
        received_headers: 0,
        header: None,
        head: None,
    };
    world.handle(Input::BodyDone { conn, result: Ok(info) });
}

#[test]
fn the_250_waits_for_the_disk_and_then_the_message_goes_on() {
    let mut world = World::new(CONFIG);
    world.receiver("x.test", |_, said, _| accepting(said));
    world.receiver("y.test", |_, said, _| accepting(said));
    let conn = client_in_data(&mut world);
    body_done(&mut world, conn);
    assert_eq!(world.heard(conn), "", "not durable yet");
    assert_eq!(world.count("received"), 0);
    world.run_to(60);
    assert!(world.heard(conn).starts_with("250 2.0.0 "));
    assert_eq!(world.count("delivered"), 2);
    assert!(world.spool.is_empty());
}

#[test]
fn a_full_disk_is_452_and_nothing_is_ours() {
    let mut world = World::new(CONFIG);
    world.receiver("x.test", |_, said, _| accepting(said));
    world.spool_error = Some(SpoolError::Full);
    let conn = client_in_data(&mut world);
    body_done(&mut world, conn);
    world.run_to(1);
    assert!(world.heard(conn).starts_with("452 4.3.1 "));
    assert_eq!(world.engine.snapshot().messages, 0);
    assert_eq!(world.count("received"), 0);
}

#[test]
fn a_body_that_breaks_the_rules_is_refused_and_forgotten() {
    for (error, reply) in [
        (BodyError::TooLarge, "552 5.3.4 "),
        (BodyError::StrayControl, "550 5.6.0 "),
        (BodyError::Spool(SpoolError::Full), "452 4.3.1 "),
    ] {
        let mut world = World::new(CONFIG);
        let conn = client_in_data(&mut world);
        world.handle(Input::BodyDone { conn, result: Err(error) });
        world.run_to(1);
        let said = world.heard(conn);
        assert!(said.starts_with(reply), "{said}");
        assert!(world.spool.is_empty());
        // The dialogue goes on.
        assert!(world.client(conn, "NOOP\r\n").starts_with("250"));
    }
}

#[test]
fn a_client_that_leaves_inside_the_body_leaves_nothing_behind() {
    let mut world = World::new(CONFIG);
    let conn = client_in_data(&mut world);
    world.handle(Input::BodyDone { conn, result: Err(BodyError::Lost(None)) });
    world.handle(Input::Closed { conn, error: None });
    world.run_to(1);
    assert!(world.engine.is_at_rest());
    assert_eq!(world.engine.snapshot().messages, 0);
}

#[test]
fn a_client_that_leaves_before_its_250_has_still_handed_over_its_message() {
    let mut world = World::new(CONFIG);
    world.receiver("x.test", |_, said, _| accepting(said));
    world.receiver("y.test", |_, said, _| accepting(said));
    let conn = client_in_data(&mut world);
    body_done(&mut world, conn);
    world.handle(Input::Closed { conn, error: None });
    world.run_to(60);
    assert_eq!(world.count("delivered"), 2);
}

#[test]
fn by_default_nobody_relays() {
    let mut world = World::new("Esmtp_Listener = ( 127.0.0.1:25 )");
    let conn = world.accept(1);
    world.client(conn, "EHLO client.test\r\nMAIL FROM:<s@from.test>\r\n");
    let said = world.client(conn, "RCPT TO:<a@x.test>\r\n");
    assert!(said.starts_with("550 5.7.1 "), "{said}");
    assert_eq!(world.count("rejected"), 1);
}

#[test]
fn a_stalled_client_is_disconnected() {
    let mut world = World::new(CONFIG);
    let conn = world.accept(1);
    world.client(conn, "EHLO client.test\r\n");
    world.run_to(299);
    assert_eq!(world.heard(conn), "");
    world.run_to(301);
    let said = world.heard(conn);
    assert!(said.starts_with("421 ") && said.ends_with("(closed)"), "{said}");
    world.handle(Input::Closed { conn, error: None });
    assert!(world.engine.is_at_rest());
}

#[test]
fn draining_turns_clients_away_but_keeps_the_promise_under_way() {
    let mut world = World::new(CONFIG);
    let busy = client_in_data(&mut world);
    let idle = world.accept(2);
    world.heard(idle);
    world.handle(Input::Drain);
    let said = world.heard(idle);
    assert!(said.starts_with("421 4.3.2 ") && said.ends_with("(closed)"), "{said}");
    body_done(&mut world, busy);
    world.run_to(1);
    let said = world.heard(busy);
    assert!(said.starts_with("250 2.0.0 "), "{said}");
    assert!(said.contains("\r\n421 4.3.2 ") && said.ends_with("(closed)"), "{said}");
    assert_eq!(world.spool.len(), 1, "the message stays in the spool");
}

#[test]
fn bounces_that_come_by_mail_are_read_and_then_pass_or_end() {
    let mut world = World::new(
        "bounce_domains = ( *.ours.test ) bounce_pattern = \"^b-\"
         bounce_suppress_list = \"@ours.test\"
         domain \"drop.ours.test\" { bounce_behavior = blackhole }
         Esmtp_Listener = ( 127.0.0.1:25 )",
    );
    world.receiver("pass.ours.test", |_, said, _| accepting(said));
    let report = "From: <>\r\n\r\n<x@ours.test>\r\n\r\nFinal-Recipient: rfc822; bob@far.test\r\n\
                  Action: failed\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user\r\n";
    let mut send = |n, commands: &str| {
        let conn = world.accept(n);
        let said = world.client(conn, &format!("EHLO c\r\nMAIL FROM:<>\r\n{commands}DATA\r\n"));
        if said.lines().last().is_some_and(|line| line.starts_with("354")) {
            let (_, _, rules) = world.bodies_wanted.pop().expect("a body");
            let head = (rules.head_bytes_max >= report.len()).then(|| report.as_bytes().into());
            let info = BodyInfo {
                size_bytes: 500,
                eight_bit: false,
                received_headers: 0,
                header: None,
                head,
            };
            world.handle(Input::BodyDone { conn, result: Ok(info) });
        }
        world.run_to(10 * n);
        said + &world.heard(conn)
    };
    // To whom nobody else may send.
    assert!(send(1, "RCPT TO:<b-1@far.test>\r\n").contains("550 5.7.1"));
    // An address that is none for bounces.
    assert!(send(2, "RCPT TO:<ann@pass.ours.test>\r\n").contains("250 2.0.0"));
    assert!(send(3, "RCPT TO:<b-2@drop.ours.test>\r\n").contains("250 2.0.0"));
    let both = "RCPT TO:<b-3@drop.ours.test>\r\nRCPT TO:<b-4@pass.ours.test>\r\n";
    assert!(send(4, both).contains("250 2.0.0"));
    let says = |to: &str, behavior: &str| {
        format!(" bob@far.test to {to}, {behavior}, invalid recipient: 550 5.1.1 no such user")
    };
    let bounced = world.told("bounced").into_iter();
    let bounced: Vec<_> =
        bounced.map(|line| line.split_once("bounced").unwrap().1.to_owned()).collect();
    assert_eq!(
        bounced,
        [
            says("b-2@drop.ours.test", "Blackhole"),
            says("b-3@drop.ours.test", "Blackhole"),
            says("b-4@pass.ours.test", "Pass"),
        ]
    );
    // Who is named by its number in the envelope later is so from the start.
    let came = world.records.iter().filter_map(|record| match &record.event {
        Event::Reception { recipients, done, .. } => {
            let open: Vec<_> = numbered(recipients, done).map(|(n, to)| (n, &*to.local)).collect();
            Some((open, &done[..]))
        }
        _ => None,
    });
    let came: Vec<_> = came.collect();
    assert_eq!(
        came,
        [(vec![(0, "ann")], &[][..]), (vec![], &[0][..]), (vec![(1, "b-4")], &[0][..]),]
    );
    // Those that pass are delivered, and nothing is left of the others.
    assert_eq!([world.count("received"), world.count("delivered")], [3, 2]);
    assert!(world.spool.is_empty());
    assert_eq!(world.engine.snapshot().messages, 0);
}

#[test]
fn a_bounce_that_is_not_safe_is_not_told_of() {
    let mut world = World::new("bounce_domains = ( ours.test ) Esmtp_Listener = ( 127.0.0.1:25 )");
    world.spool_error = Some(SpoolError::Full);
    let conn = world.accept(1);
    world.client(conn, "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@ours.test>\r\nDATA\r\n");
    let head = Some(b"Subject: x\r\n\r\n".as_slice().into());
    let info =
        BodyInfo { size_bytes: 500, eight_bit: false, received_headers: 0, header: None, head };
    world.handle(Input::BodyDone { conn, result: Ok(info) });
    world.run_to(1);
    assert_eq!(world.count("bounced"), 0);
}
