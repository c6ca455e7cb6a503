//! A real browser: Chromium without a window, led by ChromeDriver over the W3C's WebDriver protocol.
//!
//! It has a profile of its own that nobody has used, and ends with the test.

use crate::tools;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How the protocol names an element (W3C WebDriver, section 12.2).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// The keys that have no letter (W3C WebDriver, section 17.4.2).
pub const TAB: char = '\u{e004}';
/// Likewise.
pub const ENTER: char = '\u{e007}';
/// Likewise.
pub const END: char = '\u{e010}';
/// Likewise.
pub const HOME: char = '\u{e011}';
/// Likewise.
pub const ESCAPE: char = '\u{e00c}';

/// When [`Browser::until`] gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A browser with one window.
pub struct Browser {
    driver: Child,
    _profile: tempfile::TempDir,
    http: reqwest::Client,
    session: String,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver and the browser's processes are one group.
        let group = format!("-{}", self.driver.id());
        let _ = Command::new("kill").args(["-s", "KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.driver.wait();
    }
}

impl Browser {
    /// Starts one.
    pub async fn start(tools: &tools::BrowserTools) -> Result<Self> {
        // A gateway in this process would have done it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let profile = tempfile::Builder::new().prefix("chaperone-browser-").tempdir()?;
        let mut driver = Command::new(&tools.driver)
            .arg("--port=0")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run {}", tools.driver.display()))?;
        let port = port(&mut driver);
        let mut browser = Browser {
            driver,
            _profile: profile,
            http: reqwest::Client::builder().no_proxy().build()?,
            session: format!("http://127.0.0.1:{}/session", port?),
        };
        let capabilities = capabilities(&tools.browser, browser._profile.path());
        let made = browser.send(reqwest::Method::POST, "", &capabilities).await?;
        let id = made.get("sessionId").and_then(Value::as_str).context("the driver gives no session")?;
        browser.session = format!("{}/{id}", browser.session);
        Ok(browser)
    }

