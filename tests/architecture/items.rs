//! The items of a file: what it defines, what it imports, and which modules it declares. Code under
//! `#[cfg(test)]` is left out.

use crate::tokens::{Token, tokens};

/// A module, as defined by one file or a part of one.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    pub(crate) items: Vec<Item>,
    pub(crate) uses: Vec<Use>,
    pub(crate) modules: Vec<Module>,
    /// The code of all items except imports and modules.
    pub(crate) body: Vec<Token>,
}

#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) name: String,
    /// A struct, an enum, a union, a trait, or an alias.
    pub(crate) is_type: bool,
    pub(crate) visibility: Visibility,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visibility {
    Private,
    /// `pub(crate)`, `pub(super)`, `pub(in …)`.
    Restricted,
    Public,
}

/// One name that is imported.
#[derive(Debug)]
pub(crate) struct Use {
    pub(crate) path: Vec<String>,
    /// Its name in this module. `None` for all names of a module (`*`).
    pub(crate) name: Option<String>,
    pub(crate) is_reexport: bool,
}

#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) source: ModuleSource,
}

#[derive(Debug)]
pub(crate) enum ModuleSource {
    Inline(Scope),
    /// In a file of its own. `#[path]` may name it.
    File(Option<String>),
}

impl Scope {
    pub(crate) fn of(text: &str) -> Self {
        let mut scope = Self::default();
        let tokens = tokens(text);
        let mut items = Items {
            tokens: &tokens,
            at: 0,
        };
        items.read(&mut scope);
        scope
    }
}

