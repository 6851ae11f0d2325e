//! Random worlds as scenarios.

use std::collections::BTreeSet;

use traject_engine::rng::Seed;

use super::config::{self, Names, Sets, Taste};
use super::dice::Dice;
use super::node::Node;

/// A world that a seed has drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    /// Its text, in pieces.
    pub nodes: Vec<Node>,
    /// How many faults and events it has.
    pub faults: usize,
}

/// What a world has at all. Each world lacks some of it: a bug that one fault hides shows where
/// there is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traits {
    pub(super) rules: bool,
    pub(super) limits: bool,
    pub(super) greylist: bool,
    pub(super) tls: bool,
    network: bool,
    dns: bool,
    operator: bool,
    crowds: bool,
    /// Receivers that break the protocol.
    pub(super) hostile: bool,
    /// Mail comes in through a listener.
    listens: bool,
    /// Gateways and `routes`.
    routes: bool,
    /// Configurations that stop mail, until everything is well.
    stops: bool,
    /// The disk of the spool has troubles.
    disk: bool,
    /// Look-ups wait in line.
    lookups: bool,
    /// Mail to some domains is for bounces.
    bounces: bool,
    /// Exchanges have several addresses, of both families.
    pub(super) addresses: bool,
    /// Links are narrow.
    pub(super) narrow: bool,
    /// Receivers behave like known ones.
    pub(super) known: bool,
    /// Receivers block those who offend.
    pub(super) blocks: bool,
    /// There is more mail.
    large: bool,
    /// Nothing takes any time.
    pub(super) instant: bool,
    /// Times in a thousand that an option is set in a stanza.
    density: u64,
    /// Minutes after which everything is well.
    heals: u64,
}

/// Draws the parts of one world.
pub(super) struct Maker {
    pub(super) dice: Dice,
    pub(super) traits: Traits,
    names: Names,
    pub(super) receivers: Vec<Receiver>,
}

pub(super) struct Receiver {
    pub(super) name: String,
    pub(super) domains: Vec<String>,
    pub(super) hosts: Vec<String>,
    pub(super) lmtp: bool,
    pub(super) has_tls: bool,
}

impl World {
    /// The world of a seed.
    pub fn draw(seed: u64) -> Self {
        let mut dice = Dice::new(Seed::from_u64(seed), 0);
        let traits = Traits::draw(&mut dice);
        let mut maker = Maker::new(dice, traits);
        let mut nodes = vec![Node::Lines(format!(
            "title = \"world {seed}\"\nseed = {seed}\nhorizon = \"{HORIZON}\"\n"
        ))];
        nodes.push(maker.config("config_text"));
        nodes.extend(maker.receivers_text());
        nodes.extend(maker.traffic());
        nodes.extend(maker.names_text());
        let mut troubles = maker.faults();
        troubles.extend(maker.events());
        let faults = troubles.len();
        nodes.extend(troubles);
        Self { nodes, faults }
    }

    /// The options that its configurations set.
    pub fn options(&self) -> BTreeSet<&'static str> {
        super::options_in(&self.text())
    }

    /// The scenario.
    pub fn text(&self) -> String {
        Node::text(&self.nodes)
    }
}

impl Traits {
    fn draw(dice: &mut Dice) -> Self {
        Self {
            rules: dice.percent(60),
            limits: dice.percent(40),
            greylist: dice.percent(30),
            tls: dice.percent(30),
            network: dice.percent(50),
            dns: dice.percent(40),
            operator: dice.percent(40),
            crowds: dice.percent(30),
            hostile: dice.percent(30),
            listens: dice.percent(25),
            routes: dice.percent(20),
            stops: dice.percent(15),
            instant: dice.percent(8),
            density: *dice.pick_one(&[0, 20, 60, 150]),
            heals: *dice.pick_one(&[5, 30, 120]),
            disk: dice.percent(20),
            lookups: dice.percent(5),
            bounces: dice.percent(25),
            addresses: dice.percent(25),
            narrow: dice.percent(10),
            known: dice.percent(10),
            blocks: dice.percent(20),
            large: dice.percent(3),
        }
    }
}

