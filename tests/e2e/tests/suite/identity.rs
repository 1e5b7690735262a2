//! Identities: a registry that is the authority of a trust domain, and proxies that join it.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use serde_json::{Value, json};
use tamis_e2e::{RunningProcess, eventually, tamis};
use tempfile::TempDir;

use crate::control::{json as read, said};
use member::{Asked, Member};

mod agent;
mod federation;
mod files;
mod joined;
mod member;
mod plaintext;
mod rights;
mod rotation;
mod settling;
mod supplied;

const PAY: &str = "sidecar:shop/pay/0";
const PAY_1: &str = "sidecar:shop/pay/1";
const CART: &str = "sidecar:other/cart/0";

/// A registry of the trust domain `shop.example` with two services of two owners in force.
struct Mesh {
    folder: TempDir,
    running: RunningProcess,
    address: String,
    proxies: String,
}

impl Mesh {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let services = format!("{}---\n{}", service("shop", "pay", 2), service("other", "cart", 1));
        std::fs::create_dir(folder.path().join("mesh")).unwrap();
        std::fs::write(folder.path().join("mesh/services.yaml"), services).unwrap();
        let mesh = Self::serve(folder, &["--trust-domain", "shop.example"]);
        mesh.did(&["apply", "-f", "mesh", "--confirm"]);
        mesh
    }

    fn serve(folder: TempDir, arguments: &[&str]) -> Self {
        let running = RunningProcess::start(folder.path(), &command(arguments));
        let ready = running.event("the registry serves", |event| event["event"] == "ready");
        let word = |name: &str| ready[name].as_str().unwrap_or_default().to_owned();
        let (address, proxies) = (word("address"), word("proxies"));
        Self { folder, running, address, proxies }
    }

    /// The same registry, started again.
    fn again(self, arguments: &[&str]) -> Self {
        let Self { folder, running, .. } = self;
        assert!(running.end("-INT").success());
        Self::serve(folder, &[&["--trust-domain", "shop.example"], arguments].concat())
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        let url = format!("http://{}", self.address);
        let mut all = arguments.to_vec();
        all.extend(["--registry", &url, "--output", "json"]);
        if !arguments.contains(&"--token-file") {
            all.extend(["--token-file", "data/admin.token"]);
        }
        tamis(self.folder.path(), &all)
    }

    fn did(&self, arguments: &[&str]) -> Value {
        let done = self.ask(arguments);
        assert!(done.status.success(), "{arguments:?}: {}", said(&done));
        read(&done)
    }

    /// The code of the refusal of a command.
    fn refused(&self, arguments: &[&str]) -> String {
        let done = self.ask(arguments);
        assert!(!done.status.success(), "{arguments:?}: {}", said(&done));
        read(&done)["problem"]["code"].as_str().unwrap_or_default().to_owned()
    }

    fn join_file(&self, node: &str) -> Value {
        self.did(&["identity", "token", node])
    }

    /// A proxy that joined.
    fn member(&self, node: &str) -> Member {
        let asked = Asked::join(&self.join_file(node));
        let (status, answer) = asked.send(&self.proxies, None);
        assert_eq!(status, 200, "{answer}");
        asked.member(&answer)
    }

    fn revoke(&self, node: &str) -> Value {
        self.did(&["identity", "revoke", node, "--reason", "machine lost"])
    }

    fn identity(&self, node: &str) -> Value {
        self.did(&["identity", "show", node])
    }
}

fn command<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["registry", "--data", "data", "--listen", "127.0.0.1:0"];
    all.extend(["--proxies", "127.0.0.1:0"]);
    all.extend_from_slice(arguments);
    all
}

fn service(namespace: &str, name: &str, endpoints: usize) -> String {
    let one = |index: usize| {
        let port = 20_000 + index * 10;
        format!(
            "    - {{ address: 127.0.0.1:{port}, sidecar: 127.0.0.1:{}, outbound: 127.0.0.1:{} }}\n",
            port + 1,
            port + 2
        )
    };
    let endpoints: String = (0..endpoints).map(one).collect();
    format!(
        "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: {name}, namespace: {namespace} }}\nspec:\n  \
         ports: [{{ port: 80, protocol: http }}]\n  identity: spiffe://shop.example/ns/{namespace}/service/{name}\n  \
         tls: {{ certificate: a.crt, key: a.key, ca: ca.crt }}\n  endpoints:\n{endpoints}"
    )
}

fn code(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["code"].as_str().unwrap_or_default())
}

