//! `tamis proxy config NODE` and similar commands: requests to the admin listener of a running proxy.

mod stat;
mod tap;

use super::run::RunFolder;
use crate::named_file;
use crate::output::{self, Output};
use crate::table::{short, table};
use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tamis_resources::NodeName;
use tamis_transport::Address;

/// Time limit for a response.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest response: far more than the plan of the largest mesh.
const ANSWER_MAX: u64 = 256 << 20;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Print the generation that a proxy serves, without secrets, and the problems of its documents and
    /// certificates.
    #[command(after_help = "Example:\n  tamis proxy config gateway:shop/edge")]
    Config(ProxyAddress),
    /// List what runs in a proxy's slots, and why a slot does not run what it should.
    #[command(after_help = "Example:\n  tamis proxy filters gateway:shop/edge")]
    Filters(ProxyAddress),
    /// List the services that a proxy reaches: endpoints, circuits, requests in progress.
    #[command(after_help = "Example:\n  tamis proxy upstreams sidecar:shop/payments/0")]
    Upstreams(ProxyAddress),
    /// List a proxy's listeners, their filters in order, and the rules of their routers.
    #[command(after_help = "Example:\n  tamis proxy routes gateway:shop/edge")]
    Routes(ProxyAddress),
    /// Show how busy a proxy is: its counters with their rates over some seconds, and its gauges.
    #[command(
        after_help = "Examples:\n  tamis proxy stat gateway:shop/edge\n  tamis proxy stat gateway:shop/edge --name tamis_refusals --seconds 30"
    )]
    Stat(stat::Arguments),
    /// Watch the requests of a proxy as they end, a line each, until Ctrl-C.
    #[command(
        after_help = "Examples:\n  tamis proxy tap gateway:shop/edge\n  tamis proxy tap sidecar:shop/payments/0 --per-second 5 --output json"
    )]
    Tap(tap::Arguments),
    /// Drain a proxy: make its load balancer send clients elsewhere, then close its listeners and end it.
    #[command(after_help = "Example:\n  tamis proxy drain gateway:shop/edge --seconds 30")]
    Drain(Drain),
    /// Cancel a drain, as long as the listeners are open.
    #[command(after_help = "Example:\n  tamis proxy undrain gateway:shop/edge")]
    Undrain(ProxyAddress),
}

