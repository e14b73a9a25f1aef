//! Files of the state folder that hold tokens, shared between processes.
//!
//! Each is guarded by a lock file next to it. What the tokens are for is in `auth`.

use super::error::{Error, ErrorKind};
use super::private_file::{make_folder, private, replace_durably};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks at a lock that another process holds.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// One file of secrets, locked while this value lives.
pub(super) struct TokenFile {
    path: PathBuf,
    _lock: File,
}

impl TokenFile {
    /// Waits for the lock of the file `<kind>-<key>.json`, at most `patience`.
    ///
    /// The wait is a series of looks rather than a blocking call, so that it can be cancelled.
    pub(super) async fn lock(
        state_dir: &Path,
        kind: &str,
        key: &str,
        patience: Duration,
    ) -> Result<Self, Error> {
        let folder = state_dir.join("tokens");
        make_folder(&folder).map_err(|error| trouble(&folder, error))?;
        let path = folder.join(format!("{kind}-{key}.json"));
        let lock_path = path.with_extension("lock");
        let lock = private(OpenOptions::new().create(true).write(true).truncate(false))
            .open(&lock_path)
            .map_err(|error| trouble(&lock_path, error))?;
        let started = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Self { path, _lock: lock }),
                Err(TryLockError::Error(error)) => return Err(trouble(&lock_path, error)),
                Err(TryLockError::WouldBlock) if started.elapsed() > patience => {
                    let message =
                        format!("`{}` is locked by another process for too long", lock_path.display());
                    return Err(Error::new(ErrorKind::File, message));
                }
                Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_POLL).await,
            }
        }
    }

    /// The content; `None` when there is none or it cannot be understood, which costs one token.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&std::fs::read(&self.path).ok()?).ok()
    }

    /// Replaces the content.
    pub(super) fn write<T: Serialize>(&self, content: &T) -> Result<(), Error> {
        let content = serde_json::to_vec(content).map_err(|error| trouble(&self.path, error.into()))?;
        replace_durably(&self.path, &content).map_err(|error| trouble(&self.path, error))
    }

    /// Forgets the content.
    pub(super) fn remove(&self) -> Result<(), Error> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(trouble(&self.path, error)),
            _ => Ok(()),
        }
    }
}

/// A file name that says nothing about the secrets it was made of.
pub(super) fn key_of(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn trouble(path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::File, format!("`{}` cannot be used for tokens", path.display()))
        .with_source(error)
        .with_hint("`state_dir` must be a folder that this user may write to")
}

#[cfg(test)]
mod tests {
    use super::{TokenFile, key_of};
    use std::time::Duration;

    type Tested = Result<(), Box<dyn std::error::Error>>;

    #[tokio::test]
    async fn content_is_private_and_replaced_whole() -> Tested {
        let folder = tempfile::tempdir()?;
        let file = TokenFile::lock(folder.path(), "access", "k", Duration::ZERO).await?;
        assert_eq!(file.read::<Vec<String>>(), None);
        file.write(&["one"])?;
        file.write(&["two"])?;
        assert_eq!(file.read::<Vec<String>>(), Some(vec!["two".to_owned()]));
        #[cfg(unix)]
        for name in ["access-k.json", "access-k.lock"] {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(folder.path().join("tokens").join(name))?.permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        file.remove()?;
        file.remove()?;
        assert_eq!(file.read::<Vec<String>>(), None);
        Ok(())
    }

    #[tokio::test]
    async fn one_holder_at_a_time() -> Tested {
        let folder = tempfile::tempdir()?;
        let held = TokenFile::lock(folder.path(), "access", "k", Duration::ZERO).await?;
        let refused = TokenFile::lock(folder.path(), "access", "k", Duration::ZERO).await.err();
        assert!(refused.is_some_and(|error| error.to_string().contains("locked by another process")));
        TokenFile::lock(folder.path(), "access", "other", Duration::ZERO).await?;
        drop(held);
        TokenFile::lock(folder.path(), "access", "k", Duration::ZERO).await?;
        Ok(())
    }

    #[test]
    fn keys_tell_their_parts_apart() {
        assert_ne!(key_of(&["ab", "c"]), key_of(&["a", "bc"]));
        assert_eq!(key_of(&["a"]).len(), 32);
    }
}
