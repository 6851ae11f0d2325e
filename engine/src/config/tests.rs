//! The language from text to effective values, and what is said about mistakes.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString as _};

use insta::assert_snapshot;

use super::*;
use crate::config::effective::{BindingSource, DeliveryMethod, EhloName, MaxRetries};
use crate::smtp::data::StrayPolicy;

/// Files by name; a name that ends with a slash is a directory.
pub(super) struct Files(pub(super) BTreeMap<&'static str, &'static str>);

impl ConfigFiles for Files {
    fn read(&mut self, path: &str, _: Option<&str>) -> Result<Vec<SourceFile>, FileError> {
        let found = self
            .0
            .iter()
            .filter(|(name, _)| **name == path || path.ends_with('/') && name.starts_with(path));
        let found: Vec<_> = found
            .map(|(name, text)| SourceFile { name: name.to_string(), text: text.to_string() })
            .collect();
        if found.is_empty() { Err(FileError::NotFound) } else { Ok(found) }
    }
}

pub(super) fn load_files(files: &[(&'static str, &'static str)]) -> Loaded {
    let host = HostFacts { hostname: "mx.test".to_owned() };
    Config::load("main.conf", &mut Files(files.iter().copied().collect()), &host)
}

pub(super) fn load(text: &'static str) -> Loaded {
    load_files(&[("main.conf", text)])
}

fn config(text: &'static str) -> Config {
    let loaded = load(text);
    assert!(loaded.config.is_some(), "{}", findings(&loaded));
    loaded.config.unwrap()
}

/// A finding on a line, `severity file:line:col-col message`, and what else it says on more.
pub(super) fn findings(loaded: &Loaded) -> String {
    let place = |span: Span| {
        let from = loaded.sources.line_column(span.file, span.start);
        let to = loaded.sources.line_column(span.file, span.end);
        format!("{}:{}:{}-{}", loaded.sources.name(span.file), from.line, from.column, to.column)
    };
    let mut text = String::new();
    for finding in &loaded.diagnostics {
        let at = finding.span.map_or_else(String::new, place);
        let code = finding.code.map_or_else(String::new, |code| format!("[{code}]"));
        text += &format!("{}{code} {at} {}\n", finding.severity.name(), finding.message);
        if !finding.label.is_empty() {
            text += &format!("  ^ {}\n", finding.label);
        }
        for (span, label) in &finding.related {
            text += &format!("  {} {label}\n", place(*span));
        }
        if let Some(help) = &finding.help {
            text += &format!("  = {help}\n");
        }
    }
    text
}

fn diagnose(text: &'static str) -> String {
    findings(&load(text))
}

