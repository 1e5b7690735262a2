//! The interop cases of grpc-go, through a gateway and two sidecars with mTLS between them.

use anyhow::Result;
use serde_json::json;

use super::gateway::{Gateway, Way};
use super::{Outcome, go_program};
use tamis_harness::Process;
use tamis_harness::shell;

const VERSION: &str = "v1.85.0";

/// The cases about load reports need the balancer that reads them.
const LOAD_REPORTS: &str = r#"{"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}"#;

/// Fails between grpc-go's client and server without any proxy: the server does not send its name.
const NOT_WITHOUT_PROXY: &str = "pick_first_unary";

const CASES: [&str; 17] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
    "pick_first_unary",
    "orca_per_rpc",
    "orca_oob",
];

pub(super) fn run() -> Result<Vec<Outcome>> {
    let client = go_program("google.golang.org/grpc/interop/client", VERSION)?;
    let server = go_program("google.golang.org/grpc/interop/server", VERSION)?;
    let port = tamis_harness::ports::free();
    let mut command = shell::command(server);
    command.args(["-port", &port.to_string()]).stderr(std::process::Stdio::null());
    let _server = Process(command.spawn()?);
    let gateway = Gateway::start(&format!("127.0.0.1:{port}"), Way::GrpcThroughSidecars)?;
    let (host, port) = gateway.http.split_once(':').unwrap_or((&gateway.http, ""));
    let (mut passed, mut failed) = (0, Vec::new());
    for case in CASES {
        let mut command = shell::command(&client);
        command.args(["-server_host", host, "-server_port", port, "-test_case", case]);
        if case.starts_with("orca") {
            command.args(["-service_config_json", LOAD_REPORTS]);
        }
        let output = shell::capture(&mut command)?;
        if output.status.success() {
            passed += 1;
        } else {
            let why = String::from_utf8_lossy(&output.stderr);
            let why = why.lines().last().unwrap_or_default().to_owned();
            println!("    {case}: {why}");
            failed.push(json!({ "case": case, "why": why }));
        }
    }
    Ok(vec![Outcome {
        name: "grpc",
        said: format!(
            "{passed} of {} cases; {NOT_WITHOUT_PROXY} fails without the gateway too",
            CASES.len()
        ),
        // Cases that fail without the gateway are not counted.
        passed: failed
            .iter()
            .all(|one| one.get("case").and_then(|case| case.as_str()) == Some(NOT_WITHOUT_PROXY)),
        details: json!({ "version": VERSION, "failed": failed }),
    }])
}
