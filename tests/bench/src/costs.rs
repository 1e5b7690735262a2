//! C1 to C4: what the contract costs. The same filter is built for contract 0.1 and for the newest one, and both take turns; and
//! what a hook costs where nobody asked for it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::report::{Bar, Report};
use super::running::RunningServer;
use super::turns::Contest;
use super::{Bench, bodies, wrk};
use tamis_harness::{Workspace, shell};

/// What a hook of the newest contract may cost, compared with the same one of 0.1.
const DEARER_MAX: f64 = 1.05;
/// What an exchange may cost when filters of other routes see the ends of theirs, compared with none that does.
const OFF_MAX: f64 = 1.02;
/// Rounds and seconds of a turn: all of it within four minutes.
const ROUNDS_MAX: u32 = 7;
const SECONDS_MAX: u32 = 2;
/// Filters of a chain.
const CHAIN: usize = 5;
/// Length of the body.
const BODY_MIB: u32 = 5;
/// Uploads at a time: each of them is held whole.
const UPLOADS: &str = "4";

/// The builds of the filter: the features of its package, and the name that it is signed with.
const BUILDS: [(&str, &str); 3] =
    [("first", "costs-first"), ("", "costs-newest"), ("finished", "costs-finished")];

/// Calls alone, then exchanges of a gateway.
pub(super) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let components = BUILDS.iter().map(|(feature, name)| build(feature, name));
    let components = components.collect::<Result<Vec<_>>>()?;
    calls(bench, report, &components)?;
    let backend = bodies::serve()?;
    let without = Folder::new(bench, &backend, &components, &attachments(&[]))?;
    let elsewhere = Folder::new(bench, &backend, &components, &attachments(&["ends"]))?;
    let (without, elsewhere) = (without.gateway(bench)?, elsewhere.gateway(bench)?);
    heads(bench, report, &without, &elsewhere)?;
    whole_bodies(bench, report, &without)
}

/// Calls into the filter by themselves, without a proxy.
fn calls(bench: &Bench, report: &mut Report, components: &[PathBuf]) -> Result<()> {
    let program = bench.binary.with_file_name("examples").join("contract_costs");
    let missing = "it is an example of host/engine; cargo build --package tamis-engine --examples";
    ensure!(program.exists(), "there is no {}: {missing}", program.display());
    println!("    calls without a proxy: about {} s", 2 * rounds(bench));
    let mut command = bench.cores.proxy(&program.to_string_lossy());
    command.args(components).arg(rounds(bench).to_string());
    for line in shell::read(&mut command)?.lines() {
        let row: Value = serde_json::from_str(line)?;
        let text = |name: &str| row.get(name).and_then(Value::as_str).context("a row has names");
        let (what, unit) = (text("what")?, unit(text("unit")?)?);
        let (first, newest) = (numbers(&row, "first")?, numbers(&row, "newest")?);
        let ratio: Vec<f64> = newest.iter().zip(&first).map(|(one, other)| one / other).collect();
        if what.contains("finished") {
            report.figure("", "request hook alone", unit, &first, Bar::none());
            report.figure(
                "",
                "request hook, and `finished` at the end",
                unit,
                &newest,
                Bar::none(),
            );
            continue;
        }
        let id = if what.starts_with("chain") { "C1" } else { "C2" };
        let id = if what.starts_with("body") { "C3" } else { id };
        report.figure("", &format!("{what}, contract 0.1"), unit, &first, Bar::none());
        report.figure("", &format!("{what}, newest contract"), unit, &newest, Bar::none());
        report.ratio(id, &format!("{what}, newest ÷ 0.1"), &ratio, Bar::at_most(DEARER_MAX));
    }
    Ok(())
}

/// Processor time of requests without a body.
fn heads(
    bench: &Bench,
    report: &mut Report,
    without: &RunningServer,
    elsewhere: &RunningServer,
) -> Result<()> {
    let mut contest = Contest::new();
    for (name, gateway, path) in [
        ("the route policy alone", without, "/"),
        ("and five filters of 0.1", without, "/first"),
        ("and five of the newest contract", without, "/newest"),
        ("the same, `finished` on another route", elsewhere, "/newest"),
        ("the same, `finished` on this route", elsewhere, "/ends"),
    ] {
        let url = format!("http://{}{path}", gateway.address);
        contest.add(name, vec![gateway], move |seconds| {
            wrk::run_at(bench, &url, &headers(), seconds, &[])
        });
    }
    contest.run_for(rounds(bench), bench.seconds.min(SECONDS_MAX))?;
    contest.report(report, "CPU per request", "µs", |turn| turn.cpu_us);
    let ratio = |ours, theirs| contest.ratio(ours, theirs, |turn| turn.cpu_us);
    let [first, newest] = ["and five filters of 0.1", "and five of the newest contract"];
    let what = "CPU per request, chain of five, newest contract ÷ 0.1";
    report.ratio("C1", what, &ratio(newest, first), Bar::at_most(DEARER_MAX));
    let off = ratio("the same, `finished` on another route", newest);
    let what = "CPU per request, `finished` on another route ÷ nowhere";
    report.ratio("C4", what, &off, Bar::at_most(OFF_MAX));
    let on = ratio("the same, `finished` on this route", newest);
    report.ratio("", "CPU per request, `finished` on this route ÷ nowhere", &on, Bar::none());
    Ok(())
}

