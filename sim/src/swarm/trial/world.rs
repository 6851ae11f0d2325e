//! Random worlds for a configuration that is as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use traject_engine::config::effective::{Blackhole, DeliveryMethod, DeliveryOptions};
use traject_engine::config::routes::NextHop;
use traject_engine::rng::Seed;

use super::super::dice::Dice;
use super::super::node::Node;
use super::super::world::World;
use super::{Trial, known};

/// Draws the world of a seed.
pub(super) fn draw(trial: &Trial, seed: u64) -> World {
    let mut dice = Dice::new(Seed::from_u64(seed), STREAM);
    let traits = Traits::draw(&mut dice);
    let mut maker = Maker { trial, dice, traits, sites: BTreeMap::new() };
    let flows = maker.flows();
    let horizon = trial.horizon(&flows, traits.heals);
    let head = format!(
        "title = \"world {seed} of {}\"\nseed = {seed}\nhorizon = \"{horizon}h\"\nconfig = {:?}\n",
        trial.file.file_name().map(|name| name.to_string_lossy()).unwrap_or_default(),
        trial.file.display().to_string(),
    );
    let mut nodes = vec![Node::Lines(head)];
    // What costs most comes first: it is left out first where a world is made smaller.
    nodes.extend(flows.iter().map(|flow| maker.traffic(flow)));
    let troubles = maker.troubles();
    let faults = troubles.len();
    nodes.extend(troubles);
    nodes.extend(maker.receivers());
    if let Some((_, expect)) = &trial.wishes.expect {
        nodes.push(Node::Lines(format!("\n{expect}")));
    }
    World { nodes, faults }
}

/// What a world has at all.
#[derive(Clone, Copy, Debug)]
struct Traits {
    /// Receivers refuse for now, hang up and stall.
    rules: bool,
    /// Receivers nobody knows have limits.
    limits: bool,
    greylist: bool,
    /// TLS goes wrong.
    tls: bool,
    network: bool,
    dns: bool,
    /// The process ends and begins again.
    restarts: bool,
    /// Minutes after which everything is well.
    heals: u64,
}

impl Traits {
    fn draw(dice: &mut Dice) -> Self {
        Self {
            rules: dice.percent(60),
            limits: dice.percent(50),
            greylist: dice.percent(30),
            tls: dice.percent(40),
            network: dice.percent(50),
            dns: dice.percent(30),
            restarts: dice.percent(25),
            heals: *dice.pick_one(&[10, 60, 240]),
        }
    }
}

/// Mail of a binding to a domain.
struct Flow {
    binding: String,
    domain: String,
}

/// Some exchanges of one owner.
#[derive(Clone, Debug)]
struct Site {
    domain: String,
    /// Exchanges; without addresses they are given some.
    hosts: BTreeMap<String, Option<IpAddr>>,
    port: Option<u16>,
    lmtp: bool,
    profile: Option<&'static str>,
    has_tls: bool,
}

struct Maker<'t> {
    trial: &'t Trial,
    dice: Dice,
    traits: Traits,
    sites: BTreeMap<String, Site>,
}

impl Trial {
    /// Hours until every message is too old, and some more.
    fn horizon(&self, flows: &[Flow], heals_min: u64) -> u64 {
        let lives = flows.iter().map(|flow| {
            let options = self.config.delivery_options(&flow.binding, &flow.domain);
            options.message_expiration + options.max_retry_interval
        });
        let longest = lives.max().unwrap_or_default() + Duration::from_secs(heals_min * 60);
        (longest.as_secs() / 3600 + HOURS_LEFT).min(HOURS_MAX)
    }

    /// Whether the configuration says that this mail does not go.
    fn is_held(&self, binding: &str, domain: &str) -> bool {
        let options = self.config.delivery_options(binding, domain);
        options.suspend_delivery || self.config.blackhole(binding, domain) != Blackhole::No
    }
}

