//! Logins at a real OpenID provider: PyPI's `oidc-provider-mock`, with browsers that keep cookies and follow redirects.

use crate::docs::{follow, renumber};
use crate::policies::attachment_of;
use std::cell::RefCell;
use std::process::{Child, Command, Stdio};
use tamis_e2e::{
    Backend, Folder, Reply, RunningProcess, eventually, eventually_or, free_port, get,
    python_environment, request, root,
};
use tempfile::TempDir;

mod browser;

const PACKAGE: &str = "oidc-provider-mock==0.3.4";

/// The provider; ended when dropped.
struct Provider {
    process: Child,
    address: String,
}

impl Provider {
    fn start(arguments: &[&str]) -> Self {
        let port = free_port();
        let process = Command::new(
            python_environment("oidc-provider-mock", &[PACKAGE]).join("bin/oidc-provider-mock"),
        )
        .args(["--port", &port.to_string()])
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
        let provider = Self { process, address: format!("127.0.0.1:{port}") };
        eventually("the provider answers", || {
            (get(&provider.address, "/jwks").status == 200).then_some(())
        });
        provider
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A gateway with the filter, and a service behind it.
struct Site {
    folder: Folder,
    service: Backend,
    gateway: RunningProcess,
    provider: Provider,
}

const SECRETS: [&str; 4] =
    ["--secret", "oidc-cookie=file:cookie.key", "--secret", "oidc-client=file:client.key"];

impl Site {
    /// A site that browsers reach under this address; `HTTP` and `HTTPS` stand for those of the gateway.
    fn start(url: &str, provider: &[&str]) -> Self {
        let (service, provider) = (Backend::start(), Provider::start(provider));
        let folder = Folder::documents(&[service.address]);
        let url = url.replace("HTTPS", &folder.https.replace("127.0.0.1", "localhost"));
        let url = url.replace("HTTP", &folder.http);
        let config = format!(
            "{{ issuer: \"http://{}\", clientId: shop, clientSecretName: oidc-client, redirectUrl: \"{url}/oidc/callback\", \
             cookieSecretNames: [oidc-cookie], scopes: [openid, email], claimsToHeaders: [{{ claim: sub, header: x-user }}], \
             logout: {{ path: /oidc/logout, returnTo: \"{url}/bye\", sendIdToken: true }} }}",
            provider.address
        );
        let documents = attachment_of("oidc", "authn", 1, &config)
            .replace("idp.example", &format!("\"{}\"", provider.address))
            .replace("duringRequests: true", "duringRequests: true, clearText: true")
            .replace("time: 10ms", "time: 1s");
        folder.write("policies.yaml", &documents);
        folder.write("cookie.key", "0123456789abcdef0123456789abcdef");
        folder.write("client.key", "for-tests-only");
        folder.prepare();
        let gateway = folder.start(&SECRETS);
        let site = Self { folder, service, gateway, provider };
        eventually_or("the provider is known", || {
            let reply = site.page("/");
            let known = reply.header("x-tamis-reason") != Some("oidc.no-provider");
            known.then_some(()).ok_or_else(|| format!("{reply:?}"))
        });
        // Nothing is fetched in a self-test, which is no fault of anybody.
        let said = site.gateway.errors();
        assert!(!said.contains("the grant does not allow it"), "{said}");
        site
    }

    /// A page without a session.
    fn page(&self, path: &str) -> Reply {
        request(&self.folder.http, "GET", path, &[("accept", "text/html")], b"")
    }

    /// The values of a header that the service received last.
    fn received(&self, name: &str) -> Vec<String> {
        let headers = self.service.last().unwrap().headers;
        headers.into_iter().filter(|(one, _)| one == name).map(|(_, value)| value).collect()
    }
}

/// What a browser keeps, and how it follows.
#[derive(Default)]
struct Browser {
    cookies: RefCell<Vec<(String, String)>>,
}

impl Browser {
    /// The value of `cookie`.
    fn cookie(&self) -> String {
        let pairs = self.cookies.borrow();
        pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    fn keep(&self, reply: &Reply) {
        let lines = reply.headers.iter().filter(|(name, _)| name == "set-cookie");
        for (_, line) in lines {
            let (pair, attributes) = line.split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            let mut cookies = self.cookies.borrow_mut();
            cookies.retain(|(one, _)| one != name);
            if !attributes.contains("Max-Age=0;") {
                cookies.push((name.to_owned(), value.to_owned()));
            }
        }
    }

    /// One request to an absolute address, without following.
    fn send(&self, method: &str, url: &str, more: &[(&str, &str)], body: &str) -> Reply {
        let rest = url.strip_prefix("http://").unwrap_or_else(|| panic!("{url}"));
        let (address, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let cookie = self.cookie();
        let mut headers = vec![("accept", "text/html"), ("cookie", cookie.as_str())];
        headers.extend(more);
        if !body.is_empty() {
            headers.push(("content-type", "application/x-www-form-urlencoded"));
        }
        let reply = request(address, method, path, &headers, body.as_bytes());
        self.keep(&reply);
        reply
    }

    /// Opens a page and follows redirects; returns the last address and its response.
    fn open(&self, url: &str) -> (String, Reply) {
        let mut url = url.to_owned();
        for _ in 0..10 {
            let reply = self.send("GET", &url, &[], "");
            match reply.header("location").map(str::to_owned) {
                Some(next) => url = next,
                None => return (url, reply),
            }
        }
        panic!("redirects without an end, at last to {url}");
    }

    /// Says at the provider's form who it is; returns the address that it is sent back to.
    fn answer(&self, form: &str, body: &str) -> String {
        let reply = self.send("POST", form, &[], body);
        reply.header("location").unwrap_or_else(|| panic!("{reply:?}")).to_owned()
    }

    /// Logs in on the way to a page, and returns the response of the page.
    fn log_in(&self, page: &str) -> Reply {
        let (form, reply) = self.open(page);
        assert!(form.contains("/oauth2/authorize?") && reply.status == 200, "{form}: {reply:?}");
        let back = self.answer(&form, "sub=ada");
        let (url, reply) = self.open(&back);
        assert_eq!((url.as_str(), reply.status), (page, 200), "{reply:?}");
        reply
    }
}

fn reason(reply: &Reply) -> (u16, &str) {
    (reply.status, reply.header("x-tamis-reason").unwrap_or_default())
}

#[test]
fn somebody_logs_in_at_a_real_provider_and_out_again() {
    let site = Site::start("http://HTTP", &[]);
    let page = format!("http://{}/orders?of=today", site.folder.http);
    let ada = Browser::default();
    ada.cookies.borrow_mut().push(("theme".to_owned(), "dark".to_owned()));
    let reply = ada.log_in(&page);
    assert_eq!(reply.body, "/orders", "the service answered, at the page that was asked for");
    assert_eq!(
        (site.received("x-user"), site.received("cookie")),
        (vec!["ada".to_owned()], vec!["theme=dark".to_owned()])
    );
    assert_eq!(site.service.count(), 1, "nothing reaches the service without a session");

    // Whoever calls does not say who they are.
    let reply = ada.send("GET", &page, &[("x-user", "root"), ("X_User", "root")], "");
    assert_eq!((reply.status, site.received("x-user")), (200, vec!["ada".to_owned()]));
    assert!(site.received("x_user").is_empty());
    // The session is the browser's: a gateway that starts again knows it.
    let session = ada.cookie();
    let Site { folder, service, gateway, provider } = site;
    drop(gateway);
    let gateway = folder.start(&SECRETS);
    let site = Site { folder, service, gateway, provider };
    assert_eq!(ada.send("GET", &page, &[], "").status, 200);

    // Others get no session out of it.
    let script = |cookie: &str| {
        let headers = [("cookie", cookie), ("sec-fetch-mode", "cors"), ("accept", "*/*")];
        request(&site.folder.http, "GET", "/orders", &headers, b"")
    };
    let altered = session.replace("oidc=1.", "oidc=1.A");
    for (what, cookie, expected) in [
        ("a session", session.as_str(), (200, "")),
        ("none", "", (401, "oidc.no-session")),
        ("an altered one", altered.as_str(), (401, "oidc.session-invalid")),
    ] {
        assert_eq!(reason(&script(cookie)), expected, "{what}");
    }

    let logout = format!("http://{}/oidc/logout", site.folder.http);
    let reply = ada.send("GET", &logout, &[("sec-fetch-site", "cross-site")], "");
    assert_eq!(reason(&reply), (403, "oidc.logout-cross-site"));
    let origin = format!("http://{}", site.folder.http);
    let reply = ada.send("POST", &logout, &[("origin", &origin)], "");
    assert_eq!(reply.status, 303, "{reply:?}");
    let (_, reply) = ada.open(reply.header("location").unwrap());
    assert!(reply.status == 200 && reply.body.contains("/bye"), "{reply:?}");
    assert_eq!(ada.cookie(), "theme=dark");
    assert_eq!(reason(&script(&session)), (401, "oidc.session-ended"), "a copy of the cookie");
    assert_eq!(reason(&ada.send("GET", &page, &[], "")).0, 302);
}

#[test]
fn a_callback_is_good_once_for_the_browser_that_began_it() {
    let site = Site::start("http://HTTP", &[]);
    let page = format!("http://{}/", site.folder.http);
    let (ada, mallory) = (Browser::default(), Browser::default());
    let (form, _) = ada.open(&page);
    let back = ada.answer(&form, "sub=ada");
    let before = ada.cookie();
    // Mallory sends ada the end of a login of his own, or uses that of ada.
    let (form, _) = mallory.open(&page);
    let of_mallory = mallory.answer(&form, "sub=mallory");
    assert_eq!(reason(&ada.send("GET", &of_mallory, &[], "")), (400, "oidc.login-unknown"));
    assert_eq!(reason(&mallory.send("GET", &back, &[], "")), (400, "oidc.login-unknown"));
    let with_issuer = format!("{back}&iss=https%3A%2F%2Fevil.example");
    assert_eq!(reason(&ada.send("GET", &with_issuer, &[], "")), (403, "oidc.callback-issuer"));
    ada.cookies.borrow_mut().clear();
    let pair = before.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    ada.cookies.borrow_mut().extend(pair.clone());

    assert_eq!(ada.send("GET", &back, &[], "").status, 303);
    assert_eq!(ada.send("GET", &page, &[], "").status, 200);
    assert_eq!(site.received("x-user"), ["ada"]);
    // Again, with the cookie that was removed; a browser that has a session goes on with it.
    let again = Browser::default();
    again.cookies.borrow_mut().extend(pair);
    assert_eq!(reason(&again.send("GET", &back, &[], "")), (400, "oidc.callback-replayed"));
    let (url, reply) = ada.open(&back);
    assert_eq!((url, reply.status), (page.clone(), 200));

    // The provider refuses, or does not know the code.
    let nobody = Browser::default();
    let (form, _) = nobody.open(&page);
    let denied = nobody.answer(&form, "action=deny");
    let (form, _) = nobody.open(&page);
    let back = nobody.answer(&form, "sub=bob");
    let (head, rest) = back.split_once("code=").unwrap();
    let state = rest.split_once("&state=").unwrap().1;
    let invented = nobody.send("GET", &format!("{head}code=invented&state={state}"), &[], "");
    assert_eq!(reason(&invented), (403, "oidc.code-refused"));
    // A provider that leaves `state` out of an error says nothing that a browser could bring back.
    let refused = nobody.send("GET", &denied, &[], "");
    assert!(matches!(
        reason(&refused),
        (403, "oidc.provider-refused") | (400, "oidc.callback-malformed")
    ));
    assert!(
        nobody.cookie().split("; ").all(|pair| !pair.starts_with("oidc=")),
        "{}",
        nobody.cookie()
    );
}

#[test]
fn a_session_goes_on_until_the_provider_ends_it() {
    let site = Site::start("http://HTTP", &["--token-max-age", "10"]);
    let page = format!("http://{}/", site.folder.http);
    let ada = Browser::default();
    ada.log_in(&page);
    let first = ada.cookie();
    // Half of the tokens' time later, a response has the renewed session.
    eventually("the session is renewed", || {
        let reply = ada.send("GET", &page, &[], "");
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.header("set-cookie").map(|line| {
            assert!(line.starts_with("oidc=1."), "{line}");
            assert_eq!(reply.header("cache-control"), Some("private"), "no cache keeps it");
        })
    });
    assert_ne!(ada.cookie(), first);
    let reply = ada.send("GET", &page, &[], "");
    assert_eq!((reply.status, site.received("x-user")), (200, vec!["ada".to_owned()]));

    // This provider gives renewed tokens an hour, whatever it was started with: another session, not yet renewed.
    let ada = Browser::default();
    ada.log_in(&page);
    let headers = [("content-length", "0")];
    let revoked =
        request(&site.provider.address, "POST", "/users/ada/revoke-tokens", &headers, b"");
    assert_eq!(revoked.status, 204, "{revoked:?}");
    let ended = eventually("the session ends", || {
        let headers = [("cookie", ada.cookie()), ("accept", "*/*".to_owned())];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        let reply = request(&site.folder.http, "GET", "/", &headers, b"");
        (reply.status != 200).then_some(reply)
    });
    assert_eq!(reason(&ended), (401, "oidc.session-ended"));
    let reply = ada.send("GET", &page, &[], "");
    assert_eq!(reason(&reply), (302, "oidc.login"), "a page leads to the login again");
}

/// curl keeps cookies as browsers do: one whose name begins with `__Host-` only from TLS, for this host and every path.
#[test]
fn over_tls_a_client_that_enforces_prefixes_keeps_the_session() {
    let site = Site::start("https://HTTPS", &[]);
    let page = format!("https://{}/a", site.folder.https.replace("127.0.0.1", "localhost"));
    let curl = |arguments: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-k", "-b", "jar", "-c", "jar", "-H", "accept: text/html"]);
        let done = curl.args(arguments).current_dir(site.folder.path()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    let form = curl(&["-o", "form.html", "-w", "%{redirect_url}", &page]);
    let jar = site.folder.read("jar");
    assert!(
        jar.contains("#HttpOnly_localhost\tFALSE\t/\tTRUE\t") && jar.contains("__Host-oidc-login-"),
        "{jar}"
    );
    // Step by step: with `-L`, this curl reads its file again on the way, with the cookies that were removed.
    let back = curl(&["--data", "sub=ada", "-o", "form.html", "-w", "%{redirect_url}", &form]);
    let next = curl(&["-o", "back.txt", "-w", "%{http_code} %{redirect_url}", &back]);
    assert_eq!(next, format!("303 {page}"));
    assert_eq!(curl(&["-o", "page.txt", "-w", "%{http_code}", &page]), "200");
    let jar = site.folder.read("jar");
    assert!(jar.contains("\t__Host-oidc\t1."), "{jar}");
    assert!(!jar.contains("__Host-oidc-login-"), "{jar}");
    assert_eq!(site.received("x-user"), ["ada"]);
    assert_eq!(site.received("cookie"), Vec::<String>::new());
    // The session of a browser is for the host where it logged in.
    let other = page.replace("localhost", "127.0.0.1");
    assert_eq!(curl(&["-o", "other.txt", "-w", "%{http_code}", &other]), "403");
}

#[test]
fn the_page_on_logins_does_what_it_says() {
    let page = std::fs::read_to_string(root().join("docs/how-to/login.md")).unwrap();
    let ports = ["8080", "8081", "9400", "15090"];
    let ports = ports.map(|port| (port.to_owned(), free_port().to_string()));
    let renumbered = renumber(&page, &ports)
        .replace("--port 9400", &format!("--port {}", ports[2].1))
        .replace("http.server 8081", &format!("http.server {}", ports[1].1));
    let folder = TempDir::new().unwrap();
    tamis_e2e::tamis(folder.path(), &["--version"]);
    let outputs = follow(folder.path(), &renumbered, |commands, said| {
        // The metadata is fetched in the background.
        !commands.contains("| tee sent") || said.starts_with("302 ")
    });
    let said = |part: &str| {
        let found = outputs.iter().find(|(commands, _)| commands.contains(part));
        found.unwrap_or_else(|| panic!("the page has no `{part}`")).1.clone()
    };
    assert!(said("tamis check").contains("nothing wrong"), "{}", said("tamis check"));
    assert!(said("/readyz").ends_with("401\n"), "{}", said("/readyz"));
    let own = format!("http://127.0.0.1:{}/", ports[0].1);
    assert_eq!(said("back="), format!("303 {own}\nonly for people who are known\n"));
    let out = said("-X POST");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!((lines[0], lines[2]), ("403", "401"), "{out}");
    assert!(
        lines[1].starts_with(&format!("303 http://127.0.0.1:{}/oauth2/end_session", ports[2].1))
    );
}
