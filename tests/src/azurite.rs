//! A server that speaks Azure Blob Storage, as a process: Azurite, which is Microsoft's own. It checks signatures and conditions. What it
//! keeps is gone with it.

use crate::process::run;
use crate::tools;
use anyhow::{Context, Result, ensure};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may take to listen.
const START: Duration = Duration::from_secs(60);

/// The container that it has.
pub const CONTAINER: &str = "audit";
/// The account.
pub const ACCOUNT: &str = "gateway1";
/// Its key, in base64.
pub const KEY: &str = "Y2hhcGVyb25lLXRlc3RzLWNoYXBlcm9uZS10ZXN0cw==";

/// The server.
pub struct Azurite {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Drop for Azurite {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Shared Key, as <https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key> has it, in the standard library
/// alone.
const CLIENT: &str = r#"
import base64, email.utils, hashlib, hmac, os, re, urllib.request
account, key, store = os.environ["ACCOUNT"], base64.b64decode(os.environ["KEY"]), os.environ["STORE"]
def ask(method, path, query="", body=b"", **headers):
    url = f"{store}/{account}/{path}" + (f"?{query}" if query else "")
    headers = {"x-ms-version": "2023-11-03", "x-ms-date": email.utils.formatdate(usegmt=True)} | headers
    named = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers) if name.startswith("x-ms-"))
    parts = "".join(f"\n{part.replace('=', ':')}" for part in sorted(filter(None, query.split("&"))))
    length = str(len(body)) if body else ""
    kind = "application/octet-stream" if body else ""
    lines = [method, "", "", length, "", kind, "", "", "", "", "", "", named + f"/{account}/{account}/{path}{parts}"]
    sign = base64.b64encode(hmac.new(key, "\n".join(lines).encode(), hashlib.sha256).digest()).decode()
    headers["Authorization"] = f"SharedKey {account}:{sign}"
    if body: headers["Content-Type"] = kind
    request = urllib.request.Request(url, method=method, headers=headers, data=body or None)
    return urllib.request.urlopen(request).read()
container = os.environ["CONTAINER"]
def names():
    return sorted(re.findall("<Name>([^<]*)</Name>", ask("GET", container, "comp=list&restype=container").decode()))
def read(name): return ask("GET", f"{container}/{name}")
def write(name, body): ask("PUT", f"{container}/{name}", body=body, **{"x-ms-blob-type": "BlockBlob"})
def delete(name): ask("DELETE", f"{container}/{name}")
"#;

impl Azurite {
    /// Starts it there, with an empty container; `None` where it cannot be had.
    pub fn start(address: SocketAddr, folder: &Path) -> Result<Option<Self>> {
        let Some(modules) = tools::azurite() else { return Ok(None) };
        let mut command = Command::new("node");
        command.arg(modules.join("azurite/dist/src/blob/main.js"));
        command.args(["--silent", "--inMemoryPersistence", "--disableTelemetry", "--blobHost", "127.0.0.1"]);
        command.args(["--blobPort", &address.port().to_string()]);
        command.env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{KEY}")).current_dir(folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("Azurite does not start")?;
        let azurite = Azurite { child, address };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            ensure!(begun.elapsed() < START, "Azurite does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        azurite.script("ask('PUT', container, 'restype=container')")?;
        Ok(Some(azurite))
    }

    /// Its URL, with the account as it wants it.
    pub fn endpoint(&self) -> String {
        format!("http://{}/{ACCOUNT}", self.address)
    }

    /// Runs a script of Python, which has `names()`, `read(name)`, `write(name, bytes)`, `delete(name)`, by the account's key.
    pub fn script(&self, script: &str) -> Result<String> {
        let mut command = Command::new(tools::python()?);
        command.arg("-").env("STORE", format!("http://{}", self.address));
        command.env("ACCOUNT", ACCOUNT).env("KEY", KEY).env("CONTAINER", CONTAINER);
        run(&mut command, &format!("{CLIENT}{script}"))?.success()
    }
}