#[test]
fn nothing_is_a_configuration_of_built_in_values() {
    let config = config("  # nothing\n");
    assert!(config.listeners().is_empty());
    assert!(config.has_binding("default") && !config.has_binding("red"));
    let server = config.server_options();
    assert_eq!(&*server.hostname, "mx.test");
    assert_eq!(server.resolv_conf.as_deref(), Some("/etc/resolv.conf"));
    assert_eq!(&*server.spool_base, "/var/spool/traject");
    assert_snapshot!(format!("{:#?}", config.delivery_options("default", "x.test")), @r#"
    DeliveryOptions {
        retry_interval: 1200s,
        max_retry_interval: 43200s,
        max_retries: Auto,
        message_expiration: 86400s,
        never_attempt_expired_messages: false,
        never_retry: false,
        max_outbound_connections: 32,
        connection_allocation_aggressiveness: 0.3,
        max_deliveries_per_connection: 0,
        max_recipients_per_connection: 0,
        max_recipients_per_batch: 100,
        max_resident_active_queue: 250,
        max_resident_messages: 32768,
        drop_body_after_trans_fail: 3,
        connect_timeout: 300s,
        ehlo_timeout: 300s,
        mailfrom_timeout: 300s,
        rcptto_timeout: 300s,
        body_timeout: 600s,
        rset_timeout: 30s,
        idle_timeout: 5s,
        host_failure_retry: 120s,
        mx_failures_to_delay: 50,
        connect_timeout_to_delay: 900s,
        mx_failures_fallback_to_a: 3,
        dns_failures_to_purge: 10,
        remote_smtp_port: 25,
        lmtp_port: 2003,
        fully_resolve_before_smtp: true,
        only_best_mx: false,
        routes: [],
        gateway: None,
        bind_address: None,
        ehlo_hostname: Literal(
            "mx.test",
        ),
        delivery_method: Esmtp,
        xclient: No,
        tls: TlsPolicy {
            mode: No,
            fallback: true,
        },
        tls_demands: None,
        send_8bitmime: false,
        transform_8bitmime_content: IfNeeded,
        suspend_delivery: false,
        blackhole: No,
        response_transcode: None,
        outbound_throttle_messages: None,
        outbound_throttle_connections: None,
        server_max_outbound_connections: [
            SharedCap {
                scope: "",
                max: 20000,
            },
        ],
        scope_max_outbound_connections: [],
        delayed_binding_domain_fuzz: 0,
        notices: NoticeOptions {
            generate_bounces: true,
            bounces_inline_original: Headers,
            mailerdaemon: None,
            mdn_failures_notify: None,
            generate_delay_dsn: false,
            first_delay_notice: 3600s,
            max_delay_notice_gap: 43200s,
        },
    }
    "#);
    let client = config.reception_options(ListenerId(0), [192, 0, 2, 1].into());
    assert_snapshot!(format!("{client:#?}"), @r#"
    ReceptionOptions {
        banner_hostname: "mx.test",
        static_banner: None,
        received_hostname: "mx.test",
        idle_time: 300s,
        max_message_size_bytes: 104857600,
        max_recipients_per_message: 0,
        max_recipients_per_connection: 0,
        max_receptions_per_connection: 0,
        require_ehlo: false,
        allow_null_envelope_sender: true,
        stray: Refuse,
        trace_headers: true,
        tls: None,
        relay: RelayPolicy {
            client_may_relay: false,
            sending_domains: [],
            recipient_domains: [],
        },
        binding: Default,
    }
    "#);
}

#[test]
fn the_most_specific_place_that_sets_an_option_counts() {
    let config = config(
        r#"
        message_expiration = 50000
        domain "Shop.Test" { message_expiration = 600 }
        domain "/[.]?test$/" { message_expiration = 800 retry_interval = 70 }
        domain "/^s/" { retry_interval = 71 max_retries = 9 }
        binding "red" { domain "shop.test" { retry_interval = 61 } }
        binding "blue" { message_expiration = 7100 }
        binding_group "g" {
          message_expiration = 3100
          domain "shop.test" { message_expiration = 120 }
          binding "green" { message_expiration = 2100 }
        }
        # From another file, perhaps.
        Binding_Group "g" { binding "grey" { } domain "SHOP.test" { never_retry = on } }
        "#,
    );
    let table = [
        ("default", "shop.test", 600, 70, MaxRetries::Count(9)),
        ("default", "x.example", 50000, 1200, MaxRetries::Auto),
        ("red", "SHOP.test", 600, 61, MaxRetries::Count(9)),
        ("red", "a.test", 800, 70, MaxRetries::Auto),
        ("blue", "shop.test", 7100, 70, MaxRetries::Count(9)),
        ("green", "shop.test", 120, 70, MaxRetries::Count(9)),
        ("green", "x.example", 2100, 1200, MaxRetries::Auto),
        ("grey", "a.test", 3100, 70, MaxRetries::Auto),
        ("grey", "shop.test", 120, 70, MaxRetries::Count(9)),
        ("RED", "shop.test", 600, 70, MaxRetries::Count(9)),
    ];
    for (binding, domain, expiration, interval, retries) in table {
        let options = config.delivery_options(binding, domain);
        let got = (
            options.message_expiration.as_secs(),
            options.retry_interval.as_secs(),
            options.max_retries,
        );
        assert_eq!(got, (expiration, interval, retries), "{binding} {domain}");
    }
    assert!(config.delivery_options("grey", "shop.test").never_retry);
    assert!(!config.delivery_options("red", "shop.test").never_retry);
}

#[test]
fn declaring_the_default_binding_and_group_touches_unassigned_mail_only() {
    let config = config(
        r#"
        binding "default" { retry_interval = 10 }
        binding_group "default" { body_timeout = 20  binding "member" { } }
        binding "other" { }
        "#,
    );
    let table =
        [("default", 10, 20), ("unknown", 10, 20), ("member", 1200, 20), ("other", 1200, 600)];
    for (binding, interval, timeout) in table {
        let options = config.delivery_options(binding, "x.test");
        let got = (options.retry_interval.as_secs(), options.body_timeout.as_secs());
        assert_eq!(got, (interval, timeout), "{binding}");
    }
}

#[test]
fn later_assignments_and_address_literals() {
    let config = config(
        r#"
        Retry_Interval = 5 retry_interval = "6"
        domain 192.0.2.9 { remote_smtp_port = 2525 }
        domain [IPv6:2001:db8::9] { remote_smtp_port = 2526 }
        bind_address = [2001:db8::1]
        ehlo_hostname = __message__
        delivery_method = smtp
        "#,
    );
    let port = |domain| config.delivery_options("default", domain).remote_smtp_port;
    assert_eq!(port("[192.0.2.9]"), 2525);
    assert_eq!(port("[IPv6:2001:DB8:0::9]"), 2526);
    assert_eq!(port("x.test"), 25);
    let options = config.delivery_options("default", "x.test");
    assert_eq!(options.retry_interval.as_secs(), 6);
    assert_eq!(options.bind_address, Some("2001:db8::1".parse().unwrap()));
    assert_eq!(options.ehlo_hostname, EhloName::OfMessage);
    assert_eq!(options.delivery_method, DeliveryMethod::Smtp);
}

#[test]
fn the_list_form_of_listeners() {
    let config = config(
        r#"
        hostname = "relay.test"
        binding "vip" { }
        Esmtp_Listener = (
          *:2525,64~4 <proto=ipv4> [
            ### defaults first
            0.0.0.0/0 = ( personality [ idle_time = 120 banner_hostname = "in.test" ] continue )
            192.0.2.1/32 = ( relay_for_sending_domains context [ binding = vip ] )
            192.0.2.0/24 = ( relay_for_sending_domains [ News.test = true old.test = false ]
                             personality [ idle_time = 60 message_size = 1000 ] continue )
            192.0.0.0/16 = ( personality [ idle_time = 61 ] )
            ::1/0 = ( personality [ idle_time = 30 static_banner = "220 hello" ] )
          ]
          [::1]:587
          *:26 <status="disabled">
        )
        "#,
    );
    let endpoints: Vec<_> = config
        .listeners()
        .iter()
        .map(|endpoint| format!("{} {:?} {}", endpoint.id.0, endpoint.addresses, endpoint.backlog))
        .collect();
    assert_eq!(endpoints, ["0 [0.0.0.0:2525] 64", "1 [[::1]:587] 5"]);

    let client = |peer: &str| config.reception_options(ListenerId(0), peer.parse().unwrap());
    let table = [
        // peer, idle time, may relay, sending domains, where the binding comes from
        ("203.0.113.9", 120, false, 0, BindingSource::Default),
        ("192.0.2.1", 120, true, 0, BindingSource::Binding("vip".into())),
        // Both the /24 and the /16 apply: the longer prefix wins, although the /16 is the later.
        ("192.0.2.7", 60, false, 1, BindingSource::Default),
        ("192.0.9.9", 61, false, 0, BindingSource::Default),
        ("2001:db8::1", 30, false, 0, BindingSource::Default),
    ];
    for (peer, idle, relay, domains, binding) in table {
        let options = client(peer);
        let got = (
            options.idle_time.as_secs(),
            options.relay.client_may_relay,
            options.relay.sending_domains.len(),
            options.binding,
        );
        assert_eq!(got, (idle, relay, domains, binding), "{peer}");
    }
    assert_eq!(&*client("192.0.2.7").relay.sending_domains[0], "news.test");
    assert_eq!(client("192.0.2.7").max_message_size_bytes, 1000);
    assert_eq!(&*client("192.0.2.7").banner_hostname, "in.test");
    assert_eq!(client("2001:db8::1").static_banner.as_deref(), Some("220 hello"));
    let other = config.reception_options(ListenerId(1), "::1".parse().unwrap());
    assert_eq!(other.idle_time.as_secs(), 300);
    assert_eq!(&*other.banner_hostname, "relay.test");
}

#[test]
fn the_stanza_form_of_listeners() {
    let config = config(
        r#"
        relay_hosts = ( 10.0.0.0/8 )
        relay_domains = ( example.com *.Example.net )
        RFC2822_Lone_LF_In_Body = fix
        ESMTP_Listener {
          Idle_Time = 100
          Listen ":25" { Peer "192.0.2.0/24" { idle_time = 40 } listen_backlog = 9 }
          Listen "127.0.0.1:2525" { idle_time = 90 }
          Listen "*:26" { Enable = false }
          Peer "192.0.2.128/25" { idle_time = 50 relay_hosts = ( 192.0.2.129 ) }
          Peer "0.0.0.0/0" { idle_time = 60 max_message_size = 5 }
        }
        "#,
    );
    assert_eq!(config.listeners().len(), 2);
    assert_eq!(config.listeners()[0].backlog, 9);
    assert_eq!(config.listeners()[1].backlog, 500);
    let client = |listener, peer: &str| {
        config.reception_options(ListenerId(listener), peer.parse().unwrap())
    };
    let table = [
        (0, "192.0.2.129", 40, true),
        (1, "192.0.2.129", 50, true),
        (1, "192.0.2.130", 50, false),
        (1, "192.0.2.1", 60, false),
        (1, "10.9.9.9", 60, true),
        (1, "::1", 90, false),
        (0, "::1", 100, false),
    ];
    for (listener, peer, idle, relay) in table {
        let options = client(listener, peer);
        let got = (options.idle_time.as_secs(), options.relay.client_may_relay);
        assert_eq!(got, (idle, relay), "{listener} {peer}");
    }
    let options = client(0, "::1");
    let domains: Vec<_> = options.relay.recipient_domains.iter().map(|name| &**name).collect();
    assert_eq!(domains, ["example.com", "*.example.net"]);
    assert_eq!(options.stray, StrayPolicy::Fix);
}

#[test]
fn included_files_count_where_they_are_included() {
    let loaded = load_files(&[
        ("main.conf", "include \"parts/\"\nbinding \"b\" { readonly_include b.conf }"),
        ("parts/10.conf", "retry_interval = 10 body_timeout = 11"),
        ("parts/20.conf", "retry_interval = 20"),
        ("b.conf", "retry_interval = 30"),
    ]);
    let config = loaded.config.unwrap();
    let interval = |binding| config.delivery_options(binding, "x.test").retry_interval.as_secs();
    assert_eq!((interval("default"), interval("b")), (20, 30));
    assert_eq!(config.delivery_options("b", "x.test").body_timeout.as_secs(), 11);
    assert_eq!(loaded.sources.files().count(), 4);
}

#[test]
fn includes_that_cannot_be_read() {
    let loaded = load_files(&[
        (
            "main.conf",
            r#"include gone.conf
include "eccmgr://u:p@192.0.2.1:2026/boot"
include a.conf
include
"#,
        ),
        ("a.conf", "include b.conf"),
        ("b.conf", "include a.conf"),
    ]);
    assert_snapshot!(findings(&loaded), @r##"
    error main.conf:1:9-18 cannot include `gone.conf`: no such file or directory
      = a relative name is looked for beside this file first
    error main.conf:2:9-43 cannot include from `eccmgr://`
      ^ only files and directories can be included
      = write the configuration to a file and include that
    error main.conf:5:1-1 expected the name of a file or directory, found the end of the file
      ^ the file ends here
    error b.conf:1:9-15 this file includes itself
      ^ closes the circle
      = the way round: main.conf includes a.conf includes b.conf includes a.conf
    "##);
    let missing = load_files(&[]);
    assert_eq!(findings(&missing), "error  cannot read main.conf: no such file or directory\n");
}

#[test]
fn all_mistakes_of_a_file_are_told_in_one_run() {
    assert_snapshot!(diagnose(
        r#"retry_intervall = 60
domain example.com {
  retry_interval = soon
  bind_address = 192.0.2.1
  binding "x" { }
}
domains "x.test" { }
binding { }
security "x" { }
binding "a b" { }
domain "/a(b/" { }
domain "/(?!x)/" { }
gateway { }
binding = "x"
max_outbound_connections = 10#many
bind_address = mail.example.com
resolv_conf = resolv.conf
Esmtp_Listener = ( *:25 /tmp/2025 *:25 *:26,0 *:27 <stat=on> *:28 [
  10.0.0.0/40 = ( continue )
  10.0.0.0/8 = ( personality [ idle = 3 static_banner = "hello" ] tls )
  11.0.0.0/8 = ( context [ binding = nobody ] )
] )
host mx.example.com { max_outbound_connections = 3 }
binding_group "g1" { binding "b" { } }
binding_group "g2" { binding "b" { } }
rfc2822_lone_lf_in_body = ignore
"#
    ), @r#"
    error main.conf:1:1-16 unknown option `retry_intervall`
      ^ not an option
      = did you mean `retry_interval`?
    error main.conf:3:20-24 `retry_interval` needs a whole number from 1 to 4294967295
      = for example `retry_interval = 1200`
    error main.conf:4:3-15 `bind_address` cannot be set in a `domain` stanza
      ^ not valid here
      = it can be set in global, binding_group or binding
    error main.conf:5:3-10 a `binding` stanza cannot stand in a `domain` stanza
      ^ not valid here
      = it can stand in the global scope or binding_group
    error main.conf:7:1-8 unknown stanza `domains`
      = did you mean `domain`?
    error main.conf:8:1-8 a `binding` stanza needs a name
      = write `binding "name" { ... }`
    error main.conf:9:10-13 a `security` stanza has no name
      = remove it
    error main.conf:10:9-14 `a b` cannot be the name of a binding
      = a name has no blanks and no colons
    error main.conf:11:8-15 this regular expression cannot be used
      ^ unclosed group
    error main.conf:12:8-17 this regular expression cannot be used
      ^ look-around, including look-ahead and look-behind, is not supported
      = write several stanzas, the more specific first
    error main.conf:13:1-8 unknown stanza `gateway`
      = `gateway` is an option: write `gateway = "text"`
    error main.conf:14:1-8 `binding` is a stanza, not an option
      = write `binding "name" { ... }`
    error main.conf:15:28-35 `max_outbound_connections` needs a whole number from -1 to 4294967295
      = a comment needs a blank in front of it
    error main.conf:16:16-32 `mail.example.com` is not an address
      = write an IPv4 or IPv6 address, or `*`; host names are not looked up here
    error main.conf:17:15-26 `resolv.conf` is neither a path nor `address:port`
      = for example "/etc/resolv.conf" or "192.0.2.53:53"
    error main.conf:18:25-34 `/tmp/2025` is a Unix socket
      = mail is received over TCP only: write `address:port`
    error main.conf:18:35-39 `*:25` is listed twice
    error main.conf:18:40-46 `0` is not a backlog
      = an endpoint is `address:port,backlog~concurrency`, the last two if wanted
    error main.conf:18:53-57 unknown attribute `stat`
      = did you mean `status`?
    error main.conf:19:3-14 `10.0.0.0/40`: the prefix is longer than 32 bits
      = write an address, a slash and a number of bits: `192.0.2.0/24`
    error main.conf:20:32-36 unknown option `idle`
      ^ not an option
      = did you mean `idle_time`?
    error main.conf:20:57-64 a banner begins with the code 220
      = write "220 hello"
    error main.conf:21:18-46 there is no binding `nobody`
    error main.conf:25:22-33 binding `b` belongs to two groups
      ^ in group `g2`
      main.conf:24:22-33 in group `g1`
      = a binding is in one group or in none; use another name for one of them
    warning[TJ041] main.conf:26:27-33 `ignore` is taken as `fix`
      ^ bare line feeds are never relayed
      = relaying them lets others smuggle mail; write `fix` or `pedantic`
    "#);
}

#[test]
fn broken_syntax_is_told_once_and_reading_goes_on() {
    assert_snapshot!(diagnose(
        r#"retry_interval 60
= 5
domain a.test { retry_interval = }
domain a.test b.test { retry_interval = bad }
relay_hosts = ( 10.0.0.0/8
hostname = mx.test
relay_domains = ( a.test , b=c )
body_timeout = "600
retry_interval = "1200"
spoolbase = 'x y'
} connect_timeout = [ a = ]
Esmtp_Listener = ( *:25 [ 0.0.0.0/0 = ( continue } )
ehlo_timeout = nonsense
binding "last" {
  /* never closed
"#
    ), @r##"
    error main.conf:1:16-18 expected `=` or `{` after `retry_interval`, found `60`
      ^ not expected here
      = an option is `name = value`, a stanza `name "instance" { ... }`
    error main.conf:3:34-35 expected a value: a word, `( ... )` or `[ ... ]`, found `}`
      ^ not expected here
    error main.conf:4:8-14 expected `=` or `{` after `domain`, found `a.test`
      ^ not expected here
      = a value of several words needs quotes; a stanza has one name
    error main.conf:5:15-16 this list is not closed
      ^ opened here
      main.conf:6:1-9 a new option begins here
      = add the missing `)`
    error main.conf:7:29-30 expected a word or `)`, found `=`
      ^ not expected here
      main.conf:7:17-18 in what was opened here
      = a word that contains `=` needs quotes
    error main.conf:8:16-20 this quoted word is not closed
      ^ the quote opened here
      = add the missing `"`; inside quotes `\"` writes a quote
    error main.conf:10:13-15 single quotes do not quote
      ^ begins with `'`
      = write "..." around a word with blanks or special characters
    error main.conf:11:1-2 expected `=` or `{` after `y'`, found `}`
      ^ not expected here
    error main.conf:12:50-51 expected a word or `)`, found `}`
      ^ not expected here
      main.conf:12:39-40 in what was opened here
    error main.conf:13:16-24 `ehlo_timeout` needs a whole number from 1 to 4294967295
      = for example `ehlo_timeout = 300`
    error main.conf:14:16-17 this stanza is not closed
      ^ opened here
      = add the missing `}`
    error main.conf:15:3-5 this comment is not closed
      ^ opened here
      = add the missing `*/`; comments do not nest
    "##);
}

#[test]
fn nesting_has_a_limit() {
    let open: String = core::iter::repeat_n("binding x {\n", 1000).collect();
    let errors = Config::from_text(&open).unwrap_err();
    assert_eq!(errors.iter().filter(|error| error.message.contains("too deeply")).count(), 1);
    let lists: String = core::iter::repeat_n("[ a = ( b ", 100_000).collect();
    let errors = Config::from_text(&format!("x = {lists}")).unwrap_err();
    assert!(errors[0].message.contains("too deeply"), "{errors:?}");
}

#[test]
fn diagnostics_are_bounded() {
    let text: String = core::iter::repeat_n("nonsense = 1\n", 5000).collect();
    let errors = Config::from_text(&text).unwrap_err();
    assert_eq!(errors.len(), crate::limits::CONFIG_DIAGNOSTICS_MAX + 1);
    assert_eq!(errors.last().unwrap().message, "4000 more errors are not shown");
}

/// In each of the two ways to write it.
#[test]
fn a_control_listener_is_told_what_does_instead() {
    let found = ["Control_Listener { }", "Control_Listener = ( /tmp/2025 )"].map(diagnose);
    assert_snapshot!(found.join("\n"), @"
    warning[TJ001] main.conf:1:1-17 `control_listener` is understood, but not implemented yet
      ^ has no effect
      = `traject daemon --control PATH` opens the socket of `traject ctl`

    warning[TJ001] main.conf:1:1-17 `control_listener` is understood, but not implemented yet
      ^ has no effect
      = `traject daemon --control PATH` opens the socket of `traject ctl`
    ");
}
