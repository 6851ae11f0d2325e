//! The configurations that are shipped: they check without findings but for what is not
//! implemented yet, and they say what their comments promise.

use std::path::{Path, PathBuf};

use traject_engine::config::effective::{BindingSource, MaxRetries};
use traject_engine::config::{Config, HostFacts, Loaded};
use traject_engine::ids::ListenerId;
use traject_net::config_files::FileSystem;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/configs")
}

fn load(path: &Path) -> Loaded {
    let host = HostFacts { hostname: "shipped.test".to_owned() };
    Config::load(path.to_str().expect("a path that is text"), &mut FileSystem, &host)
}

/// Files directly in the folder, and the main file of each folder in it.
fn shipped() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder()).expect("the folder of configurations");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("a readable entry").path())
        .map(|path| if path.is_dir() { path.join("ecelerity.conf") } else { path })
        .collect();
    paths.sort();
    paths
}

#[test]
fn shipped_configurations_have_no_findings() {
    let paths = shipped();
    assert!(paths.len() >= 2, "{paths:?}");
    for path in paths {
        let loaded = load(&path);
        let not_yet = "TJ001";
        for finding in loaded.diagnostics {
            assert_eq!(finding.code, Some(not_yet), "{}: {}", path.display(), finding.message);
        }
        assert!(loaded.config.is_some(), "{}", path.display());
    }
}

#[test]
fn the_production_configuration_means_what_it_says() {
    let loaded = load(&folder().join("production/ecelerity.conf"));
    let lines: usize = loaded.sources.files().map(|file| file.text.lines().count()).sum();
    assert!(lines > 1500 && loaded.sources.files().count() > 10, "{lines} lines");
    let config = loaded.config.expect("a configuration without errors");

    let table = [
        // binding, domain, connections, messages a connection, expiration
        ("shop-a", "gmail.com", 20, 100, 86_400),
        ("shop-e", "gmail.com", 4, 100, 86_400),
        ("code-b", "hotmail.de", 15, 50, 3600),
        ("news-a", "mail.gmx.de", 3, 10, 172_800),
        ("default", "nowhere.example", 10, 50, 259_200),
        ("bank-a", "carrier.example", 1, 50, 432_000),
    ];
    for (binding, domain, connections, per_connection, expiration) in table {
        let options = config.delivery_options(binding, domain);
        let got = (
            options.max_outbound_connections,
            options.max_deliveries_per_connection,
            options.message_expiration.as_secs(),
        );
        assert_eq!(got, (connections, per_connection, expiration), "{binding} {domain}");
        assert_eq!(options.max_retries, MaxRetries::Unlimited);
    }
    let options = config.delivery_options("bank-a", "court.example");
    assert_eq!(options.gateway.as_deref(), Some("secure-mx.court.example"));
    let cap = config.host_cap("shop-a", "mx2.carrier.example").expect("a cap");
    assert_eq!(cap.max, 3);

    let client = |listener, peer: &str| {
        config.reception_options(ListenerId(listener), peer.parse().expect("an address"))
    };
    assert_eq!(config.listeners().len(), 2);
    let shop = client(0, "10.20.200.1");
    assert!(shop.relay.client_may_relay);
    assert_eq!(shop.binding, BindingSource::Binding("shop-a".into()));
    assert_eq!(client(0, "10.20.33.1").binding, BindingSource::Binding("shop-b".into()));
    let agency = client(1, "203.0.113.17");
    assert!(!agency.relay.client_may_relay);
    assert_eq!(&*agency.relay.sending_domains[0], "south.shop.example");
    let stranger = client(1, "198.51.100.9");
    assert!(!stranger.relay.client_may_relay && stranger.relay.sending_domains.is_empty());
    assert_eq!(stranger.idle_time.as_secs(), 60);
}
