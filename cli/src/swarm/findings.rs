//! Which promises broke, in how many worlds, and who decided: as text and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use traject_sim::scenario::units::show_duration;
use traject_sim::swarm::trial::{Broken, Place, Promise};

/// What a trial has found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    rows: BTreeMap<Key, Row>,
}

/// What is told together: the same promise, broken by the same setting.
type Key =
    (Promise, Option<&'static str>, Option<(Option<String>, Option<String>)>, Option<String>);

/// One kind of broken promise.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    promise: Promise,
    /// In so many worlds.
    worlds: u64,
    /// Whose mail, and in how many worlds.
    mail: BTreeMap<String, u64>,
    /// The option that decided.
    option: Option<&'static str>,
    value: Option<String>,
    /// The stanza that sets it; empty for the global scope, none where it is built in.
    stanza: Option<String>,
    /// `file:line` of the setting, or of the expectation.
    line: Option<String>,
    /// How it came about in the smallest of these worlds.
    because: String,
    /// What a receiver said, or what was found instead of what was expected.
    said: Option<String>,
    /// The one of these worlds with the least mail.
    seed: u64,
    /// Messages that world has.
    messages: u64,
    /// When it was there, in seconds from its start.
    at_s: f64,
    /// That world, made smaller.
    file: Option<String>,
    /// The command that shows it.
    replay: Option<String>,
    #[serde(skip)]
    pub(super) broken: Broken,
}

impl Findings {
    /// Adds what broke in a world.
    pub(super) fn add(
        &mut self,
        (seed, messages): (u64, u64),
        broken: Vec<Broken>,
        place: impl Fn(&Broken) -> Option<Place>,
    ) {
        let mut here: BTreeMap<Key, (Vec<String>, Row)> = BTreeMap::new();
        for one in broken {
            let row = Row::new((seed, messages), one.clone(), place(&one));
            let mail = one.pair.map(|pair| format!("{} to {}", pair.binding, pair.domain));
            let (all, first) = here.entry(row.key()).or_insert_with(|| (Vec::new(), row.clone()));
            all.extend(mail);
            if row.at_s < first.at_s {
                *first = row;
            }
        }
        for (key, (mail, new)) in here {
            let row = self.rows.entry(key).or_insert_with(|| new.clone());
            if messages < row.messages {
                let (worlds, mail) = (row.worlds, std::mem::take(&mut row.mail));
                *row = Row { worlds, mail, ..new };
            }
            row.worlds += 1;
            for one in mail {
                *row.mail.entry(one).or_default() += 1;
            }
        }
    }

    /// What broke, most often first.
    pub(super) fn rows(self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.rows.into_values().collect();
        rows.sort_by_key(|row| (std::cmp::Reverse(row.worlds), row.promise, row.seed));
        rows
    }
}

impl Row {
    fn new((seed, messages): (u64, u64), broken: Broken, place: Option<Place>) -> Self {
        let is_expectation = broken.promise == Promise::Expectation;
        let Place { value, stanza, line } = match place {
            Some(place) => place,
            None if is_expectation => {
                Place { value: None, stanza: None, line: broken.stanza.clone() }
            }
            None => Place { value: None, stanza: broken.stanza.clone(), line: None },
        };
        Self {
            promise: broken.promise,
            worlds: 0,
            mail: BTreeMap::new(),
            option: broken.option,
            value,
            stanza,
            line,
            because: broken.because.clone(),
            said: broken.said.clone(),
            seed,
            messages,
            at_s: broken.at.as_secs_f64(),
            file: None,
            replay: None,
            broken,
        }
    }

    fn key(&self) -> Key {
        let expectation = self.promise == Promise::Expectation;
        let place = self.option.map(|_| (self.stanza.clone(), self.line.clone()));
        (self.promise, self.option, place, expectation.then(|| format!("{:?}", self.line)))
    }

    /// The seed of the world to show.
    pub(super) const fn seed(&self) -> u64 {
        self.seed
    }

    /// The name of a file for that world.
    pub(super) fn file_name(&self) -> String {
        let option = self.option.map(|option| format!("-{option}")).unwrap_or_default();
        format!("promise-{}-{}{option}.toml", self.seed, self.promise.word())
    }

    /// The world is in a file now, made smaller, where this is how it breaks.
    pub(super) fn written(&mut self, file: String, replay: String, broken: &Broken) {
        (self.file, self.replay) = (Some(file), Some(replay));
        (self.because, self.said) = (broken.because.clone(), broken.said.clone());
        self.at_s = broken.at.as_secs_f64();
    }

