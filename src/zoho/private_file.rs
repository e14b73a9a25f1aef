//! Files of the state folder: readable by their owner only, and replaced as a whole, so that a reader
//! sees the old or the new content and a crash leaves one of them.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use tempfile::NamedTempFile;

/// Makes a folder and those above it; nobody else may look inside.
#[cfg(unix)]
pub(crate) fn make_folder(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Makes a folder and those above it.
#[cfg(not(unix))]
pub(crate) fn make_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)
}

/// Adds that a file made with these options is its owner's alone.
#[cfg(unix)]
pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(0o600)
}

/// Adds nothing where there are no such rights.
#[cfg(not(unix))]
pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

/// Replaces the content of a file, or makes it. A power cut may lose the content; nothing else does.
pub(super) fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    fresh(path, content)?.persist(path)?;
    Ok(())
}

/// The same for what cannot be had again: it outlives a power cut.
pub(super) fn replace_durably(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let fresh = fresh(path, content)?;
    fresh.as_file().sync_data()?;
    fresh.persist(path)?;
    Ok(())
}

fn fresh(path: &Path, content: &[u8]) -> std::io::Result<NamedTempFile> {
    // Such a file is created readable by its owner only.
    let mut fresh = NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    fresh.write_all(content)?;
    Ok(fresh)
}
