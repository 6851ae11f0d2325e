//! Options of pairs seen before.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use super::Config;
use super::effective::DeliveryOptions;
use crate::record::Pair;

/// Remembers the options of (binding, domain) pairs, at most `match_cache_size` of them. It never
/// changes an answer, only what the answer costs.
#[derive(Debug, Default)]
pub struct OptionsMemo {
    known: BTreeMap<Pair, Arc<DeliveryOptions>>,
}

impl OptionsMemo {
    /// [`Config::delivery_options`] of the pair. One memo serves one configuration.
    pub fn delivery_options(&mut self, config: &Config, pair: &Pair) -> Arc<DeliveryOptions> {
        if let Some(options) = self.known.get(pair) {
            return options.clone();
        }
        // Forgetting everything at once costs each pair one look-up more, and needs no record of
        // who was asked about when.
        if self.known.len() >= config.server_options().match_cache_size {
            self.known.clear();
        }
        let options = Arc::new(config.delivery_options(&pair.binding, &pair.domain));
        self.known.insert(pair.clone(), options.clone());
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(domain: &str) -> Pair {
        Pair { binding: "default".into(), domain: domain.into() }
    }

    #[test]
    fn answers_are_remembered_and_bounded() {
        let text = "match_cache_size = 2 domain \"a.test\" { retry_interval = 60 }";
        let config = Config::from_text(text).unwrap();
        let mut memo = OptionsMemo::default();
        for _ in 0..2 {
            for domain in ["a.test", "b.test", "c.test", "d.test"] {
                let known = memo.delivery_options(&config, &pair(domain));
                assert_eq!(*known, config.delivery_options("default", domain));
                assert!(memo.known.len() <= 2);
            }
        }
        let first = memo.delivery_options(&config, &pair("a.test"));
        let second = memo.delivery_options(&config, &pair("a.test"));
        assert!(Arc::ptr_eq(&first, &second));
    }
}
