//! The three kinds of store as one, and what each needs so that nothing is ever overwritten.
//!
//! A short file is one request, which every kind refuses when there is an object. A longer one comes in parts, and only the
//! request that puts them together makes an object of them. That one is conditional in S3. Azure and Google have no condition
//! that could be set there, so the parts become an object by another name first, which is then copied within the store on
//! condition, and deleted.
//!
//! What may go wrong: a gateway dies in the middle. Parts that nobody put together are no object; a rule of the bucket
//! should delete them after some days. An object by the other name is written anew by the next attempt.

use super::http::{Connector, Problem};
use super::{ArchiveError, Source};
use crate::config::{Secret, Store, StoreIdentity, StoreKind};
use object_store::multipart::MultipartStore;
use object_store::path::Path as Place;
use object_store::{BackoffConfig, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

/// How often a request is repeated at once; after that the upload as a whole is, later.
const REPEATED: usize = 2;
/// For how long it is repeated at most.
const REPEATED_FOR: Duration = Duration::from_secs(30);
/// What objects of Azure and Google are called before they have their name. It is no name of a final file.
const UPLOADING: &str = ".uploading";

/// A store's client.
#[derive(Debug)]
pub(super) enum Client {
    /// With one whose every request is refused when there is an object: it only puts parts together.
    #[cfg(feature = "s3")]
    S3 { store: object_store::aws::AmazonS3, finisher: object_store::aws::AmazonS3 },
    /// Another.
    Other(Arc<dyn ObjectStore>),
}

impl Client {
    pub(super) fn open(store: &Store) -> Result<Self, ArchiveError> {
        let connector = Connector::new(store)?;
        match store.kind {
            #[cfg(feature = "s3")]
            StoreKind::S3 => s3(store, &connector),
            #[cfg(feature = "azure")]
            StoreKind::Azure => azure(store, connector),
            #[cfg(feature = "gcs")]
            StoreKind::Gcs => gcs(store, connector),
            #[allow(unreachable_patterns)]
            _ => Err(ArchiveError::Config(format!("this chaperone was built without what `{store}` needs"))),
        }
    }

    pub(super) fn store(&self) -> &dyn ObjectStore {
        match self {
            #[cfg(feature = "s3")]
            Client::S3 { store, .. } => store,
            Client::Other(store) => store,
        }
    }

    /// Makes an object of a long file, unless there is one.
    pub(super) async fn put_parts(&self, place: &Place, source: &mut Source) -> Result<(), ArchiveError> {
        match self {
            #[cfg(feature = "s3")]
            Client::S3 { store, finisher } => {
                let id = store.create_multipart(place).await.map_err(|error| refused(&error))?;
                let put = async {
                    let mut parts = Vec::new();
                    while let Some(bytes) = source.next()? {
                        let part = store.put_part(place, &id, parts.len(), PutPayload::from(bytes)).await;
                        parts.push(part.map_err(|error| refused(&error))?);
                    }
                    unless_there(finisher.complete_multipart(place, &id, parts).await)
                };
                let put = put.await;
                if put.is_err() {
                    // What is left there is no object. It costs its space until the bucket's own rule deletes it.
                    let _ = store.abort_multipart(place, &id).await;
                }
                put
            }
            Client::Other(store) => {
                let aside = Place::from(format!("{place}{UPLOADING}"));
                let mut upload = store.put_multipart(&aside).await.map_err(|error| refused(&error))?;
                while let Some(bytes) = source.next()? {
                    upload.put_part(PutPayload::from(bytes)).await.map_err(|error| refused(&error))?;
                }
                upload.complete().await.map_err(|error| refused(&error))?;
                unless_there(store.copy_if_not_exists(&aside, place).await)?;
                // The next attempt to bring this file writes it anew.
                let _ = store.delete(&aside).await;
                Ok(())
            }
        }
    }
}

/// That there is an object already is no error here: what it is, is looked at next.
fn unless_there<T>(outcome: object_store::Result<T>) -> Result<(), ArchiveError> {
    use object_store::Error::{AlreadyExists, Precondition};
    match outcome {
        Ok(_) | Err(AlreadyExists { .. } | Precondition { .. }) => Ok(()),
        Err(error) => Err(refused(&error)),
    }
}

/// Words a failure without the URL, which the error's own text has in it.
pub(super) fn refused(error: &object_store::Error) -> ArchiveError {
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(inner) = source {
        if let Some(problem) = inner.downcast_ref::<Problem>() {
            return ArchiveError::Store(problem.to_string());
        }
        source = inner.source();
    }
    ArchiveError::Store(match error {
        object_store::Error::NotFound { .. } => {
            "there is no such bucket or container, or no such object".into()
        }
        object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. } => {
            "the store says that the object changes at this moment".into()
        }
        _ => "what the store answers cannot be understood: check `endpoint`".into(),
    })
}