impl Maker {
    fn new(mut dice: Dice, traits: Traits) -> Self {
        let mut receivers = Vec::new();
        for r in 0..dice.within(1..=4) {
            let domains = (0..dice.within(1..=3)).map(|d| format!("d{d}.r{r}.example")).collect();
            let hosts = (0..dice.within(1..=3)).map(|h| format!("mx{h}.r{r}.example")).collect();
            let (lmtp, has_tls) = (dice.percent(8), traits.tls && dice.percent(70));
            receivers.push(Receiver { name: format!("r{r}"), domains, hosts, lmtp, has_tls });
        }
        let all = |part: fn(&Receiver) -> &Vec<String>| -> Vec<String> {
            receivers.iter().flat_map(|one| part(one).clone()).collect()
        };
        let names = Names {
            domains: all(|one| &one.domains),
            hosts: all(|one| &one.hosts),
            bindings: (0..dice.below(4)).map(|b| format!("b{b}")).collect(),
            lmtp: receivers
                .iter()
                .filter(|one| one.lmtp)
                .flat_map(|one| one.domains.clone())
                .collect(),
        };
        Self { dice, traits, names, receivers }
    }

    fn config(&mut self, key: &str) -> Node {
        let stops = self.traits.stops;
        self.one_config(key, stops)
    }

    fn one_config(&mut self, key: &str, stops: bool) -> Node {
        let Traits { density, listens, routes, tls, lookups, bounces, .. } = self.traits;
        let sets = Sets {
            tls: tls && self.dice.percent(60),
            lookups,
            clients_tls: listens && self.dice.percent(40),
            bounces: listens && bounces,
        };
        let taste = Taste { density, stops, listens, routes, sets };
        Node::Block {
            open: format!("{key} = '''\n"),
            children: config::draw(&mut self.dice, &self.names, taste),
            close: "'''\n".into(),
        }
    }

    fn traffic(&mut self) -> Vec<Node> {
        let count = self.dice.within(1..=3);
        (0..count).map(|_| self.one_traffic()).collect()
    }

    fn one_traffic(&mut self) -> Node {
        let mut to: Vec<String> = self.names.domains.clone();
        to.retain(|_| self.dice.percent(60));
        if to.is_empty() {
            to = self.names.domains[..1].to_vec();
        }
        let open = format!(
            "\n[[traffic]]\nfrom = {}\nto = {to:?}\n",
            self.dice.pick(&["\"news{n}@brand.example\"", "\"a@brand.example\"", "\"<>\""])
        );
        let mut children = Vec::new();
        let mut line = |text: String| children.push(Node::Lines(text + "\n"));
        let most = if self.traits.large { 120 } else { 40 };
        line(format!("messages = {}", self.dice.within(1..=most)));
        match self.dice.below(3) {
            0 => {}
            1 => line(format!("over = \"{}\"", self.heals())),
            _ => line(format!("over = \"{}\"\nshape = \"poisson\"", self.heals())),
        }
        if self.dice.percent(30) {
            line(format!("start = \"{}s\"", self.dice.below(self.traits.heals * 60)));
        }
        if self.traits.crowds {
            line(match self.dice.percent(50) {
                true => "recipients = \"all\"".to_owned(),
                false => "recipients = { min = 1, max = 12 }".to_owned(),
            });
        }
        line(format!("size = \"{}\"", self.dice.pick(&["64B", "1KB", "10KB", "70KB"])));
        if self.dice.percent(20) {
            line("eight_bit = true".to_owned());
        }
        if self.traits.listens && self.dice.percent(60) {
            line("through = \"listener\"".to_owned());
        }
        if !self.names.bindings.is_empty() && self.dice.percent(70) {
            let binding = self.dice.pick_one(&self.names.bindings).clone();
            line(format!("binding = \"{binding}\""));
        }
        Node::Block { open, children, close: String::new() }
    }

