//! Hosts that a test makes for itself: network namespaces on one link, each with an address of IPv4 and one of IPv6.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use tamis_e2e::{RunningProcess, command_in};

/// The group as which proxies run there.
pub(super) const PROXY: &str = "13370";

/// Whether this machine can make hosts; if not, the test says so and checks nothing.
pub(super) fn possible() -> bool {
    let name = format!("tamis-probe-{}", std::process::id());
    let script = format!(
        "ip netns add {name} && ip netns exec {name} nft list ruleset; rc=$?; ip netns del {name}; exit $rc"
    );
    let tried = Command::new("sh").args(["-c", &script]).output().unwrap();
    if !tried.status.success() {
        let why = String::from_utf8_lossy(&tried.stderr);
        eprintln!("SKIPPED: this machine makes no network namespaces with nftables: {why}");
    }
    tried.status.success()
}

/// A host. Its namespace goes when it is dropped.
pub(super) struct Host {
    name: String,
    /// Where resolvers of the host are named; `ip netns exec` puts it in place of the machine's.
    resolv: String,
}

/// The link between hosts, and the hosts on it.
pub(super) struct Link {
    /// The host that holds the bridge, with the address 10.77.0.254: nobody of the mesh.
    pub(super) outside: Host,
    hosts: u8,
}

fn run(program: &str, arguments: &[&str]) {
    let done = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program} {arguments:?}: {said}");
}

impl Link {
    pub(super) fn new() -> Self {
        let outside = Host::new("outside");
        outside.ip(&["link", "add", "br0", "type", "bridge"]);
        outside.ip(&["addr", "add", "10.77.0.254/24", "dev", "br0"]);
        outside.ip(&["addr", "add", "fd77::254/64", "dev", "br0", "nodad"]);
        outside.ip(&["link", "set", "br0", "up"]);
        Self { outside, hosts: 0 }
    }

    /// Adds a host: the first has 10.77.0.1 and fd77::1, and so on.
    pub(super) fn host(&mut self, name: &str) -> Host {
        self.hosts += 1;
        let (host, number) = (Host::new(name), self.hosts);
        let (port, outside) = (format!("port{number}"), &self.outside.name);
        run(
            "ip",
            &[
                "link", "add", &port, "netns", outside, "type", "veth", "peer", "name", "eth0",
                "netns", &host.name,
            ],
        );
        self.outside.ip(&["link", "set", &port, "master", "br0", "up"]);
        host.ip(&["addr", "add", &format!("10.77.0.{number}/24"), "dev", "eth0"]);
        host.ip(&["addr", "add", &format!("fd77::{number}/64"), "dev", "eth0", "nodad"]);
        host.ip(&["link", "set", "eth0", "up"]);
        host.ip(&["route", "add", "default", "via", "10.77.0.254"]);
        host
    }
}

impl Host {
    fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("tamis-{}-{number}-{name}", std::process::id());
        run("ip", &["netns", "add", &name]);
        let resolv = format!("/etc/netns/{name}");
        std::fs::create_dir_all(&resolv).unwrap();
        std::fs::write(
            format!("{resolv}/resolv.conf"),
            "nameserver 10.77.0.254\noptions timeout:2 attempts:1\n",
        )
        .unwrap();
        let host = Self { name, resolv };
        host.ip(&["link", "set", "lo", "up"]);
        host
    }

    fn ip(&self, arguments: &[&str]) {
        run("ip", &[&["-n", &self.name], arguments].concat());
    }

    /// What starts a program there.
    pub(super) fn wrapper(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.name]
    }

    /// A program there, as a user of the host.
    pub(super) fn command(&self, program: &str) -> Command {
        let [first, rest @ ..] = self.wrapper();
        let mut command = Command::new(first);
        command.args(rest).arg(program).stdin(Stdio::null());
        command
    }

    /// Runs a line of a shell there.
    pub(super) fn shell(&self, line: &str) -> Output {
        self.command("timeout").args(["30", "sh", "-c", line]).output().unwrap()
    }

    /// What a line of a shell prints there; it must succeed.
    pub(super) fn said(&self, line: &str) -> String {
        let done = self.shell(line);
        let (out, err) =
            (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "{line}\n{out}\n{err}");
        out.into_owned()
    }

    /// A command of the binary there.
    pub(super) fn tamis(&self, folder: &Path, arguments: &[&str]) -> Output {
        command_in(&self.wrapper(), folder, arguments).output().unwrap()
    }

    /// A command of the binary there, which must succeed.
    pub(super) fn did(&self, folder: &Path, arguments: &[&str]) -> String {
        let done = self.tamis(folder, arguments);
        let err = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{arguments:?}: {err}");
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    /// A sidecar there, as the group of proxies.
    pub(super) fn sidecar(&self, folder: &Path, service: &str) -> RunningProcess {
        let group = ["setpriv", "--regid", PROXY, "--clear-groups"];
        let wrapper = [&self.wrapper()[..], &group].concat();
        let (node, log) = (format!("sidecar:test/{service}/0"), format!("{service}.jsonl"));
        let run = format!("run-{service}");
        let arguments = [
            "proxy",
            "--node",
            &node,
            "--documents",
            ".",
            "--store",
            ".tamis/store",
            "--cache",
            ".tamis/cache",
            "--access-log-file",
            &log,
            "--run-folder",
            &run,
        ];
        let running = RunningProcess::start_in(&wrapper, folder, &arguments);
        running.event("it serves", |event| event["event"] == "ready");
        running
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
        let _ = std::fs::remove_dir_all(&self.resolv);
    }
}
