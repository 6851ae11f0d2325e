//! Receivers of random worlds: where they are, what they refuse, and how they break.

use super::node::Node;
use super::world::{Maker, Receiver};

impl Maker {
    pub(super) fn receivers_text(&mut self) -> Vec<Node> {
        let receivers = std::mem::take(&mut self.receivers);
        let nodes = receivers.iter().map(|one| self.receiver(one)).collect();
        self.receivers = receivers;
        nodes
    }

    fn receiver(&mut self, receiver: &Receiver) -> Node {
        let Receiver { name, domains, hosts, lmtp, has_tls } = receiver;
        let mx = self.exchanges(name, hosts);
        let mut open = format!(
            "\n[[receiver]]\nname = \"{name}\"\ndomains = {domains:?}\nmx = [{}]\n",
            mx.join(", ")
        );
        if *lmtp {
            open += "protocol = \"lmtp\"\n";
        }
        let mut children = Vec::new();
        let mut line = |text: String| children.push(Node::Lines(text + "\n"));
        let latency = match self.traits.instant {
            true => "0s",
            false => self.dice.pick(&["10ms", "20ms", "80ms", "200ms", "4s"]),
        };
        line(format!("latency = \"{latency}\""));
        if self.dice.percent(40) {
            line(format!("jitter = \"{}\"", self.dice.pick(&["1ms", "10ms", "1s"])));
        }
        if self.traits.narrow && self.dice.percent(60) {
            let key = self.dice.pick(&["bandwidth", "exchange_bandwidth"]);
            line(format!("{key} = \"{}\"", self.dice.pick(&["500B/s", "8KB/s", "1MB/s"])));
        }
        if self.traits.known && !*lmtp && self.dice.percent(50) {
            line(format!("profile = \"{}\"", self.dice.pick(&KNOWN)));
        }
        if self.dice.percent(30) {
            let offers = self.dice.pick(&[
                "",
                "\"PIPELINING\"",
                "\"SIZE 20000\"",
                "\"8BITMIME\", \"ENHANCEDSTATUSCODES\"",
                "\"PIPELINING\", \"XCLIENT\"",
                "\"SIZE\", \"XCLIENT ADDR HELO\"",
            ]);
            line(format!("extensions = [{offers}]"));
        }
        if self.traits.rules {
            for _ in 0..self.dice.below(4) {
                let rule = self.rule(*lmtp);
                line(rule);
            }
        }
        if self.traits.limits {
            for _ in 0..self.dice.below(3) {
                let limit = self.limit();
                line(limit);
            }
        }
        if self.traits.blocks && self.dice.percent(60) {
            line(self.unknown());
        }
        if self.traits.greylist && self.dice.percent(50) {
            let hold = self.dice.pick(&["1s", "1m", "5m", "15m"]);
            let key = self.dice.pick(&["\"address\"", "\"network\", \"sender\", \"recipient\""]);
            line(format!("[receiver.greylist]\nhold = \"{hold}\"\nkey = [{key}]"));
        }
        if *has_tls {
            for posture in self.tls() {
                line(posture);
            }
        }
        Node::Block { open, children, close: String::new() }
    }

    /// Where its exchanges are: at addresses that the scenario gives out, or at some of both
    /// families.
    fn exchanges(&mut self, receiver: &str, hosts: &[String]) -> Vec<String> {
        let equal = self.dice.percent(50);
        let number = receiver.trim_start_matches('r');
        let mut exchanges = Vec::new();
        for (n, host) in (1..).zip(hosts) {
            let preference = if equal { 10 } else { 10 * n };
            let mut text = format!("{{ host = \"{host}\", preference = {preference}");
            if self.traits.addresses {
                let addresses: Vec<String> = (0..self.dice.within(1..=3))
                    .map(|one| match self.dice.percent(40) {
                        true => format!("2001:db8::{number}:{n}:{one}"),
                        false => format!("198.51.100.1{number}{}", 3 * (n - 1) + one),
                    })
                    .collect();
                text += &format!(", addresses = {addresses:?}");
            }
            exchanges.push(text + " }");
        }
        exchanges
    }

    /// Mailboxes that do not exist, and what becomes of those who name too many.
    fn unknown(&mut self) -> String {
        let mut text = "[receiver.unknown]\n".to_owned();
        text += self.dice.pick(&["share = 0.1", "share = 0.6", "recipients = [\"user1*\"]"]);
        if self.dice.percent(60) {
            let share = self.dice.pick(&["0.1", "0.5"]);
            let of = self.dice.pick(&["1", "6"]);
            text += &format!(
                "\n[receiver.unknown.trip]\nshare = {share}\nof = {of}\nwithin = \"10m\"\n{}",
                self.block()
            );
        }
        text
    }

    /// Nothing else is said for some time.
    fn block(&mut self) -> String {
        let length = self.dice.pick(&["10s", "10m", "2h"]);
        let stage = self.dice.pick(&["banner", "mail"]);
        let then = self.dice.pick(&[
            "reply = \"421 4.7.0 Shut\"",
            "reply = \"450 4.7.1 Shut\"",
            "reply = \"554 5.7.1 Shut\"",
            "action = \"close\"",
        ]);
        format!("block = \"{length}\"\nstage = \"{stage}\"\n{then}")
    }

