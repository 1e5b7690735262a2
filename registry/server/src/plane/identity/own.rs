//! The authority in this process: opened at the start, rotated and recorded while the registry runs.

use std::path::Path;
use std::time::Duration;

use serde_json::Error;
use tamis_api::ApiProblem;
use tamis_authority::{AuthorityError, JoinRecord};
use tamis_journal::{Record, causes};

use super::authority::{MeshAuthority, MeshOptions};
use super::problems;
use super::records::{IdentityRecord, RotatedRecord};
use super::unwritten;
use crate::ServerError;
use crate::plane::control::{Control, ControlState};
use crate::plane::problem::{journal, problem};
use crate::plane::rights::AuthorizedCaller;

/// The actor of what a registry does with its authority by itself.
const ACTOR: &str = "operator";
/// Interval of checks whether something is due.
const TICK: Duration = Duration::from_secs(1);
/// Renewals are recorded after so many ticks.
const GATHERED: u32 = 30;

impl Control {
    /// Opens the authority in the folder of the registry, or makes it there at the first start.
    ///
    /// `lost`: an operator declared the keys of this journal lost, so a new one is made.
    ///
    /// # Errors
    /// [`ServerError`]: the journal has an authority that is not in the folder, or another than that.
    pub(crate) async fn open_authority(
        &self,
        registry: &Path,
        options: &MeshOptions,
        advertised: String,
        lost: bool,
    ) -> Result<(), ServerError> {
        let folder = MeshAuthority::folder(registry);
        let known = self.state().identities.authority().cloned();
        if known.is_some() && !lost && !folder.join("bundle.pem").exists() {
            return Err(ServerError::NoAuthority { folder });
        }
        let now = self.0.store.clock().wall();
        let authority = MeshAuthority::open(registry, options, advertised, now)?;
        let record = authority.record();
        let written = IdentityRecord::Authority(record.clone()).to_record();
        let written = written.map_err(|error| ServerError::Identity(error.to_string()))?;
        let decided = self.commit_records(ACTOR, |state| match state.identities.authority() {
            Some(known) if *known == record => Ok((Vec::new(), true)),
            // Roots that somebody added while the registry was away.
            Some(known) if authority.follows(known) => Ok((vec![written.clone()], true)),
            Some(known) if !lost || known.domain != record.domain => Ok((Vec::new(), false)),
            _ => Ok((vec![written.clone()], true)),
        });
        match decided.await {
            Ok((_, true)) => {}
            Ok((_, false)) => return Err(ServerError::OtherAuthority { folder }),
            Err(problem) => return Err(ServerError::Identity(problem.title)),
        }
        // A second start of one process is not possible.
        let _ = self.0.authority.set(authority);
        Ok(())
    }

    /// Withdraws all unused tokens, since the journal of a restored registry does not know which of them were
    /// used after the backup.
    ///
    /// # Errors
    /// [`ServerError::Identity`].
    pub(crate) async fn withdraw_tokens(&self) -> Result<(), ServerError> {
        let withdrawn = self.commit_records(ACTOR, |state| {
            let records = unused(state)
                .into_iter()
                .map(|node| IdentityRecord::Token(JoinRecord::Withdrawn { node }).to_record());
            let records: Result<Vec<Record>, Error> = records.collect();
            Ok((records.map_err(|error| unwritten(&error))?, ()))
        });
        withdrawn.await.map(drop).map_err(|problem| ServerError::Identity(problem.title))
    }

    /// Rotates, renews the registry's own SVID and records renewals, for as long as it is polled.
    pub(crate) async fn keep_authority(&self) {
        let mut ticks = 0_u32;
        loop {
            tokio::time::sleep(TICK).await;
            let Some(authority) = self.0.authority.get() else { continue };
            if let Err(error) = self.take_installed(authority).await {
                tracing::error!(error, "what is in the folder of the authority is not used");
            }
            if let Err(error) = self.rotate_if_due(authority).await {
                tracing::error!(error, "the intermediate is not rotated");
            }
            if let Err(error) = authority.renew_own(self.0.store.clock().wall()) {
                tracing::error!(error = %causes(&error), "the registry's own SVID is not renewed");
            }
            ticks = ticks.wrapping_add(1);
            if ticks.is_multiple_of(GATHERED)
                && let Err(problem) = self.write_renewals().await
            {
                tracing::warn!(code = problem.code, "renewals wait: {}", problem.title);
            }
        }
    }

