//! The files that the tests read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The files of this crate, by their paths from `src` on.
pub(crate) fn sources() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = BTreeMap::new();
    for path in rust_files(&root) {
        let name = path.strip_prefix(&root).expect("it lies in src");
        let name = name.to_str().expect("paths are text").replace('\\', "/");
        let text = fs::read_to_string(&path).expect("the source can be read");
        sources.insert(name, text);
    }
    sources
}

/// All Rust files below a folder.
pub(crate) fn rust_files(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder is there") {
            let path = entry.expect("the folder can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}
