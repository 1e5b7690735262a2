use proptest::prelude::*;

use super::*;

const OPERATOR: &str = "operator";

/// Tokens as a journal made them, and how many secrets there were.
#[derive(Default)]
struct World {
    tokens: Tokens,
    secrets: u32,
}

impl World {
    fn secret(&mut self) -> Hash {
        self.secrets += 1;
        Hash::of(&self.secrets.to_be_bytes())
    }

    fn create(&mut self, by: &str, name: &str) {
        self.create_for("acme/*", by, name);
    }

    fn create_for(&mut self, pattern: &str, by: &str, name: &str) {
        let sha256 = self.secret();
        self.tokens.insert(Token {
            name: name.to_owned(),
            sha256,
            repositories: vec![pattern.parse().unwrap()],
            verbs: vec![Verb::Operate],
            expires_ms: None,
            created_ms: 7,
            by: by.to_owned(),
            makers: BTreeSet::new(),
        });
    }

    fn rotate(&mut self, by: &str, name: &str) {
        let sha256 = self.secret();
        self.tokens.rotate(name, sha256, None, by);
    }

    /// The records of a revocation, each applied as a journal does.
    fn revoke(&mut self, name: &str) {
        for gone in self.tokens.going_back_to(name) {
            self.tokens.remove(&gone);
        }
    }

    fn names(&self) -> Vec<&str> {
        self.tokens.all().map(|token| token.name.as_str()).collect()
    }

    fn persons(&self, name: &str) -> Vec<String> {
        self.tokens.origins(name, |_| true).into_iter().collect()
    }
}

/// Steps of a table: `by>name` makes, `by~name` rotates, `-name` revokes, and `!name` is the one record of a journal
/// that revoked no more.
fn world(steps: &str) -> World {
    let mut world = World::default();
    for step in steps.split_whitespace() {
        if let Some((by, name)) = step.split_once('>') {
            world.create(by, name);
        } else if let Some((by, name)) = step.split_once('~') {
            world.rotate(by, name);
        } else if let Some(name) = step.strip_prefix('-') {
            world.revoke(name);
        } else {
            world.tokens.remove(step.strip_prefix('!').unwrap());
        }
    }
    world
}

#[test]
fn a_token_goes_back_to_whoever_made_it_and_to_whoever_rotated_it_since() {
    let rows: [(&str, &str, &[&str]); 13] = [
        ("operator>m", "m", &["m"]),
        ("operator>m m>a", "a", &["m"]),
        ("operator>m m>a a>b", "b", &["m"]),
        // By itself, and on the registry's machine.
        ("operator>m m>a a~a operator~a", "a", &["m"]),
        // By another, who knows the secret from then on, as whoever made it knows what it made.
        ("operator>m m>a operator>r r~a", "a", &["m", "r"]),
        ("operator>m m>a a>c operator>r r~a", "c", &["m", "r"]),
        ("operator>b operator>a a~b", "b", &["a", "b"]),
        ("operator>b operator>a a~b", "a", &["a"]),
        // Round in a circle: of two siblings, and with whoever made them.
        ("operator>m m>a m>b a~b b~a", "a", &["m"]),
        ("operator>m m>a m>b a~b b~a", "b", &["m"]),
        ("operator>m m>a a~m", "m", &["m"]),
        ("operator>m m>a m>b a~b b~a a>c", "c", &["m"]),
        // Nobody of that name.
        ("operator>m", "x", &["x"]),
    ];
    for (steps, name, persons) in rows {
        assert_eq!(world(steps).persons(name), persons, "{name} after {steps}");
    }
    let world = world("operator>m m>a operator>r r~a");
    let token = world.tokens.named("a").unwrap();
    assert_eq!((token.by.as_str(), token.created_ms), ("m", 7), "who made it stays");
}

#[test]
fn a_revocation_takes_along_all_that_goes_back_to_the_token() {
    let rows: [(&str, &[&str]); 9] = [
        ("operator>m m>a a>b operator>n -m", &["n"]),
        ("operator>m m>a a>b -a", &["m"]),
        ("operator>m m>a m>b a~b b~a -m", &[]),
        ("operator>m m>a m>b a~b b~a -a", &["m"]),
        ("operator>m m>a operator>r r~a -r", &["m"]),
        ("operator>m m>a operator>r r~a -m", &["r"]),
        // Journals in which a revocation left a circle out: it went back to nobody else.
        ("operator>m m>a m>b a~b b~a !m", &[]),
        ("operator>m m>a m>b a>c a~b b~a !m", &[]),
        // And those in which it left out what had another holder.
        ("operator>m m>a a>b operator>r r~a !m", &["a", "b", "r"]),
    ];
    for (steps, left) in rows {
        assert_eq!(world(steps).names(), left, "{steps}");
    }
    // A name that is given again is somebody new, to whom nothing goes back.
    let world = world("operator>m m>a operator>r r~a !m operator>m");
    assert_eq!(world.persons("a"), ["a", "r"]);
    assert_eq!(world.tokens.going_back_to("m"), ["m".to_owned()].into());
}

#[test]
fn the_owner_of_a_share_is_no_token_for_everything() {
    let mut world = World::default();
    world.create_for("*", OPERATOR, "admin");
    world.create("admin", "shop");
    world.create("shop", "shop-ci");
    world.create("admin", "acme");
    let owners = |name: &str| world.tokens.owners(name).into_iter().collect::<Vec<_>>();
    for (name, owner) in
        [("shop", "shop"), ("shop-ci", "shop"), ("acme", "acme"), ("admin", "admin")]
    {
        assert_eq!(owners(name), [owner], "{name}");
    }
}

