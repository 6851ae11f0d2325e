//! Any bytes as a configuration: findings or a configuration that can be asked anything.

use std::net::{IpAddr, Ipv4Addr};

use traject_engine::config::Config;
use traject_engine::ids::ListenerId;

/// Reads the bytes as a configuration.
pub(crate) fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let config = match Config::from_text(&text) {
        Ok(config) => config,
        Err(findings) => {
            assert!(findings.iter().any(|finding| finding.is_error()), "refused without a reason");
            return;
        }
    };
    for binding in config.bindings().chain(["default", "nobody"]) {
        for domain in ["example.com", "x.test", "[192.0.2.1]", ""] {
            let _ = config.delivery_options(binding, domain);
            let _ = config.blackhole(binding, domain);
            let _ = config.host_cap(binding, domain);
        }
    }
    let peer = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    for endpoint in config.listeners() {
        let _ = config.reception_options(endpoint.id, peer);
    }
    let _ = config.reception_options(ListenerId(u32::MAX), peer);
    let _ = (config.tls_params(), config.security_options(), config.log_files());
}
