//! The files, tests and links that the documents name exist. Pages with a size limit keep to it.

use std::fs;
use std::path::{Path, PathBuf};

/// The most bytes of a page.
const LIMITS: &[(&str, usize)] = &[("ARCHITECTURE.md", 12 * 1024)];

#[test]
fn pages_that_must_stay_short_do() {
    for (page, limit) in LIMITS {
        let len = read(&root().join(page)).len();
        assert!(len <= *limit, "{page} has {len} bytes, and at most {limit}");
    }
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    let mut links = 0;
    for page in pages() {
        let folder = page.parent().expect("a page lies in a folder");
        for link in links_of(&read(&page)) {
            links += 1;
            assert!(
                folder.join(&link).exists(),
                "{}: nothing is at {link}",
                page.display()
            );
        }
    }
    assert!(links > 10, "the links were found");
}

#[test]
fn files_and_tests_that_the_documents_name_exist() {
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches", "examples", "docs"] {
        add_files(&root().join(folder), &mut files);
    }
    let files: Vec<&str> = files.iter().filter_map(|file| file.to_str()).collect();
    let sources = files.iter().filter(|file| file.ends_with(".rs"));
    let code: String = sources.map(|file| read(Path::new(file))).collect();
    let (mut named, mut missing) = ((0, 0), Vec::new());
    for page in pages() {
        for name in quoted(&read(&page)) {
            let exists = if name.ends_with(".rs") {
                named.0 += 1;
                let tail = format!("/{name}");
                files.iter().any(|file| file.ends_with(&tail))
            } else if name.starts_with("tests/") && !name.contains('*') {
                named.0 += 1;
                root().join(&name).exists()
            } else if is_test_name(&name) {
                named.1 += 1;
                code.contains(&format!("fn {name}(")) || code.contains(&format!(" {name},"))
            } else {
                continue;
            };
            if !exists {
                missing.push(format!("{}: {name}", page.display()));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "these files or tests are missing: {missing:#?}"
    );
    assert!(
        named.0 > 30 && named.1 > 30,
        "{named:?} files and tests were found"
    );
}

#[test]
fn quotes_are_found_outside_of_code_blocks() {
    let text = "see `a.rs` and\n```sh\ncargo `no`\n```\n[page](b.md), [web](https://c) `a_name_of_some_test`";
    assert_eq!(quoted(text), ["a.rs", "a_name_of_some_test"]);
    assert_eq!(links_of(text), ["b.md"]);
    assert!(is_test_name("a_name_of_some_test") && !is_test_name("max_memory_per_child"));
}

#[test]
fn a_module_names_each_of_its_public_items() {
    let module = read(&root().join("src/multiprocessing/mod.rs"));
    let docs = |line: &&str| line.starts_with("//!");
    let docs: String = module.lines().filter(docs).collect();
    let exports = module.split("\npub use ").skip(1);
    let names: Vec<&str> = exports
        .filter_map(|export| export.split_once(';')?.0.rsplit_once("::"))
        .flat_map(|(_, names)| names.split(['{', ',', '}']))
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    assert!(names.len() > 50, "the exports were found");
    for name in names {
        let is_named = [format!("[`{name}`]"), format!("[`{name}()`]")];
        let is_named = is_named.iter().any(|link| docs.contains(link));
        assert!(is_named, "the docs of `multiprocessing` do not name {name}");
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The pages about how the crate is built.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = [
        "ARCHITECTURE.md",
        "BENCHMARKS.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
    ]
    .map(|page| root().join(page))
    .into();
    add_files(&root().join("docs"), &mut pages);
    pages
}

fn add_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
    {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            add_files(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// The text without its code blocks.
fn prose(text: &str) -> String {
    let mut is_code = false;
    let is_prose = |line: &&str| {
        let is_fence = line.starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    };
    text.lines().filter(is_prose).collect::<Vec<_>>().join("\n")
}

/// The texts between backticks.
fn quoted(text: &str) -> Vec<String> {
    let prose = prose(text);
    prose
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// The files that links point to.
fn links_of(text: &str) -> Vec<String> {
    let prose = prose(text);
    let targets = prose
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', '#']).next());
    let files = targets.filter(|target| !target.is_empty() && !target.contains("://"));
    files.map(str::to_owned).collect()
}

/// Tests are named by sentences.
fn is_test_name(name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.chars().all(is_word) && name.matches('_').count() >= 4
}