#[test]
fn only_so_many_tokens_go_back_to_a_tenant_whoever_of_them_makes_one() {
    let mut world = World::default();
    world.create_for("*", OPERATOR, "admin");
    world.create("admin", "shop");
    world.create("admin", "other");
    for number in 1..MAX_TOKENS {
        world.create(if number % 2 == 0 { "shop" } else { "shop-0" }, &format!("shop-{number}"));
        world.rotate("shop", &format!("shop-{number}"));
    }
    assert_eq!(world.tokens.full_owner("shop"), None);
    world.create("shop", "shop-0");
    for (maker, owner) in [
        ("shop", Some("shop")),
        ("shop-0", Some("shop")),
        ("shop-7", Some("shop")),
        ("other", None),
        // Whoever has everything makes the tokens of all tenants.
        ("admin", None),
        (OPERATOR, None),
    ] {
        assert_eq!(world.tokens.full_owner(maker).as_deref(), owner, "{maker}");
    }
    world.revoke("shop-7");
    assert_eq!(world.tokens.full_owner("shop"), None);
}

/// What a journal does, by whom, to which of a few names.
#[derive(Debug, Clone, Copy)]
enum Step {
    Create(usize, usize),
    Rotate(usize, usize),
    Revoke(usize),
}

const NAMES: [&str; 9] = [OPERATOR, "a", "b", "c", "d", "e", "f", "g", "h"];

fn any_step() -> impl Strategy<Value = Step> {
    let (actor, name) = (|| 0..NAMES.len(), || 1..NAMES.len());
    prop_oneof![
        4 => (actor(), name()).prop_map(|(by, name)| Step::Create(by, name)),
        6 => (actor(), name()).prop_map(|(by, name)| Step::Rotate(by, name)),
        1 => name().prop_map(Step::Revoke),
    ]
}

/// Applies a step as the registry decides it, and keeps in `roots` which root each token was first made under.
fn apply(world: &mut World, roots: &mut BTreeMap<String, String>, step: Step) {
    let is_there = |world: &World, by: &str| by == OPERATOR || world.tokens.contains(by);
    match step {
        Step::Create(by, name) => {
            let (by, name) = (NAMES[by], NAMES[name]);
            if is_there(world, by) && !world.tokens.contains(name) {
                world.create(by, name);
                let root = roots.get(by).map_or(name, String::as_str).to_owned();
                roots.insert(name.to_owned(), root);
            }
        }
        Step::Rotate(by, name) => {
            let (by, name) = (NAMES[by], NAMES[name]);
            if is_there(world, by) && world.tokens.contains(name) {
                world.rotate(by, name);
            }
        }
        Step::Revoke(name) => {
            world.revoke(NAMES[name]);
            roots.retain(|name, _| world.tokens.contains(name));
        }
    }
}

proptest! {
    #[test]
    fn no_token_shakes_off_the_root_that_it_was_made_under(
        steps in prop::collection::vec(any_step(), 0..60),
    ) {
        let (mut world, mut roots) = (World::default(), BTreeMap::new());
        for step in steps {
            let before = world.tokens.clone();
            apply(&mut world, &mut roots, step);
            for (name, root) in &roots {
                let persons = world.tokens.origins(name, |_| true);
                prop_assert!(persons.contains(root), "{name} was made under {root}: {persons:?}");
                prop_assert!(persons.iter().all(|one| world.tokens.named(one).is_some_and(|one| one.by == OPERATOR)));
                // What is its own person is so for both: nobody approves by one what was asked by the other.
                prop_assert!(!persons.is_disjoint(&world.tokens.origins(root, |_| true)));
            }
            if let Step::Rotate(by, name) = step && world.tokens.contains(NAMES[by]) {
                let (by, name) = (NAMES[by], NAMES[name]);
                let (persons, of_name) = (world.tokens.origins(by, |_| true), world.tokens.origins(name, |_| true));
                prop_assert!(!world.tokens.contains(name) || of_name.is_superset(&persons), "{by} knows {name}");
            }
            if let Step::Revoke(name) = step {
                let gone = before.going_back_to(NAMES[name]);
                prop_assert!(world.tokens.all().all(|one| !gone.contains(&one.name)));
                prop_assert!(before.all().all(|one| gone.contains(&one.name) || world.tokens.contains(&one.name)));
            }
        }
        // Without the roots nothing is left, in whatever order they go.
        let all: BTreeSet<String> = roots.values().cloned().collect();
        for root in &all {
            world.revoke(root);
            prop_assert!(roots.iter().all(|(name, of)| of != root || !world.tokens.contains(name)));
        }
        prop_assert!(world.tokens.is_empty() && world.tokens.names.is_empty() && world.tokens.made.is_empty());
    }

    #[test]
    fn what_is_kept_twice_of_tokens_always_agrees(steps in prop::collection::vec(any_step(), 0..60), single in any::<bool>()) {
        let (mut world, mut roots) = (World::default(), BTreeMap::new());
        for step in steps {
            match step {
                // As a journal may have it, also where it leaves out what goes back to the token.
                Step::Revoke(name) if single => world.tokens.remove(NAMES[name]),
                step => apply(&mut world, &mut roots, step),
            }
            let mut made: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for token in world.tokens.all() {
                for maker in &token.makers {
                    prop_assert!(world.tokens.contains(maker) && *maker != token.name);
                    made.entry(maker.clone()).or_default().insert(token.name.clone());
                }
                prop_assert_eq!(world.tokens.names.get(&token.sha256), Some(&token.name));
                prop_assert!(!world.tokens.origins(&token.name, |_| true).is_empty());
            }
            prop_assert_eq!(&made, &world.tokens.made);
            prop_assert_eq!(world.tokens.names.len(), world.tokens.by_name.len());
        }
    }
}