#[test]
fn a_token_admits_its_proxy_once_and_every_other_use_is_refused_with_its_reason() {
    let mesh = Mesh::start();
    let file = mesh.join_file(PAY);
    assert_eq!(file["registryId"], "spiffe://shop.example/registry");
    let asked = Asked::join(&file);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut changed = asked.clone();
        change(&mut changed.body);
        changed
    };
    let unknown = format!("tamis-join-{}", "0".repeat(64));
    let big = "x".repeat(20 * 1024);
    // Refused ones leave the token as it is: the last row uses it.
    for (name, asked, status, wanted) in [
        ("another proxy", with(&|body| body["node"] = json!(PAY_1)), 403, "join.other-node"),
        ("another token", with(&|body| body["token"] = json!(unknown)), 403, "join.unknown"),
        ("no token", with(&|body| body["token"] = Value::Null), 403, "join.unknown"),
        ("no name", with(&|body| body["node"] = json!("pay")), 400, "node.name"),
        ("no request", with(&|body| body["request"] = json!("PEM")), 400, "identity.request"),
        ("other signature", asked.clone().forged(), 400, "identity.request"),
        ("another field", with(&|body| body["id"] = json!("x")), 400, "bad-request"),
        ("large", with(&|body| body["request"] = json!(big)), 413, "too-large"),
        ("the right one", asked.clone(), 200, ""),
        // Its answer may have been lost: whoever has the key is admitted once, and gets it again.
        ("the same again", asked.clone(), 200, ""),
        ("replayed", Asked::join(&file), 403, "join.replayed"),
    ] {
        let answer = asked.send(&mesh.proxies, None);
        assert_eq!(code(&answer), (status, wanted), "{name}: {}", answer.1);
        let told = answer.1["remedy"].is_string() || status == 200;
        assert!(told, "{name}: every refusal has its way out: {}", answer.1);
    }
    let written = mesh.did(&["identity", "token", PAY, "--out", "pay.join"]);
    let path = mesh.folder.path().join("pay.join");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    let kept: Value = serde_json::from_str(&text).unwrap();
    assert!(!written.to_string().contains(kept["token"].as_str().unwrap()), "{written}");
    let short = Asked::join(&mesh.did(&["identity", "token", CART, "--ttl", "1s"]));
    let mut broken = short.clone();
    broken.body["request"] = json!("PEM");
    eventually("the token expires", || {
        (code(&broken.send(&mesh.proxies, None)).1 == "join.expired").then_some(())
    });
    assert_eq!(code(&short.send(&mesh.proxies, None)), (403, "join.expired"));
    // The audit says who joined, and has no secret.
    let log = said(&mesh.ask(&["audit", "log"]));
    assert!(log.contains("identity-joined") && log.contains(PAY), "{log}");
    for secret in [&file, &asked.body] {
        assert!(!log.contains(secret["token"].as_str().unwrap()), "a token is in the journal");
    }
}

#[test]
fn a_proxy_renews_its_own_svid_and_no_other() {
    let mesh = Mesh::start();
    let (pay, cart) = (mesh.member(PAY), mesh.member(CART));
    let before = mesh.identity(PAY);
    for (name, node, shown, status, wanted) in [
        ("its own", PAY, Some(&pay), 200, ""),
        ("another endpoint of its service", PAY_1, Some(&pay), 403, "identity.other-node"),
        ("another service", PAY, Some(&cart), 403, "node.identity"),
        ("nobody's", PAY, None, 401, "node.identity"),
        ("no declared proxy", "sidecar:shop/gone/0", Some(&pay), 404, "not-found"),
    ] {
        let answer = Asked::renewal(node, pay.bundles()).send(&mesh.proxies, shown);
        assert_eq!(code(&answer), (status, wanted), "{name}: {}", answer.1);
    }
    let after = mesh.identity(PAY);
    assert_ne!(after["serial"], before["serial"], "the newest SVID counts at once");
    // The next SVID renews again, also after a rotation and a restart.
    let asked = Asked::renewal(PAY, pay.bundles());
    let (_, answer) = asked.send(&mesh.proxies, Some(&pay));
    let next = asked.member(&answer);
    let issuers = |member: &Member| member.chain.matches("BEGIN CERTIFICATE").count();
    assert_eq!(issuers(&next), 2, "the SVID and its intermediate");
    let rotated = mesh.did(&["identity", "rotate"]);
    assert_eq!(rotated["trustDomain"], "shop.example");
    let mesh = mesh.again(&[]);
    let asked = Asked::renewal(PAY, next.bundles());
    let (status, answer) = asked.send(&mesh.proxies, Some(&next));
    assert_eq!(status, 200, "{answer}");
    assert_ne!(asked.member(&answer).intermediate(), next.intermediate());
    let bundle = mesh.did(&["identity", "bundle"]);
    assert_eq!(bundle["bundles"], *next.bundles(), "members need no new bundle");
}