struct Items<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl Items<'_> {
    /// Reads items up to the end, or to the brace that closes the module.
    fn read(&mut self, scope: &mut Scope) {
        while let Some(token) = self.peek() {
            if token.closes() {
                return;
            }
            let attributes = self.attributes();
            if attributes.is_test {
                self.skip_item();
                continue;
            }
            let visibility = self.visibility();
            self.item(scope, visibility, attributes.path);
        }
    }

    fn item(&mut self, scope: &mut Scope, visibility: Visibility, path: Option<String>) {
        let start = self.at;
        let keyword = self.keyword();
        match keyword.as_deref() {
            Some("use") => {
                let is_reexport = visibility != Visibility::Private;
                self.at += use_tree(&self.tokens[self.at..], is_reexport, &mut scope.uses);
            }
            Some("mod") => self.module(scope, path),
            Some(
                kind @ ("struct" | "enum" | "union" | "trait" | "type" | "fn" | "static" | "const"
                | "macro_rules"),
            ) => {
                self.skip_if(|token| token.is('!') || token.word() == Some("mut"));
                if let Some(name) = self.peek().and_then(Token::word) {
                    scope.items.push(Item {
                        name: name.to_owned(),
                        is_type: matches!(kind, "struct" | "enum" | "union" | "trait" | "type"),
                        visibility,
                    });
                }
                self.rest_of_item(scope, start);
            }
            // `message! { … }` declares the type in it.
            Some("message") if self.next_is('!') => {
                self.at += 1;
                self.read(scope);
                self.at += 1;
            }
            _ => self.rest_of_item(scope, start),
        }
    }

    /// The keyword of an item, after the words that may precede it, such as in `const unsafe fn`.
    fn keyword(&mut self) -> Option<String> {
        loop {
            let word = self.peek().and_then(Token::word)?.to_owned();
            self.at += 1;
            let next = self.peek();
            let is_modifier = match word.as_str() {
                "unsafe" | "async" | "default" | "auto" => true,
                "extern" => {
                    self.skip_if(|token| matches!(token, Token::Text(_)));
                    true
                }
                "const" => next.is_some_and(|next| {
                    matches!(next.word(), Some("fn" | "unsafe" | "async" | "extern"))
                }),
                _ => false,
            };
            if !is_modifier {
                return Some(word);
            }
        }
    }

    fn module(&mut self, scope: &mut Scope, path: Option<String>) {
        let name = self.peek().and_then(Token::word).expect("a module's name");
        let name = name.to_owned();
        self.at += 1;
        let source = if self.next_is('{') {
            let mut inner = Scope::default();
            self.read(&mut inner);
            ModuleSource::Inline(inner)
        } else {
            ModuleSource::File(path)
        };
        self.at += 1;
        scope.modules.push(Module { name, source });
    }

    /// Takes the tokens from `start` to the end of the item for code.
    fn rest_of_item(&mut self, scope: &mut Scope, start: usize) {
        self.skip_item();
        let item = Items {
            tokens: &self.tokens[start..self.at],
            at: 0,
        };
        item.code(scope);
    }

    /// Adds the code of an item, except for the parts under `#[cfg(test)]`.
    fn code(mut self, scope: &mut Scope) {
        while let Some(token) = self.peek() {
            if token.is('#') {
                if self.attributes().is_test {
                    self.skip_item();
                }
            } else if token.word() == Some("pub") {
                self.visibility(); // `pub(in crate::a)` imports nothing.
            } else if token.word() == Some("use") && !self.follows(self.at, '<') {
                self.at += 1;
                self.at += use_tree(&self.tokens[self.at..], false, &mut scope.uses);
            } else {
                scope.body.push(token.clone());
                self.at += 1;
            }
        }
    }

    fn attributes(&mut self) -> Attributes {
        let mut attributes = Attributes::default();
        while self.peek().is_some_and(|token| token.is('#')) {
            self.at += 1;
            self.skip_if(|token| token.is('!'));
            let start = self.at;
            self.skip_group();
            let words: Vec<&str> = self.tokens[start..self.at]
                .iter()
                .filter_map(Token::word)
                .collect();
            attributes.is_test |= matches!(
                words.as_slice(),
                ["cfg", "test", ..] | ["cfg", "all", "test", ..]
            );
            if let (["path"], Some(Token::Text(path))) =
                (words.as_slice(), self.tokens.get(start + 3))
            {
                attributes.path = Some(path.clone());
            }
        }
        attributes
    }

    fn visibility(&mut self) -> Visibility {
        if self.peek().and_then(Token::word) != Some("pub") {
            return Visibility::Private;
        }
        self.at += 1;
        if self.peek().is_some_and(|token| token.is('(')) {
            self.skip_group();
            return Visibility::Restricted;
        }
        Visibility::Public
    }

    /// Skips to after the `;`, the `,` or the block that ends an item, or to the end of the enclosing group.
    fn skip_item(&mut self) {
        while let Some(token) = self.peek() {
            match token {
                Token::Sign(';' | ',') => {
                    self.at += 1;
                    return;
                }
                Token::Sign('{') => return self.skip_group(),
                token if token.closes() => return,
                token if token.opens() => self.skip_group(),
                _ => self.at += 1,
            }
        }
    }

    /// Skips to after the bracket that closes the current one.
    fn skip_group(&mut self) {
        let mut depth = 0;
        while let Some(token) = self.peek() {
            depth += usize::from(token.opens());
            depth -= usize::from(token.closes());
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }

    fn skip_if(&mut self, wanted: impl Fn(&Token) -> bool) {
        if self.peek().is_some_and(wanted) {
            self.at += 1;
        }
    }

    fn next_is(&mut self, sign: char) -> bool {
        let is_so = self.peek().is_some_and(|token| token.is(sign));
        if is_so {
            self.at += 1;
        }
        is_so
    }

    fn follows(&self, at: usize, sign: char) -> bool {
        self.tokens.get(at + 1).is_some_and(|token| token.is(sign))
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }
}

#[derive(Default)]
struct Attributes {
    is_test: bool,
    path: Option<String>,
}

/// Adds the names of the tree that follows `use`. Returns how many tokens it has, with its `;`.
fn use_tree(tokens: &[Token], is_reexport: bool, uses: &mut Vec<Use>) -> usize {
    let start = usize::from(tokens.first() == Some(&Token::Colons));
    let len = start + branch(&tokens[start..], &[], is_reexport, uses);
    len + usize::from(tokens.get(len).is_some_and(|token| token.is(';')))
}

