//! Paths and hosts behind the gateway: what its rules match is what the server behind it reads.

use tamis_e2e::{Backend, Folder, Nginx, eventually, exchange, request, tamis};

/// A server that answers with the location that it found, and with the rule that the gateway found.
const LOCATIONS: &str = "
    listen @LISTEN@;
    location = /admin { return 200 'admin $http_x_rule'; }
    location /admin/ { return 200 'admin $http_x_rule'; }
    location / { return 200 'open $http_x_rule'; }
";

/// Marks the requests that the rule for `/admin` takes, and all others.
fn with_rules(folder: &Folder) {
    let set = |word: &str| {
        format!(
            "      filters: [{{ type: RequestHeaderModifier, requestHeaderModifier: {{ set: [{{ name: x-rule, value: {word} }}] }} }}]\n"
        )
    };
    let admin = format!(
        "    - name: admin\n      matches: [{{ path: {{ type: PathPrefix, value: /admin }} }}]\n{}      backendRefs: [{{ name: app, port: 80 }}]\n",
        set("admin")
    );
    let all = "    - name: all\n";
    folder.edit("mesh.yaml", all, &format!("{admin}{all}{}", set("open")));
}

#[test]
fn nginx_behind_the_gateway_reads_no_path_otherwise_than_its_rules_do() {
    let nginx = Nginx::start(LOCATIONS);
    let folder = Folder::documents(&[nginx.address]);
    with_rules(&folder);
    folder.prepare();
    let _gateway = folder.start(&[]);
    let ask = |path: &str| {
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: a\r\nx-rule: forged\r\nconnection: close\r\n\r\n"
        );
        let text = String::from_utf8_lossy(&exchange(&folder.http, head.as_bytes())).into_owned();
        let status = text.split(' ').nth(1).unwrap_or_default().to_owned();
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
        (status, body)
    };
    for (path, word) in [
        ("/admin", "admin"),
        ("/%61dmin", "admin"),
        ("/adm%69n", "admin"),
        ("/%61%64%6d%69%6e", "admin"),
        ("//admin", "admin"),
        ("///admin//x", "admin"),
        ("/./admin", "admin"),
        ("/x/../admin", "admin"),
        ("/%2e/admin", "admin"),
        ("/x/%2e%2e/admin", "admin"),
        ("/admin/", "admin"),
        ("/admin/x", "admin"),
        ("/admin?x=/", "admin"),
        ("/admin/../admin/.", "admin"),
        ("/administrator", "open"),
        ("/ADMIN", "open"),
        ("/admin/..", "open"),
        ("/admin/../x", "open"),
        ("/x?/../admin", "open"),
        ("/admin%20", "open"),
        ("/%25%36%31dmin", "open"),
        ("/a/admin", "open"),
        ("/", "open"),
    ] {
        let expected = ("200".to_owned(), format!("{word} {word}"));
        assert_eq!(ask(path), expected, "{path}: what nginx read, and what the rules matched");
    }
    // Whatever else a client may write: read alike, or refused by either.
    let parts = [
        "admin", "%61dmin", "..", ".", "%2e%2e", "", "x", "admin;x", "%2fadmin", "..;", "%5c",
        "a%00", "%zz", "%2E",
    ];
    let (mut same, mut refused) = (0, 0);
    for one in parts {
        for two in parts {
            for three in ["", "/admin", "/..", "/%2e%2e/admin"] {
                let path = format!("/{one}/{two}{three}");
                match ask(&path) {
                    (status, body) if status == "200" => {
                        let alike = body == "admin admin" || body == "open open";
                        assert!(alike, "{path}: {body}");
                        same += 1;
                    }
                    (status, body) => {
                        assert_eq!(status, "400", "{path}: {body}");
                        refused += 1;
                    }
                }
            }
        }
    }
    assert!(same > 100 && refused > 100, "{same} alike, {refused} refused");
}

const ROUTES: &str = "\
kind: HTTPRoute
apiVersion: gateway.networking.k8s.io/v1
metadata: { name: good, namespace: test }
spec:
  parentRefs: [{ kind: Gateway, name: edge }]
  hostnames: [good.example]
  rules: [{ backendRefs: [{ name: app, port: 80 }] }]
---
kind: HTTPRoute
apiVersion: gateway.networking.k8s.io/v1
metadata: { name: bad, namespace: test }
spec:
  parentRefs: [{ kind: Gateway, name: edge }]
  hostnames: [bad.example]
  rules:
    - @BAD@
    - matches: [{ path: { value: /beside } }]
      backendRefs: [{ name: app, port: 80 }]
---
kind: HTTPRoute
apiVersion: gateway.networking.k8s.io/v1
metadata: { name: moved, namespace: test }
spec:
  parentRefs: [{ kind: Gateway, name: edge, sectionName: http }]
  rules:
    - matches: [{ path: { value: /old } }]
      filters: [{ type: RequestRedirect, requestRedirect: { path: { type: ReplaceFullPath, replaceFullPath: /new } } }]
    - matches: [{ path: { value: /secure } }]
      filters: [{ type: RequestRedirect, requestRedirect: { scheme: https } }]
    - matches: [{ path: { value: /port } }]
      filters: [{ type: RequestRedirect, requestRedirect: { port: 9999 } }]
";

