//! What a filter remembers while its slot is gone.

use super::*;

/// A filter still knows which logins were ended, and what it counted, after its file was replaced or renamed twice.
#[test]
fn what_a_filter_remembers_outlives_a_moment_without_its_slot_and_no_more_than_that() {
    let signed = SigningStore::new();
    let policies = [signed.policy(&json!({}))];
    let digest = signed.add("retry", "1.0.0");
    let here = plan("retry", &digest);
    let named = |name: &str| FilterPlan { attachment: name.into(), ..here.clone() };
    let many: Vec<FilterPlan> = (0..20).map(|at| named(&format!("test/many-{at:02}"))).collect();
    let elsewhere: Vec<FilterPlan> =
        (0..20).map(|at| named(&format!("other/many-{at:02}"))).collect();
    let minute = Duration::from_secs(60);
    let none: &[FilterPlan] = &[];
    // What is there meanwhile, for how long, and whether the state is the same afterwards.
    for (what, meanwhile, lasts, same) in [
        ("nothing for a moment", vec![none], minute, true),
        ("nothing for most of an hour", vec![none], minute * 59, true),
        ("nothing for more than an hour", vec![none], minute * 61, false),
        ("another name", vec![std::slice::from_ref(&many[0])], minute, true),
        ("many of its namespace come and go", vec![none, &many, none], minute, false),
        ("many of another namespace come and go", vec![none, &elsewhere, none], minute, true),
    ] {
        let time = tamis_ambient::ManualTime::new();
        let mut builder = signed.builder();
        builder.clock = time.clock();
        let before =
            running(&only(builder.build_plans(std::slice::from_ref(&here), &policies))).clone();
        for plans in meanwhile {
            builder.build_plans(plans, &policies);
            time.advance(Duration::from_millis(10));
        }
        time.advance(lasts);
        // Another change, which forgets what is due.
        builder.build_plans(none, &policies);
        let after =
            running(&only(builder.build_plans(std::slice::from_ref(&here), &policies))).clone();
        assert_eq!(Arc::ptr_eq(before.state(), after.state()), same, "{what}");
        assert!(builder.states.len() <= 1 + 2 * 16, "{what}: {}", builder.states.len());
    }
    // Another filter of the same attachment remembers nothing of it.
    let mut builder = signed.builder();
    let before =
        running(&only(builder.build_plans(std::slice::from_ref(&here), &policies))).clone();
    builder.build_plans(none, &policies);
    let breaker = signed.add("circuit-breaker", "1.0.0");
    let other = plan("circuit-breaker", &breaker);
    let other = FilterPlan { attachment: here.attachment.clone(), ..other };
    let after = running(&only(builder.build_plans(&[other], &policies))).clone();
    assert!(!Arc::ptr_eq(before.state(), after.state()), "another filter");
}
