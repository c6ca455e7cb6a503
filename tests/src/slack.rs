//! Slack, as far as a gateway has to do with it: it takes the messages of an app's incoming webhook and the answers to presses, and
//! presses their buttons, signed with the app's secret (Slack, "Verifying requests from Slack").

use crate::stage::Stage;
use anyhow::{Context, Result};
use aws_lc_rs::hmac;
use chaperone_core::Timestamp;
use reqwest::{Certificate, StatusCode};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// When [`Slack::message`] and [`Slack::answer`] give up.
const PATIENCE: Duration = Duration::from_secs(30);

/// One app in one channel. Its server ends with the runtime.
pub struct Slack {
    address: SocketAddr,
    secret: String,
    messages: UnboundedReceiver<Value>,
    answers: UnboundedReceiver<Value>,
}

/// A press of a button, as it was sent: sent again it is the same bytes.
#[derive(Clone)]
pub struct Press {
    body: String,
    time: String,
    signature: String,
}

impl Slack {
    /// Starts it on a free port; the app signs with this secret.
    pub async fn start(secret: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let ((message, messages), (answer, answers)) = (unbounded_channel(), unbounded_channel());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, message.clone(), answer.clone()));
            }
        });
        Ok(Slack { address, secret: secret.to_owned(), messages, answers })
    }

    /// The address of the incoming webhook.
    pub fn url(&self) -> String {
        format!("http://{}/services/T1/B1/x", self.address)
    }

    /// The next message in the channel.
    pub async fn message(&mut self) -> Result<Value> {
        let next = tokio::time::timeout(PATIENCE, self.messages.recv()).await;
        next.context("no message came")?.context("Slack is gone")
    }

    /// The next answer to a press.
    pub async fn answer(&mut self) -> Result<Value> {
        let next = tokio::time::timeout(PATIENCE, self.answers.recv()).await;
        next.context("no answer came")?.context("Slack is gone")
    }

    /// Somebody of the workspace presses a button of a message, by its `action_id`.
    pub fn press(&self, message: &Value, action: &str, user: &str) -> Result<Press> {
        let blocks = message.get("blocks").and_then(Value::as_array).context("a message has blocks")?;
        let mut buttons =
            blocks.iter().filter_map(|block| block.get("elements").and_then(Value::as_array)).flatten();
        let button = buttons.find(|button| button.get("action_id").is_some_and(|id| id == action));
        let button = button.with_context(|| format!("no button {action} in {message}"))?;
        let payload = json!({
            "type": "block_actions",
            "user": { "id": user, "team_id": "T1" },
            "team": { "id": "T1" },
            "response_url": format!("http://{}/actions/T1/1/x", self.address),
            "actions": [button],
        });
        let mut form = reqwest::Url::parse("http://form/")?;
        form.query_pairs_mut().append_pair("payload", &payload.to_string());
        let body = form.query().unwrap_or_default().to_owned();
        let time = Timestamp::now().as_second().to_string();
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_bytes());
        let tag = hmac::sign(&key, format!("v0:{time}:{body}").as_bytes());
        let tag: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Press { body, time, signature: format!("v0={tag}") })
    }
}

impl Press {
    /// Sends it to the hook of a channel; what the gateway answers at once.
    pub async fn send(&self, stage: &Stage, channel: &str) -> Result<StatusCode> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let own = Certificate::from_pem(&std::fs::read(stage.path("gateway.pem"))?)?;
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([own]).build()?;
        let request = client.post(format!("https://{}/api/v1/hooks/slack/{channel}", stage.api));
        let request = request
            .header("content-type", "application/x-www-form-urlencoded")
            .header("x-slack-request-timestamp", &self.time)
            .header("x-slack-signature", &self.signature);
        Ok(request.body(self.body.clone()).send().await?.status())
    }
}

/// One request of one connection; what comes is told by where it goes.
async fn serve(
    mut stream: TcpStream,
    message: UnboundedSender<Value>,
    answer: UnboundedSender<Value>,
) -> Option<()> {
    let mut text = Vec::new();
    let head = loop {
        if let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") {
            break String::from_utf8(text.drain(..end + 4).collect()).ok()?.to_lowercase();
        }
        stream.read_buf(&mut text).await.ok().filter(|read| *read > 0)?;
    };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let length: usize = length.trim().parse().ok()?;
    while text.len() < length {
        stream.read_buf(&mut text).await.ok().filter(|read| *read > 0)?;
    }
    let to = if head.starts_with("post /services/") { message } else { answer };
    to.send(serde_json::from_slice(&text).ok()?).ok()?;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await.ok()?;
    stream.shutdown().await.ok()
}