    /// The first posture is a broken one and ends; the other is what every receiver comes to.
    fn tls(&mut self) -> Vec<String> {
        let until = self.heals();
        let trouble = self.dice.pick(&[
            "offer = \"no\"",
            "offer = \"stripped\"",
            "answer = \"454 4.7.0 Not now\"",
            "answer = \"502 5.5.1 Unknown command\"",
            "answer = \"garbage\"",
            "answer = \"reset\"",
            "answer = \"close\"",
            "answer = \"stall\"",
            "inject = \"250 2.0.0 Ok\"",
            "handshake = \"alert\"",
            "handshake = \"cut\"",
            "handshake = \"stall\"",
            "handshake = \"garbage\"",
            "certificate = \"expired\"",
            "certificate = \"self_signed\"",
            "certificate = \"wrong_name\"",
            "wants_certificate = true",
            "versions = [\"TLSv1.2\"]",
        ]);
        let mut postures = Vec::new();
        if self.dice.percent(70) {
            postures.push(format!("[[receiver.tls]]\nbefore = \"{until}\"\n{trouble}"));
        }
        postures.push("[[receiver.tls]]".to_owned());
        postures
    }

    fn rule(&mut self, lmtp: bool) -> String {
        let stages = ["banner", "ehlo", "mail", "rcpt", "data", "body", "rset"];
        let stage = self.dice.pick(&stages);
        let mut rule = format!("[[receiver.reply]]\nstage = \"{stage}\"\n");
        rule += &format!("before = \"{}\"\n", self.heals());
        rule += &format!("probability = {}\n", self.dice.pick(&["0.05", "0.3", "0.8", "1"]));
        if stage == "rcpt" && self.dice.percent(30) {
            rule += "recipient = \"user1*\"\n";
        }
        if stage == "body" && self.dice.percent(20) {
            rule += self.dice.pick(&["larger_than = \"5KB\"\n", "unannounced_8bit = true\n"]);
        }
        let what = self.dice.below(100);
        let mut goes_along = false;
        // A receiver that refuses what it has taken breaks its own word: no law of ours holds then.
        let keeps = what >= 60 && stage == "body" && !lmtp && self.dice.percent(40);
        if what < 60 {
            let reply = match self.traits.hostile && self.dice.percent(20) {
                true => long_reply(self.dice.pick(&["250", "451", "550"])),
                false => self.reply().to_owned(),
            };
            rule += &match self.dice.percent(15) {
                true => format!("replies = [{reply}, {}]\norder = \"turn\"\n", self.reply()),
                false => format!("reply = {reply}\n"),
            };
        } else if what < 90 {
            let acts: &[&str] = match self.traits.hostile {
                true => &["garbage", "flood", "half_close", "early", "drip", "reset", "stall"],
                false => &["reset", "close", "stall"],
            };
            let act = self.dice.pick(acts);
            // Who goes along keeps the message anyway.
            goes_along = matches!(act, "early" | "drip");
            rule += &format!("action = \"{act}\"\n");
        } else {
            rule += &format!("action = \"tarpit\"\ndelay = \"{}\"\n", self.seconds());
            return rule.trim_end().to_owned();
        }
        if self.dice.percent(30) {
            rule += &format!("delay = \"{}\"\n", self.seconds());
        }
        if keeps && !goes_along {
            rule += "keeps_message = true\n";
        }
        rule.trim_end().to_owned()
    }

    fn reply(&mut self) -> &'static str {
        self.dice.pick(&[
            "\"421 4.3.2 Closing\"",
            "\"421 4.7.0 Too much\"",
            "\"450 4.2.0 Later\"",
            "\"451 4.7.1 Greylisted\"",
            "\"452 4.2.2 Full\"",
            "\"550 5.1.1 No such user\"",
            "\"554 5.7.1 Refused\"",
            "[\"451-4.3.0 Let me explain\", \"451 4.3.0 at length\"]",
            "[\"220-Welcome\", \"521 Go away\"]",
            "[\"250-First\", \"451 second thoughts\"]",
            "\"499 nobody knows this code\"",
            "\"599 nor this one\"",
            "\"200 which says nothing\"",
        ])
    }

    fn limit(&mut self) -> String {
        let (what, max) = *self.dice.pick_one(&[
            ("connections", "1"),
            ("connections", "3"),
            ("connection_rate", "\"6/m\""),
            ("messages", "\"20/m\""),
            ("messages", "\"5/10s\""),
            ("messages_per_connection", "1"),
            ("messages_per_connection", "4"),
            ("recipients_per_message", "1"),
            ("recipients_per_message", "3"),
        ]);
        let then = match self.dice.percent(75) {
            true => "reply = \"421 4.7.0 Too many\"".to_owned(),
            false => format!("action = \"{}\"", self.dice.pick(&["reset", "close"])),
        };
        let then = match what {
            "recipients_per_message" => "reply = \"452 4.5.3 Too many recipients\"".to_owned(),
            _ => then,
        };
        let mut limit = format!("[[receiver.limit]]\nwhat = \"{what}\"\nmax = {max}\n{then}\n");
        if what.starts_with("connection") && self.dice.percent(30) {
            limit += &format!("per = \"{}\"\n", self.dice.pick(&["network", "all"]));
        }
        if what.ends_with("s") && self.dice.percent(15) {
            limit += "load = { every = \"1h\", \"0s\" = 0.5, \"20m\" = 1 }\n";
        }
        if self.traits.blocks && self.dice.percent(50) {
            let offences = self.dice.pick(&["1", "3"]);
            limit += &format!(
                "[receiver.limit.escalation]\noffences = {offences}\nwithin = \"10m\"\n{}",
                self.block()
            );
        }
        limit.trim_end().to_owned()
    }
}

/// Receivers that there are.
const KNOWN: [&str; 7] = ["google", "yahoo", "outlook", "office365", "gmx", "apple", "comcast"];

/// A reply that does not come to its end for a long time.
fn long_reply(code: &str) -> String {
    let mut lines: Vec<String> =
        (0..80).map(|n| format!("\"{code}-{n} {}\"", "x".repeat(60))).collect();
    lines.push(format!("\"{code} at last\""));
    format!("[{}]", lines.join(", "))
}
