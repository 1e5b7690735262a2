//! `tamis explain`: what a code means, who set the rule, the way out.

mod codes;

use crate::failure::NotFound;
use crate::names;
use crate::output::{self, Output};
use anyhow::Result;
use codes::{CODES, Code, FAULTS};
use std::fmt::Write as _;
use std::process::ExitCode;

/// Arguments of `explain`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Code, such as trust.threshold, or a family of codes, such as trust; default: all codes.
    code: Option<String>,
}

/// Prints what codes mean.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let found = find(arguments.code.as_deref())?;
    output::result(output, &found, || match found.as_slice() {
        [one] => whole(one),
        many => many.iter().map(|one| format!("{}  {}\n", one.code, one.meaning)).collect(),
    });
    Ok(ExitCode::SUCCESS)
}

fn find(code: Option<&str>) -> Result<Vec<Code>> {
    let Some(code) = code else { return Ok(known().copied().collect()) };
    // `tamis status` prints it with its state: `refused:trust.threshold`.
    let code = code.strip_prefix("refused:").unwrap_or(code);
    let is = |one: &&Code| one.code == code;
    let family = |one: &&Code| one.code.split_once('.').is_some_and(|(family, _)| family == code);
    let exact: Vec<Code> = known().filter(is).copied().collect();
    let found = if exact.is_empty() { known().filter(family).copied().collect() } else { exact };
    if found.is_empty() {
        let all: Vec<&str> = known().map(|one| one.code).collect();
        let way = names::near(code, &all).unwrap_or_else(|| ALL.to_owned());
        return Err(NotFound(format!("there is no code {code}{way}")).into());
    }
    Ok(found)
}

const ALL: &str = "; `tamis explain` lists all";

/// Codes and faults.
fn known() -> impl Iterator<Item = &'static Code> {
    CODES.iter().chain(FAULTS)
}

fn whole(one: &Code) -> String {
    let Code { code, meaning, set_by, remedy } = one;
    format!(
        "{code}\n\nwhat it means   {meaning}\nwho set it      {set_by}\nthe way out     {remedy}\n"
    )
}

/// The reference page of all codes.
pub(crate) fn page(made: &str) -> String {
    let mut text = format!(
        "{made}# Codes\n\nEvery refusal carries a stable code: in `tamis status`, in the API, in access records, in metrics and on the admin listener. `tamis explain CODE` prints the entry of this page.\n"
    );
    let mut family = None;
    for one in CODES {
        let of = one.code.split_once('.').map_or("of the API", |(family, _)| family);
        if family != Some(of) {
            let _ = write!(
                text,
                "\n## {of}\n\n| code | what it means | who set the rule | the way out |\n| --- | --- | --- | --- |\n"
            );
            family = Some(of);
        }
        let _ = writeln!(text, "{}", cells(one));
    }
    text.push_str("\n## Faults of calls\n\nThe kind of a fault: in a table of cases (`expect: { fault: KIND }`), in logs and in metrics.\n\n| kind | what it means | who set the rule | the way out |\n| --- | --- | --- | --- |\n");
    for one in FAULTS {
        let _ = writeln!(text, "{}", cells(one));
    }
    text
}

/// A row of the page.
fn cells(Code { code, meaning, set_by, remedy }: &Code) -> String {
    format!("| `{code}` | {meaning} | {set_by} | {remedy} |")
}

#[cfg(test)]
mod tests;
