//! A comparison as a person reads it, in a terminal or in a pull request.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

use traject_sim::diff::{Change, ExpectationChange, Judgement, ScenarioDiff};

use super::Comparison;
use super::options::{OptionChange, Setting};
use crate::explain::columns;

/// Prints it.
pub(super) fn print(comparison: &Comparison) -> io::Result<()> {
    let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut out = io::stdout().lock();
    out.write_all(text(comparison, colour).as_bytes())?;
    out.flush()
}

/// As text.
pub(super) fn text(comparison: &Comparison, colour: bool) -> String {
    let bold = |text: &str| match colour {
        true => format!("\x1b[1m{text}\x1b[0m"),
        false => text.to_owned(),
    };
    let mut page = bold(&format!("{} → {}", comparison.base, comparison.head)) + "\n\n";
    match comparison.options.is_empty() {
        true => page += "No option differs for the mail of these scenarios.\n",
        false => {
            let rows: Vec<_> = comparison.options.iter().map(option_row).collect();
            page += &format!("{}\n{}", bold("Options"), indented(&columns(&rows)));
        }
    }
    for scenario in &comparison.scenarios {
        if has_news(scenario) {
            let rows: Vec<_> = scenario.changes.iter().map(|one| number_row(one, colour)).collect();
            page += &format!("\n{}\n{}", bold(&scenario.scenario), indented(&columns(&rows)));
            page += &indented(&expectations(scenario, colour));
        }
    }
    page + "\n" + &summary(comparison) + "\n"
}

/// As Markdown.
pub(super) fn markdown(comparison: &Comparison) -> String {
    let mut page = format!("### `{}` → `{}`\n\n", comparison.base, comparison.head);
    page += &format!("**{}**\n", summary(comparison));
    if !comparison.options.is_empty() {
        page += "\n| option | before | after | mail |\n| --- | --- | --- | --- |\n";
        for change in &comparison.options {
            let [option, before, _, after, mail] = option_row(change);
            page += &format!("| `{option}` | {before} | {after} | {mail} |\n");
        }
    }
    for scenario in comparison.scenarios.iter().filter(|scenario| has_news(scenario)) {
        page += &format!("\n`{}`\n\n", scenario.scenario);
        page += "| | | before | after | |\n| --- | --- | --- | --- | --- |\n";
        for change in &scenario.changes {
            let [domain, what, before, _, after, judgement] = number_row(change, false);
            page += &format!("| {domain} | {what} | {before} | {after} | {judgement} |\n");
        }
        for change in &scenario.expectations {
            let ExpectationChange { expectation, base, head, held } = change;
            let judgement = now(*held);
            page += &format!("| expectation | {expectation} | {base} | {head} | {judgement} |\n");
        }
    }
    page
}

fn has_news(scenario: &ScenarioDiff) -> bool {
    !scenario.changes.is_empty() || !scenario.expectations.is_empty()
}

fn option_row(change: &OptionChange) -> [String; 5] {
    let mail = match &change.pairs[..] {
        [] => String::new(),
        [(binding, domain)] => format!("{binding} to {domain}"),
        [(binding, domain), others @ ..] => {
            format!("{binding} to {domain} and {} more", others.len())
        }
    };
    let arrow = "→".to_owned();
    [change.option.to_owned(), setting(&change.base), arrow, setting(&change.head), mail]
}

fn setting(setting: &Setting) -> String {
    let value = setting.value.as_deref().unwrap_or("-");
    let place = setting.set_at.as_deref().unwrap_or("built in");
    format!("{value} ({place})")
}

/// A number that differs: whose, which, before, an arrow, after, and what is thought of it.
fn number_row(change: &Change, colour: bool) -> [String; 6] {
    let Change { domain, metric, base, head, judgement } = change;
    let judgement = match judgement {
        Judgement::Better => "better",
        Judgement::Within => "within thresholds",
        Judgement::Beyond => "WORSE",
    };
    let (before, after) = (metric.show(*base), metric.show(*head));
    let (name, arrow) = (metric.name().to_owned(), "→".to_owned());
    [domain.clone(), name, before, arrow, after, red(judgement, colour)]
}

/// The expectations that only one of the two keeps, each with what was found below it.
fn expectations(scenario: &ScenarioDiff, colour: bool) -> String {
    let mut text = String::new();
    for ExpectationChange { expectation, base, head, held } in &scenario.expectations {
        let judgement = red(now(*held), colour);
        // Unwrap is OK because writing to a String cannot fail.
        writeln!(text, "{judgement}  {expectation}\n        {base}  →  {head}").unwrap();
    }
    text
}

/// What became of an expectation.
const fn now(held: bool) -> &'static str {
    if held { "holds now" } else { "BROKEN" }
}

fn red(judgement: &str, colour: bool) -> String {
    match colour && judgement.chars().all(|c| c.is_ascii_uppercase()) && !judgement.is_empty() {
        true => format!("\x1b[31;1m{judgement}\x1b[0m"),
        false => judgement.to_owned(),
    }
}

fn indented(block: &str) -> String {
    let mut text = String::new();
    for line in block.lines() {
        // Unwrap is OK because writing to a String cannot fail.
        writeln!(text, "  {line}").unwrap();
    }
    text
}

fn summary(comparison: &Comparison) -> String {
    let all = match comparison.scenarios.len() {
        1 => "1 scenario".to_owned(),
        n => format!("{n} scenarios"),
    };
    let same = comparison.scenarios.iter().filter(|scenario| scenario.same_trace).count();
    let verdict = match comparison.beyond {
        0 => "nothing is worse than the thresholds allow".to_owned(),
        1 => "1 difference is worse than the thresholds allow".to_owned(),
        n => format!("{n} differences are worse than the thresholds allow"),
    };
    match same {
        0 => format!("{all}: {verdict}"),
        _ => format!("{all}, {same} without any difference: {verdict}"),
    }
}