    /// For people.
    pub(super) fn text(&self, worlds: u64) -> String {
        let mut text = String::new();
        let of = if worlds == 1 { "world" } else { "worlds" };
        // Unwraps are OK because writing to a String cannot fail.
        let mut line = |label: &str, words: &str| {
            writeln!(text, "  {label:<8}{words}").unwrap();
        };
        if !self.mail.is_empty() {
            line("mail", &self.mail());
        }
        line("because", &self.because);
        match &self.said {
            Some(said) if self.promise == Promise::Expectation => line("found", said),
            _ => {}
        }
        if let Some(decided) = self.decided() {
            line("set by", &decided);
        }
        let at = show_duration(std::time::Duration::from_secs_f64(self.at_s));
        line("shown", &format!("in seed {}, after {at}", self.seed));
        if let Some(replay) = &self.replay {
            line("replay", replay);
        }
        format!("{} of {worlds} {of}: {}\n{text}", self.worlds, self.promise.broken())
    }

    /// Whose mail, most often first.
    fn mail(&self) -> String {
        let mut mail: Vec<(&String, &u64)> = self.mail.iter().collect();
        mail.sort_by_key(|(_, worlds)| std::cmp::Reverse(**worlds));
        let shown: Vec<&str> =
            mail.iter().take(MAIL_SHOWN).map(|(mail, _)| mail.as_str()).collect();
        match mail.len().saturating_sub(MAIL_SHOWN) {
            0 => shown.join(", "),
            more => format!("{}, and {more} more", shown.join(", ")),
        }
    }

    /// The option that decided, and where it is set.
    fn decided(&self) -> Option<String> {
        let Some(option) = self.option else { return self.line.clone() };
        let value = self.value.as_ref().map(|value| format!(" = {value}")).unwrap_or_default();
        let place = match (&self.line, self.stanza.as_deref()) {
            (Some(line), Some("")) => line.clone(),
            (Some(line), Some(stanza)) => format!("{line}, in {stanza}"),
            (None, Some("")) => "set in the global scope".to_owned(),
            (None, Some(stanza)) => format!("set in {stanza}"),
            (Some(_) | None, None) => "built in".to_owned(),
        };
        Some(format!("{option}{value} ({place})"))
    }
}

/// So many queues are named one by one.
const MAIL_SHOWN: usize = 3;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use insta::assert_snapshot;
    use traject_engine::record::Pair;

    use super::*;

    fn expired(domain: &str, second: u64) -> Broken {
        Broken {
            promise: Promise::Expired,
            pair: Some(Pair { binding: "bulk".into(), domain: domain.into() }),
            option: Some("max_retries"),
            stanza: None,
            because: format!("after 2 attempts, {second}s old: 451 4.7.1 Later"),
            said: None,
            times: 3,
            at: Duration::from_secs(second),
        }
    }

    fn place(broken: &Broken) -> Option<Place> {
        let built_in = broken.option == Some("tls");
        broken.option.map(|_| Place {
            value: Some("1".to_owned()),
            stanza: (!built_in).then(|| "binding \"bulk\"".to_owned()),
            line: (!built_in).then(|| "their.conf:3".to_owned()),
        })
    }

    fn expectation() -> Broken {
        Broken {
            promise: Promise::Expectation,
            pair: None,
            option: None,
            stanza: Some("sla.toml:1".to_owned()),
            because: "domain a.example: t95 <= 1h".to_owned(),
            said: Some("t95 = 2h".to_owned()),
            ..expired("a.example", 7200)
        }
    }

    #[test]
    fn a_world_counts_once_for_each_kind_and_the_smallest_one_tells_the_story() {
        let mut findings = Findings::default();
        let in_clear =
            Broken { promise: Promise::InClear, option: Some("tls"), ..expired("p.example", 1) };
        findings.add(
            (9, 500),
            vec![expired("a.example", 90), expired("b.example", 60), expectation()],
            place,
        );
        findings.add((12, 800), vec![expired("a.example", 30)], place);
        findings.add((4, 20), vec![expired("c.example", 300), in_clear], place);
        let mut rows = findings.rows();
        let replay = "traject sim promise-4.toml".to_owned();
        let smaller = expired("c.example", 200);
        rows[0].written("promise-4.toml".to_owned(), replay, &smaller);
        let text: Vec<String> = rows.iter().map(|row| row.text(20)).collect();
        assert_snapshot!(text.join("\n"), @r#"
        3 of 20 worlds: mail expires
          mail    bulk to a.example, bulk to b.example, bulk to c.example
          because after 2 attempts, 200s old: 451 4.7.1 Later
          set by  max_retries = 1 (their.conf:3, in binding "bulk")
          shown   in seed 4, after 3m20s
          replay  traject sim promise-4.toml

        1 of 20 worlds: an expectation does not hold
          because domain a.example: t95 <= 1h
          found   t95 = 2h
          set by  sla.toml:1
          shown   in seed 9, after 2h

        1 of 20 worlds: mail goes in clear
          mail    bulk to p.example
          because after 2 attempts, 1s old: 451 4.7.1 Later
          set by  tls = 1 (built in)
          shown   in seed 4, after 1s
        "#);
        assert_eq!(rows[0].file_name(), "promise-4-expired-max_retries.toml");
    }
}
