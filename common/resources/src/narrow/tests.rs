//! Grants made from the schema: whatever field there is, what two of them allow together is no more than either allows.

use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::*;
use crate::format::Rate;
use crate::kinds::schemas;

/// A source of choices that is the same in each run of a case.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        let count = u64::try_from(words.len()).unwrap();
        words[usize::try_from(self.below(count)).unwrap()]
    }
}

fn spec_schema() -> Json {
    let (_, schema) = schemas().into_iter().find(|(kind, _)| *kind == "Grant").unwrap();
    schema.pointer("/properties/spec").unwrap().clone()
}

/// The form of a value: alternatives with `null` are what is not null.
fn form(schema: &Json) -> &Json {
    let alternatives = ["anyOf", "oneOf"].iter().find_map(|word| schema.get(word)?.as_array());
    let real = alternatives.and_then(|all| all.iter().find(|one| one["type"] != "null"));
    real.filter(|_| schema.get("type").is_none() && words(schema).is_none()).unwrap_or(schema)
}

/// The words of an enum.
fn words(schema: &Json) -> Option<Vec<String>> {
    let listed = schema.get("enum").and_then(Json::as_array);
    let constants = || {
        let all = schema.get("oneOf")?.as_array()?;
        all.iter().map(|one| one.get("const").cloned()).collect::<Option<Vec<Json>>>()
    };
    let all = listed.cloned().or_else(constants)?;
    all.iter().map(|one| one.as_str().map(str::to_owned)).collect()
}

fn types(schema: &Json) -> Vec<&str> {
    match &schema["type"] {
        Json::Array(many) => {
            many.iter().filter_map(Json::as_str).filter(|it| *it != "null").collect()
        }
        one => one.as_str().into_iter().collect(),
    }
}

const NAMES: [&str; 8] =
    ["*", "a", "B", "cookie", ":path", "x-forwarded-for", "X_Forwarded_Host", "via"];

/// The field whose authorities are the same in both grants, or there is no host.
const AUTHORITIES: &str = "/imports/http-client/ca";

/// A value that fits the schema, at `path`.
fn made(schema: &Json, path: &str, dice: &mut Dice) -> Json {
    let schema = form(schema);
    if let Some(words) = words(schema) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        return json!(dice.of(&words));
    }
    match (schema["format"].as_str().unwrap_or_default(), types(schema).as_slice()) {
        ("filter-name", _) => json!("acme/x"),
        ("gateway-duration", _) => json!(format!("{}ms", dice.below(5_000))),
        ("bytes", _) => json!(dice.below(32 << 20)),
        ("rate", _) => json!(format!("{}/s", 1 + dice.below(100))),
        (_, ["object"]) => {
            let mut map = Map::new();
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                if required.contains(&json!(name)) || dice.below(3) > 0 {
                    map.insert(name.clone(), made(property, &format!("{path}/{name}"), dice));
                }
            }
            if schema["additionalProperties"].is_object() {
                for name in ["one", "two", "three"] {
                    if dice.below(2) == 0 {
                        let entry = &schema["additionalProperties"];
                        map.insert(name.to_owned(), made(entry, &format!("{path}/{name}"), dice));
                    }
                }
            }
            Json::Object(map)
        }
        (_, ["array"]) => {
            let known = words(form(&schema["items"])).unwrap_or_default();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let known = if known.is_empty() { &NAMES[..] } else { &known };
            (0..1 + dice.below(4)).map(|_| json!(dice.of(known))).collect()
        }
        (_, ["boolean"]) => json!(dice.below(2) == 0),
        (_, ["integer"]) => json!(1 + dice.below(200_000)),
        (_, ["string"]) if path == AUTHORITIES => json!(dice.of(&["one", "two"])),
        (format, types) => panic!("say how {path} ({format}, {types:?}) is made and compared"),
    }
}