#[test]
fn a_revoked_proxy_is_refused_everywhere_until_somebody_admits_it_again() {
    let mesh = Mesh::start();
    let (pay, other) = (mesh.member(PAY), mesh.member(PAY_1));
    let unused = Asked::join(&mesh.join_file(PAY));
    let blob = format!("/v1/blobs/sha256:{}", "0".repeat(64));
    assert_eq!(code(&pay.get(&mesh.proxies, &blob)), (404, "not-found"));
    assert_eq!(
        mesh.refused(&["identity", "revoke", "sidecar:shop/gone/0", "--reason", "x"]),
        "not-found"
    );
    let revoked = mesh.revoke(PAY);
    assert_eq!(revoked["revoked"]["reason"], "machine lost");
    let renew = |member: &Member, node: &str| {
        Asked::renewal(node, member.bundles()).send(&mesh.proxies, Some(member))
    };
    let refused = renew(&pay, PAY);
    assert_eq!(code(&refused), (403, "identity.revoked"));
    assert!(refused.1["title"].as_str().unwrap().contains("machine lost"), "{}", refused.1);
    for path in [blob.as_str(), "/v1/nodes/sidecar:shop%2Fpay%2F0/stream"] {
        let answer =
            if path == blob { pay.get(&mesh.proxies, path) } else { pay.post(&mesh.proxies, path) };
        assert_eq!(code(&answer), (403, "identity.revoked"), "{path}");
    }
    assert_eq!(code(&renew(&pay, PAY_1)), (403, "identity.revoked"));
    assert_eq!(code(&unused.send(&mesh.proxies, None)), (403, "join.withdrawn"));
    assert_eq!(renew(&other, PAY_1).0, 200, "another endpoint keeps its identity");
    // Again, with a token that was made after the revocation.
    let again = mesh.member(PAY);
    assert_eq!(mesh.identity(PAY)["revoked"]["readmitted"], true);
    assert_eq!(renew(&again, PAY).0, 200);
    assert_eq!(code(&renew(&pay, PAY)), (403, "identity.revoked"), "the stolen one stays refused");
}

#[test]
fn a_proxy_connects_under_its_one_name_only() {
    let mesh = Mesh::start();
    let pay = mesh.member(PAY);
    let zeros = format!("sidecar:shop/pay/{}", "0".repeat(6_000));
    for other in ["sidecar:shop/pay", "sidecar:shop/pay/00", "sidecar:shop/pay/+0", zeros.as_str()]
    {
        let path = format!("/v1/nodes/{}/stream", other.replace('/', "%2F"));
        let answer = pay.post(&mesh.proxies, &path);
        assert_eq!(code(&answer), (400, "node.name"), "{other:.40}: {}", answer.1);
        assert!(answer.1["remedy"].is_string(), "{}", answer.1);
        // What is recorded of a proxy is recorded under its name, whichever it sends.
        let (status, answer) = Asked::renewal(other, pay.bundles()).send(&mesh.proxies, Some(&pay));
        assert_eq!(status, if other == "sidecar:shop/pay" { 200 } else { 400 }, "{answer}");
    }
    let answer = pay.post(&mesh.proxies, "/v1/nodes/sidecar:shop%2Fpay%2F0/stream");
    assert_eq!(code(&answer).1, "node.hello", "{}", answer.1);
    let known = mesh.did(&["identity", "list"]);
    let known = known["items"].as_array().unwrap();
    assert!(known.iter().all(|one| one["node"] == PAY), "{known:?}");
}

#[test]
fn a_proxy_renews_a_few_times_at_once_and_then_waits_as_others_do() {
    let mesh = Mesh::start();
    let (pay, other) = (mesh.member(PAY), mesh.member(PAY_1));
    let renewal = |member: &Member, node| Asked::renewal(node, member.bundles());
    let (mut signed, mut refused) = (0, None);
    for _ in 0..100 {
        let answer = renewal(&pay, PAY).send(&mesh.proxies, Some(&pay));
        match answer.0 {
            200 => signed += 1,
            _ => refused = refused.or(Some(answer)),
        }
    }
    let refused = refused.unwrap();
    assert_eq!(code(&refused), (429, "identity.pace"), "{}", refused.1);
    // Ten at once, and one in ten seconds.
    assert!((10..50).contains(&signed), "{signed}");
    assert_eq!(renewal(&other, PAY_1).send(&mesh.proxies, Some(&other)).0, 200);
}

