//! Expectations: what a scenario says must hold.

pub mod judge;
mod measure;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::glob::Glob;
use crate::network::Prefix;
use crate::scenario::units;

/// One `[[expect]]` of a scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// When the condition must hold.
    pub when: When,
    /// What must hold.
    pub condition: Condition,
    /// Whose mail is counted.
    pub scope: Scope,
    /// Only replies like this are counted (`replies`).
    pub reply: Option<Glob>,
    /// The length of the window (`deliveries_in_window` and its like), or of the time after a
    /// recovery (`herd_index`).
    pub window: Option<Duration>,
    /// When the recovery was, counted from the start of the scenario (`herd_index`).
    pub since: Option<Duration>,
    /// The line of the scenario it stands on.
    pub line: usize,
}

/// When a condition must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At that instant, counted from the start of the scenario.
    By(Duration),
    /// When the run ends.
    AtEnd,
    /// After every event.
    Always,
    /// After no event.
    Never,
}

/// A quantity compared with a value: `delivered >= 99%`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Condition {
    /// The quantity.
    pub metric: Metric,
    /// How it is compared.
    pub comparison: Comparison,
    /// With what.
    pub value: Value,
}

/// Whose mail an expectation counts. Empty: everybody's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// What the scenario calls it: `receiver strict`, `domain a.test`.
    pub label: String,
    /// Only these domains.
    pub domains: Option<Vec<Arc<str>>>,
    /// Only this binding.
    pub binding: Option<Arc<str>>,
    /// Only what happened at these addresses.
    pub addresses: Option<Vec<IpAddr>>,
    /// Only what went from these addresses of ours.
    pub sources: Option<Vec<Prefix>>,
}

impl Scope {
    /// Whether mail from `binding` to `domain` is counted.
    pub fn covers(&self, binding: &str, domain: &str) -> bool {
        self.domains.as_ref().is_none_or(|all| all.iter().any(|one| **one == *domain))
            && self.binding.as_ref().is_none_or(|one| **one == *binding)
    }

    /// Whether what happened at `address` is counted.
    pub fn covers_address(&self, address: Option<IpAddr>) -> bool {
        let Some(addresses) = &self.addresses else { return true };
        address.is_some_and(|address| addresses.contains(&address))
    }

    /// Whether what went from `source` is counted.
    pub fn covers_source(&self, source: Option<IpAddr>) -> bool {
        let Some(sources) = &self.sources else { return true };
        source.is_some_and(|source| sources.iter().any(|prefix| prefix.contains(source)))
    }
}

/// A quantity of a run. The unit of counting is the recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Recipients accepted for delivery.
    Accepted,
    /// Recipients delivered.
    Delivered,
    /// Recipients delivered in clear.
    Plaintext,
    /// Recipients that failed for good.
    Bounced,
    /// Recipients given up as too old.
    Expired,
    /// Recipients accepted and not yet done.
    Pending,
    /// Attempts that failed and were to be repeated.
    Deferrals,
    /// Attempts.
    Attempts,
    /// Attempts for each accepted recipient, on average.
    AttemptsPerRecipient,
    /// Copies that receivers took of what they, or others, had already.
    Duplicates,
    /// Connections open.
    Connections,
    /// The most connections that were open at once.
    PeakConnections,
    /// Connections that were opened.
    ConnectionsOpened,
    /// Connections that could not be made.
    ConnectionFailures,
    /// The most recipients delivered in any window of a length.
    DeliveriesInWindow,
    /// The most attempts in any window of a length.
    AttemptsInWindow,
    /// The most connections opened in any window of a length.
    ConnectionsInWindow,
    /// The attempts of the fullest minute after a recovery over those of an average one.
    HerdIndex,
    /// Replies that match the pattern and decided an attempt, or before any message that an
    /// exchange was set aside.
    Replies,
    /// The time in which 50, 95, 99 or 100 % of the recipients that did not bounce were delivered,
    /// each counted from its acceptance.
    DeliveredWithin(u8),
}

