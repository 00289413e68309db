//! A temporary folder for one test.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::{env, fs, process};

/// An empty folder that no other test uses. Dropping it deletes it with all its files.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let numbered = |number: u32| {
            let name = format!("concurrent-futures.{}.{number}", process::id());
            env::temp_dir().join(name)
        };
        for path in (0..).map(numbered) {
            match fs::create_dir(&path) {
                Ok(()) => return Self(path),
                // Another thread has it, or it is left from a killed process with the same id.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => panic!("{}: {error}", path.display()),
            }
        }
        unreachable!("there are more numbers than folders")
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // Fails if a process that is being killed still writes a file.
    }
}