    /// Signs with an intermediate, and has members trust a root, that `tamis identity authority` put into the folder.
    async fn take_installed(&self, authority: &MeshAuthority) -> Result<(), String> {
        if !authority.reload(self.0.store.clock().wall()).map_err(|error| causes(&error))? {
            return Ok(());
        }
        tracing::warn!("an intermediate or a root that was installed is used from now on");
        let record = authority.record();
        let known = self.state().identities.authority() == Some(&record);
        let record = match known {
            true => IdentityRecord::Rotated(RotatedRecord { asked: false }).to_record(),
            false => IdentityRecord::Authority(record).to_record(),
        };
        let record = record.map_err(|error| error.to_string())?;
        let written = self.commit_records(ACTOR, |_| Ok((vec![record.clone()], ())));
        written.await.map(drop).map_err(|problem| problem.title)
    }

    async fn rotate_if_due(&self, authority: &MeshAuthority) -> Result<(), String> {
        let now = self.0.store.clock().wall();
        let asked = self.state().identities.rotated();
        let why = |error: AuthorityError| causes(&error);
        if authority.rotate_older(asked, now).map_err(why)? {
            tracing::warn!("the intermediate is rotated, as somebody asked");
        } else if authority.rotate_due(now).map_err(why)? {
            tracing::warn!("the intermediate is rotated: half of its validity was over");
            let record = IdentityRecord::Rotated(RotatedRecord { asked: false }).to_record();
            let record = record.map_err(|error| error.to_string())?;
            let written = self.commit_records(ACTOR, |_| Ok((vec![record.clone()], ())));
            written.await.map_err(|problem| problem.title)?;
        }
        Ok(())
    }

    /// Records the renewals since the last time.
    pub(crate) async fn write_renewals(&self) -> Result<(), ApiProblem> {
        let pending = self.0.renewed.take();
        if pending.is_empty() {
            return Ok(());
        }
        let records: Result<Vec<Record>, Error> =
            pending.iter().map(IdentityRecord::to_record).collect();
        let records = records.map_err(|error| unwritten(&error))?;
        let written =
            self.commit_records(super::ACTOR, |_| Ok((records.clone(), ()))).await.map(drop);
        written.inspect_err(|_| self.0.renewed.put_back(pending))
    }

    /// Rotates the intermediate here; every replica follows.
    ///
    /// # Errors
    /// [`ApiProblem`]: this registry has no authority or not the root's key, or the journal cannot be written.
    pub(crate) async fn rotate_by(&self, holder: &AuthorizedCaller) -> Result<(), ApiProblem> {
        let authority = self.authority()?;
        if !authority.intermediate().2 {
            return Err(problems::unsigned(&AuthorityError::RootOffline));
        }
        let record = IdentityRecord::Rotated(RotatedRecord { asked: true }).to_record();
        let record = record.map_err(|error| unwritten(&error))?;
        self.commit_records(holder, |_| Ok((vec![record.clone()], ()))).await?;
        self.catch_up().await.map_err(|error| journal(&error))?;
        let (now, asked) = (self.0.store.clock().wall(), self.state().identities.rotated());
        match authority.rotate_older(asked.saturating_add(1), now) {
            Ok(_) => Ok(()),
            Err(error @ AuthorityError::RootOffline) => Err(problems::unsigned(&error)),
            Err(error) => Err(problem(503, "unavailable", causes(&error))),
        }
    }
}

/// The proxies with unused tokens.
fn unused(state: &ControlState) -> Vec<String> {
    let tokens = state.identities.tokens().tokens();
    let unused = tokens.filter(|(_, one)| one.used.is_none() && !one.withdrawn);
    let mut nodes: Vec<String> = unused.map(|(_, one)| one.node.clone()).collect();
    nodes.sort();
    nodes.dedup();
    nodes
}
