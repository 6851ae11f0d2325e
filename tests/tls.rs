//! TLS with OpenSSL at the other end, and what the simulator says beforehand of the same
//! configuration.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use traject_tests::{
    Client, Mail, Sink, Site, binary, find_tool, free_port, wait_until, workspace,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Certificates in a folder: `<name>.pem` and `<name>.key`, and who issued them, `ca.pem`.
struct Certificates(TempDir);

impl Certificates {
    fn make(openssl: &Path) -> Self {
        let folder = TempDir::new().unwrap();
        let made = Self(folder);
        let (ca, other) = (authority("Test Root"), authority("Other Root"));
        made.write("ca.pem", &ca.as_ref().pem());
        for (name, issuer) in [
            ("good", Some(&ca)),
            ("expired", Some(&ca)),
            ("wrong_name", Some(&ca)),
            ("unknown_issuer", Some(&other)),
            ("self_signed", None),
            ("client", Some(&ca)),
            ("rsa", Some(&ca)),
        ] {
            let host = if name == "wrong_name" { "somebody-else.invalid" } else { "*.example.net" };
            let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(if name == "expired" { 2021 } else { 2120 }, 1, 1);
            let key = if name == "rsa" { rsa_key(openssl) } else { KeyPair::generate().unwrap() };
            let certificate = match issuer {
                Some(issuer) => params.signed_by(&key, issuer).unwrap(),
                None => params.self_signed(&key).unwrap(),
            };
            made.write(&format!("{name}.pem"), &certificate.pem());
            made.write(&format!("{name}.key"), &key.serialize_pem());
        }
        made
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }
}

