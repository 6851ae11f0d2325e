//! Mail that is discarded (`blackhole`).

use crate::config::effective::Blackhole;
use crate::engine::Engine;
use crate::smtp::reply::{EnhancedCode, Reply};
use crate::smtp::stage::Stage;
use crate::time::Timestamp;

impl Engine {
    /// Fails everything that waits in a queue whose mail is discarded, due or not. What is in a
    /// transaction comes to its own end.
    pub(super) fn fail_blackholed(&mut self, slot: usize) {
        match self.queues[slot].options.blackhole {
            Blackhole::No => {}
            // Inline refuses recipients when a client names them. Whoever got past that, being
            // queued already or assigned to the binding later, is failed all the same.
            Blackhole::Inline | Blackhole::Internal => {
                self.activate_due(slot, Timestamp::NEVER);
                let reply = Reply::local(554, EnhancedCode(5, 7, 0), "Blackholed");
                self.fail_active_at(slot, Stage::Queue, &reply);
            }
        }
    }
}
