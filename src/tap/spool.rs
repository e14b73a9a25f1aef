//! Where bulk results lie while they are read: a folder of this process alone, gone when it ends.
//!
//! The files hold values as Zoho sent them, those that are to be hashed or masked included. A process that
//! is killed leaves its folder behind; the next one on the same `state_dir` removes it as it starts. The lock of a
//! folder tells whether its process lives.

use crate::zoho::private_file::make_folder;
use std::fs::File;
use std::io;
use std::path::Path;
use tempfile::TempDir;

/// The folder of this process.
#[derive(Debug)]
pub(super) struct Spool {
    folder: TempDir,
    _lock: File,
}

const LOCK: &str = "lock";

impl Spool {
    /// Makes the folder.
    ///
    /// # Errors
    /// When `state_dir` cannot be written to.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        Self::open_in(&state_dir.join("spool"))
    }

    /// Makes the folder inside of one that holds nothing else.
    ///
    /// # Errors
    /// When that cannot be written to.
    pub fn open_in(all: &Path) -> io::Result<Self> {
        make_folder(all)?;
        let _turn = take_turn(all)?;
        let folder = TempDir::new_in(all)?;
        let lock = File::create(folder.path().join(LOCK))?;
        lock.lock()?;
        Ok(Self { folder, _lock: lock })
    }

    /// Removes the folders whose process is gone.
    ///
    /// # Errors
    /// When `state_dir` cannot be written to.
    pub fn sweep(state_dir: &Path) -> io::Result<()> {
        Self::sweep_in(&state_dir.join("spool"))
    }

    /// Removes the folders inside of one whose process is gone.
    ///
    /// # Errors
    /// When that cannot be written to.
    pub fn sweep_in(all: &Path) -> io::Result<()> {
        if !all.exists() {
            return Ok(());
        }
        let _turn = take_turn(all)?;
        for entry in std::fs::read_dir(all)? {
            let folder = entry?.path();
            let is_free = match File::open(folder.join(LOCK)) {
                Ok(lock) => lock.try_lock().is_ok(),
                // Killed before it had one; nobody else is at that point while it is our turn.
                Err(_) => folder.is_dir(),
            };
            if is_free {
                std::fs::remove_dir_all(&folder)?;
            }
        }
        Ok(())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Waits until no other process makes or removes folders: none is seen before its lock is taken.
fn take_turn(all: &Path) -> io::Result<File> {
    let turn = File::create(all.join(LOCK))?;
    turn.lock()?;
    Ok(turn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_dead_processes_are_removed_and_those_of_live_ones_stay() {
        let state_dir = tempfile::tempdir().unwrap();
        let live = Spool::open(state_dir.path()).unwrap();
        std::fs::write(live.path().join("result"), "kept").unwrap();
        let dead = state_dir.path().join("spool/dead");
        std::fs::create_dir(&dead).unwrap();
        std::fs::write(dead.join(LOCK), "").unwrap();
        std::fs::write(dead.join("result"), "raw").unwrap();
        let unborn = state_dir.path().join("spool/unborn");
        std::fs::create_dir(&unborn).unwrap();
        Spool::sweep(state_dir.path()).unwrap();
        assert!(!dead.exists() && !unborn.exists());
        assert!(live.path().join("result").exists());
        let path = live.path().to_owned();
        drop(live);
        assert!(!path.exists());
    }
}
