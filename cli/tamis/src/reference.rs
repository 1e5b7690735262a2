//! `tamis reference`: writes the reference pages that are made from the program itself.

mod filters;

use crate::named_file;
use crate::output;
use anyhow::{Context as _, Result};
use clap::{Arg, Command};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `reference`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder to write the pages to.
    #[arg(default_value = "docs/reference")]
    folder: PathBuf,
    /// Folder with the sources of the built-in filters.
    #[arg(long, default_value = "filters")]
    filters: PathBuf,
    /// Write nothing; fail when a page differs from what would be written.
    #[arg(long)]
    check: bool,
}

/// Writes or compares the pages.
pub(crate) fn run(arguments: &Arguments, program: Command) -> Result<ExitCode> {
    let openapi = tamis_server::openapi().context("the API cannot be described")?;
    let mut pages = vec![
        ("cli.md".to_owned(), cli(program)),
        ("resources.md".to_owned(), resources()),
        ("cases.md".to_owned(), cases()),
        ("metrics.md".to_owned(), metrics()),
        ("codes.md".to_owned(), crate::explain::page(MADE)),
        ("openapi.json".to_owned(), openapi),
    ];
    pages.extend(filters::pages(&arguments.filters)?);
    let mut stale = Vec::new();
    for (name, text) in pages {
        let path = arguments.folder.join(name);
        if named_file::text(&path).is_ok_and(|found| found == text) {
            continue;
        }
        if arguments.check {
            stale.push(path.display().to_string());
            continue;
        }
        std::fs::create_dir_all(path.parent().unwrap_or(&arguments.folder))
            .and_then(|()| std::fs::write(&path, text))
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    if !stale.is_empty() {
        anyhow::bail!("{} is out of date; run: cargo xtask reference", stale.join(", "));
    }
    output::line("the reference pages are up to date");
    Ok(ExitCode::SUCCESS)
}

const MADE: &str = "<!-- Made by `cargo xtask reference`; change the source instead. -->\n";

/// Every command with its help.
fn cli(mut program: Command) -> String {
    program.build();
    let mut text = format!(
        "{MADE}# Commands\n\nEvery command takes `--output json` for programs, prints errors on one line (with `--output json` an object with `error` on standard output), and exits with\n\n\
         | code | when |\n| --- | --- |\n\
         | 0 | success |\n\
         | 1 | failure |\n\
         | 2 | the command line is invalid |\n\
         | 3 | rules of the control plane refused (or would, for `plan`); a filter grew (`filter diff`) |\n\
         | 4 | the requested thing does not exist |\n\n\
         `TAMIS_LOG=debug` prints details on standard error.\n"
    );
    text.push_str(&registry(&program));
    each(&program, "tamis", &mut text);
    text
}

/// The arguments by which commands find their registry, listed once.
fn registry(program: &Command) -> String {
    let with = program.get_subcommands().find(|one| one.get_name() == "status");
    let mut text = format!(
        "\n## The registry\n\nCommands that use a registry also take these arguments. The token is sent over TLS, to loopback addresses and to unix sockets, and nowhere else.\n{HEAD}"
    );
    for one in with.into_iter().flat_map(Command::get_arguments).filter(of_registry) {
        text.push_str(&row(one));
    }
    text
}

const HEAD: &str = "\n| argument | meaning |\n| --- | --- |\n";

fn of_registry(argument: &&Arg) -> bool {
    argument.get_help_heading() == Some(crate::remote::HEADING)
}

fn each(command: &Command, path: &str, text: &mut String) {
    for one in command.get_subcommands().filter(|one| !one.is_hide_set()) {
        let path = format!("{path} {}", one.get_name());
        let about = one.get_about().map(ToString::to_string).unwrap_or_default();
        let _ = write!(text, "\n## {path}\n\n{about}.\n");
        let own = |argument: &&Arg| !matches!(argument.get_id().as_str(), "help" | "output");
        let (shared, own): (Vec<_>, Vec<_>) =
            one.get_arguments().filter(own).partition(of_registry);
        if !own.is_empty() {
            text.push_str(HEAD);
        }
        own.into_iter().for_each(|argument| text.push_str(&row(argument)));
        if !shared.is_empty() {
            text.push_str("\nAnd [the registry](#the-registry).\n");
        }
        let example = one.get_after_help().map(ToString::to_string).unwrap_or_default();
        let example = example.trim_start_matches("Example:").trim_matches('\n');
        let lines = example.lines().map(str::trim).collect::<Vec<_>>().join("\n");
        let _ = write!(text, "\n```sh\n{lines}\n```\n");
        each(one, &path, text);
    }
}

/// An argument, its meaning, and its default.
fn row(argument: &Arg) -> String {
    let name = match argument.get_long() {
        Some(long) if argument.get_action().takes_values() => {
            format!("--{long} {}", argument.get_id().as_str().to_uppercase())
        }
        Some(long) => format!("--{long}"),
        None => argument.get_id().as_str().to_uppercase(),
    };
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let default: Vec<_> =
        argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let default = match default.as_slice() {
        [] => String::new(),
        some if argument.get_action().takes_values() && some != [""] => {
            format!(" Default: `{}`.", some.join(" "))
        }
        _ => String::new(),
    };
    format!("| `{name}` | {help}.{default} |\n")
}

/// Every kind of document with its fields.
fn resources() -> String {
    let mut text = format!(
        "{MADE}# Resources\n\nDocuments are YAML; a file may hold several. Every `*.yaml` and `*.yml` file in the folder and below it is read, except hidden ones. A file that looks like a document and has another name, such as `guard.json` or `guard.yml.bak`, is not read: `tamis check` fails and names it, and so do `tamis up` and the problems of a proxy. Paths in them are relative to the folder. `tamis check` lists the problems of a folder, `tamis schema` prints the JSON Schema for your editor. A field with nothing behind it, such as `clientCa:`, is refused, since it would count as absent: write its value, or remove it.\n"
    );
    for (kind, schema) in tamis_resources::schemas() {
        let api = schema.pointer("/properties/apiVersion/const").and_then(Value::as_str);
        let _ = write!(text, "\n## {kind}\n\n`apiVersion: {}`\n", api.unwrap_or_default());
        let spec = schema.pointer("/properties/spec").unwrap_or(&schema);
        if let Some(about) = spec.get("description").and_then(Value::as_str) {
            let _ = write!(text, "\n{about}\n");
        }
        text.push_str("\n| field | type | meaning |\n| --- | --- | --- |\n");
        fields(spec, "", 0, &mut text);
    }
    text
}

/// Deeper fields repeat what the Gateway API documents.
const DEPTH_MAX: usize = 4;

fn fields(schema: &Value, path: &str, depth: usize, text: &mut String) {
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, field) in properties.into_iter().flatten() {
        if matches!(name.as_str(), "apiVersion" | "kind") && path.is_empty() {
            continue;
        }
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let needed = if required.contains(&name.as_str()) { ", needed" } else { "" };
        let about = field.get("description").and_then(Value::as_str).unwrap_or_default();
        let about = about.replace('\n', " ").replace('|', "\\|");
        let _ = writeln!(text, "| `{path}` | {}{needed} | {about} |", kind(field));
        if depth < DEPTH_MAX {
            below(field, &path, |field, path| fields(field, path, depth + 1, text));
        }
    }
}

