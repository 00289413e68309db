//! The direction of imports, read from the source itself. What lies lower knows nothing of what
//! lies higher, so each layer can be read, tested and replaced by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each module at the top of the crate may import, lowest first. `lib.rs` imports them all.
const LAYERS: &[(&str, &[&str])] = &[
    ("sys", &[]),
    ("record", &[]),
    ("panic", &["record"]),
    ("alarm", &[]),
    ("observe", &["wire"]),
    ("sync", &[]),
    ("wire", &["sys", "panic"]),
    ("function", &["sys", "panic", "wire"]),
    (
        "executor",
        &[
            "record", "sys", "panic", "alarm", "observe", "wire", "function",
        ],
    ),
    ("backlog", &["executor"]),
    (
        "thread",
        &["sys", "panic", "executor", "alarm", "backlog", "observe"],
    ),
    ("axum", &["executor"]),
    ("tower", &["executor", "thread"]),
    (
        "process",
        &[
            "record", "sys", "panic", "wire", "function", "executor", "alarm", "backlog", "observe",
        ],
    ),
    (
        "worker",
        &["sys", "panic", "wire", "function", "executor::context"],
    ),
    (
        "multiprocessing",
        &["sys", "wire", "function", "executor", "process"],
    ),
];

/// Where `unsafe` may stand: the system's calls, and the number that becomes a function.
const UNSAFE: &[&str] = &["sys/", "function.rs"];

#[test]
fn imports_point_downwards_only() {
    let mut offences = Vec::new();
    for (module, path, target) in imports() {
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module) else {
            panic!("{module} has no layer yet: give it one in this test");
        };
        if !allowed.iter().any(|prefix| is_within(&target, prefix)) {
            offences.push(format!("{path} imports crate::{target}"));
        }
    }
    assert!(offences.is_empty(), "{offences:#?}");
}

#[test]
fn what_lies_outside_a_module_is_named_from_the_crate() {
    let mut offences = Vec::new();
    for source in sources() {
        for line in source
            .code
            .lines()
            .filter(|line| line.starts_with("use super::"))
        {
            if line.matches("super::").count() >= source.depth() {
                offences.push(format!("{}: {line}", source.name()));
            }
        }
    }
    assert!(offences.is_empty(), "{offences:#?}");
}

#[test]
fn every_layer_is_a_module() {
    let modules: BTreeSet<String> = sources().iter().map(|source| source.module()).collect();
    let layers: BTreeSet<String> = LAYERS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(&modules - &BTreeSet::from(["lib".to_owned()]), layers);
}

#[test]
fn no_module_imports_itself_by_way_of_another() {
    let mut graph = Graph::new();
    for (module, _, target) in imports() {
        let (first, _) = target.split_once("::").unwrap_or((&target, ""));
        graph.entry(module).or_default().insert(first.to_owned());
    }
    assert!(graph.len() > 3, "the source was read");
    assert_eq!(find_cycle(&graph), None);
}

#[test]
fn no_two_files_of_a_folder_import_each_other() {
    let mut folders: BTreeMap<PathBuf, Graph> = BTreeMap::new();
    for source in sources().iter().filter(|source| !source.is_folder()) {
        let folder = source.path.parent().expect("a file lies in a folder");
        let graph = folders.entry(folder.to_owned()).or_default();
        let siblings = graph.entry(source.stem()).or_default();
        siblings.extend(source.paths("super::").iter().map(|path| first(path)));
    }
    assert!(folders.len() > 3, "the source was read");
    for (folder, mut graph) in folders {
        let files: BTreeSet<String> = graph.keys().cloned().collect();
        for siblings in graph.values_mut() {
            siblings.retain(|name| files.contains(name));
        }
        assert_eq!(find_cycle(&graph), None, "in {}", folder.display());
    }
}

#[test]
fn unsafe_code_stays_where_it_is_explained() {
    let offenders: Vec<String> = sources()
        .iter()
        .filter(|source| source.code.contains("unsafe "))
        .map(Source::name)
        .filter(|name| !UNSAFE.iter().any(|place| name.starts_with(place)))
        .collect();
    assert!(offenders.is_empty(), "unsafe code in {offenders:?}");
}

#[test]
fn a_cycle_is_found() {
    let graph: Graph = [("a", ["b"]), ("b", ["c"]), ("c", ["a"])]
        .map(|(from, to)| (from.to_owned(), to.map(str::to_owned).into()))
        .into();
    assert_eq!(find_cycle(&graph).expect("there is one").len(), 3);
}

#[test]
fn the_paths_of_an_import_are_found() {
    let code =
        "use crate::a::{self, b::C, d};\nuse crate::{e, f::{G, h}};\nfn x() { crate::i::j() }";
    assert_eq!(
        paths_after("crate::", code),
        ["a::self", "a::b::C", "a::d", "e", "f::G", "f::h", "i::j"]
    );
}

#[test]
fn comments_and_tests_are_no_imports() {
    let code = without_comments_and_tests(
        "//! crate::a\nuse crate::b; // crate::c\n#[cfg(test)]\nmod tests {\n    use crate::d;\n}\nuse crate::e;\n",
    );
    assert_eq!(paths_after("crate::", &code), ["b", "e"]);
}

type Graph = BTreeMap<String, BTreeSet<String>>;

/// All imports across modules: the importing module and file, and what it imports.
fn imports() -> Vec<(String, String, String)> {
    let mut imports = Vec::new();
    for source in sources().iter().filter(|source| source.module() != "lib") {
        let module = source.module();
        for target in source.paths("crate::") {
            if first(&target) != module {
                imports.push((module.clone(), source.name(), target));
            }
        }
    }
    imports
}

