//! Renews an SVID before it expires, again and again.

use std::io;
use std::time::Duration;

use tamis_ambient::Random;
use tamis_sync::Backoff;
use tamis_transport::{MeshIdentity, causes};

use crate::background::Background;
use crate::{IdentityError, Registrar};

/// An SVID is renewed after at least this part of its remaining life, in percent.
const EARLIEST_PERCENT: u64 = 50;
/// The width of the window in which it is renewed, in percent: proxies that start together spread out.
const WINDOW_PERCENT: u64 = 20;
/// Wait before a renewal, at least: an SVID without a life must not keep the registry busy.
const LEAST: Duration = Duration::from_millis(10);
/// How often the date is looked at while nothing is due: a machine that slept has a later date, and no time passed.
const LOOK: Duration = Duration::from_secs(1);
/// Wait after the first failure, at most.
const AGAIN: Duration = Duration::from_millis(500);
/// Longest wait between attempts.
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// Renews the SVID of an identity until it is dropped.
#[derive(Debug)]
pub struct Renewal {
    _background: Background,
}

impl Renewal {
    /// Starts to renew, on a thread of its own: a busy worker never delays it.
    ///
    /// # Errors
    /// When the system has no thread.
    pub fn start(registrar: Registrar, identity: MeshIdentity, random: Random) -> io::Result<Self> {
        Self::paced(registrar, identity, random, wait)
    }

    pub(crate) fn paced(
        registrar: Registrar,
        identity: MeshIdentity,
        random: Random,
        wait: fn(Duration, Random) -> Duration,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let renewing = async move { renew(&registrar, &identity, random, wait).await };
        Ok(Self { _background: Background::start(runtime, renewing)? })
    }
}

async fn renew(
    registrar: &Registrar,
    identity: &MeshIdentity,
    random: Random,
    wait: fn(Duration, Random) -> Duration,
) {
    loop {
        let now = registrar.now();
        let pause = wait(left(registrar, identity), random).max(LEAST);
        pass(registrar, now + pause, pause).await;
        let mut backoff = Backoff::new(AGAIN, AGAIN_MAX);
        while let Err(error) = registrar.renew(identity).await {
            let pause = pause_after(&error, &mut backoff, random.number());
            let (why, expires) = (causes(&error), identity.facts().expiry());
            let id = identity.id();
            identity.renewal_failed(&why, registrar.now());
            if left(registrar, identity).is_zero() {
                tracing::error!(%id, why, expires, "the SVID has expired: open connections go on, new ones fail; trying again, which the registry allows for a day");
            } else {
                tracing::warn!(%id, why, expires, ?pause, "the SVID is not renewed yet; trying again");
            }
            tokio::time::sleep(pause).await;
        }
        tracing::info!(id = %identity.id(), expires = identity.facts().expiry(), "the SVID is renewed");
    }
}

/// The wait after a failure: no shorter than the registry asks for.
fn pause_after(error: &IdentityError, backoff: &mut Backoff, random: u64) -> Duration {
    backoff.next(random, error.retry_after()).max(AGAIN / 10)
}

/// Waits for that time or until that date, whichever comes first: an SVID expires by the date.
async fn pass(registrar: &Registrar, until: Duration, time: Duration) {
    let mut left = time;
    while !left.is_zero() && registrar.now() < until {
        let step = left.min(LOOK);
        tokio::time::sleep(step).await;
        left -= step;
    }
}

/// How long the current SVID is valid from now on.
fn left(registrar: &Registrar, identity: &MeshIdentity) -> Duration {
    Duration::from_secs(identity.seconds_left(registrar.now()))
}

/// How long to wait before an SVID that is valid for `life` is renewed: 50 to 70 percent of it.
fn wait(life: Duration, random: Random) -> Duration {
    let millis = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
    let hundredth = millis / 100;
    let window = hundredth.saturating_mul(WINDOW_PERCENT);
    let drawn = random.below(window.saturating_add(1));
    Duration::from_millis(hundredth.saturating_mul(EARLIEST_PERCENT).saturating_add(drawn))
}

#[cfg(test)]
mod tests;
