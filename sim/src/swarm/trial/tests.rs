//! A small configuration on trial.

use insta::assert_snapshot;
use traject_engine::config::{ConfigFiles, FileError, HostFacts, SourceFile};

use super::*;

struct OneText(&'static str);

impl ConfigFiles for OneText {
    fn read(&mut self, path: &str, _: Option<&str>) -> Result<Vec<SourceFile>, FileError> {
        Ok(vec![SourceFile { name: path.to_owned(), text: self.0.to_owned() }])
    }
}

fn trial_of(text: &'static str, wishes: Wishes) -> Result<Trial, Box<ScenarioError>> {
    let host = HostFacts { hostname: "mta.test".to_owned() };
    let loaded = Config::load("their.conf", &mut OneText(text), &host);
    let config = loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
    Trial::new(Path::new("/their.conf"), (config, loaded.sources), wishes)
}

const IMPATIENT: &str = r#"
retry_interval = 60
domain "a.example" { max_retries = 1 }
domain "/\.shop$/" { gateway = "10.7.0.1" }
domain "held.example" { suspend_delivery = true }
binding "bulk" { }
"#;

#[test]
fn the_domains_of_a_configuration_get_mail_and_receivers() {
    let trial = trial_of(IMPATIENT, Wishes::default()).unwrap();
    assert_eq!(trial.domains, ["a.example", "held.example", "mail.shop"]);
    assert_eq!(trial.unmatched(), [""; 0]);
    assert_eq!(trial.draw(5).text(), trial.draw(5).text());
    let texts: Vec<String> = (0..30).map(|seed| trial.draw(seed).text()).collect();
    let some = |part: &str| texts.iter().any(|text| text.contains(part));
    for part in ["to = \"a.example\"", "binding = \"bulk\"", "addresses = [\"10.7.0.1\"]"] {
        assert!(some(part), "{part}");
    }
    for text in &texts {
        trial.read(text).unwrap();
    }
}

#[test]
fn a_promise_breaks_and_the_smallest_world_shows_it() {
    let trial = trial_of(IMPATIENT, Wishes::default()).unwrap();
    let of_seed = |seed: u64| {
        let tried = trial.live(&trial.draw(seed).text()).unwrap().unwrap();
        let expired = |one: &Broken| {
            let domain = one.pair.as_ref().map_or("", |pair| &pair.domain);
            one.promise == Promise::Expired && domain == "a.example"
        };
        Some((seed, tried.broken.into_iter().find(expired)?))
    };
    let (seed, broken) = (0..60).find_map(of_seed).unwrap();
    let place = trial.place(&broken).unwrap();
    assert_eq!((broken.option, place.value.as_deref()), (Some("max_retries"), Some("1")));
    assert_eq!(place.line.as_deref(), Some("their.conf:3"));
    assert_eq!(place.stanza.as_deref(), Some("domain \"a.example\""));
    let (text, still) = trial.shrink(&trial.draw(seed), &broken);
    assert!(still.is_like(&broken));
    assert!(text.contains("that = \"expired == 0\"") && text.contains("domain = \"a.example\""));
    let lines = |text: &str| text.lines().count();
    assert!(2 * lines(&text) < lines(&trial.draw(seed).text()), "{text}");
}

#[test]
fn tls_is_counted_on_where_a_domain_asks_for_it_or_the_user_does() {
    let text = "tls = ifavailable\ndomain \"p.example\" { tls = ifavailable }\n\
                domain \"q.example\" { tls = no }\ndomain \"r.example\" { retry_interval = 60 }\n";
    let wishes = Wishes { tls: vec!["Q.example".to_owned()], ..Wishes::default() };
    let trial = trial_of(text, wishes).unwrap();
    let expects = ["p.example", "q.example", "r.example"].map(|domain| trial.expects_tls(domain));
    assert_eq!(expects, [true, true, false]);
}

#[test]
fn expectations_are_judged_where_there_is_mail_they_are_about() {
    let expect = "[[expect]]\nthat = \"t50 <= 1s\"\ndomain = \"b.example\"\nbinding = \"bulk\"\n";
    let path = PathBuf::from("sla.toml");
    let wishes = Wishes { expect: Some((path.clone(), expect.to_owned())), ..Wishes::default() };
    let trial = trial_of("binding \"bulk\" { }", wishes).unwrap();
    let results: Vec<Tried> =
        (0..12).map(|seed| trial.live(&trial.draw(seed).text()).unwrap().unwrap()).collect();
    let broken = |tried: &Tried| {
        tried.broken.iter().find(|one| one.promise == Promise::Expectation).cloned()
    };
    let found: Vec<Broken> = results.iter().filter_map(broken).collect();
    assert!(!found.is_empty() && found.len() < results.len(), "{}", found.len());
    assert_eq!(found[0].stanza.as_deref(), Some("sla.toml:1"));
    assert_eq!(found[0].because, "t50 <= 1s, domain b.example, binding bulk");

    let misspelt = expect.replace("t50", "t51");
    let wishes = Wishes { expect: Some((path, misspelt)), ..Wishes::default() };
    let error = trial_of("binding \"bulk\" { }", wishes).unwrap_err();
    assert_snapshot!(error, @r#"
    sla.toml:2:8: error: `t51` is not a metric
      |
    2 | that = "t51 <= 1s"
      |        ^^^^^^^^^^^
      = hint: did you mean `t50`?
    "#);
}