/// The amount of a value by the format of its field.
fn amount(value: &Json, format: &str) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "amounts are compared, not kept")]
    let whole = |number: u64| number as f64;
    match (value, format) {
        (Json::Number(number), _) => number.as_f64().unwrap(),
        (Json::String(text), "gateway-duration") => whole(Millis::parse(text).unwrap().0),
        (Json::String(text), "bytes") => whole(Bytes::parse(text).unwrap().0),
        (Json::String(text), "rate") => Rate::parse(text).unwrap().0,
        other => panic!("no amount: {other:?}"),
    }
}

/// Whether `found` allows no more than `granted`, by the schema: what is not there in `granted` is not there in `found`, and
/// an amount that is not written is no more than anything.
fn within(schema: &Json, found: &Json, granted: &Json, path: &str) {
    let schema = form(schema);
    if found.is_null() || path == "/filter" {
        return;
    }
    if path == "/signedBy" {
        // The other way round: it asks for more.
        if granted.is_null() {
            return;
        }
        let keys = |json: &Json| json["keys"].as_array().cloned().unwrap_or_default();
        let all = keys(granted);
        assert!(keys(found).iter().all(|key| all.contains(key)), "{path}: {found} of {granted}");
        let threshold = |json: &Json| json["threshold"].as_u64().unwrap_or(1);
        assert!(threshold(found) >= threshold(granted), "{path}: {found} of {granted}");
        return;
    }
    if path == AUTHORITIES {
        assert_eq!(found, granted, "{path}");
        return;
    }
    if path == "/imports/http-client" && found["hosts"] != json!([]) {
        assert_eq!(found["ca"], granted["ca"], "{path}");
    }
    if path.ends_with("/scope") {
        // Of a quota the wider scope allows less, of counters the narrower one.
        let scope = |json: &Json| -> GrantedScope {
            serde_json::from_value(json.clone()).unwrap_or_default()
        };
        let (found, granted) = (scope(found), scope(granted));
        let no_more =
            if path == "/imports/quota/scope" { found >= granted } else { found <= granted };
        assert!(no_more, "{path}: {found:?} of {granted:?}");
        return;
    }
    if words(schema).is_some() {
        let none = granted.is_null() || granted == "none";
        assert!(found == "none" || (!none && found == granted), "{path}: {found} of {granted}");
        return;
    }
    match types(schema).as_slice() {
        ["object"] => {
            let entries = schema["additionalProperties"].is_object();
            // A group of fields is none of them: a capability, a view, a class.
            let empty = path.is_empty() || path == "/imports" || path == "/limits";
            assert!(empty || granted.is_object(), "{path} is granted by one alone");
            for (name, value) in found.as_object().unwrap() {
                let path = format!("{path}/{name}");
                let field = if entries {
                    &schema["additionalProperties"]
                } else {
                    &schema["properties"][name]
                };
                assert!(!entries || granted.get(name).is_some(), "{path} is granted by one alone");
                within(field, value, &granted[name], &path);
            }
        }
        ["array"] => {
            let none = Vec::new();
            let all = granted.as_array().unwrap_or(&none);
            let has =
                |name: &str| all.iter().any(|it| it.as_str().unwrap().eq_ignore_ascii_case(name));
            let starred = ["Headers", "Trailers", "ttributes"].iter().any(|it| path.ends_with(it));
            for name in found.as_array().unwrap().iter().map(|it| it.as_str().unwrap()) {
                let write = path.ends_with("/writeHeaders");
                let named = path.ends_with("Headers")
                    && (name.starts_with(':') || (write && is_of_the_host(name)));
                assert!(
                    has(name) || (starred && !named && has("*")),
                    "{path}: {name} of {granted}"
                );
            }
        }
        ["boolean"] => {
            assert!(
                found != &json!(true) || granted == &json!(true),
                "{path}: {found} of {granted}"
            );
        }
        _ if granted.is_null() => {}
        _ => {
            let format = schema["format"].as_str().unwrap_or_default();
            let (found, granted) = (amount(found, format), amount(granted, format));
            assert!(found <= granted, "{path}: {found} of {granted}");
        }
    }
}

