//! `tamis up` on the shipped folder: the first thing a user sees.

use serde_json::Value;
use tamis_e2e::{eventually, free_port, get, root, tamis, up};
use tempfile::TempDir;

/// A copy of `examples/shop` whose ports are this test's own.
pub(crate) struct Shop {
    pub(crate) folder: TempDir,
    pub(crate) http: String,
}

pub(crate) fn shop() -> Shop {
    let folder = TempDir::new().unwrap();
    let mut http = String::new();
    for entry in std::fs::read_dir(root().join("examples/shop")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "yaml") {
            continue;
        }
        let mut text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_owned();
        for port in ["port: 8080", "port: 8443"] {
            if text.contains(port) {
                let free = free_port();
                if port == "port: 8080" {
                    http = format!("127.0.0.1:{free}");
                }
                text = text.replace(port, &format!("port: {free}"));
            }
        }
        // Every other address of the folder is written out.
        let mut rest = text.as_str();
        let mut own = String::new();
        while let Some(at) = rest.find("127.0.0.1:") {
            let (before, after) = rest.split_at(at + "127.0.0.1:".len());
            own.push_str(before);
            let digits = after.chars().take_while(char::is_ascii_digit).count();
            if after[..digits].is_empty() {
                rest = after;
                continue;
            }
            own.push_str(&free_port().to_string());
            rest = &after[digits..];
        }
        own.push_str(rest);
        std::fs::write(folder.path().join(name), own).unwrap();
    }
    Shop { folder, http }
}

#[test]
fn one_command_runs_a_mesh_and_ends_it() {
    let shop = shop();
    let running = up(shop.folder.path(), &[]);
    let event = running.event("the mesh is up", |event| event["event"] == "up");
    let proxies = event["proxies"].as_array().unwrap().clone();
    assert_eq!(proxies.len(), 5);

    // Through the gateway, over mTLS to the storefront's sidecar, and from the storefront over two more sidecars.
    let page = eventually("the storefront reaches the others", || {
        let reply = get(&shop.http, "/");
        (reply.status == 200).then(|| reply.json())
    });
    assert_eq!(page["service"], "storefront");
    assert_eq!(page["calls"]["catalog"]["status"], 200, "{page}");
    assert_eq!(page["calls"]["payments"]["status"], 200, "{page}");
    assert_eq!(page["via"], "1.1 tamis, 2 tamis");

    for proxy in &proxies {
        let admin = proxy["admin"].as_str().unwrap();
        let filters = get(admin, "/filters").json();
        let slots = filters["filters"].as_array().unwrap();
        assert!(slots.len() >= 5, "{} has {}", proxy["node"], slots.len());
        for slot in slots {
            assert_eq!(slot["state"], "serving", "{slot}");
            assert!(slot["digest"].as_str().unwrap().starts_with("sha256:"));
            assert_eq!(slot["signers"], serde_json::json!(["local-dev"]));
        }
        assert_eq!(get(admin, "/readyz").status, 200);
        assert!(get(admin, "/metrics").body.contains("tamis_generation 1"));
    }

    // The sidecar saw who called it: the gateway, by its SPIFFE id.
    let record = eventually("the sidecar's record", || {
        let name = ".tamis/access/sidecar-shop-storefront-0.jsonl";
        let text = std::fs::read_to_string(shop.folder.path().join(name)).ok()?;
        text.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find(|record| record["listener"] == "inbound")
    });
    assert_eq!(record["peer"], "spiffe://shop.example/ns/shop/gateway/edge");

    assert!(running.end("-INT").success());
}

#[test]
fn the_shipped_folder_has_nothing_wrong() {
    let shop = shop();
    let prepared = tamis(shop.folder.path(), &["up", ".", "--prepare"]);
    assert!(prepared.status.success());
    let checked = tamis(shop.folder.path(), &["check", "."]);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{said}");
    assert!(said.contains("5 proxies, nothing wrong"), "{said}");
}

#[test]
fn the_commands_that_up_prints_do_what_they_say() {
    let shop = shop();
    let running = up(shop.folder.path(), &[]);
    let event = running.event("the mesh is up", |event| event["event"] == "up");
    let gateway = event["proxies"][0]["admin"].as_str().unwrap().to_owned();
    let slot = || {
        let filters = get(&gateway, "/filters").json();
        let slots = filters["filters"].as_array().unwrap().clone();
        slots.into_iter().find(|slot| slot["attachment"] == "shop/retry").unwrap()
    };
    let tries = event["try"].as_array().unwrap();
    assert_eq!(tries.len(), 3);
    let sh = |command: &Value| {
        let done = std::process::Command::new("sh")
            .args(["-c", command.as_str().unwrap()])
            .current_dir(shop.folder.path())
            .output()
            .unwrap();
        assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    assert!(sh(&tries[0]["command"]).contains("storefront"));

    sh(&tries[1]["command"]);
    let upgraded = eventually("the upgrade serves", || {
        let slot = slot();
        (slot["version"] == "0.1.1" && slot["state"] == "serving").then_some(slot)
    });
    assert_eq!(upgraded["running"], upgraded["digest"]);
    assert_eq!(get(&shop.http, "/").status, 200);
}