    async fn send(&self, method: reqwest::Method, path: &str, body: &Value) -> Result<Value> {
        let url = format!("{}{path}", self.session);
        let request = self.http.request(method.clone(), &url).timeout(PATIENCE);
        let request = if method == reqwest::Method::POST { request.json(body) } else { request };
        let mut answer: Value = request.send().await?.json().await?;
        let value = answer.get_mut("value").map(Value::take).context("the driver's answer has no value")?;
        match value.get("error") {
            Some(error) if value.get("stacktrace").is_some() => {
                bail!("{path}: {error}: {value}")
            }
            _ => Ok(value),
        }
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value> {
        self.send(reqwest::Method::POST, path, &body).await
    }

    async fn get(&self, path: &str) -> Result<Value> {
        self.send(reqwest::Method::GET, path, &Value::Null).await
    }

    /// Opens an address and waits until it is there.
    pub async fn open(&self, url: &str) -> Result<()> {
        self.post("/url", json!({ "url": url })).await.map(drop)
    }

    /// The address that is shown.
    pub async fn address(&self) -> Result<String> {
        Ok(self.get("/url").await?.as_str().unwrap_or_default().to_owned())
    }

    /// Everything that a person can read on the page.
    pub async fn text(&self) -> Result<String> {
        let body = self.find("body").await?;
        Ok(self.get(&format!("/element/{body}/text")).await?.as_str().unwrap_or_default().to_owned())
    }

    async fn find(&self, selector: &str) -> Result<String> {
        let found = self.post("/element", json!({ "using": "css selector", "value": selector })).await?;
        let id = found.get(ELEMENT).and_then(Value::as_str);
        id.map(str::to_owned).with_context(|| format!("no element {selector}"))
    }

    /// Whether anything on the page is chosen by this.
    pub async fn has(&self, selector: &str) -> Result<bool> {
        let found = self.post("/elements", json!({ "using": "css selector", "value": selector })).await?;
        Ok(found.as_array().is_some_and(|all| !all.is_empty()))
    }

    /// Clicks, and waits for what that opens. A page that renews itself may take the element away in between: then another.
    pub async fn click(&self, selector: &str) -> Result<()> {
        let started = Instant::now();
        loop {
            let element = self.find(selector).await?;
            let clicked = self.post(&format!("/element/{element}/click"), json!({})).await;
            match clicked {
                Err(error) if error.to_string().contains("stale element") && started.elapsed() < PATIENCE => {
                }
                clicked => return clicked.map(drop),
            }
        }
    }

    /// Clicks on a link by its whole text.
    pub async fn follow(&self, text: &str) -> Result<()> {
        let found = self.post("/element", json!({ "using": "link text", "value": text })).await?;
        let id = found.get(ELEMENT).and_then(Value::as_str).with_context(|| format!("no link {text}"))?;
        self.post(&format!("/element/{id}/click"), json!({})).await.map(drop)
    }

    /// Types.
    pub async fn fill(&self, selector: &str, text: &str) -> Result<()> {
        let element = self.find(selector).await?;
        self.post(&format!("/element/{element}/value"), json!({ "text": text })).await.map(drop)
    }

    /// Runs a script as the driver does, past the page's own rules; what it returns.
    pub async fn script(&self, script: &str) -> Result<Value> {
        self.post("/execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// The same of a script that answers by a promise.
    pub async fn promised(&self, script: &str) -> Result<Value> {
        let script = format!(
            "const done = arguments[arguments.length - 1]; (async () => {{ {script} }})().then(done, (error) => done(`failed: ${{error}}`));"
        );
        self.post("/execute/async", json!({ "script": script, "args": [] })).await
    }

    /// Presses keys one after the other, wherever the focus is; [`TAB`], [`ENTER`] and [`ESCAPE`] are keys, too.
    pub async fn press(&self, keys: &str) -> Result<()> {
        let stroke = |key: char| {
            [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })]
        };
        let strokes: Vec<Value> = keys.chars().flat_map(stroke).collect();
        let actions = json!({ "actions": [{ "type": "key", "id": "keys", "actions": strokes }] });
        self.post("/actions", actions).await.map(drop)
    }

    /// A screen of this size in CSS pixels, however small.
    pub async fn screen(&self, width: u32, height: u32) -> Result<()> {
        let screen = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", screen).await.map(drop)
    }

    /// What the system is set to: `light` or `dark`, and whether little shall move (`reduce`) or not (`no-preference`).
    pub async fn prefers(&self, scheme: &str, motion: &str) -> Result<()> {
        let feature = |name: &str, value: &str| json!({ "name": format!("prefers-{name}"), "value": value });
        let features = [feature("color-scheme", scheme), feature("reduced-motion", motion)];
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await.map(drop)
    }

    /// The whole page as PNG, in base64.
    pub async fn picture(&self) -> Result<String> {
        let taken = self.devtools("Page.captureScreenshot", json!({ "captureBeyondViewport": true })).await?;
        Ok(taken.get("data").and_then(Value::as_str).context("no picture")?.to_owned())
    }

    async fn devtools(&self, command: &str, parameters: Value) -> Result<Value> {
        self.post("/goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await
    }

    /// What the browser complained about since it was asked last, such as what a page's own rules have stopped.
    pub async fn complaints(&self) -> Result<Vec<String>> {
        let log = self.post("/se/log", json!({ "type": "browser" })).await?;
        let text = |entry: &Value| entry.get("message").and_then(Value::as_str).map(str::to_owned);
        Ok(log.as_array().map(|all| all.iter().filter_map(text).collect()).unwrap_or_default())
    }

    /// Looks until something on the page is chosen by this.
    pub async fn until_there(&self, selector: &str) -> Result<()> {
        let started = Instant::now();
        while !self.has(selector).await? {
            if started.elapsed() > PATIENCE {
                bail!("{selector} never came at {}: {}", self.address().await?, self.text().await?);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// All cookies of the page that is shown.
    pub async fn cookies(&self) -> Result<Vec<Value>> {
        Ok(self.get("/cookie").await?.as_array().cloned().unwrap_or_default())
    }

    /// Looks until the page's text has this; an error with the text when it never does.
    pub async fn until(&self, part: &str) -> Result<String> {
        let started = Instant::now();
        loop {
            let text = self.text().await.unwrap_or_default();
            if text.contains(part) {
                return Ok(text);
            }
            if started.elapsed() > PATIENCE {
                bail!("{part:?} never came at {}: {text}", self.address().await?);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The port that the driver says it has.
fn port(driver: &mut Child) -> Result<u16> {
    let lines = BufReader::new(driver.stdout.take().context("no standard output")?).lines();
    let mut port = None;
    // It goes on to write nothing that would fill the pipe.
    for line in lines {
        let line = line?;
        if let Some((_, rest)) = line.split_once("successfully on port ") {
            port = rest.trim_end_matches('.').parse().ok();
            break;
        }
    }
    port.context("the driver does not say its port")
}

/// Without a window, without Chromium's own talk to the network, and with the gateway's certificate accepted as it is: whom to
/// trust is not what is tested.
fn capabilities(browser: &Path, profile: &Path) -> Value {
    let profile = format!("--user-data-dir={}", profile.display());
    let arguments = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1000,1400",
        &profile,
    ];
    json!({ "capabilities": { "alwaysMatch": {
        "browserName": "chrome",
        "acceptInsecureCerts": true,
        "goog:loggingPrefs": { "browser": "ALL" },
        "goog:chromeOptions": { "binary": browser, "args": arguments },
    } } })
}
