//! The crate as its sources define it: which file defines what a path names. Re-exports are followed
//! to the definition.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::Graph;
use crate::items::{Item, ModuleSource, Scope};
use crate::sources::sources;
use crate::tokens::Token;

type Names = Vec<String>;

pub(crate) struct Model {
    /// Each module with its parts: more than one if `cfg` chooses between files.
    modules: BTreeMap<Names, Vec<Part>>,
}

/// A module, as defined by one file.
pub(crate) struct Part {
    pub(crate) module: Names,
    /// Relative to `src`.
    pub(crate) file: String,
    pub(crate) scope: Scope,
}

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Item {
        file: String,
        name: String,
    },
    Module(Names),
    /// An item of another crate.
    Outside,
}

/// A path in the code of a module.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reference {
    pub(crate) path: Names,
    /// Whether it begins with `crate`, `self` or `super`, so that it must resolve.
    pub(crate) is_rooted: bool,
}

impl Model {
    /// This crate.
    pub(crate) fn of_crate() -> Self {
        Self::new(&sources())
    }

    /// A crate of these files, by their paths from `src` on.
    pub(crate) fn new(sources: &BTreeMap<String, String>) -> Self {
        let mut model = Self {
            modules: BTreeMap::new(),
        };
        model.add_file(sources, "lib.rs", Names::new());
        model
    }

    fn add_file(&mut self, sources: &BTreeMap<String, String>, file: &str, module: Names) {
        let text = sources
            .get(file)
            .unwrap_or_else(|| panic!("no file {file}"));
        self.add_scope(sources, file, module, Scope::of(text));
    }

    fn add_scope(
        &mut self,
        sources: &BTreeMap<String, String>,
        file: &str,
        module: Names,
        mut scope: Scope,
    ) {
        let folder = match module.as_slice() {
            [] => String::new(),
            names => format!("{}/", names.join("/")),
        };
        for inner in &mut scope.modules {
            let mut path = module.clone();
            path.push(inner.name.clone());
            match &mut inner.source {
                ModuleSource::Inline(inner) => {
                    self.add_scope(sources, file, path, std::mem::take(inner));
                }
                ModuleSource::File(Some(name)) => {
                    let beside = file.rsplit_once('/').map_or("", |(folder, _)| folder);
                    let name = format!("{beside}/{name}");
                    self.add_file(sources, name.trim_start_matches('/'), path);
                }
                ModuleSource::File(None) => {
                    let own = format!("{folder}{}.rs", inner.name);
                    let main = format!("{folder}{}/mod.rs", inner.name);
                    let name = if sources.contains_key(&own) {
                        own
                    } else {
                        main
                    };
                    self.add_file(sources, &name, path);
                }
            }
        }
        let part = Part {
            module: module.clone(),
            file: file.to_owned(),
            scope,
        };
        self.modules.entry(module).or_default().push(part);
    }