/// A key as most exchanges have it.
fn rsa_key(openssl: &Path) -> KeyPair {
    let made = Command::new(openssl)
        .args(["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
        .output()
        .unwrap();
    KeyPair::from_pem(std::str::from_utf8(&made.stdout).unwrap()).unwrap()
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// One receiver, and what is asked of it.
struct Case {
    /// Options of its domain.
    options: &'static str,
    /// What it does; see `tls_sink.py`.
    posture: &'static str,
    /// What it shows.
    certificate: &'static str,
    /// Newest version it speaks.
    maximum: &'static str,
    /// Suites it speaks in TLS 1.2; empty for all.
    suites: &'static str,
    /// It wants a certificate of ours.
    wants_certificate: bool,
}

const CASE: Case = Case {
    options: "tls = required",
    posture: "ok",
    certificate: "good",
    maximum: "TLSv1.3",
    suites: "",
    wants_certificate: false,
};

fn cases() -> Vec<Case> {
    let host = "tls = required tls_verify = host";
    let checked = "tls = required tls_verify = ca";
    let available = "tls = ifavailable";
    let late = "tls = ifavailable tls_ifavailable_fallback = false";
    let one_suite = "tls = required tls_ciphers = \"ECDHE-ECDSA-AES128-GCM-SHA256\"";
    vec![
        Case { options: host, ..CASE },
        Case { options: host, maximum: "TLSv1.2", ..CASE },
        Case { options: host, certificate: "rsa", ..CASE },
        Case { options: "tls = no", ..CASE },
        Case { options: available, ..CASE },
        // Certificates.
        Case { certificate: "expired", ..CASE },
        Case { options: checked, certificate: "expired", ..CASE },
        Case { options: checked, certificate: "expired", maximum: "TLSv1.2", ..CASE },
        Case { options: checked, certificate: "wrong_name", ..CASE },
        Case { options: host, certificate: "wrong_name", ..CASE },
        Case { options: "tls = ifavailable tls_verify = host", certificate: "wrong_name", ..CASE },
        Case { options: "tls = required tls_verify = optional", certificate: "wrong_name", ..CASE },
        Case { options: checked, certificate: "unknown_issuer", ..CASE },
        Case { options: checked, certificate: "self_signed", ..CASE },
        Case { options: available, certificate: "self_signed", ..CASE },
        // STARTTLS.
        Case { posture: "not_offered", ..CASE },
        Case { options: available, posture: "not_offered", ..CASE },
        Case { posture: "refused", ..CASE },
        Case { options: available, posture: "refused", ..CASE },
        Case { options: late, posture: "refused", ..CASE },
        Case { posture: "inject", ..CASE },
        // Handshakes.
        Case { posture: "cut", ..CASE },
        Case { options: available, posture: "cut", ..CASE },
        Case { options: late, posture: "cut", ..CASE },
        Case { posture: "garbage", ..CASE },
        Case { options: available, posture: "garbage", ..CASE },
        Case { posture: "stall", ..CASE },
        Case { options: available, posture: "stall", ..CASE },
        Case { options: "tls = required tls_protocols = \"+TLSv1.3\"", maximum: "TLSv1.2", ..CASE },
        Case {
            options: "tls = ifavailable tls_protocols = \"+TLSv1.3\"",
            maximum: "TLSv1.2",
            ..CASE
        },
        Case {
            options: one_suite,
            maximum: "TLSv1.2",
            suites: "ECDHE-ECDSA-AES256-GCM-SHA384",
            ..CASE
        },
        Case {
            options: one_suite,
            maximum: "TLSv1.2",
            suites: "ECDHE-ECDSA-AES128-GCM-SHA256",
            ..CASE
        },
        // Our own certificate.
        Case { wants_certificate: true, ..CASE },
        Case { wants_certificate: true, maximum: "TLSv1.2", ..CASE },
        Case { options: "tls = required IDENTITY", wants_certificate: true, ..CASE },
    ]
}

/// The options of a site and of the simulator alike.
fn options(cases: &[Case], certificates: &Certificates) -> String {
    let mut text = format!("ehlo_timeout = 3\ntls_ca = \"{}\"\n", certificates.path("ca.pem"));
    let identity = format!(
        "tls_certificate = \"{}\" tls_key = \"{}\"",
        certificates.path("client.pem"),
        certificates.path("client.key"),
    );
    for (number, case) in cases.iter().enumerate() {
        let options = case.options.replace("IDENTITY", &identity);
        writeln!(text, "domain \"t{number}.example.net\" {{ {options} }}").unwrap();
    }
    text
}

/// `tls_sink.py` as a process of its own.
struct OpenSsl(Child);

impl OpenSsl {
    fn start(python: &Path, cases: &[Case], port: u16, certificates: &Certificates) -> Self {
        let version = |name: &str| name.replace('.', "_");
        let told: Vec<Value> = cases
            .iter()
            .enumerate()
            .map(|(number, case)| {
                json!({
                    "address": format!("127.1.0.{}", number + 1),
                    "port": port,
                    "posture": case.posture,
                    "certificate": certificates.path(&format!("{}.pem", case.certificate)),
                    "key": certificates.path(&format!("{}.key", case.certificate)),
                    "minimum": "TLSv1_2",
                    "maximum": version(case.maximum),
                    "ciphers": (!case.suites.is_empty()).then_some(case.suites),
                    "client_ca": case.wants_certificate.then(|| certificates.path("ca.pem")),
                })
            })
            .collect();
        certificates.write("cases.json", &Value::from(told).to_string());
        let mut child = Command::new(python)
            .arg(workspace().join("tests/tls_sink.py"))
            .arg(certificates.path("cases.json"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The same receivers for the simulator.
fn scenario(cases: &[Case], options: &str) -> String {
    let mut text = format!(
        "title = \"TLS with everybody\"\nhorizon = \"20s\"\n\
         config_text = '''\nretry_interval = 1\n{options}'''\n",
    );
    for (number, case) in cases.iter().enumerate() {
        let domain = format!("t{number}.example.net");
        let posture = match case.posture {
            "ok" => String::new(),
            "not_offered" => "offer = \"no\"".to_owned(),
            "refused" => "answer = \"454 4.7.0 TLS not available\"".to_owned(),
            "inject" => "inject = \"250 Injected\"".to_owned(),
            handshake => format!("handshake = \"{handshake}\""),
        };
        let suites = match case.suites {
            "" => String::new(),
            suites => format!("suites = \"{suites}\""),
        };
        let versions = match case.maximum {
            "TLSv1.2" => "[\"TLSv1.2\"]",
            _ => "[\"TLSv1.2\", \"TLSv1.3\"]",
        };
        // The kind of its key shows only in the suites of TLS 1.2.
        let certificate = if case.certificate == "rsa" { "good" } else { case.certificate };
        let wanted = case.wants_certificate;
        write!(
            text,
            "[[traffic]]\nfrom = \"a@client.example.org\"\nto = \"x@{domain}\"\nmessages = 1\n\
             [[receiver]]\nname = \"{domain}\"\ndomains = [\"{domain}\"]\n\
             mx = [\"mx-t{number}.example.net\"]\nlatency = \"1ms\"\n\
             [receiver.tls]\n{posture}\n{suites}\nversions = {versions}\n\
             certificate = \"{certificate}\"\nwants_certificate = {wanted}\n",
        )
        .unwrap();
    }
    text
}

/// Runs a scenario; answers with its records.
fn simulate(scenario: &str) -> String {
    let folder = TempDir::new().unwrap();
    let (file, records) = (folder.path().join("tls.toml"), folder.path().join("records"));
    fs::write(&file, scenario).unwrap();
    let mut command = Command::new(binary());
    let done = command.arg("sim").arg(file).arg("--trace").arg(&records).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    fs::read_to_string(records).unwrap()
}

/// What came of each domain's message first, from records.
fn outcomes(records: &str) -> BTreeMap<u32, String> {
    let mut outcomes = BTreeMap::new();
    for line in records.lines().filter(|line| line.starts_with('{')) {
        let record: Value = serde_json::from_str(line).unwrap();
        let (kind, reply) = (record["type"].as_str().unwrap(), &record["reply"]);
        let transport = &record["transport"];
        let over = match transport["over"].as_str() {
            Some("tls") => format!(
                "{} {}, {}",
                transport["version"].as_str().unwrap(),
                transport["cipher"].as_str().unwrap(),
                transport["verification"].to_string().replace(['"', '{', '}'], ""),
            ),
            Some("clear") => format!("in clear, {}", transport["why"].as_str().unwrap()),
            _ => String::new(),
        };
        let outcome = match kind {
            "delivery" => format!("delivered: {over}"),
            "transient_failure" | "permanent_failure" => {
                format!("{}: {} {}", record["stage"], reply["code"], reply["text"])
            }
            _ => continue,
        };
        let domain = record["domain"].as_str().unwrap();
        let number = domain.trim_start_matches('t').split('.').next().unwrap().parse().unwrap();
        outcomes.entry(number).or_insert_with(|| outcome.replace('"', ""));
    }
    outcomes
}

/// Where the two libraries choose different words: rustls tells clients without a certificate in
/// TLS 1.2 what RFC 8446 has for them, OpenSSL what RFC 5246 has.
fn as_by_openssl(case: &Case, predicted: &str) -> String {
    match (case.wants_certificate, case.maximum) {
        (true, "TLSv1.2") => predicted.replace("certificate_required", "handshake_failure"),
        _ => predicted.to_owned(),
    }
}

#[test]
fn openssl_does_what_the_simulator_said() {
    let python = match find_tool("python3", "python3") {
        Ok(python) => python,
        Err(missing) => return missing.skip(),
    };
    let openssl = match find_tool("openssl", "openssl") {
        Ok(openssl) => openssl,
        Err(missing) => return missing.skip(),
    };
    let certificates = Certificates::make(&openssl);
    let cases = cases();
    let options = options(&cases, &certificates);
    let predicted = outcomes(&simulate(&scenario(&cases, &options)));

    let port = free_port();
    let _openssl = OpenSsl::start(&python, &cases, port, &certificates);
    let trusted = format!("relay_hosts = (\"127.0.0.1\")\n{options}");
    let site = Site::new(SocketAddr::from(([127, 0, 0, 1], port)), &trusted);
    let daemon = site.start();
    let mut client = Client::connect(site.address()).unwrap();
    client.command("EHLO client.example.org").unwrap();
    for number in 0..cases.len() as u32 {
        let recipients = vec![format!("x@t{number}.example.net")];
        let body = "Subject: x\r\n\r\nHello\r\n";
        let mail = Mail { recipients, ..Mail::new(number, body) };
        assert_eq!(client.deliver(&mail).unwrap().code, 250);
    }
    wait_until("all have their first outcome", PATIENCE, || {
        outcomes(&site.log()).len() == cases.len()
    });
    daemon.kill();
    let real = outcomes(&site.log());

    let mut table = String::from("predicted | real\n");
    let mut same = true;
    for (number, case) in cases.iter().enumerate() {
        let number = number as u32;
        let (predicted, real) = (as_by_openssl(case, &predicted[&number]), &real[&number]);
        let sign = if predicted == *real { '=' } else { '!' };
        same &= predicted == *real;
        let Case { options, posture, certificate, maximum, suites, wants_certificate } = case;
        let wants = if *wants_certificate { ", wants a certificate" } else { "" };
        writeln!(table, "{options}\n  {posture}, {certificate}, {maximum} {suites}{wants}")
            .unwrap();
        writeln!(table, "  {sign} {predicted}\n  {sign} {real}").unwrap();
    }
    // Not by `eprintln!`, which a passing test does not show.
    let _ = std::io::stderr().write_all(table.as_bytes());
    assert!(same, "{table}");
    // The postures are not all the same to us.
    assert!(real.values().filter(|outcome| outcome.starts_with("delivered: TLS")).count() > 8);
    assert!(real.values().filter(|outcome| outcome.starts_with("delivered: in clear")).count() > 5);
}

/// A site with a second listener, which offers STARTTLS, and where that is.
fn listening(sink: &Sink, certificates: &Certificates) -> (Site, SocketAddr) {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let options = format!(
        "relay_hosts = (\"127.0.0.1\")\n\
         ESMTP_Listener {{\n  tls_certificate = \"{}\"\n  tls_key = \"{}\"\n\
         smtp_extensions = ( \"STARTTLS\" )\n  Listen \"{address}\" {{ }}\n}}\n",
        certificates.path("good.pem"),
        certificates.path("good.key"),
    );
    (Site::new(sink.address(), &options), address)
}

#[test]
fn openssl_hands_in_a_message_over_starttls() {
    let openssl = match find_tool("openssl", "openssl") {
        Ok(openssl) => openssl,
        Err(missing) => return missing.skip(),
    };
    let certificates = Certificates::make(&openssl);
    let sink = Sink::start();
    let (site, address) = listening(&sink, &certificates);
    let daemon = site.start();
    for (number, (version, protocol)) in
        [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")].into_iter().enumerate()
    {
        let mut client = s_client(&openssl, version, address, &certificates);
        let mut input = client.stdin.take().unwrap();
        let mut output = BufReader::new(client.stdout.take().unwrap());
        let mut said = String::new();
        let recipient = format!("rcpt to:<x{number}@d1.example.net>");
        // In small letters: lines that begin with Q or R are for `s_client` itself.
        for (line, answer) in [
            ("ehlo client.example.org", "250 ENHANCEDSTATUSCODES"),
            ("mail from:<a@client.example.org>", "250 2.1.0"),
            (&*recipient, "250 2.1.5"),
            ("data", "354 "),
            ("Subject: by OpenSSL\r\n\r\nHello\r\n.", "250 2."),
            ("quit", "221 "),
        ] {
            input.write_all(format!("{line}\r\n").as_bytes()).unwrap();
            let heard = said.len();
            while !said[heard..].lines().any(|line| line.starts_with(answer)) {
                assert!(output.read_line(&mut said).unwrap() > 0, "after {line}: {said}");
            }
        }
        drop(input);
        assert!(client.wait().unwrap().success());
        assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
        assert!(said.contains(protocol), "{said}");
    }
    sink.wait_for_recipients(2, PATIENCE);
    assert!(daemon.terminate().success());
}

fn s_client(
    openssl: &Path,
    version: &str,
    address: SocketAddr,
    certificates: &Certificates,
) -> Child {
    Command::new(openssl)
        .args(["s_client", "-starttls", "smtp", version, "-verify_return_error"])
        .args(["-ign_eof", "-servername", "mx.example.net"])
        .args(["-verify_hostname", "mx.example.net"])
        .args(["-CAfile", &certificates.path("ca.pem")])
        .args(["-connect", &address.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

#[test]
fn a_daemon_without_its_certificate_says_which_and_does_not_start() {
    let openssl = match find_tool("openssl", "openssl") {
        Ok(openssl) => openssl,
        Err(missing) => return missing.skip(),
    };
    let certificates = Certificates::make(&openssl);
    let sink = Sink::start();
    for (file, change, expected) in [
        ("good.key", "", "good.key has no private key"),
        ("good.pem", "not a certificate", "good.pem has no certificate"),
    ] {
        let (site, _) = listening(&sink, &certificates);
        let before = fs::read_to_string(certificates.path(file)).unwrap();
        certificates.write(file, change);
        let (status, log) = site.fail_to_start();
        assert_eq!(status.code(), Some(2), "{log}");
        assert!(log.contains(expected), "{log}");
        certificates.write(file, &before);
    }
}
