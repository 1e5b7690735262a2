use super::install::Install;
use super::nft;
use clap::Parser;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    install: Install,
}

/// The ruleset for a command line, or why there is none.
fn of(line: &str, session: Option<&str>) -> Result<String, String> {
    let words = std::iter::once("install").chain(line.split_whitespace());
    let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
    line.install.rules(session).map(|rules| rules.text()).map_err(|error| error.to_string())
}

#[test]
fn the_ruleset_of_a_host_with_everything() {
    let text = of(
        "--proxy-user 1337 --dns 15053 --inbound 10.0.0.2:15006 --app-port 8080,5432 --exclude-port 9100 \
         --exclude-cidr 10.9.1.7/16,fd00::/8 --exclude-user 4242 --only-tcp",
        None,
    );
    // A machine with systemd-resolved has one line more.
    let text = text.unwrap();
    let resolver = nix::unistd::User::from_name("systemd-resolve").unwrap();
    let text = match resolver {
        Some(user) => text.replace(&format!("\t\tmeta skuid {} return\n", user.uid.as_raw()), ""),
        None => text,
    };
    insta::assert_snapshot!(text);
}

#[test]
fn a_ruleset_that_locks_out_or_leads_in_a_circle_is_refused_and_says_the_way_out() {
    let inbound = "--proxy-user 1337 --inbound 10.0.0.2:15006";
    for (line, session, says) in [
        (format!("{inbound} --app-port 22"), None, "SSH"),
        (format!("{inbound} --app-port 80,2222"), Some("10.0.0.9 51234 10.0.0.2 2222"), "SSH"),
        (format!("{inbound} --app-port 15000"), None, "--admin-port"),
        (format!("{inbound} --app-port 9000 --admin-port 9000"), None, "--admin-port"),
        (format!("{inbound} --app-port 15006"), None, "the sidecar itself"),
        (format!("{inbound} --app-port 15001"), None, "the sidecar itself"),
        (format!("{inbound} --app-port 15053 --dns 15053"), None, "the sidecar itself"),
        ("--proxy-user 0".to_owned(), None, "of its own"),
        ("--proxy-group root".to_owned(), None, "of its own"),
        ("--proxy-user nobody-of-that-name".to_owned(), None, "getent passwd"),
        ("--proxy-group nobody-of-that-name".to_owned(), None, "getent group"),
        ("--proxy-user 1 --inbound 127.0.0.1:15006 --app-port 80".to_owned(), None, "`sidecar`"),
        ("--proxy-user 1 --inbound 0.0.0.0:15006 --app-port 80".to_owned(), None, "`sidecar`"),
        (format!("{inbound} --inbound 10.0.0.3:1 --app-port 80"), None, "one for IPv4"),
        (inbound.to_owned(), None, "--app-port"),
        ("--proxy-user 1 --app-port 80".to_owned(), None, "--inbound"),
        ("--outbound 15001".to_owned(), None, "--proxy-user"),
        ("--proxy-user 1 --proxy-group 1".to_owned(), None, "cannot be used with"),
        ("--proxy-user 1 --outbound 0".to_owned(), None, "0"),
        ("--proxy-user 1 --exclude-cidr 10.0.0.0/33".to_owned(), None, "10.0.0.0/33"),
    ] {
        let refused = of(&line, session).expect_err(&line);
        assert!(refused.contains(says), "{line}: {refused}");
    }
    assert!(of(&format!("{inbound} --app-port 2222"), None).is_ok());
}

#[test]
fn a_family_without_an_address_of_the_sidecar_is_refused_and_not_let_through() {
    let only =
        |inbound: &str| of(&format!("--proxy-user 1 {inbound} --app-port 80"), None).unwrap();
    for (inbound, refused) in [
        ("--inbound 10.0.0.2:15006", &["ipv6"][..]),
        ("--inbound [fd00::2]:15006", &["ipv4"]),
        ("--inbound 10.0.0.2:15006 --inbound [fd00::2]:15006", &[]),
    ] {
        let text = only(inbound);
        for family in ["ipv4", "ipv6"] {
            let rejects =
                format!("meta nfproto {family} tcp dport {{ 80 }} ct state new counter reject");
            let leads = format!("meta nfproto {family} tcp dport {{ 80 }} counter dnat");
            assert_eq!(text.contains(&rejects), refused.contains(&family), "{text}");
            assert_ne!(text.contains(&leads), refused.contains(&family), "{text}");
        }
    }
}

#[test]
fn a_failure_of_nft_names_the_way_out() {
    for (said, names) in [
        ("Operation not permitted (you must be root)\nnetlink: Error: cache", "CAP_NET_ADMIN"),
        (
            "/dev/stdin:1:1-9: Error: Could not process rule: Operation not permitted",
            "CAP_NET_ADMIN",
        ),
        ("Error: Could not process rule: No such file or directory", "nf_tables"),
        ("", "nf_tables"),
    ] {
        assert!(nft::refused(said).contains(names), "{said}");
    }
}