impl Metric {
    /// All, with their names in scenarios.
    pub const NAMES: [(&'static str, Self); 23] = [
        ("accepted", Self::Accepted),
        ("delivered", Self::Delivered),
        ("plaintext", Self::Plaintext),
        ("bounced", Self::Bounced),
        ("expired", Self::Expired),
        ("pending", Self::Pending),
        ("deferrals", Self::Deferrals),
        ("attempts", Self::Attempts),
        ("attempts_per_recipient", Self::AttemptsPerRecipient),
        ("duplicates", Self::Duplicates),
        ("connections", Self::Connections),
        ("peak_connections", Self::PeakConnections),
        ("connections_opened", Self::ConnectionsOpened),
        ("connection_failures", Self::ConnectionFailures),
        ("deliveries_in_window", Self::DeliveriesInWindow),
        ("attempts_in_window", Self::AttemptsInWindow),
        ("connections_in_window", Self::ConnectionsInWindow),
        ("herd_index", Self::HerdIndex),
        ("replies", Self::Replies),
        ("t50", Self::DeliveredWithin(50)),
        ("t95", Self::DeliveredWithin(95)),
        ("t99", Self::DeliveredWithin(99)),
        ("t100", Self::DeliveredWithin(100)),
    ];

    /// Whether it is about a window, whose length the expectation gives.
    pub const fn needs_window(self) -> bool {
        matches!(
            self,
            Self::DeliveriesInWindow | Self::AttemptsInWindow | Self::ConnectionsInWindow
        )
    }

    /// Whether it is known only when the time it is about is over.
    pub const fn is_known_at_the_end(self) -> bool {
        matches!(self, Self::DeliveredWithin(_) | Self::HerdIndex)
    }

    /// Whether it can be told which of our addresses it went from: there was a connection.
    pub const fn has_source(self) -> bool {
        match self {
            Self::Delivered
            | Self::Plaintext
            | Self::Bounced
            | Self::Deferrals
            | Self::Attempts
            | Self::Connections
            | Self::PeakConnections
            | Self::ConnectionsOpened
            | Self::DeliveriesInWindow
            | Self::AttemptsInWindow
            | Self::ConnectionsInWindow
            | Self::HerdIndex => true,
            Self::Accepted
            | Self::Expired
            | Self::Pending
            | Self::Duplicates
            | Self::ConnectionFailures
            | Self::Replies
            | Self::AttemptsPerRecipient
            | Self::DeliveredWithin(_) => false,
        }
    }

    /// Whether it counts what happens at exchanges, rather than what became of accepted mail.
    pub const fn happens_at_exchanges(self) -> bool {
        match self {
            Self::Delivered
            | Self::Plaintext
            | Self::Bounced
            | Self::Deferrals
            | Self::Attempts
            | Self::Connections
            | Self::PeakConnections
            | Self::ConnectionFailures
            | Self::ConnectionsOpened
            | Self::DeliveriesInWindow
            | Self::AttemptsInWindow
            | Self::ConnectionsInWindow
            | Self::HerdIndex
            | Self::Replies => true,
            Self::Accepted
            | Self::Expired
            | Self::Pending
            | Self::Duplicates
            | Self::AttemptsPerRecipient
            | Self::DeliveredWithin(_) => false,
        }
    }

    /// Its name in scenarios.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, metric)| *metric == self).map_or("", |(name, _)| name)
    }
}

/// How two quantities are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `==`
    Equal,
    /// `!=`
    Different,
    /// `>=`
    AtLeast,
    /// `>`
    More,
}

impl Comparison {
    /// Longer signs before their prefixes.
    const SIGNS: [(&'static str, Self); 6] = [
        ("<=", Self::AtMost),
        (">=", Self::AtLeast),
        ("==", Self::Equal),
        ("!=", Self::Different),
        ("<", Self::Less),
        (">", Self::More),
    ];

    /// Whether `actual` compares so with `wanted`.
    pub fn holds(self, actual: f64, wanted: f64) -> bool {
        match self {
            Self::Less => actual < wanted,
            Self::AtMost => actual <= wanted,
            Self::Equal => actual == wanted,
            Self::Different => actual != wanted,
            Self::AtLeast => actual >= wanted,
            Self::More => actual > wanted,
        }
    }

    fn sign(self) -> &'static str {
        Self::SIGNS.iter().find(|(_, one)| *one == self).map_or("", |(sign, _)| sign)
    }
}

/// What a quantity is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Number(f64),
    /// A share of the accepted recipients of the scope.
    Percent(f64),
    /// A length of time.
    Time(Duration),
}

impl Condition {
    /// Reads `delivered >= 99%`, `t95 <= 5m`, `peak_connections <= 5`.
    ///
    /// On failure: what is wrong, and the unknown word if it is one.
    pub fn parse(text: &str) -> Result<Self, ConditionError> {
        let sign_at = text.find(['<', '>', '=', '!']).ok_or(ConditionError::Form)?;
        let (name, rest) = text.split_at(sign_at);
        let (sign, comparison) = Comparison::SIGNS
            .into_iter()
            .find(|(sign, _)| rest.starts_with(sign))
            .ok_or(ConditionError::Form)?;
        let name = name.trim();
        let metric = Metric::NAMES
            .into_iter()
            .find(|(known, _)| *known == name)
            .map(|(_, metric)| metric)
            .ok_or_else(|| ConditionError::Metric(name.to_owned()))?;
        let value = Value::parse(metric, rest[sign.len()..].trim())?;
        Ok(Self { metric, comparison, value })
    }
}

