//! People are told: by a webhook that the documentation's own Python verifies.

use chaperone_core::identity::CallerKind;
use chaperone_tests::scripts::python;
use chaperone_tests::sources::read;
use chaperone_tests::stage::{ASKERS, Setting, Stage, TENANT, first_id, object_id};
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

/// A receiver around the documented `verify`: it fails the first attempt and says of each message what `verify` says.
const RECEIVER: &str = r#"
import http.server, json, os, ssl, sys, time

folder = os.environ["FOLDER"]
secret = open(f"{folder}/secret", "rb").read()
told = []

class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        header = self.headers["Chaperone-Signature"]
        told.append({
            "verified": verify(secret, header, body),
            "later": verify(secret, header, body, time.time() + 600),
            "earlier": verify(secret, header, body, time.time() - 600),
            "changed": verify(secret, header, body.replace(b"asked", b"never")[:-1] + b" }"),
            "other secret": verify(secret + b"x", header, body),
            "no signature": verify(secret, "t=1,v1=", body),
            "id": self.headers["Chaperone-Delivery"],
            "body": json.loads(body),
        })
        self.send_response(503 if len(told) == 1 else 204)
        self.end_headers()

    def log_message(self, *arguments):
        pass

server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
with open(f"{folder}/url.new", "w") as file:
    file.write(f"https://127.0.0.1:{server.server_port}/in?sig=hunter2\n")
os.rename(f"{folder}/url.new", f"{folder}/url")
while len(told) < 3:
    server.handle_request()
json.dump(told, sys.stdout)
"#;