    fn faults(&mut self) -> Vec<Node> {
        let mut faults = Vec::new();
        if self.traits.network {
            for _ in 0..self.dice.below(4) {
                let fault = self.network_fault();
                faults.push(self.fault(&fault));
            }
        }
        if self.traits.dns {
            for _ in 0..self.dice.below(3) {
                let domain = self.dice.pick_one(&self.names.domains).clone();
                let what = match self.dice.percent(60) {
                    true => {
                        let how = self.dice.pick(&["servfail", "nxdomain", "timeout"]);
                        format!("what = \"dns_failure\"\nhow = \"{how}\"\n")
                    }
                    false => "what = \"dns_slow\"\nplus = \"7s\"\n".to_owned(),
                };
                faults.push(self.fault(&format!("{what}domain = \"{domain}\"\n")));
            }
        }
        if self.traits.disk {
            for _ in 0..self.dice.within(1..=2) {
                let what = match self.dice.below(4) {
                    // Clients give up before that is over.
                    0 if self.traits.listens => "what = \"disk_slow\"\nplus = \"11m\"\n".to_owned(),
                    0 => "what = \"disk_full\"\n".to_owned(),
                    1 => "what = \"disk_fails\"\n".to_owned(),
                    _ => {
                        let plus = self.dice.pick(&["20ms", "2s", "40s", "11m"]);
                        format!("what = \"disk_slow\"\nplus = \"{plus}\"\n")
                    }
                };
                faults.push(self.fault(&what));
            }
        }
        faults
    }

    fn network_fault(&mut self) -> String {
        let one = self.dice.below(self.receivers.len() as u64) as usize;
        let Receiver { name, hosts, has_tls, .. } = &self.receivers[one];
        let whom = match self.dice.percent(50) {
            true => format!("receiver = \"{name}\"\n"),
            false => format!("host = \"{}\"\n", self.dice.pick_one(hosts)),
        };
        match self.dice.below(5) {
            0 | 1 => {
                let how = self.dice.pick(&["refused", "blackhole", "unreachable"]);
                format!("what = \"host_down\"\nhow = \"{how}\"\n{whom}")
            }
            2 => format!("what = \"reset\"\n{whom}"),
            3 => format!("what = \"slow\"\nplus = \"{}\"\n{whom}", self.dice.pick(&["3s", "40s"])),
            _ if *has_tls => format!("what = \"starttls_off\"\nreceiver = \"{name}\"\n"),
            _ => match self.names.bindings.first() {
                Some(binding) => {
                    let how = self.dice.pick(&["refused", "blackhole", "unreachable"]);
                    format!(
                        "what = \"partition\"\nhow = \"{how}\"\nbinding = \"{binding}\"\n{whom}"
                    )
                }
                None => format!("what = \"slow\"\ntimes = 20\n{whom}"),
            },
        }
    }

    fn fault(&mut self, what: &str) -> Node {
        let (at, length) = self.stretch();
        Node::Lines(format!("\n[[fault]]\nat = \"{at}s\"\nfor = \"{length}s\"\n{what}"))
    }

    /// What the DNS says otherwise for some time.
    fn names_text(&mut self) -> Vec<Node> {
        if !self.traits.dns {
            return Vec::new();
        }
        let timeout = self.dice.pick(&["1s", "10s"]);
        let ttl = self.dice.pick(&["0s", "1m", "1h"]);
        let dns =
            format!("\n[dns]\nttl = \"{ttl}\"\nnegative_ttl = \"30s\"\ntimeout = \"{timeout}\"\n");
        let mut nodes = vec![Node::Lines(dns)];
        for _ in 0..self.dice.below(3) {
            let domain = self.dice.pick_one(&self.names.domains).clone();
            let host = self.dice.pick_one(&self.names.hosts).clone();
            let what = match self.dice.below(6) {
                0 => "mx = \"null\"".to_owned(),
                1 => format!("mx = [\"{host}\"]"),
                2 => format!("mx = [\"nowhere.example\", \"{host}\"]"),
                3 => "addresses = [\"192.0.2.77\"]".to_owned(),
                4 => "failure = \"nxdomain\"".to_owned(),
                _ => "mx_failure = \"servfail\"".to_owned(),
            };
            let (from, length) = self.stretch();
            let until = from + length;
            nodes.push(Node::Lines(format!(
                "\n[[dns.name]]\nname = \"{domain}\"\nfrom = \"{from}s\"\nuntil = \"{until}s\"\n{what}\n"
            )));
        }
        nodes
    }

