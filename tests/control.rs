//! A running daemon and its operator: the control socket, and `traject ctl` at it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use traject_tests::{Arrivals, Client, Mail, Sink, Site, Volume, binary, free_port, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

const TRUSTED: &str = "relay_hosts = (\"127.0.0.1\")";

fn socket(site: &Site) -> PathBuf {
    site.spool().join("control.sock")
}

/// Exit code, standard output, standard error.
fn ctl(site: &Site, line: &str) -> (i32, String, String) {
    let mut command = Command::new(binary());
    command.arg("ctl").arg("--socket").arg(socket(site)).args(line.split(' '));
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// What a verb that must succeed answers with.
fn done(site: &Site, line: &str) -> Value {
    let (code, out, err) = ctl(site, &format!("--json {line}"));
    assert_eq!((code, err.as_str()), (0, ""), "{line}: {out}");
    serde_json::from_str(&out).unwrap()
}

/// A request as its bytes: status and body.
fn http(site: &Site, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(socket(site)).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    let length = body.len();
    write!(stream, "{head}Content-Length: {length}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer[9..12].parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

fn mail_to(number: u32, domain: &str) -> Mail {
    let mut mail = Mail::new(number, format!("Subject: {number}\r\n\r\nHello\r\n"));
    mail.recipients = vec![format!("{number}.0@{domain}")];
    mail
}

fn send(site: &Site, mails: &[Mail]) {
    let mut client = Client::connect(site.address()).unwrap();
    client.command("EHLO client.example.org").unwrap();
    for mail in mails {
        assert_eq!(client.deliver(mail).unwrap().code, 250);
    }
}

#[test]
fn mail_is_held_looked_at_ended_rerouted_and_let_go() {
    let sink = Sink::start();
    let site = Site::new(sink.address(), &format!("{TRUSTED}\ngenerate_bounces = false"));
    let daemon = site.start();
    let mode = fs::metadata(socket(&site)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(done(&site, "ready")["ready"], true);
    assert_eq!(done(&site, "live")["live"], true);

    assert_eq!(done(&site, "suspend --all")["recipients"], 0);
    let mails: Vec<Mail> = ["d1.example.net", "d2.example.net", "d3.example.net"]
        .into_iter()
        .zip(1..)
        .map(|(domain, number)| mail_to(number, domain))
        .collect();
    send(&site, &mails);

    let summary = done(&site, "summary");
    assert_eq!((&summary["messages"], &summary["active"]), (&json!(3), &json!(3)));
    assert_eq!(summary["reasons"]["suspended_by_operator"], 3);
    assert_eq!(summary["totals"]["received"], 3);
    let queues = done(&site, "queues --sort name --limit 2 --offset 1");
    assert_eq!(
        (&queues["total"], &queues["queues"][0]["domain"]),
        (&json!(3), &json!("d2.example.net"))
    );
    let why = done(&site, "why d1.example.net");
    assert_eq!(why["queues"][0]["reason"]["why"], "suspended_by_operator");
    let (code, text, _) = ctl(&site, "why d1.example.net");
    assert_eq!(code, 0);
    assert!(text.contains("because     suspended by the operator"), "{text}");
    assert!(ctl(&site, "queues").1.contains("1 to 3 of 3"));
    assert!(ctl(&site, "suspensions").1.contains("all mail   resumed"));
    assert_eq!(done(&site, "sessions --direction out")["outbound_total"], 0);

    // Nothing happens in a dry run.
    let would = done(&site, "reroute --domain d2.example.net --to-domain d1.example.net --dry-run");
    assert_eq!((&would["messages"], &would["recipients"]), (&json!(1), &json!(1)));
    assert_eq!(done(&site, "queues")["total"], 3);
    done(&site, "reroute --domain d2.example.net --to-domain d1.example.net");
    assert_eq!(done(&site, "queues")["total"], 2);
    let failed = done(&site, "fail --domain d3.example.net --reason purged");
    assert_eq!(failed["recipients"], 1);

    let resumed = done(&site, "resume --domain d1.example.net");
    assert!(resumed["notes"][0].as_str().unwrap().contains("all mail is suspended"), "{resumed}");
    done(&site, "resume --all");
    sink.wait_for_recipients(2, PATIENCE);
    wait_until("all is done", PATIENCE, || done(&site, "summary")["messages"] == 0);
    let totals = &done(&site, "summary")["totals"];
    assert_eq!((&totals["delivered"], &totals["failed"]), (&json!(2), &json!(1)));
    assert!(daemon.terminate().success());
    assert!(!socket(&site).exists());
    let log = site.log();
    assert!(log.contains("554") && log.contains("purged"), "the record of the failure");
}

#[test]
fn one_message_is_found_and_hurried() {
    // Nobody listens there.
    let options = format!("{TRUSTED}\ngenerate_bounces = false");
    let site = Site::new(SocketAddr::from(([127, 0, 0, 1], free_port())), &options);
    let _daemon = site.start();
    send(&site, &[mail_to(1, "d1.example.net")]);
    let is_reception = |line: &&str| line.contains("\"type\":\"reception\"");
    wait_until("it is received", PATIENCE, || site.log().lines().any(|line| is_reception(&line)));
    let log = site.log();
    let reception = log.lines().find(is_reception).unwrap();
    let record: Value = serde_json::from_str(reception).unwrap();
    let id = format!("{:x}", record["message"].as_u64().unwrap());
    let story = done(&site, &format!("why --message {id}"));
    assert_eq!(story["recipients"][0]["queue"]["domain"], "d1.example.net");
    assert!(ctl(&site, &format!("why --message {id}")).1.contains("1.0@d1.example.net"));
    assert!(done(&site, &format!("flush --message {id}"))["recipients"].as_u64().unwrap() <= 1);
    assert_eq!(done(&site, &format!("fail --message {id} --quiet"))["messages"], 1);
    wait_until("it is gone", PATIENCE, || done(&site, "summary")["messages"] == 0);
    let (code, _, error) = ctl(&site, &format!("why --message {id}"));
    assert_eq!(code, 1);
    assert!(error.contains("there is no message") && error.contains("hint:"), "{error}");
}

#[test]
fn what_cannot_be_asked_is_refused_with_words() {
    let site = Site::new(SocketAddr::from(([127, 0, 0, 1], free_port())), TRUSTED);
    let mut daemon = site.start();
    for (method, path, body, status, words) in [
        ("GET", "/v1/nothing", "", 404, "there is no /v1/nothing"),
        ("GET", "/v1/fail", "", 400, "does not take GET"),
        ("POST", "/v1/fail", "", 400, "which mail?"),
        ("POST", "/v1/fail", "{\"all\":1}", 400, "invalid type"),
        ("POST", "/v1/fail", "not json", 400, "the body"),
        ("POST", "/v1/fail", "{\"domian\":\"x.test\"}", 400, "unknown field `domian`"),
        ("POST", "/v1/flush", "{\"all\":true,\"reason\":\"x\"}", 400, "`reason` does not belong"),
        ("POST", "/v1/suspend", "{\"binding\":\"none\"}", 404, "there is no binding `none`"),
        ("POST", "/v1/suspend", "{\"message\":\"1a\"}", 400, "single message"),
        ("POST", "/v1/suspend", "{\"all\":true,\"for_s\":0}", 400, "over already"),
        ("POST", "/v1/reroute", "{\"domain\":\"x.test\"}", 400, "neither another binding"),
        ("POST", "/v1/fail", "{\"message\":\"1a\"}", 404, "there is no message 1a"),
        ("GET", "/v1/queues?limit=0", "", 400, "`limit` must be"),
        ("GET", "/v1/queues?limit=99999", "", 400, "`limit` must be"),
        ("GET", "/v1/queues?sort=colour", "", 400, "unknown variant"),
        ("GET", "/v1/why", "", 400, "why what?"),
        ("GET", "/v1/trace", "", 400, "with whom?"),
        ("GET", "/v1/config/eval?domain=x.test&option=nonsense", "", 404, "no option is called"),
        ("GET", "/v1/config/get?domain=x.test", "", 400, "which option?"),
    ] {
        let (found, answer) = http(&site, method, path, body);
        assert_eq!(found, status, "{method} {path} {body}: {answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(answer["error"].as_str().unwrap().contains(words), "{path} {body}: {answer}");
    }
    let (status, _) = http(&site, "POST", "/v1/fail", &" ".repeat(100_000));
    assert_eq!(status, 400, "more than a request may be");
    // What is no HTTP at all harms nobody.
    let mut stream = UnixStream::connect(socket(&site)).unwrap();
    stream.write_all(b"EHLO there\r\n\x00\xff\r\n\r\n").unwrap();
    drop(stream);
    assert_eq!(ctl(&site, "suspend --binding none").0, 1);
    assert_eq!(ctl(&site, "suspend").0, 2);
    assert!(daemon.is_running());
}

#[test]
fn a_configuration_that_cannot_be_used_is_refused_and_the_old_one_stays() {
    let site = Site::new(SocketAddr::from(([127, 0, 0, 1], free_port())), TRUSTED);
    let _daemon = site.start();
    let path = site.spool().with_file_name("traject.conf");
    let good = fs::read_to_string(&path).unwrap();
    let get = "config get --domain x.test retry_interval max_retries";
    let before = done(&site, get);
    assert_eq!(before["retry_interval"], "1");

    fs::write(&path, format!("{good}\nretry_intervall = 7\n")).unwrap();
    let (code, out, error) = ctl(&site, "reload");
    assert_eq!((code, out.as_str()), (3, ""));
    for words in
        ["unknown option `retry_intervall`", "traject.conf", "did you mean", "stays in force"]
    {
        assert!(error.contains(words), "{words} in {error}");
    }
    assert_eq!(done(&site, get), before);

    fs::write(&path, format!("{good}\nmax_retries = 7\nspoolbase = \"/elsewhere\"\n")).unwrap();
    let answer = done(&site, "reload");
    assert_eq!(answer["needs_restart"], json!(["spoolbase"]));
    assert_eq!(done(&site, get)["max_retries"], "7");
    let (_, story, _) = ctl(&site, "config eval --domain x.test max_retries");
    assert!(story.starts_with("max_retries = 7\n") && story.contains("traject.conf:"), "{story}");
    let table = ctl(&site, "config eval --domain x.test").1;
    assert!(table.starts_with("OPTION "), "{table}");
}

/// Every sample of an exposition, by its name and labels; its form is checked on the way.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut kinds = BTreeMap::new();
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let family = name.split('{').next().unwrap();
            let base =
                ["_bucket", "_sum", "_count"].iter().find_map(|end| family.strip_suffix(end));
            let known = |name: &str| kinds.contains_key(name);
            assert!(known(family) || base.is_some_and(known), "{line}");
            assert!(samples.insert(name.to_owned(), value.parse().unwrap()).is_none(), "{line}");
        }
    }
    samples
}

#[test]
fn metrics_count_what_happened() {
    let sink = Sink::start();
    let site = Site::new(sink.address(), TRUSTED);
    let port = free_port();
    let _daemon = site.start_with(&["--metrics", &format!("127.0.0.1:{port}")]);
    // More domains than have a name.
    let mails: Vec<Mail> =
        (1..=60).map(|number| mail_to(number, &format!("d{number}.example.net"))).collect();
    send(&site, &mails);
    sink.wait_for_recipients(60, PATIENCE);
    wait_until("all is done", PATIENCE, || done(&site, "summary")["messages"] == 0);
    let found = samples(&ctl(&site, "metrics").1);
    for (name, value) in [
        ("traject_received_total", 60.0),
        ("traject_recipients_total{outcome=\"delivered\"}", 60.0),
        ("traject_recipients_total{outcome=\"failed\"}", 0.0),
        ("traject_messages", 0.0),
        ("traject_delivery_age_seconds_count", 60.0),
        ("traject_domain_recipients_total{domain=\"d1.example.net\",outcome=\"delivered\"}", 1.0),
        ("traject_domain_recipients_total{domain=\"other\",outcome=\"delivered\"}", 10.0),
    ] {
        assert_eq!(found.get(name), Some(&value), "{name}");
    }
    // The loopback address tells that much, and nothing that changes anything.
    let mut answers = Vec::new();
    for path in ["/metrics", "/ready", "/v1/summary"] {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answers.push(answer);
    }
    assert!(answers[0].contains("traject_received_total 60"));
    assert!(answers[1].starts_with("HTTP/1.1 200") && answers[2].starts_with("HTTP/1.1 404"));
}

#[test]
fn a_trace_shows_the_dialogue_as_it_is_spoken() {
    let sink = Sink::start();
    let site = Site::new(sink.address(), TRUSTED);
    let mut daemon = site.start();
    let mut trace = Command::new(binary())
        .args(["ctl", "trace", "d1.example.net", "--socket"])
        .arg(socket(&site))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(trace.stdout.take().unwrap()).lines().map(Result::unwrap);
    // Until it is under way, nothing is shown: mail goes out until something is. Without any the
    // trace is ended, and so is the wait.
    let sending = AtomicBool::new(true);
    let process = trace.id().to_string();
    let shown = std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..2_000 {
                if !sending.load(Ordering::Relaxed) {
                    return;
                }
                send(
                    &site,
                    &[mail_to(number, "d1.example.net"), mail_to(number, "d2.example.net")],
                );
            }
            let _ = Command::new("kill").arg(&process).status();
        });
        let mut shown = Vec::new();
        for line in lines.by_ref() {
            let end = line.contains("> RCPT TO:");
            shown.push(line);
            if end {
                break;
            }
        }
        sending.store(false, Ordering::Relaxed);
        shown
    });
    assert!(shown.iter().any(|line| line.contains("> MAIL FROM:")), "{shown:#?}");
    assert!(!shown.iter().any(|line| line.contains("d2.example.net")), "{shown:#?}");
    // It may have ended.
    let _ = trace.kill();
    trace.wait().unwrap();
    send(&site, &[mail_to(9_999, "d1.example.net")]);
    assert!(daemon.is_running());
}

