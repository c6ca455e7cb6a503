//! A server that speaks S3, as a process: moto. It checks signatures and rights, and knows conditional writes. What it
//! keeps is gone with it.

use crate::process::run;
use crate::tools;
use anyhow::{Context, Result, ensure};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may take to listen.
const START: Duration = Duration::from_secs(60);

/// The bucket that it has.
pub const BUCKET: &str = "audit";

/// What the user may do besides writing, reading and listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum May {
    /// Nothing.
    Keep,
    /// Delete.
    Delete,
}

/// The server, with one user who may write, read and list in [`BUCKET`].
pub struct Moto {
    child: Child,
    may: May,
    /// Where it listens.
    pub address: SocketAddr,
    /// The user's key.
    pub key_id: String,
    /// And its secret.
    pub secret: String,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first four calls are not checked: they make who is checked from then on.
const SET_UP: &str = r#"
import boto3, json, os
def client(service):
    return boto3.client(service, endpoint_url=os.environ["STORE"], region_name="us-east-1",
                        aws_access_key_id="nobody", aws_secret_access_key="nobody")
iam = client("iam")
iam.create_user(UserName="gateway")
allow = ["s3:PutObject", "s3:GetObject", "s3:ListBucket", "s3:AbortMultipartUpload"]
if os.environ["MAY"] == "Delete": allow.append("s3:DeleteObject")
policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": allow, "Resource": "*"}]}
iam.put_user_policy(UserName="gateway", PolicyName="p", PolicyDocument=json.dumps(policy))
key = iam.create_access_key(UserName="gateway")["AccessKey"]
client("s3").create_bucket(Bucket=os.environ["BUCKET"])
print(key["AccessKeyId"], key["SecretAccessKey"])
"#;

/// An address that nobody listens at.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

impl Moto {
    /// Starts it there.
    pub fn start(address: SocketAddr, may: May) -> Result<Self> {
        let mut command = Command::new(tools::python()?);
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &address.port().to_string()]);
        command.env("INITIAL_NO_AUTH_ACTION_COUNT", "4").stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.stdin(Stdio::null()).spawn().context("moto does not start")?;
        let mut moto = Moto { child, address, may, key_id: String::new(), secret: String::new() };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            ensure!(begun.elapsed() < START, "moto does not listen: run cargo xtask test, which installs it");
            std::thread::sleep(Duration::from_millis(50));
        }
        let said = moto.python(SET_UP)?;
        let (id, secret) = said.trim().split_once(' ').context("no key")?;
        (moto.key_id, moto.secret) = (id.to_owned(), secret.to_owned());
        Ok(moto)
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn python(&self, script: &str) -> Result<String> {
        let mut command = Command::new(tools::python()?);
        command.arg("-").env("STORE", self.url()).env("BUCKET", BUCKET);
        command.env("MAY", format!("{:?}", self.may)).env("KEY_ID", &self.key_id).env("KEY", &self.secret);
        run(&mut command, script)?.success()
    }

    /// Runs a script of boto3, which has `s3`, `bucket`, `names()`, `read(name)`, `write(name, bytes)` and `delete(name)`.
    pub fn script(&self, script: &str) -> Result<String> {
        let before = r#"
import boto3, hashlib, os
s3 = boto3.client("s3", endpoint_url=os.environ["STORE"], region_name="us-east-1",
                  aws_access_key_id=os.environ["KEY_ID"], aws_secret_access_key=os.environ["KEY"])
bucket = os.environ["BUCKET"]
def names():
    return sorted(o["Key"] for o in s3.list_objects_v2(Bucket=bucket).get("Contents", []))
def read(name):
    return s3.get_object(Bucket=bucket, Key=name)["Body"].read()
def write(name, body):
    s3.put_object(Bucket=bucket, Key=name, Body=body)
def delete(name):
    s3.delete_object(Bucket=bucket, Key=name)
"#;
        self.python(&format!("{before}{script}"))
    }
}