fn retry() -> RetryConfig {
    RetryConfig { backoff: BackoffConfig::default(), max_retries: REPEATED, retry_timeout: REPEATED_FOR }
}

/// What a secret holds now, so that one that was mended counts without a restart.
fn read(secret: &Secret) -> Result<String, ArchiveError> {
    use secrecy::ExposeSecret;
    let value = secret.read_again().map_err(ArchiveError::Config)?;
    Ok(value.expose_secret().to_owned())
}

/// A builder's own error may quote what it was given.
fn unusable(_: object_store::Error) -> ArchiveError {
    ArchiveError::Config("what `recording.store` says cannot be used: check its credentials".into())
}

#[cfg(feature = "s3")]
fn s3(store: &Store, connector: &Connector) -> Result<Client, ArchiveError> {
    use axum::http::{HeaderMap, HeaderValue, header::IF_NONE_MATCH};
    use object_store::ClientOptions;
    use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&store.bucket)
        .with_region(store.region.as_deref().unwrap_or("us-east-1"))
        .with_retry(retry())
        // One object at a time, which every server can.
        .with_disable_bulk_delete(true)
        .with_http_connector(connector.clone());
    if let Some(endpoint) = &store.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let StoreIdentity::AccessKey(id, secret) = &store.identity {
        builder = builder.with_access_key_id(read(id)?).with_secret_access_key(read(secret)?);
    } else {
        // Only what says who the machine is: an endpoint, say, is not for the environment to set.
        for (variable, key) in [
            ("AWS_WEB_IDENTITY_TOKEN_FILE", AmazonS3ConfigKey::WebIdentityTokenFile),
            ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
            ("AWS_ROLE_SESSION_NAME", AmazonS3ConfigKey::RoleSessionName),
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", AmazonS3ConfigKey::ContainerCredentialsRelativeUri),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", AmazonS3ConfigKey::ContainerCredentialsFullUri),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", AmazonS3ConfigKey::ContainerAuthorizationTokenFile),
        ] {
            if let Ok(value) = std::env::var(variable) {
                builder = builder.with_config(key, value);
            }
        }
    }
    // RFC 9110, section 13.1.2: nothing that exists matches. It is signed like every other header.
    let never_over = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static("*"))]);
    let options = ClientOptions::new().with_default_headers(never_over);
    let finisher = builder.clone().with_client_options(options).build().map_err(unusable)?;
    Ok(Client::S3 { store: builder.build().map_err(unusable)?, finisher })
}

#[cfg(feature = "azure")]
fn azure(store: &Store, connector: Connector) -> Result<Client, ArchiveError> {
    use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
    let mut builder = MicrosoftAzureBuilder::new()
        .with_account(store.account.as_deref().unwrap_or_default())
        .with_container_name(&store.bucket)
        .with_retry(retry())
        .with_http_connector(connector);
    if let Some(endpoint) = &store.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    match &store.identity {
        StoreIdentity::AccountKey(key) => builder = builder.with_access_key(read(key)?),
        StoreIdentity::Sas(sas) => builder = builder.with_config(AzureConfigKey::SasKey, read(sas)?),
        _ => {
            for (variable, key) in [
                ("AZURE_CLIENT_ID", AzureConfigKey::ClientId),
                ("AZURE_TENANT_ID", AzureConfigKey::AuthorityId),
                ("AZURE_FEDERATED_TOKEN_FILE", AzureConfigKey::FederatedTokenFile),
            ] {
                if let Ok(value) = std::env::var(variable) {
                    builder = builder.with_config(key, value);
                }
            }
        }
    }
    Ok(Client::Other(Arc::new(builder.build().map_err(unusable)?)))
}

#[cfg(feature = "gcs")]
fn gcs(store: &Store, connector: Connector) -> Result<Client, ArchiveError> {
    use object_store::gcp::GoogleCloudStorageBuilder;
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(&store.bucket)
        .with_retry(retry())
        .with_http_connector(connector);
    if let Some(endpoint) = &store.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    if let StoreIdentity::ServiceAccount(key) = &store.identity {
        builder = builder.with_service_account_key(read(key)?);
    } else if let Ok(path) = std::env::var("GOOGLE_APPLICATION_CREDENTIALS") {
        builder = builder.with_application_credentials(path);
    }
    Ok(Client::Other(Arc::new(builder.build().map_err(unusable)?)))
}
