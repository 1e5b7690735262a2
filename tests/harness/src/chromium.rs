//! Chromium of Debian's package, driven over WebDriver (W3C, "WebDriver"): a browser that people use.

use crate::client::request_of_known_length;
use crate::ports::free;
use crate::{Reply, eventually, eventually_or};
use serde_json::{Value, json};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// The key of an element in an answer (WebDriver, section 12).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser without a window, whose profile is its own; it ends when dropped.
pub struct Chromium {
    driver: Child,
    address: String,
    session: String,
    _profile: TempDir,
}

impl Chromium {
    /// Starts it. It accepts any certificate, as a person does who knows the server.
    #[must_use]
    pub fn start() -> Self {
        let profile = TempDir::new().unwrap();
        let port = free();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("chromedriver: {error}; `cargo xtask setup` installs it")
            });
        let address = format!("127.0.0.1:{port}");
        let mut browser = Self { driver, address, session: String::new(), _profile: profile };
        eventually("chromedriver answers", || {
            let there = std::net::TcpStream::connect(&browser.address).is_ok();
            there
                .then(|| browser.call("GET", "/status", &Value::Null))
                .filter(|reply| reply.status == 200)
        });
        let profile = format!("--user-data-dir={}", browser._profile.path().display());
        // Tests may run as root, for whom the sandbox of Chromium does not start.
        let arguments = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", &profile];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "acceptInsecureCerts": true,
            "goog:chromeOptions": { "binary": "/usr/bin/chromium", "args": arguments },
        } } });
        browser.session = eventually_or("Chromium starts", || {
            let reply = browser.call("POST", "/session", &wanted);
            let answer = reply.json();
            answer["value"]["sessionId"].as_str().map(str::to_owned).ok_or(reply.body)
        });
        browser
    }

    fn call(&self, method: &str, path: &str, content: &Value) -> Reply {
        let body = if method == "POST" { content.to_string() } else { String::new() };
        let headers = [("content-type", "application/json")];
        request_of_known_length(&self.address, method, path, &headers, body.as_bytes())
    }

    /// The value of a command of the session.
    fn command(&self, method: &str, command: &str, content: &Value) -> Value {
        let reply = self.call(method, &format!("/session/{}{command}", self.session), content);
        assert_eq!(reply.status, 200, "{command}: {}", reply.body);
        reply.json()["value"].take()
    }

    /// Opens a page.
    pub fn open(&self, url: &str) {
        self.command("POST", "/url", &json!({ "url": url }));
    }

    /// The address of the page.
    #[must_use]
    pub fn url(&self) -> String {
        self.command("GET", "/url", &Value::Null).as_str().unwrap().to_owned()
    }

    /// The visible text of the page.
    #[must_use]
    pub fn text(&self) -> String {
        let place = self.find("body");
        let text = self.command("GET", &format!("{place}/text"), &Value::Null);
        text.as_str().unwrap().to_owned()
    }

    /// Types into the field that a CSS selector finds.
    pub fn fill(&self, selector: &str, text: &str) {
        let place = self.find(selector);
        self.command("POST", &format!("{place}/value"), &json!({ "text": text }));
    }

    /// Clicks what a CSS selector finds.
    pub fn click(&self, selector: &str) {
        let place = self.find(selector);
        self.command("POST", &format!("{place}/click"), &json!({}));
    }

    /// The result of a script in the page.
    #[must_use]
    pub fn script(&self, script: &str) -> Value {
        self.command("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// The cookies that the page has, as WebDriver describes them: `name`, `httpOnly`, `secure`, `sameSite`…
    #[must_use]
    pub fn cookies(&self) -> Vec<Value> {
        self.command("GET", "/cookie", &Value::Null).as_array().unwrap().clone()
    }

    fn find(&self, selector: &str) -> String {
        let wanted = json!({ "using": "css selector", "value": selector });
        let found = self.command("POST", "/element", &wanted);
        format!("/element/{}", found[ELEMENT].as_str().unwrap())
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // With its session the browser itself ends.
        if !self.session.is_empty() {
            self.call("DELETE", &format!("/session/{}", self.session), &Value::Null);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
