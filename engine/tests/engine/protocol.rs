//! What is said to exchanges, and what their words come to.

use std::cell::RefCell;
use std::rc::Rc;

use crate::world::{Answer, World, accepting};
use traject_engine::marks::Mark;

/// Commands as an exchange hears them, banner and dot included.
#[derive(Clone, Default)]
struct Heard(Rc<RefCell<Vec<String>>>);

impl Heard {
    /// A receiver that takes everything but answers `command` (a prefix) its own way.
    fn except(
        &self,
        command: &'static str,
        answer: &'static str,
    ) -> impl FnMut(u32, &str, u64) -> Answer + 'static {
        let heard = self.clone();
        move |_, said, _| {
            heard.0.borrow_mut().push(said.into());
            match said.starts_with(command) {
                true => Answer::Say(answer.into()),
                false => accepting(said),
            }
        }
    }

    fn take(&self) -> Vec<String> {
        self.0.take()
    }
}

#[test]
fn lmtp_goes_to_its_own_port_and_has_a_result_for_each_recipient() {
    let mut world = World::new("delivery_method = LMTP");
    let heard = Heard::default();
    world.receiver("x.test", heard.except(".", "250 2.1.5 stored\n452 4.2.2 full\n550 5.2.0 no"));
    world.submit(0, &["a@x.test", "b@x.test", "c@x.test"]);
    world.run_to(60);
    assert_eq!(world.connects[0].1.port(), 2003);
    assert_eq!(heard.take()[1], "LHLO localhost.test");
    insta::assert_snapshot!(world.story().join("\n"), @"
    0.000 received for 3
    0.040 opened 192.0.2.1 (1)
    0.200 delivered a@x.test try 1: 250 2.1.5 stored
    0.200 deferred b@x.test try 1: 452 4.2.2 full (reply to body), next at 1200
    0.200 failed c@x.test try 1: 550 5.2.0 no (reply to body)
    5.220 closed 192.0.2.1 Idle after 1
    ");
}

#[test]
fn smtp_says_helo_and_uses_no_extensions() {
    let mut world = World::new("delivery_method = SMTP remote_smtp_port = 26");
    let heard = Heard::default();
    world.receiver("x.test", heard.except("EHLO", "250 x"));
    world.submit(0, &["a@x.test"]);
    world.run_to(1);
    assert_eq!(world.connects[0].1.port(), 26);
    assert_eq!(heard.take()[1..3], ["HELO localhost.test", "MAIL FROM:<sender@from.test>"]);
}

#[test]
fn a_rewritten_reply_decides_and_the_dialogue_goes_by_what_was_said() {
    // Hard to soft: tried again. The recipient after it is not concerned.
    let mut world = World::new(
        r#"response_transcode_pattern = "^550 5[.]7[.]1 (.*)"
           response_transcode_replace = "450 4.7.1 softened: $1""#,
    );
    let heard = Heard::default();
    world.receiver("x.test", heard.except("RCPT TO:<a@", "550 5.7.1 blocked"));
    world.submit(0, &["a@x.test", "b@x.test"]);
    world.run_to(1);
    insta::assert_snapshot!(world.story().join("\n"), @"
    0.000 received for 2
    0.040 opened 192.0.2.1 (1)
    0.120 deferred a@x.test try 1: 450 4.7.1 softened: blocked (RCPT TO), next at 1200
    0.120 delivered b@x.test try 1: 250 2.0.0 ok
    ");

    // A 421 made final still ends the session; the silence after it, our own words, are rewritten
    // as well.
    let mut world = World::new(
        r#"max_outbound_connections = 1
           response_transcode_pattern = "^4.. .*(closing|closed by)"
           response_transcode_replace = "554 5.4.2 gave up""#,
    );
    world.receiver("x.test", |conn, said, _| match (conn, said) {
        (1, "DATA") => Answer::Bye("421 4.3.2 closing".into()),
        (2, "DATA") => Answer::Reset,
        _ => accepting(said),
    });
    for who in ["a@x.test", "b@x.test", "c@x.test"] {
        world.submit(0, &[who]);
    }
    world.run_to(60);
    insta::assert_snapshot!(world.story()[3..].join("\n"), @"
    0.040 opened 192.0.2.1 (1)
    0.100 failed a@x.test try 1: 554 5.4.2 gave up (DATA)
    0.100 closed 192.0.2.1 ServiceUnavailable after 0
    0.120 opened 192.0.2.1 (1)
    0.180 failed b@x.test try 1: 554 5.4.2 gave up (DATA)
    0.180 closed 192.0.2.1 Lost after 0
    0.200 opened 192.0.2.1 (1)
    0.280 delivered c@x.test try 1: 250 2.0.0 ok
    5.300 closed 192.0.2.1 Idle after 1
    ");
}

#[test]
fn eight_bit_mail_is_announced_on_demand_and_never_converted_in_silence() {
    let mail = "MAIL FROM:<sender@from.test> SIZE=1000";
    let announced = format!("{mail} BODY=8BITMIME");
    let refusal = "554 5.6.3 8-bit body, and the receiver does not offer 8BITMIME (MAIL FROM)";
    for (config, offers, expected) in [
        ("", true, Ok(mail)),
        ("send_8bitmime = ifavailable", true, Ok(&*announced)),
        ("send_8bitmime = ifavailable", false, Err(refusal)),
        ("", false, Err(refusal)),
        ("transform_8bitmime_content = no", false, Ok("MAIL FROM:<sender@from.test>")),
    ] {
        let mut world = World::new(config);
        let heard = Heard::default();
        let ehlo = if offers { "-" } else { "EHLO" };
        world.receiver("x.test", heard.except(ehlo, "250 x.test"));
        world.submit_with(0, &["a@x.test"], |message| message.eight_bit = true);
        world.run_to(1);
        let said = heard.take().into_iter().find(|line| line.starts_with("MAIL"));
        let failed = world.told("failed");
        match expected {
            Ok(mail) => assert_eq!((said.as_deref(), failed.len()), (Some(mail), 0), "{config}"),
            Err(reply) => assert!(said.is_none() && failed[0].ends_with(reply), "{failed:?}"),
        }
    }
}

/// Who was told of one client and does not hear of another would take the second message for the
/// first one's.
#[test]
fn a_connection_that_speaks_for_another_client_is_not_used() {
    let mut world = World::new("max_outbound_connections = 1 xclient = ifavailable");
    let mut told = false;
    world.receiver("x.test", move |_, said, _| {
        let offer = said.starts_with("EHLO") && !told;
        told |= said.starts_with("XCLIENT");
        match offer {
            true => Answer::Say("250-x.test\n250 XCLIENT ADDR".into()),
            false => accepting(said),
        }
    });
    world.submit(0, &["a@x.test"]);
    world.submit(0, &["b@x.test"]);
    world.run_to(1);
    assert_eq!((world.count("opened"), world.count("delivered")), (2, 2));
    assert!(world.engine.marks().has(Mark::NotAttempted));
}

#[test]
fn the_next_hop_is_told_who_the_client_was() {
    let config = "relay_hosts = 127.0.0.1 Esmtp_Listener = ( 127.0.0.1:25 ) \
                  max_outbound_connections = 1 xclient = ";
    let told = ["XCLIENT ADDR=127.0.0.1 PROTO=SMTP HELO=c.test", "EHLO c.test"];
    for (policy, offers, expected) in [
        ("no", true, &[][..]),
        ("ifavailable", true, &told),
        ("ifavailable", false, &[]),
        ("required", true, &told),
    ] {
        let mut world = World::new(&format!("{config}{policy}"));
        let heard = Heard::default();
        let ehlo = if offers { "EHLO" } else { "-" };
        world.receiver("x.test", heard.except(ehlo, "250-x.test\n250 XCLIENT ADDR PROTO HELO"));
        let commands = "HELO c.test\r\nMAIL FROM:<s@f.test>\r\nRCPT TO:<a@x.test>\r\nDATA\r\n";
        assert!(world.receive(1, commands).starts_with("250 "));
        world.run_to(1);
        let mut said = heard.take();
        said.drain(..2);
        let mail = said.iter().position(|line| line.starts_with("MAIL")).unwrap();
        assert_eq!(said[..mail], *expected, "{policy} {offers}");
        assert_eq!(world.count("delivered"), 1);
    }
    let mut world = World::new(&format!("{config}required"));
    world.receiver("x.test", |_, said, _| accepting(said));
    world.submit(0, &["a@x.test"]);
    world.run_to(1);
    insta::assert_snapshot!(world.told("deferred").join("\n"), @"    0.080 deferred a@x.test try 1: 451 4.7.6 XCLIENT required but not advertised (XCLIENT), next at 1200");
}
