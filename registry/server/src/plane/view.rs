//! The responses of the API, from the state.

pub(crate) mod audit;
pub(crate) mod diff;
mod history;
mod resources;
mod revoked;
mod rollouts;
mod status;

use tamis_api::PinView;
use tamis_director as director;

pub(crate) fn pin(pin: &director::ServicePin) -> PinView {
    PinView {
        service: pin.service.clone(),
        filter: pin.filter.to_string(),
        version: pin.version.to_string(),
        digest: pin.digest.to_string(),
        revision: pin.stamp.revision,
        time_ms: pin.stamp.time_ms,
        actor: pin.stamp.actor.clone(),
    }
}
