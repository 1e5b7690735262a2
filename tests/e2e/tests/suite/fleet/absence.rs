//! Without a director for a while.

use std::fs;

use tamis_e2e::get;

use super::load::Load;
use super::plane::{EDGE, Plane, SLOT, alter};

#[test]
fn g4_a_registry_that_is_killed_stops_no_traffic_and_one_that_comes_back_is_followed_again() {
    let (plane, registry, _gateway, _) = Plane::running(|_| ());
    let load = Load::start(&plane.folder.http);
    registry.kill();
    load.more(300);
    assert!(plane.edited("/without"), "the guest is still called");
    let registry = plane.registry("data", &[]);
    plane.relay.to(&[&registry.proxies]);
    let second = registry.release(2);
    registry.pin(2);
    registry.serves(EDGE, SLOT, &second);
    load.nothing_failed();
}

#[test]
fn g5_a_gateway_starts_from_its_state_without_a_registry_and_one_damaged_component_costs_one_slot()
{
    let (plane, registry, gateway, _) = Plane::running(|_| ());
    let status = registry.did(&["status"]);
    let slots = status["proxies"][0]["slots"].as_array().unwrap();
    let telemetry = slots.iter().find(|slot| slot["slot"] == "test/telemetry").unwrap();
    let telemetry = telemetry["running"]["digest"].as_str().unwrap().to_owned();
    registry.kill();
    gateway.end("-INT");

    let gateway = plane.again();
    assert!(plane.edited("/from-its-state"));
    gateway.end("-KILL");

    let intact = alter(&plane.kept(&telemetry));
    let gateway = plane.again();
    plane.slot_says("test/telemetry", "refused:trust.altered");
    for slot in ["test/route", "test/retry", "test/circuit-breaker", SLOT] {
        plane.slot_says(slot, "serving");
    }
    assert!(plane.edited("/with-one-damaged"), "telemetry fails open, the others are asked");
    gateway.end("-INT");

    // A truncated file counts as altered.
    fs::write(plane.kept(&telemetry), &intact[..intact.len() / 2]).unwrap();
    let _gateway = plane.again();
    plane.slot_says("test/telemetry", "refused:trust.altered");
    assert_eq!(get(&plane.folder.http, "/cut-off").status, 200);
}
