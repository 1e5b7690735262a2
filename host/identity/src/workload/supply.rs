//! Takes SVIDs from an agent, as they come.

use std::time::Duration;

use rustls_pki_types::UnixTime;
use tamis_ambient::{Clock, Random};
use tamis_sync::Backoff;
use tamis_transport::{MeshIdentity, TlsError, causes};

use super::messages::SvidMessage;
use super::stream::AgentStream;
use super::{AgentSocket, WantedSvid, WorkloadError};
use crate::background::Background;

/// Wait after the first failure, at most.
const AGAIN: Duration = Duration::from_millis(500);
/// Longest wait between attempts.
const AGAIN_MAX: Duration = Duration::from_secs(30);
/// Shortest wait between attempts: an agent that ends each stream at once is not kept busy.
const AGAIN_MIN: Duration = Duration::from_millis(50);
/// Time limit for the first message of a stream. An agent that cannot reach its server sends it late.
const FIRST: Duration = Duration::from_secs(30);
/// How often the date is looked at while an agent sends nothing.
const LOOK: Duration = Duration::from_secs(1);
/// An agent sends the next SVID after about half of the life of the present one. When less than this part of it is left, in
/// percent, it is late.
const LATE_PERCENT: u64 = 25;

/// Takes the SVIDs of a proxy from an agent until it is dropped.
#[derive(Debug)]
pub struct AgentSvid {
    identity: MeshIdentity,
    _background: Background,
}

/// One proxy at one agent.
struct Supply {
    socket: AgentSocket,
    wanted: WantedSvid,
    clock: Clock,
    random: Random,
}

impl AgentSvid {
    /// Waits for the first SVID, and takes the next ones on a thread of its own: a busy worker never delays them. `waits` gets
    /// each reason why there is none yet, and the wait before the next attempt.
    ///
    /// # Errors
    /// [`WorkloadError`], when asking again is useless.
    pub fn start(
        socket: AgentSocket,
        wanted: WantedSvid,
        (clock, random): (Clock, Random),
        waits: impl Fn(&WorkloadError, Duration),
    ) -> Result<Self, WorkloadError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(WorkloadError::Thread)?;
        let mut supply = Supply { socket, wanted, clock, random };
        let (identity, stream) = runtime.block_on(supply.first(&waits))?;
        // It keeps its id, whatever else the agent gives later.
        supply.wanted = WantedSvid::Id(identity.id());
        let kept = identity.clone();
        let taking = async move { supply.follow(&kept, stream).await };
        let background = Background::start(runtime, taking).map_err(WorkloadError::Thread)?;
        Ok(Self { identity, _background: background })
    }

    /// The identity of the proxy.
    #[must_use]
    pub fn identity(&self) -> &MeshIdentity {
        &self.identity
    }
}

