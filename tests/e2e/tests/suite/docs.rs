//! The documentation matches the program: the commands of the tutorial run unchanged.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use tamis_e2e::{Backend, Folder, eventually, free_port, get, root};
use tempfile::TempDir;

/// The shell blocks of a page: the text after `sh` of the fence, and the commands.
pub(crate) fn blocks(page: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix("```sh") else { continue };
        let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        blocks.push((kind.trim().to_owned(), body.join("\n")));
    }
    blocks
}

pub(crate) fn shell(folder: &Path, commands: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let binaries = root().join("target/debug");
    let mut shell = Command::new("bash");
    // Of several commands the output names the one that failed.
    let named = r#"trap 'echo "exit code $? of: $BASH_COMMAND" >&2' ERR"#;
    shell
        .args(["-euo", "pipefail", "-c", &format!("{named}\n{commands}")])
        .current_dir(folder)
        // A registry of crates that does not respond at once is no fault of a page.
        .env("CARGO_NET_RETRY", "10")
        .env("PATH", format!("{}:{path}", binaries.display()));
    shell
}

pub(crate) struct Background(pub(crate) Child);

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder that looks like a checkout, with the example on its own ports.
fn checkout() -> (TempDir, Vec<(String, String)>) {
    let folder = TempDir::new().unwrap();
    let examples = folder.path().join("examples/shop");
    std::fs::create_dir_all(&examples).unwrap();
    let mut ports: Vec<(String, String)> = Vec::new();
    for entry in std::fs::read_dir(root().join("examples/shop")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "yaml") {
            continue;
        }
        let mut text = std::fs::read_to_string(&path).unwrap();
        let words: Vec<String> = text
            .split(|c: char| !c.is_ascii_digit())
            .filter(|word| (4..=5).contains(&word.len()))
            .map(str::to_owned)
            .collect();
        for word in words {
            if !ports.iter().any(|(from, _)| *from == word) {
                ports.push((word, free_port().to_string()));
            }
        }
        text = renumber(&text, &ports);
        std::fs::write(examples.join(path.file_name().unwrap()), text).unwrap();
    }
    (folder, ports)
}

/// Replaces ports where they stand as whole numbers after a colon.
pub(crate) fn renumber(text: &str, ports: &[(String, String)]) -> String {
    let mut text = text.to_owned();
    for (from, to) in ports {
        text = text.replace(&format!(":{from}"), &format!(":{to}"));
        text = text.replace(&format!(": {from}"), &format!(": {to}"));
    }
    text
}

