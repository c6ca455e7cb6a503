//! Keys from a server whose certificate only a private authority vouches for, such as a cluster's.

use super::*;
use std::io::Write as _;
use std::path::PathBuf;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Serves the issuer's keys over TLS, as often as it is asked; gives its own certificate and the address.
async fn key_server(issuer: &LocalIssuer) -> (String, String) {
    // First, since it installs the cryptographic library.
    let tls = crate::tls::TlsServer::self_signed().unwrap();
    let body = reqwest::get(issuer.jwks_url()).await.unwrap().text().await.unwrap();
    let pem = tls.certificate_pem().to_string();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/openid/v1/jwks", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = tls.accept(tcp, None).await else { continue };
            let _ = stream.read(&mut [0; 4096]).await;
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (pem, url)
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[tokio::test]
async fn keys_come_from_a_server_of_the_named_authority_and_of_no_other() {
    let issuer = LocalIssuer::start(TENANT).await.unwrap();
    let (pem, url) = key_server(&issuer).await;
    let stranger = crate::tls::TlsServer::self_signed().unwrap().certificate_pem().to_string();
    let (ours, others) = (file(&pem), file(&stranger));
    for (case, authority, expected) in [
        ("its own", Some(ours.path()), Ok(())),
        ("another", Some(others.path()), Err(TokenProblem::KeysUnavailable)),
        ("the machine's", None, Err(TokenProblem::KeysUnavailable)),
    ] {
        let mut config = issuer.provider(corp(), AUDIENCE);
        config.discovery_url = None;
        config.jwks_url = Some(url.clone());
        config.jwks_ca = authority.map(PathBuf::from);
        let identities = Identities::new(vec![config]).unwrap();
        let token = Credential::bearer(issuer.token(&agent()).unwrap());
        assert_eq!(identities.check(&token, now()).await.map(drop), expected, "{case}");
    }
}

#[tokio::test]
async fn an_authority_that_cannot_be_used_is_said_at_the_start() {
    let issuer = LocalIssuer::start(TENANT).await.unwrap();
    let (empty, long) = (file(""), file(&"x".repeat((1 << 20) + 1)));
    let broken = file("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n");
    for (path, why) in [
        (PathBuf::from("/no/such/file"), "entity not found"),
        (empty.path().to_owned(), "there is no certificate in it"),
        (broken.path().to_owned(), "it is not PEM"),
        (long.path().to_owned(), "it is longer than 1048576 bytes"),
    ] {
        let mut config = issuer.provider(corp(), AUDIENCE);
        config.jwks_ca = Some(path.clone());
        let error = Identities::new(vec![config]).err().unwrap().to_string();
        let what = format!("`{}` cannot be used as the authority of the server of keys", path.display());
        assert_eq!(error, format!("provider `corp`: {what}: {why}"));
    }
}
