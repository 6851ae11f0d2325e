//! Any bytes as a configuration: findings or a configuration, never a panic or a hang.

#![no_main]

use libfuzzer_sys::fuzz_target;
use traject_engine::config::Config;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(config) = Config::from_text(&text) {
        let _ = config.delivery_options("default", "example.com");
    }
});