/// Visits the fields below a field: its own, those of each item of a list, and those of each value of a
/// map.
fn below(field: &Value, path: &str, mut visit: impl FnMut(&Value, &str)) {
    let field = options(field);
    visit(field, path);
    if let Some(items) = field.get("items") {
        visit(options(items), &format!("{path}[]"));
    }
    if let Some(rest) = field.get("additionalProperties").filter(|rest| rest.is_object()) {
        visit(options(rest), &format!("{path}.NAME"));
    }
}

/// Most references followed, so that a circle ends.
const REFERENCES_MAX: usize = 12;

/// A schema with its references replaced by what they name.
fn resolved(schema: &Value, root: &Value, depth: usize) -> Value {
    if depth > REFERENCES_MAX {
        return Value::Null;
    }
    match schema {
        Value::Object(map) => {
            let named = map.get("$ref").and_then(Value::as_str);
            let named = named.and_then(|name| root.pointer(name.trim_start_matches('#')));
            let mut whole = named.map(|one| resolved(one, root, depth + 1)).unwrap_or_default();
            let own = map.iter().filter(|(name, _)| *name != "$ref" && *name != "$defs");
            let own: serde_json::Map<String, Value> =
                own.map(|(name, one)| (name.clone(), resolved(one, root, depth))).collect();
            match whole.as_object_mut() {
                Some(there) => there.extend(own),
                None => whole = own.into(),
            }
            whole
        }
        Value::Array(several) => several.iter().map(|one| resolved(one, root, depth)).collect(),
        other => other.clone(),
    }
}

