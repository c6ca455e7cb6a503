//! People who sign in at the gateway, in a browser and on the command line, with the local issuer as their provider.

use super::{Stage, object_id};
use anyhow::{Context, Result};
use chaperone::demo::issuer::{Application, Issuer};

/// What approvers are registered as, where they sign in at the gateway.
pub const APPROVERS: &str = "7e570000-0000-4000-8000-0000000000ab";
/// The application that people sign in with.
pub const CONSOLE: &str = "7e570000-0000-4000-8000-0000000000c0";

/// Whether people sign in at the gateway, in a browser and on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SignIn {
    /// Tokens come from elsewhere, and one registration is for all.
    #[default]
    Nowhere,
    /// At the local issuer, with [`CONSOLE`]. The API has a fixed port, since browsers come back to it.
    Here,
}

impl Stage {
    /// Where the issuer is: another site than the gateway.
    pub fn issuer_address(&self) -> String {
        self.issuer.jwks_url().split('/').nth(2).unwrap_or_default().to_owned()
    }

    /// Opens one of the issuer's pages, as whoever holds its address could.
    pub async fn issuer_page(&self, url: &str) -> Result<reqwest::Response> {
        let client =
            reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build()?;
        Ok(client.get(url).send().await?)
    }

    /// Where the issuer sends a browser that was sent to `url` and chose to be this person.
    pub async fn issuer_answer(&self, url: &str, number: u8) -> Result<String> {
        let answer = self.issuer_page(&format!("{url}&as={}", object_id(number))).await?;
        let to = answer.headers().get("location").context("the issuer sends nobody anywhere")?;
        Ok(to.to_str()?.to_owned())
    }
}

/// The same configuration with a registration for approvers, who sign in at the gateway.
pub(super) fn configured(text: &str, issuer: &Issuer) -> Result<String> {
    let port = free_port()?;
    let (url, discovery) = (format!("https://127.0.0.1:{port}"), issuer.discovery_url());
    issuer.register(Application {
        client_id: CONSOLE.into(),
        secret: None,
        redirects: vec![format!("{url}/console/callback")],
        audience: APPROVERS.into(),
    });
    let scope = format!("api://{APPROVERS}/approve");
    let login = format!(
        "login: {{ provider: test, client_id: {CONSOLE}, scope: \"{scope} offline_access\", discovery_url: \"{discovery}\" }}"
    );
    let listen = format!("api: \"127.0.0.1:{port}\", public_url: \"{url}\", {login}");
    let sign_in =
        format!("sign_in: {{ client_id: {CONSOLE}, scope: \"{scope}\", discovery_url: \"{discovery}\" }}");
    let approvers = format!("approvers: {{ audience: {APPROVERS}, clients: {CONSOLE}, {sign_in} }}");
    Ok(text.replacen("api: \"127.0.0.1:0\"", &listen, 1).replacen(
        "    allow_http_loopback: yes",
        &format!("    allow_http_loopback: yes\n    {approvers}"),
        1,
    ))
}

/// A port that is free and stays so until the gateway listens there: below those that the system gives to outgoing connections
/// (32768 and above, `ip_local_port_range` of ip(7)), and from a place that depends on the process, since each test has one.
fn free_port() -> Result<u16> {
    let place = u16::try_from(std::process::id() % 10_000)?;
    let mut ports = (0..10_000).map(|further| 20_000 + (place + further) % 10_000);
    let free = ports.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.context("no port is free")
}
