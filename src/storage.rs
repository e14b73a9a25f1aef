//! Files into S3-compatible storage, behind the feature `s3`: rejected rows of a destination whose folder is gone
//! with its container.
//!
//! Knows nothing of rows. Follows the S3 API by way of the `object_store` crate, which signs, repeats and divides
//! large files into parts.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::diagnostic::{Diagnostic, ErrorClass};
use crate::secret::Secret;

/// Where a bucket is, in the words that Airbyte's destinations use.
#[derive(Debug, Deserialize)]
pub struct BucketSettings {
    /// The bucket.
    pub s3_bucket_name: Option<String>,
    /// Its region. Default: `us-east-1`.
    pub s3_bucket_region: Option<String>,
    /// A server other than Amazon's.
    pub s3_endpoint: Option<String>,
    /// What the names of objects begin with.
    #[serde(default)]
    pub bucket_path: String,
    /// Whose rights are used.
    pub access_key_id: Option<Secret>,
    /// The secret that belongs to it.
    pub secret_access_key: Option<Secret>,
}

/// A file could not be stored.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep `{}` in the bucket `{bucket}`", .file.display())]
pub struct StorageError {
    /// The file.
    pub file: PathBuf,
    /// The bucket.
    pub bucket: String,
    /// The cause.
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl Diagnostic for StorageError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Retriable
    }

    fn hint(&self) -> Option<String> {
        Some("every row is written or told as rejected; the file stays in `state_dir`".to_owned())
    }
}

/// A setting that is missing or cannot be used: its key and what is wrong.
type Unusable = (&'static str, String);

#[cfg(not(feature = "s3"))]
mod bucket {
    use super::{BucketSettings, Path, StorageError, Unusable};

    /// A bucket, which this build cannot reach.
    #[derive(Debug)]
    pub struct Bucket(std::convert::Infallible);

    impl Bucket {
        /// Says that this build has no such storage.
        ///
        /// # Errors
        /// Always.
        pub fn open(_: BucketSettings) -> Result<Self, Unusable> {
            Err(("/storage_type", "this build has no S3; it takes `cargo build --features s3`".to_owned()))
        }

        /// Never called.
        ///
        /// # Errors
        /// Never.
        pub async fn put(&self, _: &Path) -> Result<String, StorageError> {
            match self.0 {}
        }
    }
}

#[cfg(feature = "s3")]
mod bucket {
    use super::{BucketSettings, Path, StorageError, Unusable};
    use object_store::aws::{AmazonS3, AmazonS3Builder};
    use object_store::buffered::BufWriter;
    use std::sync::Arc;
    use tokio::io::AsyncWriteExt;

    /// A bucket that files go to.
    #[derive(Debug)]
    pub struct Bucket {
        store: Arc<AmazonS3>,
        name: String,
        folder: String,
    }

    impl Bucket {
        /// A bucket as the settings describe it; nothing is sent.
        ///
        /// # Errors
        /// When a setting is missing or cannot be used.
        pub fn open(settings: BucketSettings) -> Result<Self, Unusable> {
            let lacks = |key| move || (key, "is needed with storage of type `S3`".to_owned());
            let name = settings.s3_bucket_name.ok_or_else(lacks("/s3_bucket_name"))?;
            let id = settings.access_key_id.ok_or_else(lacks("/access_key_id"))?;
            let secret = settings.secret_access_key.ok_or_else(lacks("/secret_access_key"))?;
            let mut builder = AmazonS3Builder::new()
                .with_bucket_name(&name)
                .with_region(settings.s3_bucket_region.as_deref().unwrap_or("us-east-1"))
                .with_access_key_id(id.expose())
                .with_secret_access_key(secret.expose());
            if let Some(endpoint) = settings.s3_endpoint.filter(|endpoint| !endpoint.is_empty()) {
                // Keys and rows go over a bare connection only within this machine.
                let local = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
                let is_local = local.iter().any(|local| endpoint.starts_with(local));
                if !endpoint.starts_with("https://") && !is_local {
                    return Err(("/s3_endpoint", format!("`{endpoint}` is not `https://…`")));
                }
                builder = builder.with_endpoint(endpoint).with_allow_http(is_local);
            }
            let store = builder.build().map_err(|error| ("", error.to_string()))?;
            Ok(Self { store: Arc::new(store), name, folder: settings.bucket_path })
        }

        /// Stores a file under its name; answers where.
        ///
        /// # Errors
        /// When the file cannot be read, or the server does not take it after some minutes of attempts.
        pub async fn put(&self, file: &Path) -> Result<String, StorageError> {
            self.try_put(file).await.map_err(|source| StorageError {
                file: file.to_owned(),
                bucket: self.name.clone(),
                source,
            })
        }

        async fn try_put(&self, file: &Path) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let place = object_store::path::Path::from(format!("{}/{name}", self.folder));
            let mut source = tokio::fs::File::open(file).await?;
            // Small files in one request, large ones in parts, so that none has to fit into memory.
            let mut object = BufWriter::new(self.store.clone(), place.clone());
            tokio::io::copy(&mut source, &mut object).await?;
            object.shutdown().await?;
            Ok(format!("s3://{}/{place}", self.name))
        }
    }
}

pub use bucket::Bucket;