/// Schemas write an optional value as "this or null"; the schema of the value itself.
fn options(schema: &Value) -> &Value {
    let some = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    let mut some = some.filter(|one| one.get("type").and_then(Value::as_str) != Some("null"));
    some.next().unwrap_or(schema)
}

fn kind(schema: &Value) -> String {
    let schema = options(schema);
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        let words = words.iter().filter_map(Value::as_str).map(|word| format!("`{word}`"));
        return words.collect::<Vec<_>>().join(" \\| ");
    }
    if let Some(several) = schema.get("oneOf").and_then(Value::as_array) {
        // Choices with a description stand alone, those without are listed together.
        let words = several.iter().flat_map(|one| {
            let together = one.get("enum").and_then(Value::as_array).into_iter().flatten();
            together.chain(one.get("const")).filter_map(Value::as_str)
        });
        let words: Vec<_> = words.map(|word| format!("`{word}`")).collect();
        if !words.is_empty() {
            return words.join(" \\| ");
        }
    }
    if let Some(format) = schema.get("format").and_then(Value::as_str) {
        return format.to_owned();
    }
    match schema.get("type") {
        Some(Value::String(one)) => one.clone(),
        Some(Value::Array(several)) => {
            let words = several.iter().filter_map(Value::as_str).filter(|word| *word != "null");
            words.collect::<Vec<_>>().join(" or ")
        }
        _ => "any".to_owned(),
    }
}

/// A filter's folder: its description and its table of cases.
fn cases() -> String {
    let mut schema = tamis_testkit::Table::schema();
    // The page of resources has its fields.
    if let Some(grant) = schema.pointer_mut("/properties/grant").and_then(Value::as_object_mut) {
        grant.remove("properties");
    }
    // The same fields as those of a case with one step; the table's `given` as that of a case.
    if let Some(steps) = schema.pointer_mut("/properties/cases/items/properties/steps/items") {
        drop(steps.as_object_mut().and_then(|steps| steps.remove("properties")));
    }
    if let Some(given) = schema.pointer_mut("/properties/cases/items/properties/given") {
        *given = serde_json::json!({ "type": "object", "description": given.get("description") });
    }
    let mut text = format!("{MADE}{CASES}\n| field | type | meaning |\n| --- | --- | --- |\n");
    fields(&schema, "", 0, &mut text);
    text
}

const CASES: &str = "# The folder of a filter

`tamis filter new NAME --world WORLD` creates a folder that builds and passes its cases.

| file | contains |
| --- | --- |
| `filter.yaml` | its name, its release and its world |
| `src/lib.rs` | its code; a filter in another language is built by [its own tools](../how-to/other-languages.md) |
| `tests/*.yaml` | its expected behaviour: tables of cases |

## filter.yaml

