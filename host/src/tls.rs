//! TLS, both ways: the only module that knows rustls.
//!
//! Server side: certificate files, read again when they change, or a self-signed certificate for loopback. Client side:
//! the target's certificate is verified against a given authority or the machine's. There is no way to skip verification.

mod socket;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::net::TcpStream;

pub use socket::Socket;

/// The gateway's side of a connection to a target.
pub type ClientTls = tokio_rustls::client::TlsStream<Socket>;
/// The gateway's side of a client's connection.
pub type ServerTls = tokio_rustls::server::TlsStream<Socket>;

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing or not PEM.
    #[error("{path}: {problem}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// rustls refused the material.
    #[error("the TLS certificate or key is not usable: {0}")]
    Material(String),
}

/// Installs the one cryptography provider. Safe to call more than once.
pub fn install_provider() {
    // An error only says that it is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// The gateway's own certificate.
pub struct TlsServer {
    config: ArcSwap<rustls::ServerConfig>,
    files: Option<Files>,
    certificate_pem: ArcSwap<String>,
}

struct Files {
    certificate: PathBuf,
    key: PathBuf,
    changed: ArcSwap<Times>,
}

/// When the certificate and the key were last changed; either may be the older one, and come from a backup.
type Times = (Option<SystemTime>, Option<SystemTime>);

/// ALPN names: PostgreSQL's direct TLS asks for `postgresql` (PostgreSQL manual, "Direct SSL").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// `postgresql`
    Postgres,
    /// `http/1.1`
    Http,
}

impl TlsServer {
    /// From PEM files; call [`TlsServer::reload_if_changed`] from time to time.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let (config, pem) = read_config(certificate, key)?;
        let files = Files {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            changed: ArcSwap::from_pointee(times(certificate, key)),
        };
        Ok(TlsServer {
            config: ArcSwap::from_pointee(config),
            files: Some(files),
            certificate_pem: ArcSwap::from_pointee(pem),
        })
    }

    /// A certificate of its own for `localhost` and the loopback addresses, new at each start.
    pub fn self_signed() -> Result<Self, TlsError> {
        let material = |error: rcgen::Error| TlsError::Material(error.to_string());
        let names = ["localhost", "127.0.0.1", "::1"].map(String::from);
        let made = rcgen::generate_simple_self_signed(names).map_err(material)?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())
            .map_err(|problem| TlsError::Material(problem.to_owned()))?;
        let config = server_config(vec![made.cert.der().clone()], key)?;
        Ok(TlsServer {
            config: ArcSwap::from_pointee(config),
            files: None,
            certificate_pem: ArcSwap::from_pointee(made.cert.pem()),
        })
    }

    /// The certificate as PEM, for clients that shall trust it.
    pub fn certificate_pem(&self) -> Arc<String> {
        self.certificate_pem.load_full()
    }

    /// Reads the files again when they are newer. A bad file changes nothing; the old certificate stays in use.
    pub fn reload_if_changed(&self) -> Result<Reload, TlsError> {
        let Some(files) = &self.files else { return Ok(Reload::Unchanged) };
        let now = times(&files.certificate, &files.key);
        if now == **files.changed.load() {
            return Ok(Reload::Unchanged);
        }
        let (config, pem) = read_config(&files.certificate, &files.key)?;
        self.config.store(Arc::new(config));
        self.certificate_pem.store(Arc::new(pem));
        files.changed.store(Arc::new(now));
        Ok(Reload::Reloaded)
    }

    /// The server's side of a handshake.
    pub async fn accept(&self, stream: TcpStream, alpn: Option<Alpn>) -> std::io::Result<ServerTls> {
        let mut config = self.config.load_full();
        if let Some(alpn) = alpn {
            let name = match alpn {
                Alpn::Postgres => b"postgresql".to_vec(),
                Alpn::Http => b"http/1.1".to_vec(),
            };
            let mut own = (*config).clone();
            own.alpn_protocols = vec![name];
            config = Arc::new(own);
        }
        tokio_rustls::TlsAcceptor::from(config).accept(Socket(stream)).await
    }
}

/// What [`TlsServer::reload_if_changed`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// The files are as they were.
    Unchanged,
    /// New connections get the new certificate.
    Reloaded,
}

fn times(certificate: &Path, key: &Path) -> Times {
    let changed = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
    (changed(certificate), changed(key))
}

fn read_config(certificate: &Path, key: &Path) -> Result<(rustls::ServerConfig, String), TlsError> {
    let file = |path: &Path, problem: String| TlsError::File { path: path.to_owned(), problem };
    let pem = std::fs::read_to_string(certificate).map_err(|error| file(certificate, error.to_string()))?;
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| file(certificate, format!("not a PEM certificate: {error:?}")))?;
    if chain.is_empty() {
        return Err(file(certificate, "holds no certificate".into()));
    }
    let key_der = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| file(key, format!("not a PEM private key: {error:?}")))?;
    Ok((server_config(chain, key_der)?, pem))
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<rustls::ServerConfig, TlsError> {
    install_provider();
    rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| TlsError::Material(error.to_string()))
}

/// How the gateway verifies a target.
#[derive(Clone)]
pub struct TlsClient {
    config: Arc<rustls::ClientConfig>,
}

