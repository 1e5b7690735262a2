//! What an author does wrong, and what is said about it: the same in `tamis check`, in `tamis filter test` and in a
//! proxy. The texts are in `mistakes/`, one file a mistake, to be read by people.

use crate::guests::{self, GRANT};
use serde_json::Value;
use std::fs;
use tamis_e2e::{Backend, Folder, get, root, tamis};

mod running;

/// A mistake that is in a folder of documents: its name, and what was done to the folder.
type FolderMistake = (&'static str, fn(&Folder));

/// Compares a text with its golden file. What was said is left in `target/mistakes`, to be looked at and copied.
pub(crate) fn golden(name: &str, said: &str, wrong: &mut Vec<String>) {
    let said = without_digests(&without_progress(said));
    let file = root().join(format!("tests/e2e/tests/suite/mistakes/{name}.txt"));
    let expected = fs::read_to_string(&file).unwrap_or_default();
    if expected != said {
        let folder = root().join("target/mistakes");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{name}.txt")), &said).unwrap();
        wrong.push(format!("{name} (target/mistakes/{name}.txt):\n{said}"));
    }
}

/// Without the lines that a slow machine adds: what is in progress for more than a second.
fn without_progress(text: &str) -> String {
    text.split_inclusive('\n').filter(|line| !line.starts_with("… ")).collect()
}

/// What differs in each run: words of 40 letters and more (keys, digests) as `…`, and lines of the guest's source.
fn without_digests(text: &str) -> String {
    let mut out = String::new();
    let part = |letter: char| letter.is_ascii_alphanumeric() || "+/=".contains(letter);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|letter| part(letter) != part(first)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        out.push_str(if part(first) && word.len() >= 40 { "…" } else { word });
        rest = after;
        if out.ends_with("lib.rs") || out.ends_with("rs:") {
            let line =
                rest.trim_start_matches(|letter: char| letter == ':' || letter.is_ascii_digit());
            out.push_str(if line.len() < rest.len() { "…" } else { "" });
            rest = line;
        }
    }
    out
}

fn sentence(problem: &Value) -> String {
    let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    let help = problem["help"].as_str().map(|help| format!("; {help}")).unwrap_or_default();
    format!("{}: {}{help}", text("code"), text("message"))
}

const MISTAKES: [FolderMistake; 12] = [
    ("missing-import", |f| f.edit("guest.yaml", "kv: {}, ", "")),
    ("missing-imports", |f| f.edit("guest.yaml", "clock: {}, counters: {}, ", "")),
    ("header-not-granted", |f| {
        f.edit("guest.yaml", "writeHeaders: [\"*\"]", "writeHeaders: [x-b]");
    }),
    ("header-in-upper-case", |f| {
        f.edit("guest.yaml", "reads: [\":path\"]", "reads: [X-Canary]");
        f.edit("guest.yaml", "readHeaders: [\"*\"]", "readHeaders: [X-Canary]");
    }),
    ("unknown-setting", |f| f.edit("guest.yaml", "do: edit", "do: edit, dont: 1")),
    ("missing-setting", |f| f.edit("guest.yaml", "do: edit, ", "")),
    ("refused-setting", |f| f.edit("guest.yaml", "do: edit", "do: refuse")),
    ("refused-without-reason", |f| f.edit("guest.yaml", "do: edit", "do: refuse-silently")),
    ("class-not-granted-to-a-filter", |f| f.edit("guest.yaml", "do: edit", "do: quota-always")),
    ("panic-in-the-self-test", |f| f.edit("guest.yaml", "do: edit", "do: trap-always")),
    ("another-world", |f| f.edit("guest.yaml", "world: everything", "world: authorizer")),
    ("stranger", |f| {
        assert!(tamis(f.path(), &["keys", "generate", "stranger"]).status.success());
        let line = [
            "filter",
            "sign",
            ".tamis/store/test-guest-1.0.0.wasm",
            "--name",
            "test/guest",
            "--version",
            "1.0.1",
            "--key",
            "stranger.key",
            "--store",
            ".tamis/store",
            "--pin",
            ".tamis/filters.lock.yaml",
        ];
        assert!(tamis(f.path(), &line).status.success());
    }),
];