#[test]
fn who_finds_nobody_is_told_what_to_do() {
    let sink = Sink::start();
    let site = Site::new(sink.address(), TRUSTED);
    let (code, _, error) = ctl(&site, "summary");
    assert_eq!(code, 2);
    assert!(error.contains("cannot reach a daemon") && error.contains("does the daemon run?"));
    let daemon = site.start();
    assert_eq!(ctl(&site, "summary").0, 0);
    daemon.kill();
    let (code, _, error) = ctl(&site, "summary");
    assert_eq!(code, 2);
    assert!(error.contains("is gone"), "{error}");
    // The next one opens it anew, and is found by its configuration too.
    let _daemon = site.start();
    let found = Command::new(binary())
        .args(["ctl", "summary", "--config"])
        .arg(site.spool().with_file_name("traject.conf"))
        .output()
        .unwrap();
    assert!(found.status.success(), "{found:?}");
    // A second daemon does not take it away.
    let (status, log) = site.fail_to_start();
    assert!(!status.success(), "{log}");
    assert_eq!(ctl(&site, "summary").0, 0);
}

#[test]
fn no_mail_is_lost_while_an_operator_plays() {
    let sink = Sink::start();
    let options = format!("{TRUSTED}\nmax_outbound_connections = 4\nbinding \"red\" {{ }}");
    let site = Site::new(sink.address(), &options);
    let daemon = site.start();
    let mails: Vec<_> = (0..800).map(Mail::sample).collect();
    let sent = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let path = site.spool().with_file_name("traject.conf");
            let good = fs::read_to_string(&path).unwrap();
            let actions = [
                ("/v1/suspend", "{\"domain\":\"d3.example.net\",\"for_s\":1}"),
                ("/v1/reroute", "{\"all\":true,\"to_binding\":\"red\"}"),
                ("/v1/suspend", "{\"all\":true}"),
                ("/v1/flush", "{\"all\":true}"),
                ("/v1/reroute", "{\"binding\":\"red\",\"to_domain\":\"d1.example.net\"}"),
                ("/v1/resume", "{\"all\":true}"),
                ("/v1/reload", "{}"),
                ("/v1/suspend", "{\"binding\":\"red\"}"),
                ("/v1/fail", "{\"all\":true,\"dry_run\":true}"),
                ("/v1/reroute", "{\"all\":true,\"to_binding\":\"default\"}"),
                ("/v1/resume", "{\"binding\":\"red\"}"),
            ];
            for ((path_of, body), turn) in actions.iter().cycle().zip(0_u32..) {
                if sent.load(Ordering::Relaxed) {
                    break;
                }
                fs::write(&path, format!("{good}\nmax_retries = {}\n", turn % 5 + 50)).unwrap();
                let (status, answer) = http(&site, "POST", path_of, body);
                assert_eq!(status, 200, "{path_of} {body}: {answer}");
            }
        });
        Volume::new(mails.clone()).send(site.address(), 8);
        sent.store(true, Ordering::Relaxed);
    });
    done(&site, "resume --all");
    done(&site, "flush --all");
    let recipients = mails.iter().map(|mail| mail.recipients.len()).sum();
    sink.wait_for_recipients(recipients, PATIENCE);
    wait_until("all is done", PATIENCE, || done(&site, "summary")["messages"] == 0);
    assert!(daemon.terminate().success());
    sink.assert_no_violations();
    let arrivals = Arrivals::count(&sink.deliveries(), &mails);
    assert_eq!(arrivals.missing(&mails), Vec::<String>::new());
    assert_eq!(arrivals.duplicates(), 0);
}