impl Maker<'_> {
    /// Which mail there is. Every domain of it gets a receiver.
    fn flows(&mut self) -> Vec<Flow> {
        let mut flows = Vec::new();
        for domain in self.destinations() {
            for binding in self.bindings_for(&domain) {
                flows.push(Flow { binding, domain: domain.clone() });
            }
        }
        self.meet_expectations(&mut flows);
        for Flow { binding, domain } in &flows {
            self.open(binding, domain);
        }
        flows
    }

    /// There is mail of every binding that an expectation is about.
    fn meet_expectations(&mut self, flows: &mut Vec<Flow>) {
        for super::Whose { binding, domain } in &self.trial.expected {
            let Some(binding) = binding else { continue };
            let is_met = |flow: &Flow| {
                flow.binding == *binding && domain.as_ref().is_none_or(|one| *one == flow.domain)
            };
            if !flows.iter().any(is_met) {
                let any = self.dice.below(flows.len() as u64) as usize;
                let domain = domain.clone().unwrap_or_else(|| flows[any].domain.clone());
                flows.push(Flow { binding: binding.clone(), domain });
            }
        }
    }

    fn destinations(&mut self) -> BTreeSet<String> {
        let named = &self.trial.domains;
        let expected = self.trial.expected.iter();
        let mut chosen: BTreeSet<String> = expected.filter_map(|one| one.domain.clone()).collect();
        if !named.is_empty() {
            for _ in 0..self.dice.within(1..=DOMAINS_DRAWN_MAX) {
                chosen.insert(self.dice.pick_one(named).clone());
            }
        }
        if chosen.is_empty() || self.dice.percent(30) {
            let known: Vec<&str> = known::domains().collect();
            chosen.insert(self.dice.pick(&known).to_owned());
        }
        if self.dice.percent(40) {
            let other = self.dice.pick(&["other.example", "some.example"]);
            chosen.insert(other.to_owned());
        }
        chosen
    }

    /// One or two bindings whose mail goes there, of those whose mail may go; any, if none may.
    fn bindings_for(&mut self, domain: &str) -> Vec<String> {
        let all = self.trial.bindings();
        let going: Vec<&str> =
            all.iter().copied().filter(|binding| !self.trial.is_held(binding, domain)).collect();
        let from = if going.is_empty() { &all } else { &going };
        let mut chosen = BTreeSet::new();
        for _ in 0..self.dice.within(1..=2) {
            chosen.insert(self.dice.pick(from).to_owned());
        }
        chosen.into_iter().collect()
    }

    /// Sees to it that there are exchanges for mail of a binding to a domain, wherever the
    /// configuration sends it.
    fn open(&mut self, binding: &str, domain: &str) {
        let config = &self.trial.config;
        let gateway = config.delivery_options(binding, domain).gateway;
        let options = config.delivery_options(binding, gateway.as_deref().unwrap_or(domain));
        // The mail's own domain is there in any case: reports and expectations name it.
        self.site(domain, &options, gateway.is_none() && options.routes.is_empty());
        match gateway.as_deref() {
            None => {}
            Some(name) => match name.trim_matches(['[', ']']).parse() {
                Ok(address) => self.address(address, &options, None),
                Err(_) => self.site(name, &options, options.routes.is_empty()),
            },
        }
        for hop in options.routes.iter() {
            match &hop.to {
                NextHop::OwnExchanges => self.site(domain, &options, true),
                NextHop::Address(address) => self.address(*address, &options, hop.port),
                NextHop::Exchanges(name) => self.site(name, &options, true),
                NextHop::Host(host) => {
                    self.site(host, &options, true);
                    if let Some(site) = self.sites.get_mut(&**host) {
                        site.hosts.insert(host.to_string(), None);
                        site.port = hop.port.or(site.port);
                    }
                }
            }
        }
    }

    /// The exchanges of a domain. Those that mail goes to listen where the configuration looks.
    fn site(&mut self, domain: &str, options: &DeliveryOptions, is_used: bool) {
        if !self.sites.contains_key(domain) {
            let hosts = (1..=self.dice.within(1..=3)).map(|n| (format!("mx{n}.{domain}"), None));
            let mut hosts: BTreeMap<_, _> = hosts.collect();
            if options
                .routes
                .iter()
                .any(|hop| matches!(&hop.to, NextHop::Host(host) if **host == *domain))
            {
                hosts.clear();
            }
            let hosted = self.dice.percent(25).then(|| self.dice.pick(known::HOSTED));
            let site = Site {
                domain: domain.to_owned(),
                hosts,
                port: None,
                lmtp: false,
                profile: known::profile_of(domain).or(hosted),
                has_tls: self.trial.expects_tls(domain) || self.dice.percent(60),
            };
            self.sites.insert(domain.to_owned(), site);
        }
        if let Some(site) = self.sites.get_mut(domain).filter(|_| is_used) {
            site.port = Some(options.port());
            site.lmtp = options.delivery_method == DeliveryMethod::Lmtp;
        }
    }

    /// An exchange that the configuration names by its address.
    fn address(&mut self, address: IpAddr, options: &DeliveryOptions, port: Option<u16>) {
        let name = format!("at-{}.invalid", address.to_string().replace([':', '.'], "-"));
        self.sites.entry(name.clone()).or_insert_with(|| Site {
            hosts: [(format!("mx.{name}"), Some(address))].into(),
            domain: name,
            port: port.or_else(|| Some(options.port())),
            lmtp: options.delivery_method == DeliveryMethod::Lmtp,
            profile: None,
            has_tls: true,
        });
    }

    fn receivers(&mut self) -> Vec<Node> {
        let sites: Vec<Site> = self.sites.values().cloned().collect();
        sites.iter().map(|site| self.receiver(site)).collect()
    }

    fn receiver(&mut self, site: &Site) -> Node {
        let Site { domain, hosts, port, lmtp, profile, has_tls } = site;
        let exchange = |(host, address): (&String, &Option<IpAddr>)| match address {
            Some(address) => format!("{{ host = \"{host}\", addresses = [\"{address}\"] }}"),
            None => format!("{{ host = \"{host}\" }}"),
        };
        let mx: Vec<String> = hosts.iter().map(exchange).collect();
        let mut open = format!(
            "\n[[receiver]]\nname = \"{domain}\"\ndomains = [\"{domain}\"]\nmx = [{}]\n",
            mx.join(", ")
        );
        if *lmtp {
            open += "protocol = \"lmtp\"\n";
        }
        if let Some(port) = port {
            open += &format!("port = {port}\n");
        }
        let mut children = Vec::new();
        let mut line = |text: String| children.push(Node::Lines(text + "\n"));
        if let Some(profile) = profile.filter(|_| !lmtp) {
            line(format!("profile = \"{profile}\""));
        }
        line(format!("latency = \"{}\"", self.dice.pick(&["5ms", "20ms", "80ms", "200ms"])));
        if self.traits.rules {
            for _ in 0..self.dice.below(3) {
                let rule = self.rule();
                line(rule);
            }
        }
        if self.traits.limits && profile.is_none() {
            for _ in 0..self.dice.below(3) {
                let (what, max) = *self.dice.pick_one(LIMITS);
                let reply = self.dice.pick(&["421 4.7.0 Too many", "450 4.7.1 Slow down"]);
                line(format!(
                    "[[receiver.limit]]\nwhat = \"{what}\"\nmax = {max}\nreply = \"{reply}\""
                ));
            }
        }
        if self.traits.greylist && profile.is_none() && self.dice.percent(50) {
            let hold = self.dice.pick(&["1m", "5m", "15m"]);
            line(format!("[receiver.greylist]\nhold = \"{hold}\""));
        }
        if *has_tls && (profile.is_none() || self.trial.expects_tls(domain)) {
            if self.traits.tls && self.dice.percent(60) {
                let (until, trouble) = (self.traits.heals, self.dice.pick(TLS_TROUBLE));
                line(format!("[[receiver.tls]]\nbefore = \"{until}m\"\n{trouble}"));
            }
            line("[[receiver.tls]]".to_owned());
        }
        Node::Block { open, children, close: String::new() }
    }

    /// Trouble that has an end, and no refusal for good.
    fn rule(&mut self) -> String {
        let stage = self.dice.pick(&["banner", "ehlo", "mail", "rcpt", "data", "body"]);
        let probability = self.dice.pick(&["0.05", "0.3", "0.9", "1"]);
        let (after, before) = self.stretch();
        let what = match self.dice.below(100) {
            0..70 => format!("reply = \"{}\"", self.dice.pick(REPLIES)),
            70..90 => format!("action = \"{}\"", self.dice.pick(&["reset", "close", "stall"])),
            _ => "action = \"tarpit\"\ndelay = \"29s\"".to_owned(),
        };
        format!(
            "[[receiver.reply]]\nstage = \"{stage}\"\nafter = \"{after}s\"\nbefore = \"{before}s\"\n\
             probability = {probability}\n{what}"
        )
    }

    fn traffic(&mut self, flow: &Flow) -> Node {
        let Flow { binding, domain } = flow;
        let open = format!(
            "\n[[traffic]]\nfrom = \"news@sender.example\"\nto = \"{domain}\"\nbinding = \"{binding}\"\n"
        );
        let mut children = vec![Node::Lines(format!(
            "messages = {}\n",
            self.dice.pick(&["3", "30", "200", "800"])
        ))];
        let mut line = |text: String| children.push(Node::Lines(text + "\n"));
        match self.dice.below(3) {
            0 => {}
            1 => line(format!("over = \"{}m\"", self.traits.heals)),
            _ => line(format!("over = \"{}m\"\nshape = \"poisson\"", self.traits.heals)),
        }
        if self.dice.percent(20) {
            line("recipients = { min = 1, max = 20 }".to_owned());
        }
        line(format!("size = \"{}\"", self.dice.pick(&["2KB", "10KB", "70KB"])));
        Node::Block { open, children, close: String::new() }
    }

    fn troubles(&mut self) -> Vec<Node> {
        let sites: Vec<Site> = self.sites.values().cloned().collect();
        let mut troubles = Vec::new();
        if self.traits.network {
            for _ in 0..self.dice.within(1..=3) {
                let site = self.dice.pick_one(&sites).clone();
                let what = self.network_fault(&site);
                troubles.push(self.fault(&what));
            }
        }
        if self.traits.dns {
            let domain = self.dice.pick_one(&sites).domain.clone();
            let what = match self.dice.percent(70) {
                true => {
                    let how = self.dice.pick(&["servfail", "timeout"]);
                    format!("what = \"dns_failure\"\nhow = \"{how}\"\n")
                }
                false => "what = \"dns_slow\"\nplus = \"7s\"\n".to_owned(),
            };
            troubles.push(self.fault(&format!("{what}domain = \"{domain}\"\n")));
        }
        if self.traits.restarts {
            let at = self.stretch().0;
            let what = self.dice.pick(&["restart", "crash"]);
            troubles.push(Node::Lines(format!(
                "\n[[event]]\nat = \"{at}s\"\nwhat = \"{what}\"\nfor = \"3s\"\n"
            )));
        }
        troubles
    }

    fn network_fault(&mut self, site: &Site) -> String {
        let hosts: Vec<&String> = site.hosts.keys().collect();
        let whom = match self.dice.percent(50) {
            true => format!("receiver = \"{}\"\n", site.domain),
            false => format!("host = \"{}\"\n", self.dice.pick_one(&hosts)),
        };
        match self.dice.below(5) {
            0 | 1 => {
                let how = self.dice.pick(&["refused", "blackhole", "unreachable"]);
                format!("what = \"host_down\"\nhow = \"{how}\"\n{whom}")
            }
            2 => format!("what = \"reset\"\n{whom}"),
            3 if site.has_tls && site.profile.is_none() => {
                format!("what = \"starttls_off\"\nreceiver = \"{}\"\n", site.domain)
            }
            _ => format!("what = \"slow\"\nplus = \"{}\"\n{whom}", self.dice.pick(&["1s", "12s"])),
        }
    }

    fn fault(&mut self, what: &str) -> Node {
        let (at, until) = self.stretch();
        let length = until - at;
        Node::Lines(format!("\n[[fault]]\nat = \"{at}s\"\nfor = \"{length}s\"\n{what}"))
    }

    /// When something begins and ends, in seconds.
    fn stretch(&mut self) -> (u64, u64) {
        let end = self.traits.heals * 60;
        let at = self.dice.below(end - 1);
        (at, self.dice.within(at + 1..=end))
    }
}