#[test]
fn an_expired_svid_is_renewed_and_gets_nothing_else() {
    let mesh = Mesh::start();
    let mesh = mesh.again(&["--identity-seconds", "10"]);
    let (pay, cart) = (mesh.member(PAY), mesh.member(CART));
    let blob = format!("/v1/blobs/sha256:{}", "0".repeat(64));
    assert_eq!(code(&pay.get(&mesh.proxies, &blob)), (404, "not-found"));
    let expired = (403, "identity.expired");
    eventually("it expires", || (code(&pay.get(&mesh.proxies, &blob)) == expired).then_some(()));
    let stream = "/v1/nodes/sidecar:shop%2Fpay%2F0/stream";
    let (refused, join) = (pay.post(&mesh.proxies, stream), mesh.join_file(PAY));
    assert_eq!(code(&refused), expired);
    assert!(refused.1["remedy"].is_string(), "{}", refused.1);
    let joins = Asked::join(&join).send(&mesh.proxies, Some(&pay));
    assert_eq!(code(&joins), expired, "whoever joins shows nothing");
    let other = Asked::renewal(PAY_1, pay.bundles()).send(&mesh.proxies, Some(&pay));
    assert_eq!(code(&other), (403, "identity.other-node"));
    let asked = Asked::renewal(PAY, pay.bundles());
    let (status, answer) = asked.send(&mesh.proxies, Some(&pay));
    assert_eq!(status, 200, "{answer}");
    let next = asked.member(&answer);
    assert_eq!(code(&next.get(&mesh.proxies, &blob)), (404, "not-found"));
    // A revocation ends that, too.
    mesh.revoke(CART);
    let refused = Asked::renewal(CART, cart.bundles()).send(&mesh.proxies, Some(&cart));
    assert_eq!(code(&refused), (403, "identity.revoked"));
}

#[test]
fn a_registry_that_starts_again_keeps_its_authority_and_what_was_used() {
    let mesh = Mesh::start();
    let file = mesh.join_file(PAY);
    let used = Asked::join(&file);
    let (_, answer) = used.send(&mesh.proxies, None);
    let member = used.clone().member(&answer);
    mesh.join_file(CART);
    mesh.revoke(CART);
    let unused = Asked::join(&mesh.join_file(PAY_1));
    let mode = |name: &str| {
        let about = std::fs::metadata(mesh.folder.path().join("data/authority").join(name));
        about.unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode("."), mode("root.pem"), mode("intermediate.pem")), (0o700, 0o600, 0o600));
    let mesh = mesh.again(&[]);
    assert_eq!(code(&Asked::join(&file).send(&mesh.proxies, None)), (403, "join.replayed"));
    assert_eq!(code(&used.send(&mesh.proxies, None)), (200, ""), "the same key");
    let renewed = Asked::renewal(PAY, member.bundles()).send(&mesh.proxies, Some(&member));
    assert_eq!(renewed.0, 200, "{}", renewed.1);
    assert_eq!(mesh.identity(CART)["revoked"]["reason"], "machine lost");
    // The journal of a backup does not say which tokens were used since.
    let mesh = mesh.again(&["--restored"]);
    assert_eq!(code(&unused.send(&mesh.proxies, None)), (403, "join.withdrawn"));
    // Without the authority's files nothing starts, and no new root is made unseen.
    let Mesh { folder, running, .. } = mesh;
    assert!(running.end("-INT").success());
    let kept = folder.path().join("data/authority");
    std::fs::rename(&kept, folder.path().join("elsewhere")).unwrap();
    for (domain, there, wanted) in
        [("shop.example", false, "--make-new-keys"), ("else.example", true, "not of else.example")]
    {
        if there {
            std::fs::rename(folder.path().join("elsewhere"), &kept).unwrap();
        }
        let done = tamis(folder.path(), &command(&["--trust-domain", domain]));
        assert!(!done.status.success() && said(&done).contains(wanted), "{}", said(&done));
        assert_eq!(kept.exists(), there);
    }
}