fn branch(tokens: &[Token], before: &[String], is_reexport: bool, uses: &mut Vec<Use>) -> usize {
    let mut path = before.to_vec();
    let mut at = 0;
    loop {
        match tokens.get(at) {
            Some(Token::Colons) => at += 1,
            Some(Token::Word(word)) if word == "as" => {
                let name = tokens[at + 1].word().map(str::to_owned);
                uses.push(Use {
                    path,
                    name,
                    is_reexport,
                });
                return at + 2;
            }
            Some(Token::Word(word)) => {
                // `a::{self}` is `a`.
                if word != "self" || path.is_empty() {
                    path.push(word.clone());
                }
                at += 1;
            }
            Some(Token::Sign('*')) => {
                uses.push(Use {
                    path,
                    name: None,
                    is_reexport,
                });
                return at + 1;
            }
            Some(Token::Sign('{')) => {
                at += 1;
                while !tokens.get(at).is_none_or(|token| token.is('}')) {
                    if tokens[at].is(',') {
                        at += 1;
                    } else {
                        at += branch(&tokens[at..], &path, is_reexport, uses);
                    }
                }
                return at + 1;
            }
            _ => {
                let name = path.last().cloned();
                uses.push(Use {
                    path,
                    name,
                    is_reexport,
                });
                return at;
            }
        }
    }
}

#[cfg(test)]
fn names(scope: &Scope) -> Vec<String> {
    scope
        .uses
        .iter()
        .map(|found| found.path.join("::"))
        .collect()
}

#[test]
fn the_paths_of_an_import_are_found() {
    let scope =
        Scope::of("use crate::a::{self, b::C, d as e};\npub(crate) use f::*;\nfn x() { use g; }");
    assert_eq!(
        names(&scope),
        ["crate::a", "crate::a::b::C", "crate::a::d", "f", "g"]
    );
    assert_eq!(scope.uses[2].name.as_deref(), Some("e"));
    assert!(scope.uses[3].is_reexport && scope.uses[3].name.is_none());
}

#[test]
fn comments_and_tests_are_no_imports() {
    let scope = Scope::of(
        "//! crate::a\nuse crate::b; // use crate::c;\n\
         #[cfg(test)]\n#[expect(x)]\nmod tests {\n    use crate::d;\n}\n\
         #[cfg(test)]\nuse crate::{\n    f,\n    g,\n};\nuse crate::e;\n\
         fn h() { #[cfg(test)] i::j(); k::l() }",
    );
    assert_eq!(names(&scope), ["crate::b", "crate::e"]);
    assert!(!scope.body.iter().any(|token| token.word() == Some("i")));
    assert!(scope.body.iter().any(|token| token.word() == Some("k")));
}

#[test]
fn items_are_found_with_their_visibility() {
    let scope = Scope::of(
        "pub struct A(u8);\npub(super) enum B { C { d: u8 } }\nconst E: [u8; 2] = [0; 2];\n\
         pub const unsafe fn f() {}\nimpl A { type G = u8; }\n#[path = \"i.rs\"]\nmod h;\n\
         macro_rules! j { () => {} }\nstatic K: L = L::new(|| { struct M; });\ntype N = u8;\n\
         message! { #[o] pub(crate) enum P { Q(r: S) } }\nstruct T;",
    );
    let found: Vec<(&str, bool)> = scope
        .items
        .iter()
        .map(|item| (item.name.as_str(), item.is_type))
        .collect();
    assert_eq!(
        found,
        [
            ("A", true),
            ("B", true),
            ("E", false),
            ("f", false),
            ("j", false),
            ("K", false),
            ("N", true),
            ("P", true),
            ("T", true)
        ]
    );
    assert_eq!(scope.items[0].visibility, Visibility::Public);
    assert_eq!(scope.items[1].visibility, Visibility::Restricted);
    assert!(matches!(&scope.modules[0].source, ModuleSource::File(Some(path)) if path == "i.rs"));
}