/// Whether an amount that neither wrote is not written in the result, and one that one wrote is.
fn written(schema: &Json, found: &Json, both: [&Json; 2], path: &str) {
    let schema = form(schema);
    if let Some(map) = found.as_object() {
        for (name, value) in map {
            let field = match schema["properties"].get(name) {
                Some(field) => field,
                None => &schema["additionalProperties"],
            };
            written(field, value, both.map(|it| &it[name]), &format!("{path}/{name}"));
        }
        return;
    }
    if path != AUTHORITIES
        && matches!(
            types(schema).as_slice(),
            ["boolean" | "integer" | "string"] | ["string", "integer"]
        )
    {
        let wrote = both.iter().any(|it| !it.is_null());
        assert_eq!(!found.is_null(), wrote, "{path}");
    }
}

fn grant(seed: u64) -> (Json, GrantSpec) {
    let json = made(&spec_schema(), "", &mut Dice(seed));
    let spec: GrantSpec = serde_json::from_value(json).unwrap();
    (serde_json::to_value(&spec).unwrap(), spec)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_two_grants_allow_together_is_no_more_than_either_allows(one in any::<u64>(), two in any::<u64>()) {
        let schema = spec_schema();
        let ((one_json, one), (two_json, two)) = (grant(one), grant(two));
        let found = serde_json::to_value(narrowed(&one, &two)).unwrap();
        within(&schema, &found, &one_json, "");
        within(&schema, &found, &two_json, "");
        written(&schema, &found, [&one_json, &two_json], "");
        // Who narrows first does not matter, and the same twice is the same.
        let plan = |spec: &GrantSpec| {
            let mut plan = crate::grant_plan(spec);
            plan.reads.sort();
            plan.writes.sort();
            for side in plan.in_requests.iter_mut().chain(&mut plan.in_responses) {
                side.reads.sort();
                side.writes.sort();
            }
            for list in plan.imports.values_mut().filter_map(Json::as_object_mut).flatten() {
                if let Some(list) = list.1.as_array_mut() {
                    list.sort_by_key(Json::to_string);
                    list.dedup();
                }
            }
            plan
        };
        prop_assert_eq!(plan(&narrowed(&one, &two)), plan(&narrowed(&two, &one)));
        prop_assert_eq!(plan(&narrowed(&one, &one)), plan(&one));
    }
}

/// A named header lets responses to requests with it be kept: one that only one grant names is not named.
#[test]
fn only_what_both_grants_let_be_kept_is_kept() {
    let grant = |headers: Json| -> GrantSpec {
        let cache = json!({ "ttl": "1h", "headers": headers });
        let client = json!({ "hosts": ["a.example"], "cache": cache });
        let spec = json!({ "filter": "acme/a", "imports": { "http-client": client } });
        serde_json::from_value(spec).unwrap()
    };
    for (security, own, left) in [
        (json!([]), json!(["authorization"]), json!([])),
        (json!(["authorization"]), json!([]), json!([])),
        (json!([]), json!([]), json!([])),
        (json!(["cookie"]), json!(["authorization"]), json!([])),
        (json!(["Authorization"]), json!(["authorization"]), json!(["authorization"])),
        (json!(["accept", "cookie"]), json!(["COOKIE", "range"]), json!(["cookie"])),
    ] {
        let found = narrowed(&grant(security.clone()), &grant(own.clone()));
        let found = serde_json::to_value(found).unwrap();
        let headers = found.pointer("/imports/http-client/cache/headers");
        let none = json!([]);
        assert_eq!(headers.unwrap_or(&none), &left, "{security} and {own}");
    }
}