    pub(crate) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.modules.values().flatten()
    }

    /// What a path in a module names.
    pub(crate) fn resolve(&self, module: &[String], path: &[String]) -> BTreeSet<Target> {
        let mut found = BTreeSet::new();
        self.search(module, path, &mut BTreeSet::new(), &mut found);
        found
    }

    fn search(
        &self,
        module: &[String],
        path: &[String],
        seen: &mut BTreeSet<(Names, Names)>,
        found: &mut BTreeSet<Target>,
    ) {
        let Some((first, rest)) = path.split_first() else {
            found.insert(Target::Module(module.to_vec()));
            return;
        };
        match (first.as_str(), module.split_last()) {
            ("crate", _) => return self.search(&[], rest, seen, found),
            ("self", _) => return self.search(module, rest, seen, found),
            ("super", Some((_, parent))) => return self.search(parent, rest, seen, found),
            _ => {}
        }
        if !seen.insert((module.to_vec(), path.to_vec())) {
            return;
        }
        let mut child = module.to_vec();
        child.push(first.clone());
        if self.modules.contains_key(&child) {
            let before = found.len();
            self.search(&child, rest, seen, found);
            if !rest.is_empty() && found.len() > before {
                return;
            }
        }
        for part in self.modules.get(module).into_iter().flatten() {
            if part.scope.items.iter().any(|item| item.name == *first) {
                found.insert(Target::Item {
                    file: part.file.clone(),
                    name: first.clone(),
                });
            }
            for import in &part.scope.uses {
                if import.name.as_ref() != Some(first) {
                    continue;
                }
                let before = found.len();
                if import.path[0] != *first {
                    let path = [import.path.as_slice(), rest].concat();
                    self.search(module, &path, seen, found);
                }
                if found.len() == before && !is_rooted(&import.path) {
                    found.insert(Target::Outside);
                }
            }
            let globs = part.scope.uses.iter();
            for import in globs.filter(|import| import.name.is_none()) {
                if let Some(from) = self.module_of(module, &import.path) {
                    self.search(&from, path, seen, found);
                }
            }
        }
    }

    /// The module that a path names, if all its parts are modules.
    fn module_of(&self, module: &[String], path: &[String]) -> Option<Names> {
        let mut at = module.to_vec();
        for name in path {
            match name.as_str() {
                "crate" => at.clear(),
                "self" => {}
                "super" => drop(at.pop()),
                _ => at.push(name.clone()),
            }
        }
        self.modules.contains_key(&at).then_some(at)
    }

    /// The files that define what a path names.
    pub(crate) fn files<'a>(&'a self, target: &'a Target) -> Vec<&'a str> {
        match target {
            Target::Item { file, .. } => vec![file],
            Target::Outside => Vec::new(),
            Target::Module(path) => {
                let parts = self.modules.get(path).into_iter().flatten();
                parts.map(|part| part.file.as_str()).collect()
            }
        }
    }

    /// Which file imports what from which.
    pub(crate) fn imports(&self) -> Graph {
        let mut graph = Graph::new();
        for part in self.parts() {
            let imported = graph.entry(part.file.clone()).or_default();
            for reference in part.references() {
                for target in self.resolve(&part.module, &reference.path) {
                    let files = self.files(&target).into_iter().map(str::to_owned);
                    imported.extend(files.filter(|file| *file != part.file));
                }
            }
        }
        graph
    }

    /// Items that another file names.
    pub(crate) fn shared_items(&self) -> BTreeSet<(String, String)> {
        let mut shared = BTreeSet::new();
        for part in self.parts() {
            for reference in part.references() {
                for target in self.resolve(&part.module, &reference.path) {
                    if let Target::Item { file, name } = target
                        && file != part.file
                    {
                        shared.insert((file, name));
                    }
                }
            }
        }
        shared
    }
}

impl Part {
    /// The module at the top of the crate that it belongs to.
    pub(crate) fn top(&self) -> &str {
        self.module.first().map_or("lib", String::as_str)
    }

    pub(crate) fn types(&self) -> impl Iterator<Item = &Item> {
        self.scope.items.iter().filter(|item| item.is_type)
    }

    pub(crate) fn is_unsafe(&self) -> bool {
        self.scope
            .body
            .iter()
            .any(|token| token.word() == Some("unsafe"))
    }

    /// The paths that count as imports: those of `use`, and those in code. A re-export does not count,
    /// unless the code uses the name, too.
    pub(crate) fn references(&self) -> BTreeSet<Reference> {
        let imports = self.scope.uses.iter().filter(|import| !import.is_reexport);
        let mut references: BTreeSet<Reference> = imports
            .map(|import| Reference::to(import.path.clone()))
            .collect();
        let body = &self.scope.body;
        let mut at = 0;
        while let Some(token) = body.get(at) {
            at += 1;
            let Some(word) = token.word() else { continue };
            let before = at.checked_sub(2).map(|before| &body[before]);
            if before.is_some_and(|before| *before == Token::Colons || before.is('.')) {
                continue;
            }
            let mut path = vec![word.to_owned()];
            while let (Some(Token::Colons), Some(Token::Word(next))) =
                (body.get(at), body.get(at + 1))
            {
                path.push(next.clone());
                at += 2;
            }
            let is_called = body
                .get(at)
                .is_some_and(|next| next.is('(') || next.is('!'));
            if path.len() > 1 || self.may_be_imported(word, is_called) {
                references.insert(Reference::to(path));
            }
        }
        references
    }