/// What is wrong with the text of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConditionError {
    /// It is not of the form `metric >= value`.
    Form,
    /// There is no such metric.
    Metric(String),
    /// The value does not fit the metric.
    Value(String),
}

impl Value {
    fn parse(metric: Metric, text: &str) -> Result<Self, ConditionError> {
        let number = |text: &str| {
            let parsed = text.trim().replace('_', "").parse().ok();
            parsed.filter(|number: &f64| number.is_finite() && *number >= 0.0)
        };
        let wrong = |what: String| ConditionError::Value(what);
        match metric {
            Metric::DeliveredWithin(_) => {
                units::duration(text).map(Self::Time).map_err(ConditionError::Value)
            }
            Metric::Accepted
            | Metric::Delivered
            | Metric::Plaintext
            | Metric::Bounced
            | Metric::Expired
            | Metric::Pending
                if text.ends_with('%') =>
            {
                let share = number(&text[..text.len() - 1]).filter(|share| *share <= 100.0);
                share.map(Self::Percent).ok_or_else(|| wrong(format!("`{text}` is not a share")))
            }
            _ => number(text)
                .map(Self::Number)
                .ok_or_else(|| wrong(format!("`{text}` is no number"))),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Percent(share) => write!(f, "{share}%"),
            Self::Time(length) => f.write_str(&units::show_duration(*length)),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.metric.name(), self.comparison.sign(), self.value)
    }
}

impl fmt::Display for Expectation {
    /// `never replies > 0 like 5*, receiver strict`, `t95 <= 5m by 2h`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.when {
            When::Always => f.write_str("always ")?,
            When::Never => f.write_str("never ")?,
            When::By(_) | When::AtEnd => {}
        }
        write!(f, "{}", self.condition)?;
        if let Some(reply) = &self.reply {
            write!(f, " like {}", reply.as_str())?;
        }
        if let Some(window) = self.window {
            write!(f, ", window {}", units::show_duration(window))?;
        }
        if let Some(since) = self.since {
            write!(f, " since {}", units::show_duration(since))?;
        }
        if let When::By(at) = self.when {
            write!(f, " by {}", units::show_duration(at))?;
        }
        if !self.scope.label.is_empty() {
            write!(f, ", {}", self.scope.label)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_read_and_show_alike() {
        for (text, shown) in [
            ("delivered>=99.5%", "delivered >= 99.5%"),
            ("t95 <= 5m", "t95 <= 5m"),
            ("bounced == 0", "bounced == 0"),
            ("peak_connections < 1_000", "peak_connections < 1000"),
            ("attempts_per_recipient <= 1.5", "attempts_per_recipient <= 1.5"),
        ] {
            assert_eq!(Condition::parse(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn broken_conditions_say_why() {
        let error = |text| Condition::parse(text).unwrap_err();
        assert_eq!(error("delivered"), ConditionError::Form);
        assert_eq!(error("delivered = 3"), ConditionError::Form);
        assert_eq!(error("delivred >= 3"), ConditionError::Metric("delivred".into()));
        assert!(matches!(error("t95 <= 5"), ConditionError::Value(_)));
        assert!(matches!(error("attempts <= 5%"), ConditionError::Value(_)));
        assert!(matches!(error("delivered >= 101%"), ConditionError::Value(_)));
        assert!(matches!(error("delivered >= -1"), ConditionError::Value(_)));
        assert!(matches!(error("delivered >= NaN"), ConditionError::Value(_)));
    }

    #[test]
    fn scopes() {
        let scope = Scope {
            label: String::new(),
            domains: Some(vec!["a.test".into(), "b.test".into()]),
            binding: Some("bulk".into()),
            ..Scope::default()
        };
        assert!(scope.covers("bulk", "b.test"));
        assert!(!scope.covers("bulk", "c.test"));
        assert!(!scope.covers("default", "a.test"));
        assert!(Scope::default().covers("x", "y"));
        let address = |last| Some(IpAddr::from([192, 0, 2, last]));
        let at_one = Scope { addresses: Some(vec![address(1).unwrap()]), ..Scope::default() };
        for (scope, asked, covered) in [
            (&at_one, address(1), true),
            (&at_one, address(2), false),
            (&at_one, None, false),
            (&Scope::default(), None, true),
        ] {
            assert_eq!(scope.covers_address(asked), covered);
        }
        let network = Some(vec!["192.0.2.0/24".parse().unwrap()]);
        let of_network = Scope { sources: network, ..Scope::default() };
        let other = Some(IpAddr::from([192, 0, 3, 1]));
        for (scope, asked, covered) in [
            (&of_network, address(1), true),
            (&of_network, other, false),
            (&of_network, None, false),
            (&Scope::default(), None, true),
        ] {
            assert_eq!(scope.covers_source(asked), covered);
        }
    }
}