/// Keeps these worlds apart from those that draw their configuration too.
const STREAM: u64 = 1;

/// Of the configuration's domains so many are drawn for a world, at most.
const DOMAINS_DRAWN_MAX: u64 = 4;

/// How long a world goes on when all mail should be too old.
const HOURS_LEFT: u64 = 48;

/// A scenario may last no longer.
const HOURS_MAX: u64 = 365 * 24;

/// What receivers that nobody knows allow.
const LIMITS: &[(&str, &str)] = &[
    ("connections", "2"),
    ("connections", "10"),
    ("connection_rate", "\"30/m\""),
    ("messages", "\"100/m\""),
    ("messages", "\"1000/h\""),
    ("messages_per_connection", "20"),
    ("recipients_per_message", "10"),
];

const REPLIES: &[&str] = &[
    "421 4.3.2 Closing",
    "421 4.7.0 Try again later",
    "450 4.2.0 Mailbox busy",
    "451 4.7.1 Please try again later",
    "452 4.2.2 Mailbox full",
];

const TLS_TROUBLE: &[&str] = &[
    "offer = \"no\"",
    "offer = \"stripped\"",
    "answer = \"454 4.7.0 Not now\"",
    "answer = \"close\"",
    "handshake = \"alert\"",
    "handshake = \"cut\"",
    "handshake = \"stall\"",
    "certificate = \"expired\"",
    "certificate = \"self_signed\"",
    "certificate = \"wrong_name\"",
];
