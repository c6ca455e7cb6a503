//! The throw-away server's certificate, and the authority that a gateway trusts to check it.

use super::binaries::Account;
use super::{PostgresError, ServerTls, io_error};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use std::path::Path;

/// Puts `server.crt` and `server.key`, the names that PostgreSQL looks for, into the data directory. Returns the
/// authority's certificate; its key is forgotten.
pub(super) fn install(
    tls: ServerTls,
    account: &Account,
    data: &Path,
) -> Result<Option<String>, PostgresError> {
    if tls == ServerTls::Off {
        return Ok(None);
    }
    let (ca, certificate, key) =
        make().map_err(|_| PostgresError::Crypto { what: "the server's certificate" })?;
    for (name, text) in [("server.crt", certificate), ("server.key", key)] {
        let path = data.join(name);
        std::fs::write(&path, text).map_err(io_error(format!("write {}", path.display())))?;
        // PostgreSQL refuses a key that others may read.
        account.own_privately(&path)?;
    }
    Ok(Some(ca))
}

/// PEM texts: the authority's certificate, the server's, and the server's key.
fn make() -> Result<(String, String, String), rcgen::Error> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    ca.distinguished_name.push(DnType::CommonName, "Throw-away PostgreSQL authority");
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let issuer = Issuer::new(ca, ca_key);

    let key = KeyPair::generate()?;
    let mut server = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    server.distinguished_name.push(DnType::CommonName, "localhost");
    let certificate = server.signed_by(&key, &issuer)?.pem();
    Ok((ca_pem, certificate, key.serialize_pem()))
}