    fn events(&mut self) -> Vec<Node> {
        let mut nodes = self.troublesome_events();
        if self.traits.stops {
            // What was stopped goes on.
            let at = self.heals();
            nodes.push(Node::Block {
                open: format!("\n[[event]]\nat = \"{at}\"\nwhat = \"reload\"\n"),
                children: vec![self.one_config("config_text", false)],
                close: String::new(),
            });
        }
        nodes
    }

    fn troublesome_events(&mut self) -> Vec<Node> {
        if !self.traits.operator {
            return Vec::new();
        }
        let mut times: Vec<u64> = (0..self.dice.within(1..=3)).map(|_| self.stretch().0).collect();
        times.sort_unstable();
        // Two things at one instant have no order.
        times.dedup();
        times.iter().map(|at| self.event(*at)).collect()
    }

    fn event(&mut self, at: u64) -> Node {
        let open = format!("\n[[event]]\nat = \"{at}s\"\n");
        match self.dice.below(10) {
            0 | 1 => Node::Block {
                open: open + "what = \"reload\"\n",
                children: vec![self.config("config_text")],
                close: String::new(),
            },
            2 => Node::Lines(open + "what = \"restart\"\nfor = \"3s\"\n"),
            3 => Node::Lines(open + "what = \"crash\"\n"),
            4 => Node::Lines(open + "what = \"power_cut\"\n"),
            5 => {
                let length = self.traits.heals * 60 - at;
                let whose = self.whose();
                Node::Lines(format!("{open}what = \"suspend\"\nfor = \"{length}s\"\n{whose}"))
            }
            6 => Node::Lines(open + "what = \"flush\"\n" + &self.whose()),
            7 => {
                let quiet = if self.dice.percent(30) { "quiet = true\n" } else { "" };
                Node::Lines(open + "what = \"fail\"\n" + quiet + &self.whose())
            }
            8 => Node::Lines(open + "what = \"resume\"\n" + &self.whose()),
            _ => {
                let whose = self.whose();
                let to = match self.names.bindings.last() {
                    Some(binding) if self.dice.percent(50) => {
                        format!("to_binding = \"{binding}\"\n")
                    }
                    _ => format!("to_domain = \"{}\"\n", self.dice.pick_one(&self.names.domains)),
                };
                Node::Lines(format!("{open}what = \"reroute\"\n{whose}{to}"))
            }
        }
    }

    /// What an operator does something with.
    fn whose(&mut self) -> String {
        match self.dice.below(3) {
            0 => String::new(),
            1 => format!("domain = \"{}\"\n", self.dice.pick_one(&self.names.domains)),
            _ => match self.names.bindings.first() {
                Some(binding) => format!("binding = \"{binding}\"\n"),
                None => String::new(),
            },
        }
    }

    /// When something begins, and how long it lasts: it is over when everything is well.
    fn stretch(&mut self) -> (u64, u64) {
        let end = self.traits.heals * 60;
        let at = self.dice.below(end - 1);
        (at, self.dice.within(1..=end - at))
    }

    pub(super) fn heals(&self) -> String {
        format!("{}m", self.traits.heals)
    }

    pub(super) fn seconds(&mut self) -> &'static str {
        self.dice.pick(&["100ms", "2s", "29s", "61s", "301s"])
    }
}

/// Long after everything is well, and every message is too old.
const HORIZON: &str = "20d";