    /// Whether a single word may be a name that was imported by a re-export or by `*`.
    fn may_be_imported(&self, word: &str, is_called: bool) -> bool {
        let is_name = is_called || word.starts_with(char::is_uppercase);
        let is_own = self.scope.items.iter().any(|item| item.name == word);
        is_name
            && !is_own
            && self.scope.uses.iter().any(|import| match &import.name {
                Some(name) => import.is_reexport && name == word,
                None => true,
            })
    }
}

impl Reference {
    fn to(path: Names) -> Self {
        let is_rooted = is_rooted(&path);
        Self { path, is_rooted }
    }
}

fn is_rooted(path: &[String]) -> bool {
    matches!(path[0].as_str(), "crate" | "self" | "super")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(files: &[(&str, &str)]) -> Model {
        let files = files
            .iter()
            .map(|(file, text)| ((*file).to_owned(), (*text).to_owned()));
        Model::new(&files.collect())
    }

    fn imports(model: &Model, file: &str) -> Vec<String> {
        model.imports()[file].iter().cloned().collect()
    }

    #[test]
    fn a_path_leads_to_the_file_that_defines_the_item() {
        let model = model(&[
            ("lib.rs", "mod a; mod b; pub use a::Outer as Renamed;"),
            (
                "a/mod.rs",
                "mod inner; pub(crate) use self::inner::*; pub struct Outer;",
            ),
            (
                "a/inner.rs",
                "pub(crate) struct Deep; pub(crate) fn call() {}",
            ),
            ("b.rs", "use crate::a::Deep; fn b() { crate::Renamed; }"),
        ]);
        assert_eq!(imports(&model, "b.rs"), ["a/inner.rs", "a/mod.rs"]);
    }

    #[test]
    fn modules_and_reexports_are_no_imports_but_their_use_is() {
        let model = model(&[
            ("lib.rs", "mod a; mod b;"),
            (
                "a/mod.rs",
                "mod c; mod d; pub(crate) use c::C; pub(crate) use d::D; fn f() { D(1) }",
            ),
            ("a/c.rs", "pub(crate) struct C;"),
            ("a/d.rs", "pub(crate) struct D(u8);"),
            ("b.rs", ""),
        ]);
        assert_eq!(imports(&model, "a/mod.rs"), ["a/d.rs"]);
        assert_eq!(imports(&model, "lib.rs"), Vec::<String>::new());
    }

    #[test]
    fn a_module_that_is_imported_leads_on() {
        let model = model(&[
            ("lib.rs", "mod a; mod b;"),
            ("a/mod.rs", "pub(crate) mod c; mod d; pub(crate) use d::go;"),
            ("a/c.rs", "pub(crate) fn run() {}"),
            ("a/d.rs", "use super::c; pub(crate) fn go() { c::run() }"),
            ("b.rs", "use crate::a; fn f() { a::go(); a::c::run() }"),
        ]);
        assert_eq!(imports(&model, "a/d.rs"), ["a/c.rs"]);
        assert_eq!(imports(&model, "b.rs"), ["a/c.rs", "a/d.rs", "a/mod.rs"]);
    }

    #[test]
    fn files_that_cfg_chooses_between_are_one_module() {
        let model = model(&[
            (
                "lib.rs",
                "mod a; #[cfg(x)] mod b; #[cfg(not(x))] #[path = \"no_b.rs\"] mod b;",
            ),
            ("a.rs", "use super::b::B;"),
            ("b.rs", "pub(crate) struct B;"),
            ("no_b.rs", "pub(crate) struct B;"),
        ]);
        assert_eq!(imports(&model, "a.rs"), ["b.rs", "no_b.rs"]);
    }

    #[test]
    fn imports_that_lead_in_circles_end() {
        let model = model(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "pub(crate) use crate::b::*; fn f() { X }"),
            ("b.rs", "pub(crate) use crate::a::*; pub(crate) struct X;"),
        ]);
        assert_eq!(imports(&model, "a.rs"), ["b.rs"]);
    }

    #[test]
    fn an_item_that_another_file_names_is_shared() {
        let model = model(&[
            ("lib.rs", "mod a;"),
            ("a/mod.rs", "mod b; struct Seen; struct Hidden;"),
            ("a/b.rs", "fn f(_: super::Seen) {}"),
        ]);
        let shared = [("a/mod.rs".to_owned(), "Seen".to_owned())];
        assert_eq!(model.shared_items(), shared.into());
    }
}
