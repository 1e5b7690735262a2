//! Whether octets are the component that a manifest names.

use super::Manifest;
use crate::{Digest, TrustError};

impl Manifest {
    /// Checks that these are the component's bytes: their size first, then their digest.
    ///
    /// # Errors
    /// [`TrustError::Component`] when they are not.
    pub fn check(&self, component: &[u8]) -> Result<(), TrustError> {
        if component.len() as u64 != self.size {
            return Err(TrustError::Component {
                what: "size",
                actual: component.len().to_string(),
                expected: self.size.to_string(),
            });
        }
        let actual = Digest::of(component);
        if actual != self.layer {
            return Err(TrustError::Component {
                what: "digest",
                actual: actual.to_string(),
                expected: self.layer.to_string(),
            });
        }
        Ok(())
    }
}