/// The Python of the documentation.
fn documented() -> String {
    let page = read(Path::new("host/docs/notify.md")).unwrap();
    let block = page.split("```python\n").nth(1).and_then(|rest| rest.split("```").next());
    block.expect("host/docs/notify.md has no Python").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_is_told_by_a_webhook_that_the_documented_python_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    for (name, text) in [
        ("cert.pem", made.cert.pem()),
        ("key.pem", made.signing_key.serialize_pem()),
        ("secret", "a secret of sixteen bytes and more".to_owned()),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let place = folder.path().display().to_string();
    let receiving = {
        let (script, place) = (documented() + RECEIVER, place.clone());
        tokio::task::spawn_blocking(move || python(&script, &[("FOLDER", &place)]))
    };
    let started = Instant::now();
    while !folder.path().join("url").exists() {
        assert!(started.elapsed() < Duration::from_secs(60) && !receiving.is_finished(), "no receiver");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let more = format!(
        "notify: [{{ name: siem, kind: webhook, url: \"file:{place}/url\", secret: \"file:{place}/secret\", \
         ca: \"{place}/cert.pem\", targets: shop }}]"
    );
    let stage = Stage::start(Setting { more, ..Setting::default() }).await.unwrap();
    let asker = stage.token(CallerKind::Agent, ASKERS, 2).unwrap();
    let asked = stage.chaperone(&asker, &["request", "shop", "--reason", "words of an agent", "--json"]);
    let id = first_id(&asked.unwrap().success().unwrap(), "req_").unwrap();
    let operator = stage.approver().unwrap();
    stage.chaperone(&operator, &["approve", &id]).unwrap().success().unwrap();

    let told = receiving.await.unwrap().unwrap().success().unwrap();
    assert!(!told.contains("words of an agent"), "{told}");
    let told: Vec<Value> = serde_json::from_str(&told).unwrap();
    for one in &told {
        assert_eq!(one["verified"], true, "{one}");
        for forged in ["later", "earlier", "changed", "other secret", "no signature"] {
            assert_eq!(one[forged], false, "{forged}: {one}");
        }
        assert_eq!(
            (&one["body"]["approval"]["id"], &one["id"]),
            (&Value::from(id.as_str()), &one["body"]["delivery"])
        );
    }
    let mut events: Vec<_> = told.iter().map(|one| one["body"]["event"].as_str().unwrap()).collect();
    events.sort_unstable();
    events.dedup();
    assert_eq!(events, ["approved", "asked"], "one of them came twice");

    let listed = |stage: &Stage| stage.chaperone(&operator, &["deliveries"])?.success();
    let all_there = |stage: &Stage| Ok(listed(stage)?.matches(" delivered ").count() == 2);
    stage.until("both are delivered", all_there).await.unwrap();
    let listed = listed(&stage).unwrap();
    assert!(listed.contains("siem") && listed.contains(&id) && !listed.contains("hunter2"), "{listed}");
    let counted = crate::metrics::scrape(&stage).await.unwrap();
    let count = |outcome: &str| counted[&format!("chaperone_deliveries_total{{outcome=\"{outcome}\"}}")];
    assert_eq!([count("delivered"), count("retried"), count("failed")], [2.0, 1.0, 0.0]);
    assert_eq!(counted["chaperone_deliveries_waiting"], 0.0);
    let others = stage.chaperone(&asker, &["deliveries"]).unwrap();
    assert!(others.stderr.contains("There is nothing of this id that you may see"), "{}", others.stderr);
}

/// Presses *Approve* as Slack would, signed by the right secret and by another, and at a channel that there is not.
const PRESS: &str = r#"
import hashlib, hmac, json, os, ssl, time, urllib.error, urllib.parse, urllib.request

context = ssl.create_default_context(cafile=os.environ["CA"])
payload = json.dumps({
    "type": "block_actions", "user": {"id": "U1", "team_id": "T1"}, "team": {"id": "T1"},
    "response_url": "http://127.0.0.1:9/actions", "actions": [{"action_id": "approve", "value": os.environ["ID"]}],
})
body = urllib.parse.urlencode({"payload": payload}).encode()

def press(name, secret):
    now = str(int(time.time()))
    tag = hmac.new(secret, b"v0:" + now.encode() + b":" + body, hashlib.sha256).hexdigest()
    headers = {"X-Slack-Request-Timestamp": now, "X-Slack-Signature": "v0=" + tag}
    url = f"https://{os.environ['API']}/api/v1/hooks/slack/{name}"
    try:
        return urllib.request.urlopen(urllib.request.Request(url, body, headers), context=context).status
    except urllib.error.HTTPError as error:
        return error.code

secret = b"the signing secret of the app"
print(press("on-call", secret), press("on-call", b"x" + secret), press("nowhere", secret))
"#;

#[tokio::test(flavor = "multi_thread")]
async fn slacks_hook_is_served_and_lets_nobody_decide_for_whom_nobody_vouches() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("url"), "http://127.0.0.1:9/services").unwrap();
    std::fs::write(folder.path().join("secret"), "the signing secret of the app").unwrap();
    let place = folder.path().display();
    let approver = format!("principal:test/{TENANT}/{}", object_id(9));
    let more = format!(
        "notify: [{{ name: on-call, kind: slack, url: \"file:{place}/url\", secret: \"file:{place}/secret\", \
         allow_http_loopback: yes, people: {{ U1: \"{approver}\" }} }}]"
    );
    let stage = Stage::start(Setting { more, ..Setting::default() }).await.unwrap();
    let asker = stage.token(CallerKind::Agent, ASKERS, 2).unwrap();
    let asked = stage.chaperone(&asker, &["request", "shop", "--reason", "x", "--json"]);
    let id = first_id(&asked.unwrap().success().unwrap(), "req_").unwrap();

    let (api, ca) = (stage.api.to_string(), stage.path("gateway.pem").display().to_string());
    let environment = [("API", api.as_str()), ("CA", ca.as_str()), ("ID", id.as_str())];
    let statuses = tokio::task::block_in_place(|| python(PRESS, &environment)).unwrap();
    assert_eq!(statuses.success().unwrap(), "200 401 401\n");
    let waiting = stage.chaperone(&stage.approver().unwrap(), &["approvals", "--json"]).unwrap();
    let waiting: Value = serde_json::from_str(&waiting.success().unwrap()).unwrap();
    let approval = &waiting["approvals"][0];
    assert_eq!(
        (&approval["id"], &approval["decisions"]),
        (&Value::from(id), &Value::from(Vec::<Value>::new()))
    );
    assert!(!stage.audited().unwrap().contains("slack.pressed"));
}
