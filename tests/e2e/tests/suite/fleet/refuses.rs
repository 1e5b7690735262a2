//! What a router would refuse is refused before it is taken, and each refusal names the place in its owner's document.

use serde_json::Value;
use tamis_e2e::tamis;

use super::plane::{Plane, json, said};

/// A good document first: places count from the beginning of the file.
const MORE: &str = "\
kind: Service
apiVersion: tamis.dev/v1alpha1
metadata: { name: other, namespace: test }
spec: { ports: [{ port: 80, protocol: http }], endpoints: [{ address: 127.0.0.1:9 }] }
---
kind: HTTPRoute
apiVersion: gateway.networking.k8s.io/v1
metadata: { name: mine, namespace: test }
spec:
  parentRefs: [{ kind: Gateway, name: edge }]
  hostnames: [bad.example]
  rules:
    - name: good
      backendRefs: [{ name: app, port: 80 }]
    - name: bad
";

/// Whether an answer names that line of that file, as an object with a place or in words.
fn names(value: &Value, file: &str, line: usize) -> bool {
    match value {
        Value::String(text) => text.contains(&format!("{file}:{line}:")),
        Value::Array(items) => items.iter().any(|one| names(one, file, line)),
        Value::Object(map) => {
            (map.get("source").is_some_and(|one| *one == file)
                && map.get("line").is_some_and(|one| *one == line))
                || map.values().any(|one| names(one, file, line))
        }
        _ => false,
    }
}

#[test]
fn check_plan_and_apply_name_the_place_of_what_the_router_refuses_in_its_own_document() {
    let plane = Plane::new(|_| ());
    let registry = plane.registry("data", &[]);
    registry.ready();
    let backend = "      backendRefs: [{ name: app, port: 80 }]\n";
    let rows = [
        ("no absolute path", "      matches: [{ path: { value: foo } }]\n", backend),
        (
            "an expression",
            "      matches: [{ path: { type: RegularExpression, value: '/a(' } }]\n",
            backend,
        ),
        (
            "a look-ahead",
            "      matches: [{ path: { type: RegularExpression, value: '/(?!x).*' } }]\n",
            backend,
        ),
        (
            "a header's expression",
            "      matches: [{ headers: [{ name: a, type: RegularExpression, value: '(' }] }]\n",
            backend,
        ),
        (
            "a query's expression",
            "      matches: [{ queryParams: [{ name: a, type: RegularExpression, value: '(' }] }]\n",
            backend,
        ),
        (
            "a status",
            "      filters: [{ type: RequestRedirect, requestRedirect: { statusCode: 200 } }]\n",
            "",
        ),
        (
            "a scheme",
            "      filters: [{ type: RequestRedirect, requestRedirect: { scheme: ftp } }]\n",
            "",
        ),
        ("an empty filter", "      filters: [{ type: RequestHeaderModifier }]\n", backend),
        (
            "a redirect of a backend",
            "      backendRefs: [{ name: app, port: 80, filters: [{ type: RequestRedirect, requestRedirect: {} }] }]\n",
            "",
        ),
    ];
    for (name, culprit, more) in rows {
        let text = format!("{MORE}{culprit}{more}");
        plane.folder.write("more.yaml", &text);
        // The line of the culprit, or that of its rule.
        let line = text.lines().position(|line| line == culprit.trim_end()).unwrap() + 1;
        let checked = tamis(plane.folder.path(), &["check", ".", "--output", "json"]);
        let live = registry.ask(&["check", ".", "--live"]);
        let planned = registry.ask(&["plan", "-f", "."]);
        let applied = registry.ask(&["apply", "-f", "."]);
        for (command, done) in
            [("check", checked), ("check --live", live), ("plan", planned), ("apply", applied)]
        {
            assert!(!done.status.success(), "{name}, {command}: {}", said(&done));
            let value = json(&done);
            let there = [line, line - 1].iter().any(|line| names(&value, "more.yaml", *line));
            assert!(there, "{name}, {command} names no line {line}: {}", said(&done));
            assert!(!said(&done).contains("/routes/"), "{name}, {command}: {}", said(&done));
        }
        let there = registry.ask(&["get", "httproute", "mine", "-n", "test"]);
        assert_eq!(there.status.code(), Some(4), "{name}: nothing was taken");
    }
    plane.folder.write("more.yaml", &format!("{MORE}{backend}"));
    let checked = said(&tamis(plane.folder.path(), &["check", "."]));
    assert!(!checked.contains("more.yaml"), "{checked}");
    registry.did(&["check", ".", "--live"]);
    // Beside what is in force a folder may hold a part of the mesh; alone it would lack its backend.
    let part = plane.folder.file("part");
    std::fs::create_dir(&part).unwrap();
    let route = MORE.split_once("---\n").unwrap().1.to_owned() + backend;
    std::fs::write(part.join("more.yaml"), route).unwrap();
    registry.did(&["check", "part", "--live"]);
    std::fs::remove_dir_all(&part).unwrap();
    let there = registry.ask(&["get", "httproute", "mine", "-n", "test"]);
    assert_eq!(there.status.code(), Some(4), "a check changes nothing");
    registry.did(&["plan", "-f", "."]);
    registry.did(&["apply", "-f", ".", "--confirm"]);
}

