//! Background work of filters (`tick`): on one thread, apart from the workers.

mod first_ticks;

use crate::NodeError;
pub(crate) use first_ticks::FirstTicks;
use std::rc::Rc;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;
use tamis_engine::Filter;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

/// Wait after a failed tick.
const AFTER_FAULT: Duration = Duration::from_secs(5);

struct Start {
    filter: Filter,
    first: std_mpsc::Sender<()>,
    stop: oneshot::Receiver<()>,
}

/// Starts background work.
#[derive(Clone)]
pub(crate) struct TickStarter(mpsc::UnboundedSender<Start>);

/// A filter's background work; ends when this is dropped.
pub(crate) struct RunningTicks {
    _stop: oneshot::Sender<()>,
}

impl TickStarter {
    /// Starts the thread; it ends with the last clone.
    pub(crate) fn new() -> Result<Self, NodeError> {
        let (send, mut receive) = mpsc::unbounded_channel::<Start>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(NodeError::Thread)?;
        let run = move || {
            LocalSet::new().block_on(&runtime, async move {
                while let Some(start) = receive.recv().await {
                    drop(tokio::task::spawn_local(work(start)));
                }
            });
        };
        let thread = std::thread::Builder::new().name("tamis-ticks".to_owned());
        thread.spawn(run).map_err(NodeError::Thread)?;
        Ok(Self(send))
    }

    /// Starts a filter's background work; `firsts` get its first tick.
    pub(crate) fn start(&self, filter: &Filter, firsts: &mut FirstTicks) -> RunningTicks {
        let (first, done) = std_mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        // The thread lives as long as this: a tick that cannot be started is one that is not done.
        let _sent = self.0.send(Start { filter: filter.clone(), first, stop: stopped });
        firsts.add(filter.name(), done);
        RunningTicks { _stop: stop }
    }
}

async fn work(start: Start) {
    let Start { filter, first, stop } = start;
    let name = Rc::new(filter.name().to_owned());
    let ticking = async {
        let mut instance = match filter.instantiate() {
            Ok(instance) => instance,
            Err(fault) => return tracing::warn!(filter = *name, "no instance for tick: {fault}"),
        };
        let mut first = Some(first);
        loop {
            let next = instance.on_tick().await;
            // The waiting side may have given up.
            let _ = first.take().map(|first| first.send(()));
            match next {
                Ok(Some(ms)) => tokio::time::sleep(Duration::from_millis(ms.into())).await,
                Ok(None) => return,
                Err(fault) => {
                    tracing::warn!(filter = *name, kind = fault.kind(), "a tick failed: {fault}");
                    tokio::time::sleep(AFTER_FAULT).await;
                }
            }
        }
    };
    tokio::select! {
        () = ticking => {}
        _ = stop => {}
    }
}

#[cfg(test)]
mod tests;
