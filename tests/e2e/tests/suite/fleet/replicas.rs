//! Two registries over one database and one bucket: either may end, and the database may be unavailable.

use std::fs;
use std::sync::Mutex;
use std::thread;

use tamis_e2e::{Objects, Postgres, Relay, RunningProcess, eventually, get};

use super::load::Load;
use super::plane::{Asker, EDGE, Plane, Registry, SLOT, json, said};

/// A plane with two registries, and a gateway that knows both.
struct Replicas {
    plane: Plane,
    arguments: Vec<String>,
    /// Between registries and their database.
    database: Relay,
    server: String,
    /// Each forwards proxies to one registry, whatever its port is now.
    ways: [Relay; 2],
    registries: [Option<Registry>; 2],
    _gateway: RunningProcess,
    _postgres: Postgres,
    _objects: Objects,
}

impl Replicas {
    fn start() -> Self {
        let plane = Plane::new(|_| ());
        let (postgres, objects, database) = (Postgres::start(), Objects::start(), Relay::start());
        let url = postgres.url();
        let (start, rest) = url.split_once('@').unwrap();
        let (server, name) = rest.split_once('/').unwrap();
        database.to(&[server]);
        let options: String =
            objects.options().iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        fs::write(plane.folder.file("objects"), options).unwrap();
        let arguments = [
            "--database-url",
            &format!("{start}@{}/{name}", database.address()),
            "--blobs",
            "s3://tamis/registry",
            "--blobs-options",
            "objects",
        ];
        let arguments = arguments.map(str::to_owned).to_vec();
        let ways = [Relay::start(), Relay::start()];
        let directors = format!("{},{}", ways[0].address(), ways[1].address());
        let mut registries = [None, None];
        for (registry, way) in registries.iter_mut().zip(&ways) {
            *registry = Some(replica(&plane, &arguments, way));
        }
        let first = registries[0].as_ref().unwrap().ready();
        let gateway = plane.follower(&directors, EDGE, "edge");
        registries[1].as_ref().unwrap().serves(EDGE, SLOT, &first);
        eventually("the gateway serves", || plane.edited("/first").then_some(()));
        Self {
            plane,
            arguments,
            database,
            server: server.to_owned(),
            ways,
            registries,
            _gateway: gateway,
            _postgres: postgres,
            _objects: objects,
        }
    }

    fn registry(&self, which: usize) -> &Registry {
        self.registries[which].as_ref().unwrap()
    }
}

fn replica(plane: &Plane, arguments: &[String], way: &Relay) -> Registry {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let registry = plane.registry("data", &arguments);
    way.to(&[&registry.proxies]);
    registry
}

/// Pins versions of the guest through a registry, one after the other, until the registry ends or all are
/// pinned.
fn pin_until_the_end(registry: &Asker, from: u8, acknowledged: &Mutex<Vec<u8>>) {
    for major in from..from + 3 {
        let release = format!("test/guest@{major}.0.0");
        if !registry.ask(&["pin", "*", &release, "--confirm"]).status.success() {
            return;
        }
        acknowledged.lock().unwrap().push(major);
    }
}

#[test]
fn g19_killing_either_of_two_registries_loses_no_acknowledged_pin_and_stalls_no_proxy() {
    let mut replicas = Replicas::start();
    let load = Load::start(&replicas.plane.folder.http);
    let releases: Vec<String> =
        (2..=7).map(|major| replicas.registry(usize::from(major % 2)).release(major)).collect();
    let route = replicas.plane.folder.file(".tamis/store/tamis-route-0.1.0.wasm");
    replicas.registry(0).release_of(&route.display().to_string(), "tamis/route", 9, "local-dev");
    let waves = ["--service", "*", "--wave", "50:2s", "--wave", "100:2s", "--min-exchanges", "5"];
    let start = ["rollout", "start", "route-9", "tamis/route@9.0.0"];
    replicas.registry(1).did(&[&start[..], &waves[..]].concat());

    let acknowledged = Mutex::new(Vec::new());
    let under_way = replicas.registry(1).did(&["rollout", "status", "route-9"]);
    assert_eq!(under_way["ended"], false, "{under_way}");
    for (round, from) in [(0, 2), (1, 5)] {
        let victim = replicas.registries[round].take().unwrap();
        let survivor = replicas.registry(1 - round);
        let before = acknowledged.lock().unwrap().len();
        thread::scope(|scope| {
            let asker = victim.asker();
            let acknowledged = &acknowledged;
            scope.spawn(move || pin_until_the_end(&asker, from, acknowledged));
            eventually("a pin is acknowledged", || {
                (acknowledged.lock().unwrap().len() > before).then_some(())
            });
            victim.kill();
        });
        // It is unknown which of its last requests were executed; the next ones are sent to the other.
        let next = from + 3;
        survivor.pin(next - 1);
        survivor.serves(EDGE, SLOT, &releases[usize::from(next) - 3]);
        let back = replica(&replicas.plane, &replicas.arguments, &replicas.ways[round]);
        replicas.registries[round] = Some(back);
    }
    for registry in replicas.registries.iter().flatten() {
        let history = registry.did(&["history", "*", "test/guest"]).to_string();
        for major in acknowledged.lock().unwrap().iter() {
            assert!(history.contains(&releases[usize::from(*major) - 2]), "{major}: {history}");
        }
        eventually("the rollout goes on to its end", || {
            let view = registry.did(&["rollout", "status", "route-9"]);
            (view["stage"] == "done").then_some(())
        });
    }
    load.nothing_failed();
}