/// A gateway for connections and datagrams, services, and a route of each kind.
const STREAMS: &str = "\
kind: Gateway
apiVersion: gateway.networking.k8s.io/v1
metadata: { name: streams, namespace: test }
spec:
  listeners:
    - { name: names, port: 7443, protocol: TLS, tls: { mode: Passthrough } }
    - { name: port, port: 7444, protocol: TCP }
    - { name: dns, port: 7445, protocol: UDP }
---
kind: Service
apiVersion: tamis.dev/v1alpha1
metadata: { name: carried, namespace: test }
spec: { ports: [{ port: 443, protocol: tcp }], endpoints: [{ address: \"127.0.0.1:9\" }] }
---
kind: Service
apiVersion: tamis.dev/v1alpha1
metadata: { name: answers, namespace: test }
spec: { ports: [{ port: 53, protocol: udp }], endpoints: [{ address: \"127.0.0.1:9\" }] }
";

/// A route of connections or datagrams.
fn stream_route(kind: &str, name: &str, section: &str, more: &str, backend: &str) -> String {
    let version = if kind == "UDPRoute" { "v1alpha2" } else { "v1" };
    format!(
        "---\nkind: {kind}\napiVersion: gateway.networking.k8s.io/{version}\nmetadata: {{ name: {name}, namespace: test }}\n\
         spec:\n  parentRefs: [{{ name: streams, sectionName: {section} }}]\n{more}  rules:\n    - backendRefs: [{{ name: {backend} }}]\n"
    )
}

#[test]
fn check_plan_and_apply_name_the_place_of_what_is_wrong_with_a_route_of_connections_or_datagrams() {
    let hosts = "  hostnames: [good.example]\n";
    let of = [
        ("TLSRoute", "names", hosts, "carried", "answers"),
        ("TCPRoute", "port", "", "carried", "answers"),
        ("UDPRoute", "dns", "", "answers", "carried"),
    ];
    let mut good = STREAMS.to_owned();
    for (kind, section, more, backend, _) in of {
        good += &stream_route(kind, "held", section, more, backend);
    }
    let plane = Plane::new(|folder| folder.write("streams.yaml", &good));
    let registry = plane.registry("data", &[]);
    registry.ready();
    for (kind, section, more, backend, other) in of {
        let elsewhere = more.replace("good", "other");
        let unknown = format!("  hostname: a.example\n{elsewhere}");
        let udp = kind == "UDPRoute";
        // What is wrong, the document, the line, and the words.
        let rows = [
            (
                "an unknown field",
                stream_route(kind, "bad", section, &unknown, backend),
                "hostname:",
                "hostname",
            ),
            (
                "a missing Service",
                stream_route(kind, "bad", section, &elsewhere, "gone"),
                "backendRefs",
                "there is no Service test/gone",
            ),
            (
                "a Service of another protocol",
                stream_route(kind, "bad", section, &elsewhere, other),
                "backendRefs",
                if udp { "no port with `protocol: udp`" } else { "no port with `protocol: tcp`" },
            ),
            (
                "a missing listener",
                stream_route(kind, "bad", "gone", &elsewhere, backend),
                "parentRefs",
                "no listener with this section",
            ),
            (
                "a conflict",
                stream_route(kind, "bad", section, more, backend),
                if more.is_empty() { "parentRefs" } else { "hostnames" },
                "has more than one",
            ),
        ];
        for (what, text, culprit, says) in rows {
            plane.folder.write("bad.yaml", &text);
            let line = text.lines().position(|line| line.contains(culprit)).unwrap() + 1;
            let checked = tamis(plane.folder.path(), &["check", ".", "--output", "json"]);
            let live = registry.ask(&["check", ".", "--live"]);
            let planned = registry.ask(&["plan", "-f", "."]);
            let applied = registry.ask(&["apply", "-f", "."]);
            for (command, done) in
                [("check", checked), ("check --live", live), ("plan", planned), ("apply", applied)]
            {
                let told = said(&done);
                assert!(!done.status.success(), "{kind}, {what}, {command}: {told}");
                assert!(told.contains(says), "{kind}, {what}, {command}: {told}");
                let place = names(&json(&done), "bad.yaml", line);
                assert!(place, "{kind}, {what}, {command} names no line {line}: {told}");
            }
            let there = registry.ask(&["get", &kind.to_lowercase(), "bad", "-n", "test"]);
            assert_eq!(there.status.code(), Some(4), "{kind}, {what}: nothing was taken");
            std::fs::remove_file(plane.folder.file("bad.yaml")).unwrap();
        }
    }
    // What was good is in force, unchanged.
    assert!(registry.ask(&["diff", "-f", "."]).status.success());
}

/// So many routes of a namespace, with so many rules each, to a service of its own.
fn routes_of(namespace: &str, routes: usize, rules: usize) -> String {
    let path = |_, rule| format!("{{ type: Exact, value: /p{rule}/qqqqqqqqqqqqqqqqqqqq }}");
    routes_with(namespace, routes, rules, &path)
}

/// The same with the path of each rule of each route.
fn routes_with(
    namespace: &str,
    routes: usize,
    rules: usize,
    path: &dyn Fn(usize, usize) -> String,
) -> String {
    let mut text = format!(
        "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: own, namespace: {namespace} }}\nspec: {{ ports: [{{ port: 80, protocol: http }}], endpoints: [{{ address: 127.0.0.1:9 }}] }}\n"
    );
    for route in 0..routes {
        text += &format!(
            "---\nkind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\nmetadata: {{ name: r{route}, namespace: {namespace} }}\nspec:\n  parentRefs: [{{ kind: Gateway, name: edge, namespace: test }}]\n  hostnames: [r{route}.{namespace}.example]\n  rules:\n"
        );
        for rule in 0..rules {
            let path = path(route, rule);
            text += &format!(
                "    - {{ matches: [{{ path: {path} }}], backendRefs: [{{ name: own, port: 80 }}] }}\n"
            );
        }
    }
    text
}

#[test]
fn routes_that_do_not_fit_together_are_refused_whoever_confirms_them_and_stop_nobody() {
    const ROUTES: usize = 8;
    const STEP: usize = 6;
    let plane = Plane::new(|folder| {
        let listener = "protocol: HTTP }";
        let open = "protocol: HTTP, allowedRoutes: { namespaces: { from: All } } }";
        folder.edit("mesh.yaml", listener, open);
    });
    let registry = plane.registry("data", &[]);
    registry.ready();
    let write = |namespace: &str, routes: usize| {
        std::fs::create_dir(plane.folder.file(namespace)).unwrap();
        plane.folder.write(&format!("{namespace}/routes.yaml"), &routes_of(namespace, routes, 380));
    };
    let refused = |namespace: &str, rule: &str| {
        for command in [&["plan"][..], &["apply"], &["apply", "--confirm"]] {
            let done = registry.ask(&[command, &["-f", namespace]].concat());
            let text = said(&done);
            assert!(!done.status.success(), "{command:?}: {text}");
            assert!(text.contains("routes.no-room") && text.contains(rule), "{command:?}: {text}");
        }
    };
    // Nobody fills the room of all.
    write("much", 50);
    refused("much", "those of a namespace have at most 1048576");
    // Nor does anybody with few bytes that cost much, some routes after the other: others still have half of the router.
    let costly = |route: usize, rule: usize| {
        format!(
            "{{ type: RegularExpression, value: '/r{route}-{rule}/([a-z]{{1,60}}[0-9]{{1,60}})+x' }}"
        )
    };
    let over = (STEP..60).step_by(STEP).find(|routes| {
        let text = routes_with("costly", *routes, 20, &costly);
        std::fs::create_dir_all(plane.folder.file("costly")).unwrap();
        plane.folder.write("costly/routes.yaml", &text);
        !registry.ask(&["apply", "-f", "costly"]).status.success()
    });
    assert!(over.is_some_and(|routes| routes > STEP), "{over:?}");
    refused("costly", "need more than half of the router's memory");
    write("modest", 2);
    registry.did(&["apply", "-f", "modest"]);
    let routes = over.unwrap() - STEP;
    let names: Vec<String> = (0..routes).map(|route| format!("r{route}")).collect();
    for name in &names {
        registry.did(&["delete", "httproute", name, "-n", "costly", "--confirm"]);
    }
    // Several who stay within their shares fill it: the one who comes last is refused, and the others serve.
    let mut taken = Vec::new();
    let last = (0..6).find_map(|number| {
        let namespace = format!("share{number}");
        write(&namespace, ROUTES);
        if registry.ask(&["apply", "-f", &namespace]).status.success() {
            taken.push(namespace);
            return None;
        }
        Some(namespace)
    });
    let last = last.expect("there is a bound for all");
    assert!(!taken.is_empty());
    refused(&last, "it needed more than 16 MiB of memory");
    let there = registry.ask(&["get", "httproute", "r0", "-n", "much"]);
    assert_eq!(there.status.code(), Some(4), "nothing was taken");
    // What is taken away makes room.
    for route in 0..ROUTES {
        let name = format!("r{route}");
        registry.did(&["delete", "httproute", &name, "-n", &taken[0], "--confirm"]);
    }
    registry.did(&["apply", "-f", &last]);
}

#[test]
fn a_proxy_takes_only_so_many_filters_and_endpoints_of_one_namespace() {
    let plane = Plane::new(|_| ());
    let registry = plane.registry("data", &[]);
    registry.ready();
    let attachments = |count: usize| {
        let one = |number: usize| {
            format!(
                "kind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: many{number}, namespace: test }}\nspec: {{ targetRefs: [{{ kind: Gateway, name: edge }}], filter: test/guest, phase: transform, order: {} }}\n",
                1_000 + number
            )
        };
        (0..count).map(one).collect::<Vec<_>>().join("---\n")
    };
    let service = |endpoints: usize| {
        // Documents have a bound of their own.
        let of = |number: usize, count: usize| {
            let all: Vec<String> = (0..count)
                .map(|at| format!("{{ address: '10.{number}.{}.{}:80' }}", at / 250, at % 250))
                .collect();
            format!(
                "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: wide{number}, namespace: test }}\nspec: {{ ports: [{{ port: 80, protocol: http }}], endpoints: [{}] }}\n---\nkind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\nmetadata: {{ name: wide{number}, namespace: test }}\nspec:\n  parentRefs: [{{ kind: Gateway, name: edge }}]\n  hostnames: [w{number}.example]\n  rules: [{{ backendRefs: [{{ name: wide{number}, port: 80 }}] }}]\n",
                all.join(", ")
            )
        };
        let whole = (0..endpoints / 1_000).map(|number| of(number, 1_000));
        whole.collect::<Vec<_>>().join("---\n")
    };
    for (name, text, rule) in [
        ("few", attachments(100), None),
        (
            "many",
            attachments(140),
            Some("filters of namespace test, and a namespace has at most 128 in a proxy"),
        ),
        ("wide", service(5_000), None),
        (
            "wider",
            service(20_000),
            Some("endpoints of namespace test, and a namespace has at most 16384 in a proxy"),
        ),
    ] {
        std::fs::create_dir(plane.folder.file(name)).unwrap();
        plane.folder.write(&format!("{name}/all.yaml"), &text);
        for command in [&["plan"][..], &["apply", "--confirm"]] {
            let done = registry.ask(&[command, &["-f", name]].concat());
            let text = said(&done);
            let Some(rule) = rule else {
                assert!(!text.contains("no-room"), "{name} {command:?}: {text}");
                continue;
            };
            assert!(!done.status.success(), "{name} {command:?}: {text}");
            assert!(
                text.contains("plan.no-room") && text.contains(rule),
                "{name} {command:?}: {text}"
            );
        }
    }
}

/// An attachment that stands in for one that cannot be used, as `tamis up` sends it.
const STAND_IN: &str = "\
kind: FilterAttachment
apiVersion: tamis.dev/v1alpha1
metadata: { name: broken, namespace: test, annotations: { tamis.dev/stands-in: 'its phase cannot be read' } }
spec: { targetRefs: [{ kind: Gateway, name: edge }], filter: test/guest, phase: authn, order: 1 }
";

#[test]
fn what_is_wrong_with_documents_in_force_is_counted_by_its_code_and_so_is_what_stands_in() {
    let plane = Plane::new(|_| ());
    let registry = plane.registry("data", &[]);
    registry.ready();
    let counted = || registry.metric("tamis_registry_problems{of=\"documents\"");
    assert_eq!(counted(), Vec::<String>::new(), "nothing is wrong");
    let line = |code: &str, count: usize| {
        format!("tamis_registry_problems{{of=\"documents\",code=\"{code}\"}} {count}")
    };
    plane.folder.write("broken.yaml", STAND_IN);
    registry.did(&["apply", "-f", ".", "--confirm"]);
    assert_eq!(counted(), [line("document.invalid", 1)]);
    let another = STAND_IN.replace("name: broken", "name: another");
    plane.folder.write("another.yaml", &another);
    plane.folder.edit("mesh.yaml", "[{ name: app, port: 80 }]", "[{ name: nobody, port: 80 }]");
    registry.did(&["apply", "-f", ".", "--confirm"]);
    assert_eq!(counted(), [line("document.invalid", 2), line("route.backend", 1)]);
    for file in ["broken.yaml", "another.yaml"] {
        std::fs::remove_file(plane.folder.file(file)).unwrap();
    }
    plane.folder.edit("mesh.yaml", "[{ name: nobody, port: 80 }]", "[{ name: app, port: 80 }]");
    registry.did(&["apply", "-f", ".", "--prune", "--confirm"]);
    assert_eq!(counted(), Vec::<String>::new());
}

/// A change of a document in force.
struct Row {
    what: &'static str,
    file: &'static str,
    from: &'static str,
    to: String,
    /// What the lines have of which one is named.
    line: String,
}

/// Changes each of which leaves something out of what is served.
fn rows(http_port: &str) -> Vec<Row> {
    let backend = "backendRefs: [{ name: app, port: 80 }]";
    let parent = "parentRefs: [{ kind: Gateway, name: edge }]";
    let target = "kind: Gateway, name: edge";
    let tls = "tls: { certificate: .tamis/certs/server.crt, key: .tamis/certs/server.key }\n";
    let again = format!("{tls}    - {{ name: again, port: {http_port}, protocol: HTTP }}\n");
    let port = format!("port: {http_port}");
    let host = |name: &str| {
        format!(
            "    - {{ name: {name}, port: 9, protocol: HTTPS, {}, hostname: a.example }}\n",
            tls.trim_end()
        )
    };
    let one_host = format!("{tls}{}{}", host("one"), host("two"));
    [
        (
            "a missing backend",
            "mesh.yaml",
            backend,
            "backendRefs: [{ name: gone, port: 80 }]",
            "gone",
        ),
        (
            "a port that its service does not have",
            "mesh.yaml",
            backend,
            "backendRefs: [{ name: app, port: 81 }]",
            "port: 81",
        ),
        (
            "a service of others",
            "mesh.yaml",
            backend,
            "backendRefs: [{ name: app, namespace: other, port: 80 }]",
            "namespace: other",
        ),
        ("two listeners on one port", "mesh.yaml", tls, again.as_str(), port.as_str()),
        ("two listeners for one host", "mesh.yaml", tls, one_host.as_str(), "hostname: a.example"),
        (
            "a missing parent",
            "mesh.yaml",
            parent,
            "parentRefs: [{ kind: Gateway, name: egde }]",
            "egde",
        ),
        (
            "a missing listener",
            "mesh.yaml",
            parent,
            "parentRefs: [{ kind: Gateway, name: edge, sectionName: htp }]",
            "htp",
        ),
        ("an attachment's target", "guest.yaml", target, "kind: Gateway, name: egde", "egde"),
        ("an attachment's route", "guest.yaml", target, "kind: HTTPRoute, name: al", "name: al"),
        (
            "an attachment's rule",
            "guest.yaml",
            target,
            "kind: HTTPRoute, name: all, sectionName: al",
            "sectionName: al",
        ),
        ("an order that is taken", "attachments.yaml", "order: 30", "order: 20", "order: 20"),
        (
            "a typo in a filter's configuration",
            "attachments.yaml",
            "attempts: 3",
            "attemps: 3",
            "attemps",
        ),
        (
            "a value that a filter refuses",
            "attachments.yaml",
            "statuses: [502",
            "statuses: [99",
            "[99",
        ),
        ("a value that a guest refuses", "guest.yaml", "do: edit", "do: refuse", "do: refuse"),
    ]
    .map(|(what, file, from, to, line)| Row {
        what,
        file,
        from,
        to: to.to_owned(),
        line: line.to_owned(),
    })
    .into()
}

#[test]
fn a_change_that_leaves_something_out_is_refused_with_its_place_until_somebody_confirms_it() {
    let plane = Plane::new(|_| ());
    let registry = plane.registry("data", &[]);
    registry.ready();
    // Whether what is in force is what the folder says.
    let taken = || registry.ask(&["diff", "-f", "."]).status.success();
    for Row { what, file, from, to, line } in rows(plane.folder.http.rsplit(':').next().unwrap()) {
        let before = plane.folder.read(file);
        plane.folder.edit(file, from, &to);
        let text = plane.folder.read(file);
        let lines = text.lines().enumerate().filter(|(_, one)| one.contains(&line));
        // The line itself, or the key above it.
        let lines: Vec<usize> = lines.flat_map(|(at, _)| [at, at + 1]).collect();
        for command in ["plan", "apply"] {
            let done = registry.ask(&[command, "-f", "."]);
            assert!(!done.status.success(), "{what}, {command}: {}", said(&done));
            let value = json(&done);
            let there = lines.iter().any(|line| names(&value, file, *line));
            assert!(there, "{what}, {command}: none of {file}:{lines:?} is named: {}", said(&done));
        }
        assert!(!taken(), "{what}");
        // Whoever says that it is meant gets it.
        registry.did(&["apply", "-f", ".", "--confirm"]);
        assert!(taken(), "{what}");
        plane.folder.write(file, &before);
        registry.did(&["apply", "-f", ".", "--confirm"]);
        registry.did(&["plan", "-f", "."]);
    }
    // A grant that goes away with its document.
    let guest = plane.folder.read("guest.yaml");
    let (kept, _) = guest.rsplit_once("---\n").unwrap();
    plane.folder.write("guest.yaml", kept);
    for command in ["plan", "apply"] {
        let done = registry.ask(&[command, "-f", ".", "--prune"]);
        assert!(!done.status.success(), "{command}: {}", said(&done));
        let words = said(&done);
        assert!(words.contains("test/guest") && words.contains("grant"), "{command}: {words}");
    }
    registry.did(&["apply", "-f", ".", "--prune", "--confirm"]);
}
