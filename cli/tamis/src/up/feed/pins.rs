//! Pins: those that the lock changes are sent, those that somebody changed in the registry stay.

use super::feeder::{Feeder, PassResult, shown_error};
use crate::up::gather::{FolderDocuments, FolderProblem};
use std::collections::BTreeSet;
use tamis_api::{PinRequest, UnpinRequest};
use tamis_client::ClientError;
use tamis_resources::Pin;

/// The rule that requires another person's approval.
const APPROVALS: &str = "guard.approvals";

impl Feeder {
    /// Sends the pins that the lock changed, and reports those that were refused.
    pub(super) fn pin(
        &mut self,
        gathered: &FolderDocuments,
        done: &mut PassResult,
    ) -> Vec<FolderProblem> {
        let news: Vec<(&str, &Pin)> = once(gathered)
            .filter(|(_, pin)| self.pins.get(&place(pin)) != Some(&pin.digest))
            .collect();
        if news.is_empty() {
            return Vec::new();
        }
        let in_force = match self.ask(async |client| client.pins().await) {
            Ok(pins) => pins,
            Err(why) => return vec![FolderProblem::new(format!("the pins cannot be read: {why}"))],
        };
        let mut refused = Vec::new();
        for (file, pin) in news {
            let is =
                |one: &tamis_api::PinView| one.service == pin.service && one.filter == pin.filter;
            if !in_force.iter().any(|one| is(one) && one.digest == pin.digest) {
                let (service, filter) = (pin.service.clone(), pin.filter.clone());
                let request = PinRequest {
                    service,
                    filter,
                    version: None,
                    digest: Some(pin.digest.clone()),
                    allow_older: true,
                    confirm: true,
                    dry_run: false,
                };
                let Pin { service, filter, version, .. } = pin;
                if let Err(error) = self.question(async |client| client.pin(&request).await) {
                    let (why, then) = (shown_error(&error), then(&error));
                    let line = format!(
                        "{file}: {filter} {version} is not pinned for {service}: {why}; what runs keeps running{then}"
                    );
                    refused.push(FolderProblem::new(line));
                    continue;
                }
                done.pinned.push(format!("{filter} {version} for {service}"));
            }
            self.pins.insert(place(pin), pin.digest.clone());
        }
        self.keep(&mut refused);
        refused
    }

    /// Removes pins that were sent and are in no lock any more, unless somebody changed them in the
    /// registry meanwhile.
    pub(super) fn unpin(&mut self, gathered: &FolderDocuments, done: &mut PassResult) {
        // The broken file may be a lock.
        if !gathered.broken.is_empty() {
            return;
        }
        let here: BTreeSet<String> = gathered.pins().map(|(_, pin)| place(pin)).collect();
        let gone: Vec<String> =
            self.pins.keys().filter(|place| !here.contains(*place)).cloned().collect();
        if gone.is_empty() {
            return;
        }
        let in_force = match self.ask(async |client| client.pins().await) {
            Ok(pins) => pins,
            Err(why) => {
                return done
                    .wrongs
                    .push(FolderProblem::new(format!("the pins cannot be read: {why}")));
            }
        };
        for place in gone {
            let sent = self.pins.get(&place);
            let same = |one: &&tamis_api::PinView| {
                format!("{} {}", one.service, one.filter) == place && sent == Some(&one.digest)
            };
            if let Some(pin) = in_force.iter().find(same) {
                let (service, filter) = (pin.service.clone(), pin.filter.clone());
                let request = UnpinRequest { service, filter, confirm: true };
                if let Err(why) = self.ask(async |client| client.unpin(&request).await) {
                    let line = format!("{} stays pinned for {}: {why}", pin.filter, pin.service);
                    done.wrongs.push(FolderProblem::new(line));
                    continue;
                }
                done.unpinned.push(format!("{} for {}", pin.filter, pin.service));
            }
            self.pins.remove(&place);
        }
        self.keep(&mut done.wrongs);
    }

    /// Stores what was sent, so that a later start does not repeat a pin that somebody rolled back.
    fn keep(&self, wrongs: &mut Vec<FolderProblem>) {
        let text = serde_json::to_vec(&self.pins).unwrap_or_default();
        if let Err(error) = tamis_private::put(&self.sent, &text) {
            let line = format!("the pins cannot be stored for a restart: {error}");
            wrongs.push(FolderProblem::new(line));
        }
    }
}

/// Service and filter of a pin.
fn place(pin: &Pin) -> String {
    format!("{} {}", pin.service, pin.filter)
}

/// The pins of the locks; of two for the same service and filter, the first.
fn once(gathered: &FolderDocuments) -> impl Iterator<Item = (&str, &Pin)> {
    let mut seen = BTreeSet::new();
    gathered.pins().filter(move |(_, pin)| seen.insert(place(pin)))
}

/// What to do in addition to the registry's hint.
fn then(error: &ClientError) -> &'static str {
    let refusals = error.problem().map(|problem| problem.refusals.as_slice()).unwrap_or_default();
    if refusals.iter().any(|one| one.code == APPROVALS) {
        ". An approval needs a token with the verb approve, which `tamis registry token create` makes; afterwards save the lock again"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tamis_api::{ApiProblem, Refused};

    #[test]
    fn whoever_has_to_wait_for_somebody_else_is_told_what_to_do_then() {
        let error = |code: &str| {
            let word = String::new;
            let refusal = Refused {
                code: code.to_owned().into(),
                rule: word(),
                set_by: word(),
                remedy: word(),
            };
            ClientError::Refused(Box::new(ApiProblem {
                status: 409,
                code: "refused".into(),
                title: word(),
                remedy: None,
                refusals: vec![refusal],
                problems: Vec::new(),
                subject: None,
            }))
        };
        assert!(then(&error(APPROVALS)).contains("save the lock again"));
        assert_eq!(then(&error("pin.older")), "");
    }
}
