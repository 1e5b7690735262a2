//! What a filter declares: its configuration is validated, and its declaration checked against the contract and the grant.

use crate::error::{MAX_CAUSE, printable, short};
use crate::imports;
use crate::plan::{Interest, Plan};
use crate::running::RunningInstance;
use crate::{BodyMode, EngineError, GrantField, Hook, UncoveredField, abi};
use std::collections::HashMap;
use std::sync::Arc;
use tamis_exchange::{ReadableFields, WritableFields};

/// Number of uncovered fields that are reported at most.
const LACKS_MAX: usize = 32;
const LACK_OCTETS: usize = 256;

impl Plan {
    pub(crate) fn validate(&self) -> Result<(), EngineError> {
        let pre = imports::link(&self.compiled, imports::ImportMode::Trapping).map_err(|e| {
            let cause = printable(&format!("{e:#}"), MAX_CAUSE);
            EngineError::Instantiate { filter: self.name(), cause }
        })?;
        let mut running = RunningInstance::bare(self, &pre, &self.state)?;
        let answer = running.configure_call(self, "validate", |exports, store| {
            exports.validate.call(store, (&self.config,))
        })?;
        answer.0.map_err(|errors| running.refused(self, "validate", errors))
    }

    /// Configures an instance against throw-away state, and keeps its declaration. Returns that instance.
    pub(crate) fn configure(&mut self) -> Result<RunningInstance, EngineError> {
        let scratch = Arc::new(self.state.scratch());
        let mut running = RunningInstance::bare(self, &self.direct, &scratch)?;
        let (answer,) = running.configure_call(self, "configure", |exports, store| {
            exports.configure.call(store, (&self.config,))
        })?;
        let declared = answer.map_err(|errors| running.refused(self, "configure", errors))?;
        let buckets = self.buckets(&declared)?;
        let interest = self.interest(declared)?;
        running.store.data_mut().configuring = false;
        let mut names = |act,
                         which: fn(
            &crate::exports::Exports,
        ) -> Option<
            &crate::native::CheckedExport<crate::exports::Names>,
        >| {
            let names = running
                .configure_call(self, act, |exports, store| {
                    which(exports).map(|slot| slot.call(store, ())).transpose()
                })
                .map(|answer| answer.map(|(names,)| names).unwrap_or_default())?;
            self.few_and_short(act, &names)?;
            Ok::<_, EngineError>(names)
        };
        let backends = names("backends", |e| e.backends.as_ref())?;
        let rules = names("rules", |e| e.rules.as_ref())?;
        let connection_backends = names("backends", |e| e.connection_backends.as_ref())?;
        let failing = running.configure_call(self, "failing-statuses", |exports, store| {
            exports.failing_statuses.as_ref().map(|slot| slot.call(store, ())).transpose()
        })?;
        let (schema,) = running.configure_call(self, "config-schema", |exports, store| {
            exports.config_schema.call(store, ())
        })?;
        if schema.len() > MAX_SCHEMA_BYTES {
            let rule = format!("its schema is longer than {MAX_SCHEMA_BYTES} bytes");
            return Err(EngineError::Interest { filter: self.name(), rule });
        }
        let failing = failing.map(|(statuses,)| statuses).unwrap_or_default();
        if failing.0.len() > MAX_STATUSES || failing.1.len() > MAX_STATUSES {
            let rule = format!("it names more than {MAX_STATUSES} failing statuses");
            return Err(EngineError::Interest { filter: self.name(), rule });
        }
        // The cell was empty until here, so this cannot fail.
        drop(self.settings.buckets.set(buckets));
        self.config_schema = schema;
        self.interest = interest;
        self.backends = backends;
        self.rules = rules.into_iter().map(Into::into).collect();
        self.connection_backends = connection_backends;
        self.failing = failing;
        Ok(running)
    }

    /// Names go into metrics, records and status as they are.
    fn few_and_short(&self, act: &str, names: &[String]) -> Result<(), EngineError> {
        let most = if matches!(act, "reads" | "writes") { MAX_DECLARED } else { MAX_NAMES };
        let rule = if names.len() > most {
            format!("`{act}` has {} names; at most {most} are allowed", names.len())
        } else if let Some(long) = names.iter().find(|name| name.len() > MAX_NAME_BYTES) {
            format!(
                "a name of `{act}` has {} bytes; at most {MAX_NAME_BYTES} are allowed",
                long.len()
            )
        } else if let Some(name) = names.iter().find(|name| name.chars().any(char::is_control)) {
            let name = printable(name, LACK_OCTETS);
            format!("the name `{name}` of `{act}` has a control character in it")
        } else {
            return Ok(());
        };
        Err(EngineError::Interest { filter: self.name(), rule })
    }

    /// Names of headers are in lower case; attributes are spelt as their authors like.
    fn in_lower_case(&self, act: &str, names: &[String]) -> Result<(), EngineError> {
        let upper = |name: &&String| {
            !name.starts_with('@') && name.bytes().any(|octet| octet.is_ascii_uppercase())
        };
        let Some(name) = names.iter().find(upper) else { return Ok(()) };
        let name = printable(name, LACK_OCTETS);
        let rule = format!(
            "`{act}` has `{name}`, but header names are written in lower case there: write `{}`",
            name.to_ascii_lowercase()
        );
        Err(EngineError::Interest { filter: self.name(), rule })
    }