impl Supply {
    /// The first SVID, and the stream that it came with.
    async fn first(
        &self,
        waits: &impl Fn(&WorkloadError, Duration),
    ) -> Result<(MeshIdentity, AgentStream), WorkloadError> {
        let mut backoff = Backoff::new(AGAIN, AGAIN_MAX);
        loop {
            let error = match self.attempt().await {
                Err(error) if !error.is_final() => error,
                done => return done,
            };
            let pause = self.pause(&mut backoff);
            waits(&error, pause);
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(&self) -> Result<(MeshIdentity, AgentStream), WorkloadError> {
        let (message, stream) = self.open().await?;
        let (svid, faults) = self.wanted.choose(&self.socket, message)?;
        let id = svid.id.to_string();
        let made = MeshIdentity::supplied(svid, self.now());
        let (identity, unusable) = made.map_err(|source| self.unusable(id, source))?;
        report(&faults, &unusable);
        Ok((identity, stream))
    }

    /// A stream with its first message.
    async fn open(&self) -> Result<(SvidMessage, AgentStream), WorkloadError> {
        let mut stream = AgentStream::open(&self.socket).await?;
        let first = tokio::time::timeout(FIRST, stream.next()).await;
        let first = first.map_err(|_| WorkloadError::Unreachable {
            socket: self.socket.to_string(),
            why: format!("it sends no message within {FIRST:?}"),
        })?;
        Ok((first?, stream))
    }

    /// Takes what comes, and opens the stream again whenever it ends.
    async fn follow(self, identity: &MeshIdentity, stream: AgentStream) {
        let (mut backoff, mut open) = (Backoff::new(AGAIN, AGAIN_MAX), Some(stream));
        loop {
            let error = match open.take() {
                Some(stream) => self.until_it_ends(identity, stream, &mut backoff).await,
                None => match self.open().await {
                    Ok((message, stream)) => {
                        match self.take(identity, message) {
                            Ok(()) => backoff.reset(),
                            Err(error) => self.failed(identity, &error),
                        }
                        open = Some(stream);
                        continue;
                    }
                    Err(error) => error,
                },
            };
            self.failed(identity, &error);
            tokio::time::sleep(self.pause(&mut backoff)).await;
        }
    }

    /// Takes the messages of a stream; why it ended. A message that cannot be used ends nothing: the next one may be good.
    async fn until_it_ends(
        &self,
        identity: &MeshIdentity,
        mut stream: AgentStream,
        backoff: &mut Backoff,
    ) -> WorkloadError {
        let mut is_late = false;
        loop {
            let received = tokio::select! {
                received = stream.next() => received,
                () = tokio::time::sleep(LOOK) => {
                    // Once for each SVID: the reason does not change.
                    if !std::mem::replace(&mut is_late, self.is_late(identity)) && is_late {
                        self.failed(identity, &WorkloadError::Unreachable {
                            socket: self.socket.to_string(),
                            why: "it is connected and has not sent the next SVID; see its log".to_owned(),
                        });
                    }
                    continue;
                }
            };
            match received {
                Ok(message) => match self.take(identity, message) {
                    Ok(()) => backoff.reset(),
                    Err(error) => self.failed(identity, &error),
                },
                Err(error) => return error,
            }
        }
    }

    fn take(&self, identity: &MeshIdentity, message: SvidMessage) -> Result<(), WorkloadError> {
        let (svid, faults) = self.wanted.choose(&self.socket, message)?;
        let (id, before) = (svid.id.to_string(), identity.facts());
        let replaced = identity.replace_supplied(svid, self.now());
        let unusable = replaced.map_err(|source| self.unusable(id, source))?;
        report(&faults, &unusable);
        let facts = identity.facts();
        if facts != before {
            tracing::info!(id = %identity.id(), expires = facts.expiry(), "the SPIFFE agent sent the next SVID");
        }
        Ok(())
    }

    fn failed(&self, identity: &MeshIdentity, error: &WorkloadError) {
        let (why, id, expires) = (causes(error), identity.id(), identity.facts().expiry());
        let now = Duration::from_secs(self.clock.unix_secs());
        identity.renewal_failed(&why, now);
        if identity.seconds_left(now) == 0 {
            tracing::error!(%id, why, expires, "the SVID has expired: open connections go on, new ones fail");
        } else {
            tracing::warn!(%id, why, expires, "the SPIFFE agent does not send SVIDs; the present one stays in use");
        }
    }

    /// Whether the next SVID should have come.
    fn is_late(&self, identity: &MeshIdentity) -> bool {
        let facts = identity.facts();
        let life = u64::try_from(facts.not_after.saturating_sub(facts.not_before)).unwrap_or(0);
        let left = identity.seconds_left(Duration::from_secs(self.clock.unix_secs()));
        left < life.saturating_mul(LATE_PERCENT) / 100
    }

    fn pause(&self, backoff: &mut Backoff) -> Duration {
        backoff.next(self.random.number(), None).max(AGAIN_MIN)
    }

    fn now(&self) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(self.clock.unix_secs()))
    }

    fn unusable(&self, id: String, source: TlsError) -> WorkloadError {
        WorkloadError::Svid { socket: self.socket.to_string(), id, source }
    }
}

/// Federated domains that cannot be used: nobody of them is let in, and everything else counts.
fn report(faults: &[String], unusable: &[TlsError]) {
    let unusable = unusable.iter().map(|error| causes(error));
    for why in faults.iter().cloned().chain(unusable) {
        tracing::warn!(why, "the SPIFFE agent sent a federated trust domain that cannot be used");
    }
}

#[cfg(test)]
mod tests;