#[test]
fn every_field_of_a_grant_is_made_and_compared() {
    // A grant with every field is whole in what it allows together with itself: a field whose rule forgets it is not there.
    struct All;
    impl All {
        fn made(schema: &Json, path: &str) -> Json {
            let schema = form(schema);
            if let Some(properties) = schema["properties"].as_object() {
                let fields = properties.iter();
                let fields = fields
                    .map(|(name, it)| (name.clone(), Self::made(it, &format!("{path}/{name}"))));
                return Json::Object(fields.collect());
            }
            if schema["additionalProperties"].is_object() {
                return json!({ "one": Self::made(&schema["additionalProperties"], &format!("{path}/one")) });
            }
            if let Some(words) = words(schema) {
                return json!(words.last());
            }
            match types(schema).as_slice() {
                ["boolean"] => json!(true),
                ["array"] => match words(form(&schema["items"])) {
                    Some(words) => json!(words),
                    None => json!(["a"]),
                },
                _ => made(schema, path, &mut Dice(7)),
            }
        }
    }
    let all = All::made(&spec_schema(), "");
    let spec: GrantSpec = serde_json::from_value(all.clone()).unwrap();
    let found = serde_json::to_value(narrowed(&spec, &spec)).unwrap();
    assert_eq!(found, serde_json::to_value(&spec).unwrap());
    let fields = |json: &Json| json.to_string().matches(':').count();
    assert!(fields(&all) > 60, "{all}");
}

#[test]
fn a_star_allows_what_the_other_names_and_nothing_that_has_to_be_named() {
    let view = |reads: &[&str], writes: &[&str]| {
        let owned = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect();
        GrantedView {
            read_headers: owned(reads),
            write_headers: owned(writes),
            read_trailers: owned(&["*"]),
            write_trailers: owned(reads),
            attributes: owned(&["*"]),
            write_attributes: owned(&["@user"]),
            body: BodyAccess::Replace,
        }
    };
    let (all, some) =
        (view(&["*"], &["*"]), view(&["Cookie", ":path"], &["x-user", "X_Forwarded_For", ":path"]));
    let found = super::view(&all, &some);
    assert_eq!(found.read_headers, ["cookie"]);
    assert_eq!(found.write_headers, ["x-user"]);
    assert_eq!(found.read_trailers, ["*"]);
    assert_eq!(found.write_trailers, ["cookie", ":path"], "names, whatever they are");
    assert_eq!(found.attributes, ["*"]);
    assert_eq!(found.write_attributes, ["user"]);
}

#[test]
fn of_two_scopes_the_one_that_allows_less_is_left() {
    use GrantedScope::{Fleet, Proxy, Service};
    // What one writes, what the other writes, and what is left of a quota and of counters.
    for (one, other, quota, counters) in [
        (None, None, None, None),
        (None, Some(Proxy), Some(Proxy), Some(Proxy)),
        (None, Some(Fleet), Some(Fleet), Some(Proxy)),
        (Some(Proxy), Some(Service), Some(Service), Some(Proxy)),
        (Some(Service), Some(Fleet), Some(Fleet), Some(Service)),
        (Some(Fleet), Some(Fleet), Some(Fleet), Some(Fleet)),
    ] {
        for (one, other) in [(one, other), (other, one)] {
            let spec = |scope: Option<GrantedScope>| -> GrantSpec {
                let scope = scope.map(GrantedScope::as_str);
                serde_json::from_value(json!({ "filter": "acme/x", "imports": {
                    "quota": { "classes": {}, "scope": scope }, "counters": { "scope": scope },
                } }))
                .unwrap()
            };
            let left = narrowed(&spec(one), &spec(other)).imports;
            let left = (left.quota.unwrap().scope, left.counters.unwrap().scope);
            assert_eq!(left, (quota, counters), "{one:?} {other:?}");
        }
    }
}

#[test]
fn keys_that_no_signature_can_satisfy_stay_so() {
    let by = |keys: &[&str], threshold| {
        Some(SignedBy { keys: keys.iter().map(|it| (*it).to_owned()).collect(), threshold })
    };
    for (one, other, wanted) in [
        (None, None, None),
        (by(&["a"], None), None, by(&["a"], None)),
        (by(&["a", "b", "c"], Some(2)), by(&["a", "b"], None), by(&["a", "b"], Some(2))),
        (by(&["a"], None), by(&["b"], None), by(&[], None)),
    ] {
        assert_eq!(signers(one.as_ref(), other.as_ref()), wanted);
        assert_eq!(signers(other.as_ref(), one.as_ref()), wanted);
    }
}