/// Processor time of uploads that a filter searches.
fn whole_bodies(bench: &Bench, report: &mut Report, gateway: &RunningServer) -> Result<()> {
    let folder = TempDir::new()?;
    let script = upload(folder.path())?;
    let mut contest = Contest::new();
    let names =
        ["passed by", "searched by a filter of 0.1", "searched by one of the newest contract"];
    for (name, path) in names.iter().zip(["/", "/body-first", "/body-newest"]) {
        let (url, script) = (format!("http://{}{path}", gateway.address), &script);
        contest.add(*name, vec![gateway], move |seconds| {
            let more = ["-c", UPLOADS, "--timeout", "60s", "-s", script.as_str()];
            wrk::run_at(bench, &url, &headers(), seconds, &more)
        });
    }
    contest.run_for(rounds(bench), bench.seconds.min(SECONDS_MAX))?;
    let what = format!("CPU per MiB of {BODY_MIB} MiB of JSON");
    contest.report(report, &what, "µs", |turn| turn.cpu_us / f64::from(BODY_MIB));
    let [_, first, newest] = names;
    let ratio = contest.ratio(newest, first, |turn| turn.cpu_us);
    report.ratio("C3", &format!("{what}, newest ÷ 0.1"), &ratio, Bar::at_most(DEARER_MAX));
    Ok(())
}

fn rounds(bench: &Bench) -> u32 {
    bench.rounds.min(ROUNDS_MAX)
}

/// What the filter reads of each request.
fn headers() -> Vec<String> {
    ["x-a: 1", "x-b: 2"].map(str::to_owned).to_vec()
}

/// A script that sends a JSON document of a known length.
fn upload(folder: &Path) -> Result<String> {
    let message = r#"{"role":"user","number":7,"score":0.5,"content":"Is \"basket\" 7 paid?"},"#;
    let (start, end) = (r#"{"messages":["#, r#"{"role":"user"}],"model":"small"}"#);
    let length = BODY_MIB as usize * 1024 * 1024;
    let mut text = start.to_owned();
    while text.len() + message.len() + end.len() <= length {
        text.push_str(message);
    }
    text.push_str(&" ".repeat(length - text.len() - end.len()));
    text.push_str(end);
    let (body, script) = (folder.join("body.json"), folder.join("upload.lua"));
    fs::write(&body, text)?;
    let lua = format!(
        "wrk.method = \"POST\"\nwrk.headers[\"content-type\"] = \"application/json\"\nlocal file = io.open(\"{}\", \"rb\")\nwrk.body = file:read(\"*a\")\nfile:close()\n",
        body.display()
    );
    fs::write(&script, lua)?;
    Ok(script.display().to_string())
}

/// One of the units of a report.
fn unit(name: &str) -> Result<&'static str> {
    ["ns", "µs"].into_iter().find(|unit| *unit == name).context("no unit of calls")
}

fn numbers(row: &Value, name: &str) -> Result<Vec<f64>> {
    let list = row.get(name).and_then(Value::as_array).with_context(|| format!("no {name}"))?;
    list.iter().map(|one| one.as_f64().context("no number")).collect()
}

