//! Mistakes that show when something starts.

use super::golden;
use tamis_e2e::{Backend, tamis};

#[test]
fn a_port_that_somebody_else_listens_on_has_a_text_with_the_ways_out() {
    let backend = Backend::start();
    let (shop, _) = crate::agreements::shop_with(backend.address);
    let done = tamis(shop.folder.path(), &["up", "."]);
    assert!(!done.status.success());
    let mut wrong = Vec::new();
    let said = String::from_utf8_lossy(&done.stderr);
    // What was made before stands above it.
    let said = said.lines().find(|line| line.starts_with("error: ")).unwrap_or(&said);
    let said = said.replace(&backend.address.to_string(), "ADDRESS");
    golden("port-in-use", &format!("{said}\n"), &mut wrong);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
