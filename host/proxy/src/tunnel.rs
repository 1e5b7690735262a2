//! Two upgraded connections joined octet for octet.

use crate::decode::Upgrade;
use crate::settle::Settle;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tamis_exchange::Outcome;
use tamis_transport::Shutdown;

/// Joins client and upstream until either is done or the proxy drains, then settles.
pub(crate) fn join(
    upgrade: Upgrade,
    upstream: OnUpgrade,
    mut settle: Settle,
    mut shutdown: Shutdown,
) {
    drop(tokio::task::spawn_local(async move {
        let (client, upstream) = match tokio::try_join!(upgrade.client, upstream) {
            Ok(both) => both,
            Err(error) => {
                tracing::debug!(%error, "a tunnel did not come about");
                return settle.end(Outcome::RESET);
            }
        };
        let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
        let copied = tokio::select! {
            copied = tokio::io::copy_bidirectional(&mut client, &mut upstream) => copied,
            _ = shutdown.wait_for(|stop| *stop) => return settle.end(Outcome::RESET),
        };
        match copied {
            Ok((_sent, received)) => {
                settle.bytes_out += received;
                settle.end(Outcome::default());
            }
            Err(error) => {
                tracing::debug!(%error, "a tunnel broke");
                settle.end(Outcome::RESET);
            }
        }
    }));
}