#[test]
fn a_replica_that_is_cut_off_answers_nobody_by_rights_and_its_proxies_go_to_another() {
    let mut replicas = Replicas::start();
    // The second one reaches the database by a way of its own, and the gateway is with it.
    let away = Relay::start();
    away.to(&[&replicas.server]);
    let arguments: Vec<String> = replicas
        .arguments
        .iter()
        .map(|one| one.replace(replicas.database.address(), away.address()))
        .collect();
    replicas.registries[1].take().unwrap().end();
    replicas.registries[1] = Some(replica(&replicas.plane, &arguments, &replicas.ways[1]));
    let second = replicas.registry(0).release(2);
    let third = replicas.registry(0).release(3);
    replicas.ways[0].cut();
    let load = Load::start(&replicas.plane.folder.http);
    replicas.registry(1).pin(2);
    replicas.registry(1).serves(EDGE, SLOT, &second);
    replicas.ways[0].to(&[&replicas.registry(0).proxies]);
    away.cut();

    eventually("nobody is answered by what it knew", || {
        let refused = replicas.registry(1).ask(&["pins"]);
        (!refused.status.success()).then(|| json(&refused)).filter(|told| {
            let remedy = told["problem"]["remedy"].as_str().unwrap_or_default();
            told["problem"]["status"] == 503 && remedy.contains("another replica")
        })
    });
    // Its proxy goes to the other one, which directs it; and no request of anybody failed.
    replicas.registry(0).pin(3);
    replicas.registry(0).serves(EDGE, SLOT, &third);
    away.to(&[&replicas.server]);
    eventually("it answers again", || {
        replicas.registry(1).ask(&["pins"]).status.success().then_some(())
    });
    load.nothing_failed();
}

#[test]
fn a_database_that_is_away_fails_changes_with_a_way_out_and_stops_no_traffic() {
    let replicas = Replicas::start();
    let load = Load::start(&replicas.plane.folder.http);
    let second = replicas.registry(0).release(2);
    let third = replicas.registry(0).release(3);
    replicas.database.cut();
    for which in [0, 1] {
        let refused = replicas.registry(which).ask(&["pin", "*", "test/guest@2.0.0", "--confirm"]);
        assert!(!refused.status.success(), "{}", said(&refused));
        let told = json(&refused);
        assert_eq!(told["problem"]["status"], 503, "{told}");
        assert!(told["problem"]["remedy"].as_str().unwrap().contains("try again"), "{told}");
    }
    load.more(100);
    assert!(replicas.plane.edited("/without"));
    replicas.database.to(&[&replicas.server]);
    eventually("changes work again", || {
        let pin = ["pin", "*", "test/guest@2.0.0", "--confirm"];
        replicas.registry(1).ask(&pin).status.success().then_some(())
    });
    replicas.registry(0).serves(EDGE, SLOT, &second);

    // A database that hangs is worse than one that is gone: no request fails by itself.
    replicas.database.hold(true);
    thread::scope(|scope| {
        let pin = scope
            .spawn(|| replicas.registry(0).ask(&["pin", "*", "test/guest@3.0.0", "--confirm"]));
        load.more(300);
        assert!(!pin.is_finished(), "nothing is acknowledged that is not written");
        assert_eq!(get(&replicas.plane.folder.http, "/hung").status, 200);
        replicas.database.hold(false);
        assert!(pin.join().unwrap().status.success(), "it was only late");
    });
    replicas.registry(1).serves(EDGE, SLOT, &third);
    load.nothing_failed();
}