struct Source {
    /// Relative to `src`.
    path: PathBuf,
    /// Without comments and tests.
    code: String,
}

impl Source {
    fn name(&self) -> String {
        self.path
            .to_str()
            .expect("paths are text")
            .replace('\\', "/")
    }

    /// The module at the top of the crate that it belongs to.
    fn module(&self) -> String {
        let top = self.path.iter().next().expect("a path has a part");
        let top = top.to_str().expect("paths are text");
        top.trim_end_matches(".rs").to_owned()
    }

    fn stem(&self) -> String {
        let stem = self.path.file_stem().expect("a file has a name");
        stem.to_str().expect("paths are text").to_owned()
    }

    /// Whether it stands for its folder rather than for itself.
    fn is_folder(&self) -> bool {
        self.stem() == "mod" || self.stem() == "lib"
    }

    /// How many modules lie between it and the crate, itself included.
    fn depth(&self) -> usize {
        self.path.iter().count() - usize::from(self.is_folder())
    }

    fn paths(&self, root: &str) -> Vec<String> {
        paths_after(root, &self.code)
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the source is there") {
            let path = entry.expect("the source can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("the source can be read");
                sources.push(Source {
                    path: path.strip_prefix(&root).expect("it lies in src").to_owned(),
                    code: without_comments_and_tests(&text),
                });
            }
        }
    }
    sources
}

/// Drops comments, and items under `#[cfg(test)]` up to the brace that ends them, which formatted
/// code has at the column where they begin.
fn without_comments_and_tests(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            let indent = &line[..line.len() - line.trim_start().len()];
            let end = format!("{indent}}}");
            let item = lines.next().unwrap_or_default();
            if !item.ends_with(';') {
                lines.by_ref().find(|line| *line == end);
            }
            continue;
        }
        code.push_str(line.split("//").next().unwrap_or_default());
        code.push('\n');
    }
    code
}

/// Every path that follows `root`, with the groups in braces written out.
fn paths_after(root: &str, code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices(root) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || "_$:".contains(c)) {
            continue;
        }
        expand(&code[at + root.len()..], "", &mut paths);
    }
    paths
}

/// Adds the paths of the use tree at the start of `tree`. Returns what follows it.
fn expand<'a>(tree: &'a str, prefix: &str, paths: &mut Vec<String>) -> &'a str {
    let tree = tree.trim_start();
    if let Some(mut group) = tree.strip_prefix('{') {
        loop {
            group = group.trim_start_matches([' ', '\n', ',']);
            match group.strip_prefix('}') {
                Some(rest) => return rest,
                None if group.is_empty() => return group,
                None => group = expand(group, prefix, paths),
            }
        }
    }
    let len = tree
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(tree.len());
    let (name, rest) = tree.split_at(len);
    let path = if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}::{name}")
    };
    match rest.strip_prefix("::") {
        Some(rest) if !rest.starts_with(['<', '*']) => expand(rest, &path, paths),
        _ => {
            paths.push(path);
            rest.find([',', '}', ';']).map_or("", |end| &rest[end..])
        }
    }
}

fn first(path: &str) -> String {
    path.split("::").next().unwrap_or_default().to_owned()
}

fn is_within(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The modules of a cycle, if there is one.
fn find_cycle(graph: &Graph) -> Option<Vec<String>> {
    fn walk(graph: &Graph, at: &str, trail: &mut Vec<String>, done: &mut BTreeSet<String>) -> bool {
        if let Some(start) = trail.iter().position(|step| step == at) {
            trail.drain(..start);
            return true;
        }
        if done.contains(at) {
            return false;
        }
        trail.push(at.to_owned());
        for next in graph.get(at).into_iter().flatten() {
            if walk(graph, next, trail, done) {
                return true;
            }
        }
        trail.pop();
        done.insert(at.to_owned());
        false
    }

    let mut done = BTreeSet::new();
    graph.keys().find_map(|start| {
        let mut trail = Vec::new();
        walk(graph, start, &mut trail, &mut done).then_some(trail)
    })
}

#[test]
fn every_promise_names_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    let mut folders = vec![root.join("tests"), root.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                code += &fs::read_to_string(path).expect("a source file");
            }
        }
    }
    let list = fs::read_to_string(root.join("tests/README.md")).expect("the list of promises");
    let rows = list
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains('`'));
    let named: Vec<&str> = rows
        .filter_map(|row| row.rsplit('|').nth(1))
        .flat_map(|tests| tests.split('`').skip(1).step_by(2))
        .collect();
    assert!(named.len() > 50, "the list has lost its tests");
    for test in named {
        assert!(
            code.contains(&format!("fn {test}(")) || code.contains(&format!(" {test},")),
            "no test is called {test}"
        );
    }
}

#[test]
fn every_path_that_a_contributor_is_sent_to_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text =
        fs::read_to_string(root.join("CONTRIBUTING.md")).expect("the guide for contributors");
    let quoted = text.split('`').skip(1).step_by(2);
    let paths: Vec<&str> = quoted
        .filter(|quoted| {
            ["src/", "tests/", "examples/", ".ci/"]
                .iter()
                .any(|top| quoted.starts_with(top))
        })
        .filter(|path| !path.contains('*'))
        .collect();
    assert!(paths.len() > 15, "the guide has lost its paths");
    for path in paths {
        assert!(root.join(path).exists(), "{path} is not there");
    }
}