/// The documents that attach the filter to rules, in order; those of `more` have the build with `finished` as well.
fn attachments(more: &[&str]) -> String {
    let mut text = String::new();
    for (_, name) in BUILDS {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "---\nkind: Filter\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: {name}, namespace: bench }}\nspec: {{ world: everything }}\n---\nkind: Grant\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: {name}, namespace: security }}\nspec: {{ filter: bench/{name}, request: {{ readHeaders: [x-a, x-b], attributes: [source.address], body: replace }}, limits: {{ time: 1s, memory: 64MiB, body: 8MiB }} }}\n"
        );
    }
    let mut order = 20;
    let mut attach = |rule: &str, name: &str, config: &str| {
        let _ = write!(
            text,
            "---\nkind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: {rule}-{order}, namespace: bench }}\nspec: {{ targetRefs: [{{ kind: HTTPRoute, name: all, sectionName: {rule} }}], filter: bench/{name}, phase: transform, order: {order}, config: {config} }}\n"
        );
        order += 10;
    };
    for (rule, name) in
        [("first", "costs-first"), ("newest", "costs-newest"), ("ends", "costs-newest")]
    {
        (0..CHAIN).for_each(|_| attach(rule, name, "{}"));
    }
    let searches = "{ body: true, inspect: true }";
    attach("body-first", "costs-first", searches);
    attach("body-newest", "costs-newest", searches);
    more.iter().for_each(|rule| attach(rule, "costs-finished", "{}"));
    text
}

/// Documents, keys and signed filters of a gateway.
struct Folder {
    folder: TempDir,
    http: String,
}

impl Folder {
    fn new(bench: &Bench, backend: &str, components: &[PathBuf], more: &str) -> Result<Self> {
        let (http, admin) = (tamis_harness::ports::free(), tamis_harness::ports::free());
        let folder = Self { folder: TempDir::new()?, http: format!("127.0.0.1:{http}") };
        let documents = super::mesh::template("costs.yaml")?
            .replace("@HTTP@", &http.to_string())
            .replace("@ADMIN@", &admin.to_string())
            .replace("@BACKEND@", backend);
        fs::write(folder.folder.path().join("mesh.yaml"), documents + more)?;
        let tamis = |arguments: &[&str]| {
            let mut command = shell::command(&bench.binary);
            shell::read(command.args(arguments).current_dir(folder.folder.path()))
        };
        tamis(&["up", ".", "--prepare"])?;
        for ((_, name), component) in BUILDS.iter().zip(components) {
            let (component, name) = (component.display().to_string(), format!("bench/{name}"));
            let place = ["--store", ".tamis/store", "--pin", ".tamis/filters.lock.yaml"];
            let sign = ["filter", "sign", &component, "--name", &name, "--version", "1.0.0"];
            tamis(&[&sign[..], &["--key", ".tamis/keys/local-dev.key"], &place].concat())?;
        }
        Ok(folder)
    }

    fn gateway(&self, bench: &Bench) -> Result<RunningServer> {
        let mut command = bench.cores.proxy(&bench.binary.to_string_lossy());
        command
            .args(["proxy", "--node", "gateway:bench/edge", "--documents", ".", "--no-watch"])
            .args(["--store", ".tamis/store", "--cache", ".tamis/cache", "--access-log", "off"])
            .args(["--workers", "1"])
            .current_dir(self.folder.path());
        RunningServer::start(command, &self.http, "")
    }
}

/// The filter as a component, with that feature.
fn build(feature: &str, name: &str) -> Result<PathBuf> {
    let target = Workspace::load()?.target_directory.join("guests");
    let mut build = shell::cargo();
    build
        .args(["build", "--quiet", "--release", "--target", tamis_harness::WASM_TARGET])
        .args(["--features", feature])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(shell::root().join("tests/guests/rust/costs"));
    shell::read(&mut build).with_context(|| format!("the guest {name} could not be built"))?;
    let module = target.join(tamis_harness::WASM_TARGET).join("release/guest_costs.wasm");
    let component = wit_component::ComponentEncoder::default()
        .validate(true)
        .module(&fs::read(module)?)?
        .encode()?;
    let file = target.join(format!("{name}.wasm"));
    fs::write(&file, component)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_has_as_many_filters_as_a_chain() {
        let text = attachments(&["ends"]);
        for (rule, filters) in [("first", 5), ("newest", 5), ("ends", 6), ("body-newest", 1)] {
            let found = text.matches(&format!("sectionName: {rule} }}")).count();
            assert_eq!(found, filters, "{rule}");
        }
        assert_eq!(text.matches("filter: bench/costs-finished, phase").count(), 1);
        assert_eq!(attachments(&[]).matches("filter: bench/costs-finished, phase").count(), 0);
    }

    #[test]
    fn the_body_is_json_of_the_stated_length() {
        let folder = TempDir::new().unwrap();
        upload(folder.path()).unwrap();
        let body = fs::read(folder.path().join("body.json")).unwrap();
        assert_eq!(body.len(), BODY_MIB as usize * 1024 * 1024);
        let value: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value.get("model").and_then(Value::as_str), Some("small"));
    }
}
