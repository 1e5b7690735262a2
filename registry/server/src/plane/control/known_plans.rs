//! Computes the plans of all proxies, a few at a time.

use std::time::Duration;

use crate::plane::control::Control;

/// How long the thread that serves computes plans before others have their turn.
pub(crate) const SLICE: Duration = Duration::from_millis(5);

impl Control {
    /// Computes the plans of all proxies that are not known, with the turns of others between them: who asks about all of
    /// them afterwards finds them.
    pub(crate) async fn know_plans(&self) {
        let clock = self.0.store.clock();
        let nodes = self.state().nodes();
        let mut began = clock.now();
        for node in nodes {
            {
                let state = self.state();
                let mut plans = self.plans();
                if !plans.knows(&state, &node) {
                    plans.node_plan(&state, &node);
                }
            }
            if clock.since(began) > SLICE {
                tokio::task::yield_now().await;
                began = clock.now();
            }
        }
    }
}