/// The proxy, and where to reach it.
#[derive(clap::Args)]
pub(super) struct ProxyAddress {
    /// Which proxy: gateway:NAMESPACE/NAME or sidecar:NAMESPACE/SERVICE[/INDEX].
    node: NodeName,
    /// Its admin listener, when it runs on another machine or as another user: IP:PORT or unix:/PATH.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<Address>,
    /// File with the token that its admin listener requires for a drain and a tap.
    #[arg(long, value_name = "FILE", requires = "admin")]
    admin_token_file: Option<PathBuf>,
    /// Its process id, when several processes run this proxy.
    #[arg(long, value_name = "NUMBER", conflicts_with = "admin")]
    pid: Option<u32>,
    /// Its run folder; default: the user's own.
    #[arg(long, value_name = "FOLDER", conflicts_with = "admin")]
    run_folder: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(super) struct Drain {
    #[command(flatten)]
    which: ProxyAddress,
    /// Seconds until its listeners close, instead of its --lame-duck-seconds.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=3_600))]
    seconds: Option<u64>,
}

/// Sends the request and prints the response.
pub(super) fn run(command: &Command, output: Output) -> Result<ExitCode> {
    match command {
        Command::Config(which) => {
            let value = look(which, "/config")?;
            output::result(output, &value, || {
                serde_json::to_string_pretty(&value).unwrap_or_default()
            });
        }
        Command::Filters(which) => {
            let value = look(which, "/filters")?;
            output::result(output, &value, || filters(&value));
        }
        Command::Upstreams(which) => {
            let value = look(which, "/upstreams")?;
            output::result(output, &value, || upstreams(&value));
        }
        Command::Routes(which) => {
            let value = look(which, "/routes")?;
            output::result(output, &value, || routes(&value));
        }
        Command::Stat(arguments) => stat::run(arguments, output)?,
        Command::Tap(arguments) => tap::run(arguments, output)?,
        Command::Drain(drain) => {
            let query = drain.seconds.map(|seconds| format!("?seconds={seconds}"));
            change(&drain.which, &format!("/drain{}", query.unwrap_or_default()), output)?;
        }
        Command::Undrain(which) => change(which, "/undrain", output)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn look(which: &ProxyAddress, path: &str) -> Result<Value> {
    let body = which.ask("GET", path)?;
    serde_json::from_str(&body).with_context(|| format!("the response to {path} is not JSON"))
}

fn change(which: &ProxyAddress, path: &str, output: Output) -> Result<()> {
    let said = which.ask("POST", path)?;
    let node = which.node.to_string();
    let value = serde_json::json!({ "node": node, "said": said.trim() });
    output::result(output, &value, || format!("{node}: {}", said.trim()));
    Ok(())
}

/// A connection to an admin listener.
trait AdminConnection: Read + Write {}
impl<T: Read + Write> AdminConnection for T {}

impl ProxyAddress {
    /// The body of a successful response.
    fn ask(&self, method: &str, path: &str) -> Result<String> {
        let wire = self.send(method, path)?;
        let mut answer = Vec::new();
        wire.take(ANSWER_MAX).read_to_end(&mut answer).context("the proxy does not respond")?;
        let answer = String::from_utf8(answer).context("the proxy's response is not text")?;
        let (head, body) = answer.split_once("\r\n\r\n").context("the response is not HTTP")?;
        self.accepted(head, body)?;
        Ok(body.to_owned())
    }

    /// Sends a request of HTTP/1.0: its response has no chunks, and ends with the connection.
    fn send(&self, method: &str, path: &str) -> Result<Box<dyn AdminConnection>> {
        let (mut wire, host) = self.connect()?;
        let token = self.admin_token_file.as_ref().map(|path| {
            named_file::text(path)
                .with_context(|| format!("the admin token {} cannot be read", path.display()))
        });
        let token =
            token.transpose()?.map(|token| format!("authorization: Bearer {}\r\n", token.trim()));
        let token = token.unwrap_or_default();
        let request = format!("{method} {path} HTTP/1.0\r\nhost: {host}\r\n{token}\r\n");
        wire.write_all(request.as_bytes()).context("cannot send the request to the proxy")?;
        Ok(wire)
    }

    /// Refuses a response whose status is not of success, with its words.
    fn accepted(&self, head: &str, body: &str) -> Result<()> {
        let status = head.split(' ').nth(1).unwrap_or_default();
        if !status.starts_with('2') {
            bail!("{} says {status}: {}", self.node, output::one_line(body));
        }
        Ok(())
    }

    fn connect(&self) -> Result<(Box<dyn AdminConnection>, String)> {
        let path = match &self.admin {
            Some(Address::Tcp(address)) => {
                let stream = TcpStream::connect_timeout(address, PATIENCE)
                    .with_context(|| format!("no process responds at {address}"))?;
                stream.set_read_timeout(Some(PATIENCE))?;
                return Ok((Box::new(stream), address.to_string()));
            }
            Some(Address::Unix(path)) => path.clone(),
            None => RunFolder::open(self.run_folder.as_deref())?.ask(&self.node, self.pid)?,
        };
        let stream = UnixStream::connect(&path)
            .with_context(|| format!("no process responds at {}", path.display()))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok((Box::new(stream), "localhost".to_owned()))
    }
}

fn text(value: &Value, member: &str) -> String {
    match value.get(member) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn filters(page: &Value) -> String {
    let row = |slot: &Value| {
        let hooks = slot.pointer("/statistics/hooks").and_then(Value::as_object);
        let sum = |name: &str| -> u64 {
            let hooks = hooks.into_iter().flat_map(serde_json::Map::values);
            hooks.filter_map(|hook| hook.get(name)?.as_u64()).sum()
        };
        [
            text(slot, "attachment"),
            format!("{} {}", text(slot, "filter"), text(slot, "version")).trim().to_owned(),
            short(&text(slot, "digest")),
            text(slot, "state"),
            sum("calls").to_string(),
            sum("faults").to_string(),
            text(slot, "detail"),
        ]
    };
    let rows: Vec<_> = page.get("filters").into_iter().flat_map(list).map(row).collect();
    let head = ["SLOT", "FILTER", "DIGEST", "STATE", "CALLS", "FAULTS", "WHY"];
    let mut shown = table(head, &rows);
    for problem in page.get("problems").into_iter().flat_map(list) {
        shown.push_str(&format!("! {}\n", text(problem, "message")));
    }
    shown
}

fn upstreams(page: &Value) -> String {
    let mut rows = Vec::new();
    for service in list(page) {
        let endpoints: Vec<&Value> = service.get("endpoints").into_iter().flat_map(list).collect();
        for endpoint in &endpoints {
            let micros = endpoint.get("ewmaLatencyUs").and_then(Value::as_u64).unwrap_or(0);
            rows.push([
                text(service, "service"),
                text(endpoint, "endpoint"),
                text(endpoint, "circuit"),
                text(endpoint, "connections"),
                text(endpoint, "inFlight"),
                text(endpoint, "failures"),
                format!("{}.{} ms", micros / 1_000, micros / 100 % 10),
                text(service, "retries"),
            ]);
        }
        if endpoints.is_empty() {
            let nothing = String::new;
            let name = text(service, "service");
            let none = "none".to_owned();
            rows.push([
                name,
                none,
                nothing(),
                nothing(),
                nothing(),
                nothing(),
                nothing(),
                nothing(),
            ]);
        }
    }
    let head = [
        "SERVICE",
        "ENDPOINT",
        "CIRCUIT",
        "CONNECTIONS",
        "UNDER WAY",
        "FAILED",
        "LATENCY",
        "RETRIES",
    ];
    table(head, &rows)
}

fn routes(page: &Value) -> String {
    let mut shown = String::new();
    for listener in list(page) {
        let tls =
            if listener.get("tls").and_then(Value::as_bool) == Some(true) { "tls" } else { "http" };
        let filters: Vec<&str> =
            listener.get("filters").into_iter().flat_map(list).filter_map(Value::as_str).collect();
        let (name, address) = (text(listener, "listener"), text(listener, "address"));
        shown.push_str(&format!("{name} {tls}://{address}\n  {}\n", filters.join(" → ")));
        let routes = listener.pointer("/rules/routes").into_iter().flat_map(list);
        let mut any = false;
        for route in routes {
            any = true;
            shown.push_str(&format!("  {}\n", summary(route)));
        }
        if !any && listener.get("router").is_some_and(|router| !router.is_null()) {
            let router = text(listener, "router");
            shown.push_str(&format!("  {router} has rules of its own; --output json shows them\n"));
        }
    }
    shown
}

/// A route on one line: its names, and its number of rules.
fn summary(route: &Value) -> String {
    let rules: Vec<String> =
        route.get("rules").into_iter().flat_map(list).map(|rule| text(rule, "name")).collect();
    let hosts: Vec<&str> =
        route.get("hostnames").into_iter().flat_map(list).filter_map(Value::as_str).collect();
    let hosts = if hosts.is_empty() { "every host".to_owned() } else { hosts.join(", ") };
    format!("{} for {hosts}: {}", text(route, "name"), rules.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_proxy_says_fits_a_terminal() {
        let page = json!({ "problems": [{ "message": "a.crt expired" }], "filters": [{
            "attachment": "shop/jwt", "filter": "tamis/jwt", "version": "0.1.0", "state": "serving",
            "digest": format!("sha256:{}", "a".repeat(64)),
            "statistics": { "hooks": { "request": { "calls": 3, "faults": 1, "meanNs": 5 } } },
        }] });
        let shown = filters(&page);
        assert_eq!(
            shown,
            "SLOT      FILTER           DIGEST                STATE    CALLS  FAULTS\n\
             shop/jwt  tamis/jwt 0.1.0  sha256:aaaaaaaaaaaa…  serving  3      1\n\
             ! a.crt expired\n"
        );
        let page = json!([{ "service": "shop/pay:80", "retries": 2, "endpoints": [{
            "endpoint": "127.0.0.1:1", "circuit": "closed", "connections": 1, "inFlight": 0,
            "failures": 0, "ewmaLatencyUs": 1250,
        }] }, { "service": "shop/gone:80", "endpoints": [] }]);
        let shown = upstreams(&page);
        assert!(shown.contains("1.2 ms") && shown.contains("shop/gone:80  none"), "{shown}");
    }
}
