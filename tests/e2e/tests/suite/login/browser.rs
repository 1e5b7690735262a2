//! A login in Chromium: what a person sees, and what scripts of a page cannot read.

use super::Site;
use tamis_e2e::{Chromium, eventually_or};

#[test]
fn somebody_logs_in_and_out_in_chromium() {
    let site = Site::start("https://HTTPS", &[]);
    let own = format!("https://{}", site.folder.https.replace("127.0.0.1", "localhost"));
    let page = format!("{own}/orders?of=today");
    let browser = Chromium::start();
    // Until Chromium is at an address.
    let arrives = |wanted: &str| {
        eventually_or(&format!("Chromium is at {wanted}"), || {
            let url = browser.url();
            if url.starts_with(wanted) { Ok(()) } else { Err(url) }
        });
    };
    browser.open(&page);
    arrives(&format!("http://{}/oauth2/authorize?", site.provider.address));
    assert_eq!(site.service.count(), 0, "nothing reaches the service without a session");
    browser.fill("input[name=sub]", "ada");
    browser.click("form button[type=submit]");
    arrives(&page);
    assert_eq!(browser.text(), "/orders");
    assert_eq!(site.received("x-user"), ["ada"]);
    // Of the cookies of the login the session alone is left, and no script reads it.
    let cookies = browser.cookies();
    let [session] = &cookies[..] else { panic!("{cookies:?}") };
    assert_eq!(session["name"], "__Host-oidc");
    assert_eq!((&session["httpOnly"], &session["secure"]), (&true.into(), &true.into()));
    assert_eq!(browser.script("return document.cookie"), "");
    // A script of the page asks with the session of the person.
    let asked =
        "return fetch('/api', {headers: {accept: 'application/json'}}).then(it => it.status)";
    assert_eq!(browser.script(asked), 200);

    // A page of another site ends no session; a form of the own page does.
    browser.open(&format!("http://{}/", site.provider.address));
    let elsewhere = format!("location.href = '{own}/oidc/logout'");
    let _ = browser.script(&elsewhere);
    arrives(&format!("{own}/oidc/logout"));
    browser.open(&page);
    arrives(&page);
    assert_eq!(browser.text(), "/orders", "the session lives");
    let form = "const form = document.createElement('form'); form.method = 'post'; form.action = '/oidc/logout'; \
                document.body.append(form); form.submit()";
    let _ = browser.script(form);
    arrives(&format!("http://{}/oauth2/end_session", site.provider.address));
    browser.open(&page);
    arrives(&format!("http://{}/oauth2/authorize?", site.provider.address));
}