#[test]
fn the_tutorial_followed_by_its_commands_ends_with_a_refused_request() {
    let page = std::fs::read_to_string(root().join("docs/tutorial/first-filter.md")).unwrap();
    let (folder, ports) = checkout();
    let gateway = renumber("127.0.0.1:8080", &ports);
    let mut background = Vec::new();
    let mut outputs = Vec::new();
    // Commands follow each other without a reader, so this is the time of the machine.
    let (mut began, mut took) = (None, None);
    for (kind, commands) in blocks(&page) {
        if commands.contains("tamis filter new") {
            began.get_or_insert_with(Instant::now);
        }
        // The build commands of the checkout ran before these tests.
        if commands.starts_with("cargo xtask build") {
            tamis_e2e::tamis(folder.path(), &["--version"]);
            continue;
        }
        let commands = renumber(&commands, &ports);
        if kind == "background" {
            let child = shell(folder.path(), &format!("exec {commands}"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            background.push(Background(child));
            // The reader waits until `tamis up` says so: the last sidecar starts after the gateway.
            eventually("the mesh serves", || {
                let reply = get(&gateway, "/");
                let calls = || reply.json()["calls"].as_object().cloned().unwrap_or_default();
                (reply.status == 200 && calls().values().all(|it| it["status"] == 200))
                    .then_some(())
            });
            continue;
        }
        // The page itself waits where something takes time: its commands work when they are pasted
        // together.
        let done = eventually(&format!("it works: {commands}"), || {
            let done = shell(folder.path(), &commands)
                // The dependencies of filters are compiled once for all tests.
                .env("CARGO_TARGET_DIR", root().join("target/guests"))
                .output()
                .unwrap();
            let out = String::from_utf8_lossy(&done.stdout).into_owned();
            let err = String::from_utf8_lossy(&done.stderr).into_owned();
            assert!(done.status.success(), "{commands}\n{out}\n{err}");
            Some(out)
        });
        if commands.contains("-A bad/1.0") {
            took = began.map(|began| began.elapsed());
        }
        outputs.push((commands, done));
    }
    println!("from `tamis filter new` to the refused request: {:?}", took.unwrap());
    let said = |part: &str| {
        let found = outputs.iter().find(|(commands, _)| commands.contains(part));
        found.unwrap_or_else(|| panic!("the tutorial has no `{part}`")).1.clone()
    };
    assert!(said("filter test").contains("4 cases passed"));
    assert!(said("filter inspect").contains("user-agent"));
    assert!(said("tamis check").contains("nothing wrong"));
    let refused = said("host: payments");
    assert!(refused.contains("HTTP/1.1 403"), "{refused}");
    assert!(refused.contains("x-tamis-reason: authz.no-rule"), "{refused}");
    let refused = said("-A bad/1.0");
    assert!(refused.contains("200\n") && refused.contains("HTTP/1.1 403"), "{refused}");
    assert!(refused.contains("x-tamis-reason: my-agents.blocked"), "{refused}");
    assert!(said("/filters").contains("acme/my-agents"));
    let known = said("tamis history");
    assert!(known.contains("shop/edge") && known.contains("pinned 0.1.0"), "{known}");
}

#[test]
fn the_page_of_the_contract_serves_a_filter_by_its_commands() {
    let page = std::fs::read_to_string(root().join("docs/reference/contract.md")).unwrap();
    let (_, part) = page.split_once("\n## To serve it\n").unwrap();
    let (part, _) = part.split_once("\n## Worlds\n").unwrap();
    let ports = ["8080", "8081"].map(|port| (port.to_owned(), free_port().to_string()));
    let folder = TempDir::new().unwrap();
    tamis_e2e::tamis(folder.path(), &["--version"]);
    let component = crate::guests::component("header-policy");
    std::fs::copy(component, folder.path().join("header-policy.wasm")).unwrap();
    let (mut background, mut outputs) = (Vec::new(), Vec::new());
    for (kind, commands) in blocks(&renumber(part, &ports)) {
        if kind == "background" {
            let mut child = shell(folder.path(), &format!("exec {commands}"));
            let child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            background.push(Background(child));
            let gateway = renumber("127.0.0.1:8080", &ports);
            let there = || TcpStream::connect(&gateway).ok();
            eventually("the gateway listens", there);
            eventually("the filter serves", || (get(&gateway, "/").status == 400).then_some(()));
            continue;
        }
        let done = shell(folder.path(), &commands).output().unwrap();
        let out = String::from_utf8_lossy(&done.stdout).into_owned();
        let err = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{commands}\n{out}\n{err}");
        outputs.push(out);
    }
    let [_, signed, asked] = outputs.as_slice() else { panic!("{outputs:?}") };
    assert!(signed.contains("nothing wrong"), "{signed}");
    assert!(asked.starts_with("HTTP/1.1 200") && asked.contains("HTTP/1.1 400"), "{asked}");
    assert!(asked.contains("x-tamis-reason: header-policy.missing"), "{asked}");
}

/// Runs the blocks of a page one after the other, as in one terminal: exported variables are kept. A block
/// is run again until `enough` accepts its output.
pub(crate) fn follow(
    folder: &Path,
    page: &str,
    enough: impl Fn(&str, &str) -> bool,
) -> Vec<(String, String)> {
    let (mut background, mut outputs) = (Vec::new(), Vec::new());
    for (kind, commands) in blocks(page) {
        if commands.starts_with("cargo xtask build") {
            tamis_e2e::tamis(folder, &["--version"]);
            continue;
        }
        let known = "if [ -f .env ]; then source .env; fi";
        if kind == "background" {
            let child = shell(folder, &format!("{known}\nexec {commands}"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            background.push(Background(child));
            let listens = commands.split_once("--listen ").or(commands.split_once("http.server "));
            if let Some((_, address)) = listens {
                let address = address.split_whitespace().next().unwrap();
                let port = address.rsplit(':').next().unwrap();
                let there = || TcpStream::connect(format!("127.0.0.1:{port}")).ok();
                eventually(&format!("it listens: {commands}"), there);
            }
            continue;
        }
        let all = format!("{known}\n{commands}\nexport -p > .env");
        let said = eventually(&format!("it works: {commands}"), || {
            let done = shell(folder, &all)
                .env("CARGO_TARGET_DIR", root().join("target/guests"))
                .output()
                .unwrap();
            let out = String::from_utf8_lossy(&done.stdout).into_owned();
            let err = String::from_utf8_lossy(&done.stderr);
            assert!(done.status.success(), "{commands}\n{out}\n{err}");
            // Progress is shown of what takes over a second, which a page does not know.
            let err: String =
                err.split_inclusive('\n').filter(|line| !line.starts_with('…')).collect();
            enough(&commands, &out).then(|| format!("{out}{err}"))
        });
        outputs.push((commands, said));
    }
    outputs
}

#[test]
fn the_tutorial_of_rollouts_ends_with_a_proof_that_holds_and_a_forged_one_that_does_not() {
    let page = std::fs::read_to_string(root().join("docs/tutorial/rollouts.md")).unwrap();
    let ports =
        ["8080", "8081", "5000", "5001"].map(|port| (port.to_owned(), free_port().to_string()));
    let server = format!("http.server {}", ports[1].1);
    let page = renumber(&page, &ports).replace("http.server 8081", &server);
    let folder = TempDir::new().unwrap();
    let outputs = follow(folder.path(), &page, |commands, out| {
        // A proxy takes a moment; the final output counts.
        match (commands.contains("-A good/1.0"), commands.contains("-A bad/1.0")) {
            (true, _) => out.starts_with("200\n403\n"),
            (false, true) => out.contains("451\n"),
            (false, false) => true,
        }
    });
    let said = |part: &str| {
        let found = outputs.iter().find(|(commands, _)| commands.contains(part));
        found.unwrap_or_else(|| panic!("the tutorial has no `{part}`")).1.clone()
    };
    assert!(said("tamis plan").contains("is not pinned"));
    assert!(said("tamis pin demo/edge tamis/route").contains("never connected"));
    assert!(said("-A good/1.0").contains("all well"));
    assert!(said("--watch").contains("done"), "{}", said("--watch"));
    let again = said("tamis pin demo/edge acme/my-guard@0.2.0");
    assert!(again.contains("revoked") && again.contains("exit code 3"), "{again}");
    assert!(said("who-ran").contains("holds"));
    let forged = said("forged.json");
    assert!(forged.contains("does not hold") && forged.contains("exit code 1"), "{forged}");
}

#[test]
fn the_page_on_draining_and_upgrading_does_what_it_says() {
    let page = std::fs::read_to_string(root().join("docs/how-to/drain-and-upgrade.md")).unwrap();
    let ports = ["8080", "15090"].map(|port| (port.to_owned(), free_port().to_string()));
    let folder = TempDir::new().unwrap();
    tamis_e2e::tamis(folder.path(), &["--version"]);
    let outputs = follow(folder.path(), &renumber(&page, &ports), |commands, out| {
        match (commands.contains("proxy drain"), commands.contains("proxy undrain")) {
            (true, _) => out.contains("503\n"),
            (false, true) => out.ends_with("ready\n"),
            (false, false) => true,
        }
    });
    let said = |part: &str| {
        let found = outputs.iter().find(|(commands, _)| commands.contains(part));
        found.unwrap_or_else(|| panic!("the page has no `{part}`")).1.clone()
    };
    assert!(said("proxy drain").contains("listeners close in 600 s"), "{}", said("proxy drain"));
    assert!(said("proxy undrain").contains("gateway:demo/edge: serving"));
    assert!(said("proxy routes").contains("http http://127.0.0.1:"), "{}", said("proxy routes"));
}

#[test]
fn the_page_on_certificates_does_what_it_says() {
    let page = std::fs::read_to_string(root().join("docs/how-to/certificates.md")).unwrap();
    let folder = TempDir::new().unwrap();
    let ports = ["8080", "8443", "14000", "15000", "8053", "8055"];
    let ports = ports.map(|port| (port.to_owned(), free_port().to_string()));
    tamis_e2e::tamis(folder.path(), &["--version"]);
    let outputs = follow(folder.path(), &renumber(&page, &ports), |commands, out| {
        let ordered = ["DNS:shop.example", "DNS:pay.example"];
        !commands.contains("s_client") || ordered.iter().all(|name| out.contains(name))
    });
    assert!(outputs[0].1.contains("edge.crt  for 90 days"), "{outputs:?}");
    assert!(outputs.last().unwrap().1.contains("notAfter="), "{outputs:?}");
}

#[test]
fn the_page_on_several_hosts_does_what_it_says() {
    let page = std::fs::read_to_string(root().join("docs/how-to/several-hosts.md")).unwrap();
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    let port = |address: &str| address.rsplit(':').next().unwrap().to_owned();
    let ports = [("8443".to_owned(), port(&folder.https)), ("8080".to_owned(), port(&folder.http))];
    let page = renumber(&page, &ports);
    // The gateway has the listeners of the page and nothing else.
    let all = page.split("```yaml\n").skip(1).map(|part| part.split_once("```").unwrap().0);
    let lines = all.flat_map(|part| part.lines().filter(|line| *line != "listeners:"));
    let lines: String = lines.map(|line| format!("  {line}\n")).collect();
    let listeners = format!("  listeners:\n{lines}");
    let (_, rest) = page.split_once("```\n").unwrap();
    let mesh = folder.read("mesh.yaml");
    let (before, after) = mesh.split_once("  listeners:\n").unwrap();
    let (_, after) = after.split_once("  admin:").unwrap();
    folder.write("mesh.yaml", &format!("{before}{listeners}  admin:{after}"));
    let (made, rest) = rest.split_once("The client's server name").unwrap();
    follow(folder.path(), made, |_, _| true);
    let _gateway = folder.start(&[]);
    let outputs: Vec<String> =
        follow(folder.path(), rest, |_, _| true).into_iter().map(|(_, said)| said).collect();
    let subjects: Vec<&str> =
        outputs[0].lines().filter_map(|line| line.strip_prefix("Peer certificate: ")).collect();
    assert_eq!(subjects, ["CN = pay", "CN = shop"], "{outputs:?}");
    assert!(outputs[1].contains("unrecognized name"), "{outputs:?}");
    assert_eq!(outputs[2..], ["200\n421\n", "200\n404\n"]);
}

#[test]
fn the_commands_of_the_readme_are_commands() {
    let page = std::fs::read_to_string(root().join("README.md")).unwrap();
    let blocks = blocks(&page);
    let commands: Vec<&str> = blocks.iter().flat_map(|(_, text)| text.lines()).collect();
    assert_eq!(commands, ["cargo xtask up", "cargo xtask test"]);
    for command in commands {
        let done = shell(&root(), &format!("{command} --help")).output().unwrap();
        let out = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success() && out.contains("Example"), "{command}: {out}");
    }
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut pages = vec![root().join("README.md"), root().join("examples/shop/README.md")];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                pages.push(path);
            }
        }
    }
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        for part in text.split("](").skip(1) {
            let link = part.split(')').next().unwrap_or_default();
            if link.starts_with("http") || link.starts_with('#') {
                continue;
            }
            let target = page.parent().unwrap().join(link.split('#').next().unwrap_or_default());
            assert!(target.exists(), "{} links to {link}", page.display());
        }
    }
}
