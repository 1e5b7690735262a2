//! Compares what a manifest claims about a component with the component itself.

use crate::inspect::{TYPES_ONLY, ours};
use crate::{Hook, Inspection};

impl Inspection {
    /// Compares the claims in a manifest's config with the imports and exports that were found. Interfaces
    /// that carry types only may be claimed or not; all others must be claimed exactly: a missing claim is
    /// as false as an excess one. Claims of this project's interfaces are compared by interface: within a
    /// track all versions are equal.
    ///
    /// # Errors
    /// Names the first false claim, or the first import or export that is not claimed.
    pub fn check_claims(&self, imports: &[String], exports: &[String]) -> Result<(), String> {
        for claim in imports {
            let true_claim = match self.claimed(claim)? {
                Some(interface) => {
                    carries_types_alone(interface) || self.imports.iter().any(|it| it == interface)
                }
                None => self.wasi.contains(claim),
            };
            if !true_claim {
                return Err(format!(
                    "the manifest claims an import of `{claim}`, which the component does not import"
                ));
            }
        }
        for claim in exports {
            let true_claim = match self.claimed(claim)? {
                Some(interface) => {
                    matches!(interface, "lifecycle")
                        || TYPES_ONLY.contains(&interface)
                        || Hook::from_name(interface).is_some_and(|hook| self.has(hook))
                }
                None => self.others.contains(claim),
            };
            if !true_claim {
                return Err(format!(
                    "the manifest claims an export of `{claim}`, which the component does not export"
                ));
            }
        }
        let claims = |all: &[String], name: &str| {
            all.iter().any(|claim| claim == name || self.claimed(claim) == Ok(Some(name)))
        };
        if let Some(import) =
            self.imports.iter().chain(&self.wasi).find(|import| !claims(imports, import))
        {
            return Err(format!(
                "the component imports `{import}`, which the manifest does not claim"
            ));
        }
        let hooks = self.hooks.iter().map(|hook| hook.as_str());
        if let Some(export) = hooks.chain(["lifecycle"]).find(|export| !claims(exports, export)) {
            return Err(format!(
                "the component exports `{export}`, which the manifest does not claim"
            ));
        }
        Ok(())
    }

    /// The interface that a claim names, if it is one of the contract.
    fn claimed<'c>(&self, claim: &'c str) -> Result<Option<&'c str>, String> {
        match ours(claim)? {
            Some((_, contract)) if contract != self.contract => Err(format!(
                "the manifest claims `{claim}`, but the component is of contract {}",
                self.contract
            )),
            found => Ok(found.map(|(interface, _)| interface)),
        }
    }
}

/// A hook's own interface is imported for its types only.
fn carries_types_alone(interface: &str) -> bool {
    TYPES_ONLY.contains(&interface) || Hook::from_name(interface).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Inspection {
        Inspection {
            contract: crate::Contract::V0_1,
            hooks: vec![Hook::Request],
            imports: vec!["log".into()],
            wasi: vec!["wasi:cli/environment@0.2.6".into()],
            others: vec!["acme:extra/thing@1.0.0".into()],
            size: 1,
        }
    }

    fn judged(imports: &[&str], exports: &[&str]) -> Result<(), String> {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        found().check_claims(&owned(imports), &owned(exports))
    }

    const IMPORTS: [&str; 2] = ["tamis:filter/log@0.1.0", "wasi:cli/environment@0.2.6"];
    const EXPORTS: [&str; 2] = ["tamis:filter/request@0.1.0", "tamis:filter/lifecycle@0.1.0"];

    #[test]
    fn true_claims_hold_in_whatever_detail() {
        assert_eq!(judged(&IMPORTS, &EXPORTS), Ok(()));
        let imports = [&IMPORTS[..], &["tamis:filter/types@0.1.0", "tamis:filter/request@0.1.0"]];
        let exports = [&EXPORTS[..], &["acme:extra/thing@1.0.0"]];
        assert_eq!(judged(&imports.concat(), &exports.concat()), Ok(()));
        assert_eq!(judged(&["tamis:filter/log@0.1.7", IMPORTS[1]], &EXPORTS), Ok(()));
    }

    #[test]
    fn a_claim_of_more_of_less_or_of_something_else_is_named() {
        let more = |claim| [&IMPORTS[..], &[claim]].concat();
        for (imports, exports, part) in [
            (more("tamis:filter/kv@0.1.0"), &EXPORTS[..], "filter/kv"),
            (more("wasi:io/poll@0.2.6"), &EXPORTS, "wasi:io/poll"),
            (more("tamis:filter/log"), &EXPORTS, "has no version"),
            (more("tamis:filter/log@0.2.0"), &EXPORTS, "of contract 0.1"),
            (more("tamis:filter/log@0.3.0"), &EXPORTS, "this host serves 0.1 and 0.2"),
            (IMPORTS[..1].to_vec(), &EXPORTS, "imports `wasi:cli"),
            (IMPORTS[1..].to_vec(), &EXPORTS, "imports `log`"),
            (IMPORTS.to_vec(), &EXPORTS[..1], "exports `lifecycle`"),
            (IMPORTS.to_vec(), &EXPORTS[1..], "exports `request`"),
            (
                IMPORTS.to_vec(),
                &["tamis:filter/tick@0.1.0"],
                "claims an export of `tamis:filter/tick",
            ),
            (IMPORTS.to_vec(), &["acme:else/x@1.0.0"], "claims an export of `acme:else"),
            (vec![], &[], "imports `log`"),
        ] {
            let said = judged(&imports, exports).unwrap_err();
            assert!(said.contains(part), "{said}");
        }
    }
}