| field | type | meaning |
| --- | --- | --- |
| `name` | string, needed | `NAMESPACE/NAME`, the name used in documents, grants and pins |
| `version` | string, needed | Its release, a semantic version. A version denotes one set of bytes: `tamis filter sign` signs other bytes under the same version only with `--replace`. |
| `description` | string | One line for catalogues |
| `world` | string | World of [the contract](contract.md#worlds) that it implements |
| `config.schema` | string | Path of a JSON Schema of its configuration, for editors |

## A table of cases

A configuration, and requests with the expected result of each:

```yaml
config: { blocked: [bad/] }
grant: { request: { readHeaders: [user-agent], writeHeaders: [x-policy] } }
cases:
  - name: a blocked agent is refused
    request: { path: /, headers: { user-agent: bad/1.0 } }
    expect: { answer: { status: 403 }, reason: agents.blocked }
  - name: another passes, and the service receives x-policy
    request: { path: /, headers: { user-agent: good/1.0 } }
    expect: { request: { headers: { x-policy: agents } } }
  - name: a misspelt setting is refused at its place
    config: { blockd: [] }
    expect: { configure: { error: /blockd } }
```

`tamis filter test` runs each case in the engine of the proxy, with an instance, a clock and a state of its own, under the limits of the grant.
For a request it calls, in this order, the hooks `request`, `request-body` and `router`; when there is a `response`, `response` and
`response-body`, each followed by `trailers` where there are any; at the end `finished`. A body in chunks is shown as a proxy shows it: each chunk, then the end as an empty one; where there is
no body, no hook on bodies is called.

Several steps in a case share the state. Other hooks have an event of their own, and `given` is what the filter finds:

```yaml
given:
  http: [{ url: https://lists.example/agents, body: bad/ }]
  secrets: { db: hunter2 }
  kv: { seen: '1' }
cases:
  - name: the list is fetched in the background, and fetched again after a minute
    steps:
      - tick: {}
        expect: { tick: { next: 1m }, http: [{ method: GET }] }
      - request: { path: /, headers: { user-agent: bad/1 } }
        expect: { answer: { status: 403 } }
      - wait: 1m
      - tick: {}
        expect: { kv: { list: bad/ } }
  - name: only the first five requests of a second pass
    steps:
      - { times: 5, request: { path: / }, expect: { pass: true } }
      - { request: { path: / }, expect: { answer: { status: 429 } } }
      - { wait: 1s, request: { path: / }, expect: { pass: true } }
  - name: a 429 is retried after the wait that it names
    retry: { status: 429, retryAfter: 2s }
    expect: { retry: { verdict: again, after: 2s } }
  - name: an answer of the host has the header too
    response: { by: host, status: 503 }
    expect: { response: { headers: { strict-transport-security: max-age=31536000 } } }
```

Time stands still except in `wait`; random numbers are the same in each run. `http-client` sends nothing: it finds the answers of `given.http`.
Answers are checked as in a proxy and refused with the same text (`fault: { kind: bad-answer, contains: … }`).

Editors complete and check a table by its schema: `tamis schema cases > cases.schema.json`, and as the first line of the table
`# yaml-language-server: $schema=cases.schema.json`. `tamis filter new` makes both.

Mistakes in a table are reported before anything is built. A case without an expectation cannot fail, and is refused.
";

/// The host's own metrics, and the registry's.
fn metrics() -> String {
    let mut text = format!(
        "{MADE}# Metrics\n\n`GET /metrics` on the admin listener. These are the host's own; the `telemetry` filter \
         counts requests, latencies and bytes; its README lists its metrics.\n\n\
         | metric | type | meaning |\n| --- | --- | --- |\n"
    );
    let rows = |text: &mut String, all: &[(&str, &str, &str)]| {
        for (name, kind, help) in all {
            let _ = writeln!(text, "| `{name}` | {kind} | {help} |");
        }
    };
    rows(&mut text, &tamis_proxy::METRICS);
    text.push_str(
        "\n## The registry's\n\n`GET /metrics` with a token that may observe. They contain no names of services, filters or tokens.\n\n\
         | metric | type | meaning |\n| --- | --- | --- |\n",
    );
    rows(&mut text, &tamis_server::METRICS);
    text
}