#[test]
fn the_bad_route_of_one_is_their_own_cold_and_warm() {
    let backend = Backend::start();
    let folder = Folder::documents(&[backend.address]);
    let bad = |what: &str| ROUTES.replace("@BAD@", what);
    let app = "backendRefs: [{ name: app, port: 80 }]";
    // Each is the whole first rule; whether the rule beside it still serves.
    let rows = [
        (format!("{{ matches: [{{ path: {{ value: foo }} }}], {app} }}"), false),
        (
            format!(
                "{{ matches: [{{ path: {{ type: RegularExpression, value: '/a(' }} }}], {app} }}"
            ),
            false,
        ),
        (
            "{ filters: [{ type: RequestRedirect, requestRedirect: { statusCode: 200 } }] }"
                .to_owned(),
            true,
        ),
        (format!("{{ filters: [{{ type: RequestHeaderModifier }}], {app} }}"), true),
        ("{ backendRefs: [{ name: gone, port: 80 }] }".to_owned(), true),
    ];
    folder.write("routes.yaml", &bad(&rows[0].0));
    folder.prepare();
    let _gateway = folder.start(&[]);
    let status =
        |host: &str, path: &str| request(&folder.http, "GET", path, &[("host", host)], b"").status;
    let reply = request(&folder.http, "GET", "/", &[("host", "bad.example")], b"");
    assert_eq!((reply.status, reply.header("x-tamis-reason")), (500, Some("route.no-backend")));
    // Cold, with the first; then each of the others comes while it runs.
    for (what, beside) in &rows {
        folder.write("routes.yaml", &bad(what));
        let served = if *beside { 200 } else { 500 };
        eventually(&format!("{what} is bad, and no more than that"), || {
            let found = (status("bad.example", "/"), status("bad.example", "/beside"));
            (found == (500, served)).then_some(())
        });
        assert_eq!(status("good.example", "/"), 200, "{what}");
    }
    // A later change of another's route is taken, whatever stays bad.
    let text = bad(&rows[0].0).replace("[good.example]", "[good.example, better.example]");
    folder.write("routes.yaml", &text);
    eventually("the change is taken", || (status("better.example", "/") == 200).then_some(()));
    assert_eq!((status("good.example", "/"), status("bad.example", "/")), (200, 500));
    folder.write("routes.yaml", &bad(&format!("{{ {app} }}")));
    eventually("it is mended", || (status("bad.example", "/") == 200).then_some(()));
}

#[test]
fn a_redirect_names_its_own_port_and_the_host_that_was_asked_for() {
    let backend = Backend::start();
    let folder = Folder::documents(&[backend.address]);
    let app = "{ backendRefs: [{ name: app, port: 80 }] }";
    folder.write("routes.yaml", &ROUTES.replace("@BAD@", app));
    folder.prepare();
    let _gateway = folder.start(&[]);
    let port = folder.http.rsplit(':').next().unwrap();
    let location = |version: &str, path: &str, host: Option<&str>| {
        let host = host.map(|host| format!("host: {host}\r\n")).unwrap_or_default();
        let head = format!("GET {path} HTTP/{version}\r\n{host}connection: close\r\n\r\n");
        let text = String::from_utf8_lossy(&exchange(&folder.http, head.as_bytes())).into_owned();
        let status = format!("HTTP/{version} 302 ");
        assert!(text.starts_with(&status), "{version} {path} {host:?}: {text}");
        let line = text.lines().find_map(|line| line.strip_prefix("location: "));
        line.unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    let own = format!("http://a:{port}/new");
    // What port the client says it asked is its own affair.
    for host in ["a:9999", "a", "A", "a.", "a:80", &format!("a:{port}")] {
        assert_eq!(location("1.1", "/old", Some(host)), own, "{host}");
        assert_eq!(location("1.1", "/secure", Some(host)), "https://a/secure", "{host}");
        assert_eq!(location("1.1", "/port", Some(host)), "http://a:9999/port", "{host}");
    }
    assert_eq!(location("1.1", "/old", Some("[::1]:9")), format!("http://[::1]:{port}/new"));
    // Without a host there is none to name: a path is relative to what the client knows.
    for (path, expected) in
        [("/old?q", "/new?q"), ("/old", "/new"), ("/secure", "/secure"), ("/port", "/port")]
    {
        assert_eq!(location("1.0", path, None), expected, "{path}");
    }
    assert_eq!(location("1.0", "/old", Some("a")), own);
}

#[test]
fn a_folder_that_does_not_parse_is_prepared_as_far_as_it_goes_and_says_so() {
    let backend = Backend::start();
    for (what, text, line) in [
        ("no YAML", "kind: Gateway\n  bad: [\n", "more.yaml:2:"),
        (
            "an unknown kind",
            "kind: Gatway\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: a, namespace: b }\n",
            "more.yaml:1:",
        ),
        (
            "an unknown field",
            "kind: Filter\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: a, namespace: b }\nspec: { wrld: x }\n",
            "more.yaml:4:",
        ),
    ] {
        let folder = Folder::documents(&[backend.address]);
        folder.write("more.yaml", text);
        let done = tamis(folder.path(), &["up", ".", "--prepare"]);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(1), "{what}: {said}");
        assert!(said.contains(line) && said.contains("tamis check ."), "{what}: {said}");
        assert!(!String::from_utf8_lossy(&done.stdout).contains("is prepared"), "{what}");
        // What the other files ask for is there, so that the way on is short.
        assert!(folder.file(".tamis/filters.lock.yaml").exists(), "{what}");
    }
    // A proxy does not start beside what it cannot read, and tells it once.
    let folder = Folder::gateway(&[backend.address]);
    folder.write("more.yaml", "kind: Gateway\n  bad: [\n");
    let arguments =
        ["proxy", "--node", "gateway:test/edge", "--documents", ".", "--store", ".tamis/store"];
    let done = tamis(folder.path(), &arguments);
    let said =
        String::from_utf8_lossy(&done.stderr).into_owned() + &String::from_utf8_lossy(&done.stdout);
    assert!(!done.status.success(), "{said}");
    assert_eq!(said.matches("more.yaml:2:").count(), 1, "{said}");
}