impl TlsClient {
    /// Trusts the authorities in a PEM file, and no other.
    pub fn trusting(authority: &Path) -> Result<Self, TlsError> {
        let file = |problem: String| TlsError::File { path: authority.to_owned(), problem };
        let pem = std::fs::read(authority).map_err(|error| file(error.to_string()))?;
        Self::trusting_pem(&pem).map_err(|error| file(error.to_string()))
    }

    /// Trusts the authorities of the machine.
    pub fn trusting_the_machine() -> Result<Self, TlsError> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            return Err(TlsError::Material(
                "this machine has no certificate authorities; name one with `ca`".into(),
            ));
        }
        install_provider();
        let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(TlsClient { config: Arc::new(config) })
    }

    /// Trusts the authorities in PEM text, and no other.
    pub fn trusting_pem(pem: &[u8]) -> Result<Self, TlsError> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| TlsError::Material(format!("{error:?}")))?;
            roots.add(certificate).map_err(|error| TlsError::Material(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(TlsError::Material("there is no certificate in it".into()));
        }
        install_provider();
        let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(TlsClient { config: Arc::new(config) })
    }

    /// The client's side of a handshake; fails when the certificate is not for `host`.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> std::io::Result<ClientTls> {
        let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        tokio_rustls::TlsConnector::from(Arc::clone(&self.config)).connect(name, Socket(stream)).await
    }
}

/// The channel binding `tls-server-end-point`: the hash of the server's certificate (RFC 5929, section 4.1), as SCRAM
/// wants it. None when the certificate's own signature uses a hash for which the RFC has no rule.
pub fn server_end_point(stream: &ClientTls) -> Option<Vec<u8>> {
    use aws_lc_rs::digest;
    let (_, connection) = stream.get_ref();
    let certificate = connection.peer_certificates()?.first()?;
    let algorithm = match signature_hash(certificate.as_ref())? {
        SignatureHash::Sha256 => &digest::SHA256,
        SignatureHash::Sha384 => &digest::SHA384,
        SignatureHash::Sha512 => &digest::SHA512,
    };
    Some(digest::digest(algorithm, certificate.as_ref()).as_ref().to_vec())
}

enum SignatureHash {
    Sha256,
    Sha384,
    Sha512,
}

/// Which hash the certificate's signature uses, by the object identifiers of RFC 4055 and RFC 5758. SHA-1 and MD5 count
/// as SHA-256, as the RFC says.
fn signature_hash(certificate: &[u8]) -> Option<SignatureHash> {
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
    // The algorithm stands in the certificate twice; the later one is outside the signed part and right before the
    // signature. Searching for the whole identifier is enough: both have to be equal (RFC 5280, section 4.1.1.2).
    let last_of = |oid: &[u8]| {
        memchr::memmem::rfind(certificate, oid).and_then(|at| certificate.get(at + oid.len()).copied())
    };
    match (last_of(RSA), last_of(ECDSA)) {
        (Some(0x0b | 0x05 | 0x04), _) | (None, Some(0x02)) => Some(SignatureHash::Sha256),
        (Some(0x0c), _) | (None, Some(0x03)) => Some(SignatureHash::Sha384),
        (Some(0x0d), _) | (None, Some(0x04)) => Some(SignatureHash::Sha512),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Writes a new pair, an hour further away from today each time: the clock of a file system may be coarse.
    fn write_pair(folder: &Path, hours: u64) -> String {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let files = [("cert.pem", made.cert.pem()), ("key.pem", made.signing_key.serialize_pem())];
        for (name, text) in files {
            std::fs::write(folder.join(name), text).unwrap();
            let file = std::fs::File::options().append(true).open(folder.join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(hours * 3600)).unwrap();
        }
        made.cert.pem()
    }

    /// Whether a client that trusts only `pem` gets through a handshake.
    async fn is_trusted(server: &TlsServer, pem: &str) -> bool {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = async {
            let stream = TcpStream::connect(address).await.unwrap();
            TlsClient::trusting_pem(pem.as_bytes()).unwrap().connect("127.0.0.1", stream).await.is_ok()
        };
        let accept = async { server.accept(listener.accept().await.unwrap().0, None).await };
        tokio::join!(client, accept).0
    }

    #[tokio::test]
    async fn a_changed_certificate_is_used_without_a_restart_and_a_bad_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let old = write_pair(folder.path(), 1);
        let server = TlsServer::from_files(&certificate, &key).unwrap();
        assert_eq!(server.reload_if_changed().unwrap(), Reload::Unchanged);
        assert!(is_trusted(&server, &old).await);

        // Older files count as well: a pair may come from a backup.
        let new = write_pair(folder.path(), 2);
        assert_eq!(server.reload_if_changed().unwrap(), Reload::Reloaded);
        assert!(is_trusted(&server, &new).await && !is_trusted(&server, &old).await);

        // A certificate without its key, and then half a file: the last good pair stays.
        write_pair(folder.path(), 3);
        std::fs::write(&certificate, &old).unwrap();
        assert!(server.reload_if_changed().is_err());
        std::fs::write(&certificate, "-----BEGIN CERTIFICATE-----").unwrap();
        assert!(server.reload_if_changed().is_err());
        assert!(is_trusted(&server, &new).await);
    }
}
