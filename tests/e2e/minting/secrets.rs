//! Neither the gateway's own password at the target nor that of a minted role is anywhere.
//!
//! A minted password is known to nobody, also not to this test. But the target's log has its SCRAM verifier, so whatever looks
//! like a password can be tried against that.

use super::{gone, minting, roles_of};
use aws_lc_rs::{digest, hmac, pbkdf2};
use chaperone_tests::raw::{Wire, shape};
use chaperone_tests::stage::{Minting, Stage, files};
use chaperone_tests::tools;
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::process::Command;

/// What the server keeps of a password: `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey` (RFC 5803).
struct Verifier {
    rounds: NonZeroU32,
    salt: Vec<u8>,
    stored: String,
}

impl Verifier {
    fn parse(text: &str) -> Self {
        let mut parts = text.split(['$', ':']).skip(1);
        let rounds = parts.next().unwrap().parse().unwrap();
        let salt = decode(parts.next().unwrap());
        Verifier { rounds, salt, stored: parts.next().unwrap().to_owned() }
    }

    fn is_of(&self, password: &str) -> bool {
        let mut salted = [0u8; 32];
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(algorithm, self.rounds, &self.salt, password.as_bytes(), &mut salted);
        let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &salted), b"Client Key");
        decode(&self.stored) == digest::digest(&digest::SHA256, key.as_ref()).as_ref()
    }
}

fn decode(base64: &str) -> Vec<u8> {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0u32, 0);
    for one in base64.chars().filter(|one| *one != '=') {
        bits = bits << 6 | u32::try_from(DIGITS.find(one).unwrap()).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 255).unwrap());
        }
    }
    bytes
}

/// Everything between quotes behind `PASSWORD` in a log.
fn given_passwords(log: &str) -> Vec<&str> {
    log.split("PASSWORD '").skip(1).filter_map(|rest| rest.split('\'').next()).collect()
}

/// Runs of 64 hexadecimal digits: what a minted password looks like.
fn candidates(bytes: &[u8]) -> BTreeSet<String> {
    let hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    let runs = bytes.split(|byte| !hex(byte)).filter(|run| run.len() >= 64);
    runs.flat_map(|run| run.windows(64)).map(|one| String::from_utf8(one.to_vec()).unwrap()).collect()
}

#[test]
fn a_verifier_knows_its_password() {
    let password = "ab".repeat(32);
    let verifier = Verifier::parse(&postgres_verifier(&password));
    assert!(verifier.is_of(&password));
    assert!(!verifier.is_of(&"cd".repeat(32)));
    assert_eq!(candidates(format!("x {password}\"").as_bytes()), BTreeSet::from([password]));
}

/// One made by a rule of its own: RFC 5802's, written out.
fn postgres_verifier(password: &str) -> String {
    let mut salted = [0u8; 32];
    let rounds = NonZeroU32::new(4096).unwrap();
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, b"salt-of-16-bytes", password.as_bytes(), &mut salted);
    let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &salted), b"Client Key");
    let stored = digest::digest(&digest::SHA256, key.as_ref());
    format!("SCRAM-SHA-256$4096:{}${}:unused", encode(b"salt-of-16-bytes"), encode(stored.as_ref()))
}

fn encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let number =
            group.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..=group.len() {
            text.push(char::from(DIGITS[(number >> (18 - 6 * place) & 63) as usize]));
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_of_a_target_that_mints_is_anywhere() {
    let (mut stage, _) = Stage::prepare(minting(Minting::default())).await.unwrap();
    let mut command = Command::new(tools::chaperone().unwrap());
    command.env("RUST_LOG", "trace");
    let serving = stage.serve_by(command).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let mut client = Vec::new();
    for _ in 0..2 {
        let mut wire = Wire::connect(&stage, &token).await.unwrap();
        for sql in [
            "select current_user, * from pg_roles",
            "select * from pg_authid",
            "select * from pg_shadow",
            "select rolname, rolpassword from pg_roles",
            "select * from pg_stat_activity",
            "show all",
        ] {
            let said = shape(&wire.query(sql).await.unwrap());
            assert!(said.ends_with(" ZI"), "{sql}: {said}");
        }
        client.extend(wire.seen.clone());
    }
    gone(&stage, 1).await;
    // A role that cannot be made is an error at the target, and that writes the statement down, too.
    stage.real("alter role chaperone nocreaterole").unwrap();
    assert!(Wire::connect(&stage, &token).await.is_err());
    stage.real("alter role chaperone createrole").unwrap();
    serving.signal("TERM").unwrap();
    let (status, log) = serving.ended().unwrap();
    assert!(status.success(), "{status}");
    assert!(log.contains(" TRACE "), "the log is not at level trace");
    assert_eq!(roles_of(&stage, 1).unwrap(), [""; 0]);

    let server = stage.postgres.log();
    let given = given_passwords(&server);
    assert!(given.len() >= 3, "the target's log has not the statements that make roles");
    for one in &given {
        assert!(one.starts_with("SCRAM-SHA-256$"), "a password went to the target as {one}");
    }
    let verifiers: BTreeSet<&str> = given.into_iter().collect();
    assert!(verifiers.len() >= 3, "two roles have one password");

    let minter = stage.minter_password.clone().unwrap();
    let mut places = vec![("the log".to_owned(), log.into_bytes())];
    places.push(("the client".to_owned(), client));
    places.push(("the target's log".to_owned(), server.clone().into_bytes()));
    places.extend(files(stage.folder.path()).unwrap());
    places.retain(|(place, _)| !place.ends_with(".password"));
    assert!(places.len() > 6, "not everything was searched");
    let mut tried = BTreeSet::new();
    for (place, bytes) in &places {
        let found = bytes.windows(minter.len()).any(|window| window == minter.as_bytes());
        assert!(!found, "the gateway's own password is in {place}");
        tried.extend(candidates(bytes));
    }
    // The digests of plugins are among them, so something was found to be tried.
    assert!(!tried.is_empty());
    for verifier in verifiers.iter().map(|one| Verifier::parse(one)) {
        for candidate in &tried {
            assert!(!verifier.is_of(candidate), "a minted password is somewhere");
        }
    }
}