#[test]
fn a_mistake_in_a_folder_has_one_text_before_and_after_the_start() {
    let backend = Backend::start();
    let folder = Folder::documents(&[backend.address]);
    let config = "{ do: edit, reads: [\":path\"], writes: [x-path] }";
    folder.attach("guest", "test/guest", config, GRANT, "");
    folder.prepare();
    guests::sign(&folder, "1.0.0");
    let _gateway = folder.start(&[]);
    folder.slot_state("test/guest", "serving");
    let mut wrong = Vec::new();
    for (name, spoil) in MISTAKES {
        let kept = ["guest.yaml", ".tamis/filters.lock.yaml"].map(|name| (name, folder.read(name)));
        spoil(&folder);
        let done = tamis(folder.path(), &["check", ".", "--output", "json"]);
        assert!(!done.status.success(), "{name}: `tamis check` says nothing");
        let value: Value = serde_json::from_slice(&done.stdout).unwrap();
        let problems = value["problems"].as_array().unwrap();
        let checked = tamis(folder.path(), &["check", "."]);
        let checked = String::from_utf8_lossy(&checked.stdout).into_owned();
        let code = problems[0]["code"].as_str().unwrap();
        let slot = folder.slot_state("test/guest", &format!("refused:{code}"));
        let served = slot["detail"].as_str().unwrap();
        let message = problems[0]["message"].as_str().unwrap();
        // The place of a setting is shown in the folder, and is a pointer in the proxy.
        let rule = message.split_once("refuses this and says: ").map_or(message, |(_, rule)| rule);
        if !served.contains(rule) {
            wrong.push(format!("{name}: check says `{message}`, the proxy `{served}`"));
        }
        let said = format!("{checked}\nthe proxy\n  {served}\n");
        golden(name, &said, &mut wrong);
        kept.iter().for_each(|(name, text)| folder.write(name, text));
        folder.slot_state("test/guest", "serving");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a filter answers that no proxy sends, and what it does that ends its call: its name, and the setting of the guest.
const ANSWERS: [(&str, &str); 10] = [
    ("bad-reason", "bad-reason"),
    ("upper-case", "upper-case"),
    ("split", "split"),
    ("long-reply", "long-reply"),
    ("undeclared-write", "edit"),
    ("trap-said", "trap-said"),
    ("unwrap-on-none", "unwrap-said"),
    ("instant-now", "clock-said"),
    ("time-limit", "loop"),
    ("memory-limit", "grow"),
];

#[test]
fn a_wrong_answer_has_one_text_in_a_table_and_in_a_proxy() {
    let backend = Backend::start();
    let folder = Folder::documents(&[backend.address]);
    folder.attach("guest", "test/guest", "{ do: pass }", GRANT, "");
    folder.prepare();
    guests::sign(&folder, "1.0.0");
    let gateway = folder.start(&[]);
    folder.slot_state("test/guest", "serving");
    let component = guests::behaviour().display().to_string();
    let mut wrong = Vec::new();
    let mut before = "pass";
    for (name, act) in ANSWERS {
        let table = format!(
            "grant:\n{GRANT}\nconfig: {{ do: {act} }}\ncases: [{{ name: it passes, expect: {{ pass: true }} }}]\n"
        );
        folder.write("cases.yaml", &table);
        let line = ["filter", "test", "--component", &component, "--cases", "cases.yaml"];
        let done = tamis(folder.path(), &[&line[..], &["--output", "json"]].concat());
        assert!(!done.status.success(), "{act}: `tamis filter test` passes");
        let value: Value = serde_json::from_slice(&done.stdout).unwrap();
        let tested = value["tables"][0]["cases"][0]["differences"][0].as_str().unwrap().to_owned();
        folder.edit("guest.yaml", &format!("do: {before}"), &format!("do: {act}"));
        before = act;
        let path = format!("/{act}");
        // The proxy names the filter too, and the table the kind of the fault.
        let fault = tested.strip_prefix("`on-request` ").unwrap_or(&tested);
        let text = fault.rsplit_once(" (the fault ").map_or(fault, |(text, _)| text);
        // Until the change is in force, requests meet the one before.
        let detail = tamis_e2e::eventually(&format!("the proxy says of {act}: {text}"), || {
            get(&folder.http, &path);
            let records = folder.records().into_iter().filter(|record| record["path"] == path);
            let mut details =
                records.filter_map(|record| Some(record["detail"].as_str()?.to_owned()));
            details.find(|detail| detail.contains(text))
        });
        tamis_e2e::eventually(&format!("the log of the proxy has a line with {text}"), || {
            let told =
                |line: &str| line.contains("a call of a filter failed") && line.contains(text);
            gateway.errors().lines().any(told).then_some(())
        });
        let said = format!("tamis filter test\n  {tested}\n\nthe access record\n  {detail}\n");
        golden(name, &said, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A router that extends the built-in one.
const CANARY: &str = "\
kind: Filter
apiVersion: tamis.dev/v1alpha1
metadata: { name: canary, namespace: acme }
spec: { world: route-policy }
---
kind: FilterAttachment
apiVersion: tamis.dev/v1alpha1
metadata: { name: canary, namespace: test }
spec:
  targetRefs: [{ kind: Gateway, name: edge }]
  filter: acme/canary
  phase: traffic
  order: 11
  extend: true
  config: { path: /cart, canary: 'test/none:80', permille: 1000 }
---
kind: Grant
apiVersion: tamis.dev/v1alpha1
metadata: { name: canary, namespace: security }
spec:
  filter: acme/canary
  request: { readHeaders: [x-canary, x-client] }
  imports: { log: {} }
";

/// One more router beside the built-in one.
const SECOND: &str = "\
kind: FilterAttachment
apiVersion: tamis.dev/v1alpha1
metadata: { name: mine, namespace: test }
spec:
  targetRefs: [{ kind: Gateway, name: edge }]
  filter: tamis/route
  phase: traffic
  order: 11
";

/// Filters of which a chain has one: the name of the text, and the filter.
const ONLY_ONE: [(&str, &str); 2] =
    [("second-router", "tamis/route"), ("second-retry-policy", "tamis/retry")];

#[test]
fn a_second_filter_of_its_kind_is_left_out_with_a_text_and_the_one_in_force_serves_on() {
    let backend = Backend::start();
    let mut wrong = Vec::new();
    for (name, filter) in ONLY_ONE {
        let second = SECOND.replace("tamis/route", filter);
        let folder = Folder::gateway(&[backend.address]);
        let _gateway = folder.start(&[]);
        assert_eq!(get(&folder.http, "/before").status, 200);
        folder.write("second.yaml", &second);
        let done = tamis(folder.path(), &["check", "."]);
        assert!(!done.status.success());
        let checked = String::from_utf8_lossy(&done.stdout).into_owned();
        let served = tamis_e2e::eventually("the proxy says so", || {
            let value = get(&folder.admin, "/filters").json();
            let problems = value["problems"].as_array().cloned().unwrap_or_default();
            let found = problems.iter().find(|one| one["code"] == "attachment.second");
            found.map(sentence)
        });
        golden(name, &format!("{checked}\nthe proxy\n  {served}\n"), &mut wrong);
        assert_eq!(get(&folder.http, "/after").status, 200);
        // As the text says, a proxy that used neither of them before uses none, and refuses what they fail closed for.
        let fresh = Folder::gateway(&[backend.address]);
        fresh.write("second.yaml", &second);
        let _fresh = fresh.start(&[]);
        assert_eq!(get(&fresh.http, "/first").status, 503, "{filter}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Names that a router gives for a service, and no proxy knows.
const BACKENDS: [&str; 3] = ["test/app", "app:80", "test/app:8080"];

#[test]
fn a_router_that_names_no_service_is_told_the_name_and_its_form() {
    let backend = Backend::start();
    let folder = Folder::documents(&[backend.address]);
    folder.write("canary.yaml", CANARY);
    folder.prepare();
    let component = root().join("target/example-components/canary.wasm");
    guests::sign_as(&folder, &component, "acme/canary", "1.0.0");
    let _gateway = folder.start(&[]);
    let mut said = String::new();
    let mut before = "test/none:80";
    for name in BACKENDS {
        folder.edit("canary.yaml", before, name);
        before = name;
        let path = format!("/cart/{}", said.len());
        let detail = tamis_e2e::eventually(&format!("the proxy says of {name}"), || {
            assert_eq!(get(&folder.http, &path).status, 500);
            let records = folder.records().into_iter().filter(|record| record["path"] == path);
            let mut details =
                records.filter_map(|record| Some(record["detail"].as_str()?.to_owned()));
            details.find(|detail| detail.contains(&format!("`{name}`")))
        });
        said.push_str(&format!("# {name}\n\n  {detail}\n\n"));
    }
    let mut wrong = Vec::new();
    golden("backend-unknown", &said, &mut wrong);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong with a filter or with its table, as `tamis filter test` shows it: the mistake, the grant of the table, and
/// the rest of it.
const TABLES: [(&str, &str, &str); 7] = [
    (
        "a change where the table expects none",
        GRANT,
        "config: { do: edit, reads: [\":path\"], writes: [x-path] }\ncases: [{ name: a, expect: { pass: true } }]",
    ),
    (
        "an import that the grant of the table does not have",
        "  imports: { log: {} }",
        "config: { do: pass }\ncases: [{ name: a, expect: { pass: true } }]",
    ),
    (
        "a call from on-request without duringRequests",
        GRANT,
        "config: { do: fetch }\ncases: [{ name: a, expect: { answer: { body: ok } } }]",
    ),
    (
        "a call in clear text",
        "  imports: { clock: {}, counters: {}, http-client: { hosts: [idp.example], duringRequests: true }, kv: {}, log: {}, metrics: {}, quota: { classes: {} }, records: {} }",
        "config: { do: fetch-clear }\ncases: [{ name: a, expect: { answer: { body: ok } } }]",
    ),
    (
        "a class of a quota with the field of another release",
        "  imports: { quota: { classes: { a: { perSecond: 1, burst: 1 } } } }",
        "config: { do: pass }\ncases: [{ name: a, expect: { pass: true } }]",
    ),
    (
        "an event that the filter has no hook for",
        GRANT,
        "config: { do: pass }\ncases: [{ name: a, hedge: {}, expect: { hedge: {} } }]",
    ),
    (
        "an answer that is not a map",
        GRANT,
        "config: { do: pass }\ncases: [{ name: a, expect: { answer: 429 } }]",
    ),
];

#[test]
fn a_table_that_fails_says_what_to_do() {
    let folder = tempfile::TempDir::new().unwrap();
    let component = guests::behaviour().display().to_string();
    let mut said = String::new();
    for (mistake, grant, rest) in TABLES {
        let table = format!("grant:\n{grant}\n{rest}\n");
        fs::write(folder.path().join("cases.yaml"), table).unwrap();
        let line = ["filter", "test", "--component", &component, "--cases", "cases.yaml"];
        let done = tamis(folder.path(), &line);
        assert!(!done.status.success(), "{mistake}: it passes");
        let text = String::from_utf8_lossy(&done.stdout).into_owned()
            + &String::from_utf8_lossy(&done.stderr);
        said.push_str(&format!("# {mistake}\n\n{text}\n"));
    }
    let mut wrong = Vec::new();
    golden("tables", &said, &mut wrong);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong between documents, as `tamis check` shows it.
const DOCUMENTS: [FolderMistake; 2] = [
    ("a Filter with a fault of its own", |f| {
        f.edit("guest.yaml", "world: everything", "world: evrything");
    }),
    ("settings of a router that are no map", |f| {
        f.write("second.yaml", &format!("{SECOND}  extend: true\n  config: 5\n"));
    }),
];

#[test]
fn a_mistake_in_a_folder_that_is_no_filters_says_what_to_do() {
    let backend = Backend::start();
    let folder = Folder::documents(&[backend.address]);
    folder.attach("guest", "test/guest", "{ do: pass }", GRANT, "");
    folder.prepare();
    guests::sign(&folder, "1.0.0");
    let mut said = String::new();
    for (mistake, spoil) in DOCUMENTS {
        let kept = folder.read("guest.yaml");
        spoil(&folder);
        let done = tamis(folder.path(), &["check", "."]);
        assert!(!done.status.success(), "{mistake}: `tamis check` finds nothing");
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        said.push_str(&format!("# {mistake}\n\n{text}\n"));
        folder.write("guest.yaml", &kept);
        let _ = fs::remove_file(folder.file("second.yaml"));
    }
    let copy = tempfile::TempDir::new().unwrap();
    let mut copying = std::process::Command::new("cp");
    assert!(copying.arg("-r").arg(folder.file(".")).arg(copy.path()).status().unwrap().success());
    let done = tamis(copy.path(), &["up", ".", "--prepare"]);
    assert!(!done.status.success(), "a copied state is used");
    let text =
        String::from_utf8_lossy(&done.stderr).replace(folder.path().to_str().unwrap(), "ORIGINAL");
    said.push_str(&format!("# a copy of a folder with its state\n\n{text}\n"));
    let mut wrong = Vec::new();
    golden("documents", &said, &mut wrong);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn mistakes_at_the_command_line_say_what_to_do() {
    let folder = tempfile::TempDir::new().unwrap();
    let here = folder.path();
    let run = |line: &[&str]| {
        let done = tamis(here, line);
        let out = String::from_utf8_lossy(&done.stdout).into_owned();
        (done.status.success(), out + &String::from_utf8_lossy(&done.stderr))
    };
    assert!(run(&["keys", "generate", "release"]).0);
    let behaviour = guests::behaviour().display().to_string();
    let traffic = guests::traffic().display().to_string();
    let sign = |component: &str, version: &str, more: &[&str]| {
        let line = ["filter", "sign", component, "--name", "acme/guest", "--version", version];
        run(&[&line[..], &["--key", "release.key", "--store", "store"], more].concat())
    };
    assert!(sign(&behaviour, "1.0.0", &[]).0);
    let mut wrong = Vec::new();
    let (passed, said) = sign(&traffic, "1.0.0", &[]);
    assert!(!passed, "{said}");
    golden("same-version-other-bytes", &said, &mut wrong);
    assert!(sign(&traffic, "1.0.0", &["--replace"]).0);
    let example = root().join("target/example-components/rate-limit.wasm").display().to_string();
    let grant = root().join("examples/filters/rate-limit/grant.yaml");
    let grant = fs::read_to_string(grant).unwrap().replace("per-client:", "per-user:");
    fs::write(here.join("grant.yaml"), grant).unwrap();
    let config = r#"{"class":"per-client","by":"x-client"}"#;
    let (_, said) =
        run(&["filter", "inspect", &example, "--config", config, "--grant", "grant.yaml"]);
    let declared = said.lines().find(|line| line.starts_with("declares")).unwrap_or(&said);
    golden("class-not-granted", &format!("{declared}\n"), &mut wrong);
    fs::write(here.join("config.json"), config).unwrap();
    // The same code twice, in other bytes: a custom section named `v` with one octet.
    for version in [1, 2] {
        let mut component = fs::read(&example).unwrap();
        component.extend([0, 3, 1, b'v', version]);
        fs::write(here.join(format!("limit-{version}.wasm")), component).unwrap();
    }
    let difference = ["filter", "diff", "limit-1.wasm", "limit-2.wasm", "--config", "config.json"];
    let (_, said) = run(&[&difference[..], &["--grant", "grant.yaml"]].concat());
    golden("diff-of-what-does-not-start", &said, &mut wrong);
    assert!(run(&["filter", "new", "agents"]).0);
    let table = here.join("agents/tests/cases.yaml");
    for (name, text) in [
        (
            "table-misspelt",
            "cases:\n  - name: a blocked agent\n    reqest: { path: / }\n    expect: { pass: true }\n",
        ),
        ("table-cannot-fail", "cases:\n  - name: a blocked agent\n    expect: {}\n"),
        (
            "table-no-unit",
            "cases:\n  - name: a minute later\n    wait: 60\n    expect: { pass: true }\n",
        ),
        (
            "table-two-events",
            "cases:\n  - name: both\n    retry: { status: 503 }\n    tick: {}\n    expect: { retry: { verdict: give-up } }\n",
        ),
    ] {
        fs::write(&table, text).unwrap();
        let (passed, said) = run(&["filter", "test", "agents"]);
        assert!(!passed, "{said}");
        golden(name, &said, &mut wrong);
    }
    let description = here.join("agents/filter.yaml");
    let sound = fs::read_to_string(&description).unwrap();
    fs::write(&table, "cases:\n  - name: a\n    expect: { pass: true }\n").unwrap();
    fs::write(&description, sound.replace("world: authorizer", "world: authoriser")).unwrap();
    let (passed, said) = run(&["filter", "test", "agents"]);
    assert!(!passed, "{said}");
    golden("unknown-world", &said, &mut wrong);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
