//! `tamis reassign`: makes the director's assignments count again, whatever versions proxies have seen.

use crate::names;
use crate::output::{self, Output};
use crate::remote::RegistryAccess;
use crate::table::count;
use anyhow::Result;
use std::process::ExitCode;
use tamis_api::ReassignRequest;

/// Arguments of `reassign`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Service or gateway, NAMESPACE/NAME; `*` means all.
    #[arg(value_parser = names::service, default_value = "*")]
    service: String,
    /// Reason, shown with the change.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    at: RegistryAccess,
}

/// Begins an epoch: assignments from now on have higher versions than all that proxies have seen.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let request =
        ReassignRequest { service: arguments.service.clone(), reason: arguments.reason.clone() };
    let remote = arguments.at.remote()?;
    let done = remote.ask("assigning", async |client| client.reassign(&request).await)?;
    output::result(output, &done, || {
        let whose = if done.service == "*" { "all services" } else { &done.service };
        format!(
            "every slot of {whose} ({}) is assigned again, in epoch {} (revision {})\n\
             the filters to run stay the same; `tamis status --problems` shows the proxies that have not activated the assignments yet\n",
            count(done.proxies, "proxy", "proxies"),
            done.epoch,
            done.revision
        )
    });
    Ok(ExitCode::SUCCESS)
}