    /// `buckets:METRIC` of `interest.extra`: upper bounds, in the metric's unit, separated by commas.
    fn buckets(&self, declared: &abi::Interest) -> Result<HashMap<String, Vec<f64>>, EngineError> {
        let mut all = HashMap::new();
        for extra in declared.extra.iter().take(MAX_EXTRAS) {
            let Some(metric) = extra.name.strip_prefix("buckets:") else { continue };
            let bounds: Result<Vec<f64>, _> =
                extra.value.split(',').map(|bound| bound.trim().parse()).collect();
            let bounds = bounds.map_err(|_| EngineError::Interest {
                filter: self.name(),
                rule: format!(
                    "the value of `buckets:{}` must be numbers, separated by commas",
                    short(metric, 200).escape_debug()
                ),
            })?;
            all.insert(metric.to_owned(), bounds);
        }
        Ok(all)
    }

    /// Checks the declaration against the contract and the grant.
    fn interest(&self, declared: abi::Interest) -> Result<Interest, EngineError> {
        let grant = &self.settings.grant;
        // A component chooses these names, so they are shortened before they reach logs and reports.
        let lack = |act, field: &str, grant| UncoveredField {
            act,
            field: printable(field, LACK_OCTETS),
            grant,
        };
        self.few_and_short("reads", &declared.reads)?;
        self.few_and_short("writes", &declared.writes)?;
        // Before the grant: no entry of a grant would cover these.
        self.in_lower_case("reads", &declared.reads)?;
        self.in_lower_case("writes", &declared.writes)?;
        let modes = [declared.request_body, declared.response_body];
        let buffers = modes.iter().any(|mode| *mode != abi::BodyMode::None);
        let (asked, most) = (u64::from(declared.body_limit_bytes), grant.limits.body_bytes);
        if buffers && asked > most {
            let rule = format!(
                "it buffers bodies of up to {asked} bytes, but its Grant allows {most}: raise `limits.body` of the Grant, or lower the filter's own limit"
            );
            return Err(EngineError::Interest { filter: self.name(), rule });
        }
        let sees = |hooks: &[Hook]| hooks.iter().any(|hook| self.compiled.inspection.has(*hook));
        let response = sees(&[Hook::Response, Hook::ResponseBody])
            && !sees(&[Hook::Request, Hook::RequestBody, Hook::Router, Hook::Retry]);
        // A filter that sees no requests but their trailers most likely wants those of responses.
        let replies = !sees(&[Hook::Request, Hook::RequestBody, Hook::Router, Hook::Retry]);
        let side = |name: &str| response || (replies && name.starts_with(tamis_exchange::TRAILER));
        let stated =
            |name: &&String| name.strip_prefix('@').is_some_and(tamis_exchange::is_host_attribute);
        if let Some(name) = declared.writes.iter().find(stated) {
            let name = printable(name, LACK_OCTETS);
            let rule = format!(
                "it writes `{name}`, an attribute that only the host may set; no grant can allow it"
            );
            return Err(EngineError::Interest { filter: self.name(), rule });
        }
        let reads = declared.reads.iter().filter(|name| !grant.may_read(name));
        let reads = reads.map(|name| lack("reads", name, GrantField::reading(name, side(name))));
        let writes = declared.writes.iter().filter(|name| !grant.may_write(name));
        let writes = writes.map(|name| lack("writes", name, GrantField::writing(name, side(name))));
        let bodies = [
            (declared.request_body, grant.request_body, "request bodies", GrantField::RequestBody),
            (
                declared.response_body,
                grant.response_body,
                "response bodies",
                GrantField::ResponseBody,
            ),
        ];
        let bodies = bodies
            .into_iter()
            .filter(|(mode, granted, ..)| *mode != abi::BodyMode::None && !granted);
        let bodies = bodies.map(|(_, _, what, by)| lack("reads", what, by));
        let lacks: Vec<UncoveredField> =
            reads.chain(writes).chain(bodies).take(LACKS_MAX).collect();
        if !lacks.is_empty() {
            return Err(EngineError::Field { filter: self.name(), lacks });
        }
        let reads = ReadableFields::parse(&declared.reads)
            .map_err(|e| EngineError::Interest { filter: self.name(), rule: e.to_string() })?;
        Ok(Interest {
            reads: reads.limited(|name, side| grant.may_read_in(name, side)),
            writes: WritableFields::new(declared.writes)
                .limited(|name, side| grant.may_write_in(name, side)),
            request_body: body_mode(declared.request_body),
            response_body: body_mode(declared.response_body),
            body_limit_bytes: declared.body_limit_bytes,
            responses: declared.responses.into(),
        })
    }
}

/// Fields that a filter may read, and write. The host searches them with each request and each edit, in time
/// that no limit of the filter covers; a filter that needs more declares `*`.
const MAX_DECLARED: usize = 256;
/// Rules and backends that a filter may declare by name.
const MAX_NAMES: usize = 10_000;
/// Bytes of such a name.
const MAX_NAME_BYTES: usize = 1_024;
/// Entries of `interest.extra` that are read.
const MAX_EXTRAS: usize = 256;
/// Statuses that a retry policy may name, of each protocol.
const MAX_STATUSES: usize = 1_000;
/// Bytes of a configuration's schema.
const MAX_SCHEMA_BYTES: usize = 1024 * 1024;

fn body_mode(mode: abi::BodyMode) -> BodyMode {
    match mode {
        abi::BodyMode::None => BodyMode::None,
        abi::BodyMode::Buffered => BodyMode::Buffered,
        abi::BodyMode::Chunks => BodyMode::Chunks,
    }
}
