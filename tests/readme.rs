//! The README and the guide keep their promises: short, linked, complete, compiled, and in plain English.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The most bytes of the README.
const LONGEST: usize = 10 * 1024;

/// The most lines of code of one recipe.
const LONGEST_RECIPE: usize = 12;

/// Where the crate's documentation is published.
const DOCS: &str = "https://docs.rs/concurrent-futures/latest/concurrent_futures/";

/// Words that make a text hard to read for those whose first language is not English.
const DIALECT: &[&str] = &[
    "asked for",
    "beforehand",
    "for ever",
    "given",
    "gone",
    "had",
    "hence",
    "hitherto",
    "lest",
    "nobody",
    "of one's own",
    "so long",
    "so many",
    "somebody",
    "such",
    "thereby",
    "told",
    "what comes",
    "whatever",
    "whence",
    "whichever",
    "whoever",
];

/// The documented names of Python 3.14's `concurrent.futures`, `multiprocessing`, `threading` and `queue`.
const PYTHON: &[&str] = &[
    // concurrent.futures
    "ALL_COMPLETED FIRST_COMPLETED FIRST_EXCEPTION Executor Future ThreadPoolExecutor ProcessPoolExecutor",
    "InterpreterPoolExecutor as_completed wait submit map shutdown terminate_workers kill_workers",
    "result exception cancel cancelled done running add_done_callback set_result set_exception",
    "set_running_or_notify_cancel max_workers initializer initargs mp_context max_tasks_per_child",
    "thread_name_prefix chunksize buffersize cancel_futures done not_done DoneAndNotDoneFutures",
    "CancelledError TimeoutError InvalidStateError BrokenExecutor BrokenThreadPool BrokenProcessPool",
    "BrokenInterpreterPool ExecutionFailed wrap_future run_in_executor",
    // multiprocessing
    "Process start run join name daemon is_alive pid exitcode authkey sentinel interrupt terminate kill close",
    "ProcessError BufferTooShort AuthenticationError active_children cpu_count current_process parent_process",
    "freeze_support get_all_start_methods get_context get_start_method set_start_method set_executable",
    "set_forkserver_preload get_logger log_to_stderr Pool apply apply_async map_async imap imap_unordered starmap",
    "starmap_async AsyncResult get ready successful maxtasksperchild ThreadPool Queue SimpleQueue JoinableQueue",
    "put put_nowait get_nowait qsize empty full join_thread cancel_join_thread task_done Pipe Connection send recv",
    "fileno poll send_bytes recv_bytes recv_bytes_into Listener Client answer_challenge deliver_challenge Lock RLock",
    "acquire release locked Condition wait_for notify notify_all Semaphore BoundedSemaphore Event Barrier Value",
    "RawValue Array RawArray get_lock get_obj copy synchronized SharedMemory unlink buf size create ShareableList",
    "Manager SyncManager BaseManager SharedMemoryManager Namespace BaseProxy register allow_connection_pickling",
    "reducer resource_tracker dummy EOFError process_cpu_count",
    // threading
    "Thread ident native_id getName setName isDaemon setDaemon context current_thread main_thread active_count",
    "enumerate get_ident get_native_id local excepthook __excepthook__ ExceptHookArgs settrace gettrace",
    "settrace_all_threads setprofile getprofile setprofile_all_threads stack_size TIMEOUT_MAX Timer is_set set clear",
    "abort reset action parties n_waiting broken BrokenBarrierError ThreadError",
    // queue
    "PriorityQueue LifoQueue maxsize Empty Full ShutDown",
];

/// Names that people type into the search of the documentation, from Python, tokio and peers.
const ALIASES: &[&str] = &[
    "BrokenProcessPool",
    "Future",
    "Manager",
    "Pool",
    "ProcessPool",
    "ThreadPool",
    "add_done_callback",
    "apply_async",
    "cancel",
    "cpu_count",
    "imap",
    "imap_unordered",
    "result",
    "run_in_executor",
    "spawn_blocking",
    "starmap",
];

#[test]
fn the_readme_is_short() {
    let len = readme().len();
    assert!(
        len <= LONGEST,
        "README.md has {len} bytes, and at most {LONGEST}"
    );
}

#[test]
fn there_are_five_short_recipes() {
    let readme = readme();
    let recipes = section(&readme, "## Five recipes");
    let blocks = code_blocks(recipes);
    assert_eq!(blocks.len(), 5);
    for block in blocks {
        let lines = block.lines().filter(|line| !line.trim().is_empty()).count();
        assert!(lines <= LONGEST_RECIPE, "{lines} lines:\n{block}");
    }
}

#[test]
fn the_readmes_test_command_is_the_one_that_is_run() {
    let command = "cargo test --workspace --all-features";
    assert!(readme().lines().any(|line| line == command));
    let script = read(".ci/run");
    let (_, options) = script.split_once("\neverything=(").expect("the options");
    let (options, _) = options.split_once(')').expect("the end of the options");
    let script = script
        .replace("\"${everything[@]}\"", options)
        .replace(" --locked", "");
    assert!(
        script.lines().any(|line| line.trim() == command),
        "`.ci/run` does not run the README's `{command}`"
    );
}

#[test]
fn links_of_the_readme_are_absolute_and_lead_to_pages_that_exist() {
    let readme = readme();
    let targets: Vec<&str> = links(&readme).collect();
    assert!(targets.len() > 10, "the links were found: {targets:?}");
    for target in targets {
        assert!(target.starts_with("https://"), "{target} is not absolute");
        if let Some(path) = target.strip_prefix(DOCS) {
            let page = path
                .strip_prefix("guide/")
                .and_then(|path| path.strip_suffix("/index.html"))
                .unwrap_or_else(|| panic!("{target} is no page of the guide"));
            assert!(pages().contains(page), "the guide has no page {page}");
        }
    }
}

#[test]
fn every_page_of_the_guide_is_found_from_the_readme_and_the_crates_documentation() {
    let (readme, header, index) = (readme(), read("src/lib.rs"), read("src/guide/mod.rs"));
    for page in pages() {
        assert!(
            readme.contains(&format!("{DOCS}guide/{page}/index.html")),
            "README.md: {page}"
        );
        assert!(
            header.contains(&format!("(guide::{page})")),
            "src/lib.rs: {page}"
        );
        assert!(
            index.contains(&format!("//! | [`{page}`] |")),
            "src/guide/mod.rs: {page}"
        );
        assert!(
            index.contains(&format!("\npub mod {page} {{}}")),
            "src/guide/mod.rs: {page}"
        );
    }
}

#[test]
fn all_code_of_the_guide_is_compiled() {
    let index = read("src/guide/mod.rs");
    let elsewhere = read("tests/guide/src/lib.rs");
    for page in pages() {
        let page = page.as_str();
        let skipped = format!("#[cfg(not(doctest))]\n#[doc = include_str!(\"{page}.md\")]");
        assert!(
            !index.contains(&skipped) || elsewhere.contains(&format!("src/guide/{page}.md")),
            "{page}.md is compiled nowhere"
        );
        let text = read(&format!("src/guide/{page}.md"));
        let fences = text.lines().filter_map(|line| line.strip_prefix("```"));
        for kind in fences.step_by(2) {
            assert!(["", "no_run", "sh"].contains(&kind), "{page}.md: ```{kind}");
        }
    }
    for snippet in files("src/guide/snippets", "md") {
        assert!(
            elsewhere.contains(&format!("src/guide/snippets/{snippet}.md")),
            "{snippet}.md is compiled nowhere"
        );
    }
}

#[test]
fn the_readme_lists_every_example_and_no_other() {
    let readme = readme();
    let part = section(&readme, "## Try it");
    let mut examples = files("examples", "rs");
    examples.extend(folders_with_a_program("examples"));
    for row in part.lines().filter_map(|line| line.strip_prefix("| `")) {
        let names = row.split(" | ").next().expect("a split has a first part");
        for name in names.split([',', '`', ' ']).filter(|name| !name.is_empty()) {
            assert!(examples.contains(name), "there is no example {name}");
        }
    }
    if let Ok(services) = fs::read_to_string(root().join("examples/services/Cargo.toml")) {
        let names = services.split("[[bin]]\nname = \"").skip(1);
        examples.extend(names.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
    }
    for name in examples {
        assert!(says(part, &name), "the README says nothing of {name}");
    }
}

#[test]
fn every_documented_name_of_python_has_a_row() {
    let page = read("src/guide/from_python.md");
    let quoted = page.split('`').skip(1).step_by(2);
    let names: BTreeSet<&str> = quoted
        .flat_map(|code| code.split(|c: char| !c.is_alphanumeric() && c != '_'))
        .collect();
    let missing: Vec<&str> = PYTHON
        .iter()
        .flat_map(|line| line.split(' '))
        .filter(|name| !names.contains(name))
        .collect();
    assert!(
        missing.is_empty(),
        "from_python.md says nothing of {missing:?}"
    );
}

#[test]
fn the_documentation_finds_items_by_the_names_that_people_type() {
    let mut sources = Vec::new();
    add_sources(&root().join("src"), &mut sources);
    let attributes: String = sources
        .iter()
        .flat_map(|source| source.lines())
        .filter(|line| line.trim().starts_with("#[doc(alias"))
        .collect();
    for name in ALIASES {
        assert!(
            attributes.contains(&format!("\"{name}\"")),
            "no item has the alias {name}"
        );
    }
}

#[test]
fn the_readme_and_the_guide_are_in_plain_english() {
    let guide = pages()
        .into_iter()
        .map(|page| format!("src/guide/{page}.md"));
    let mut offences = Vec::new();
    for file in guide.chain(["README.md".to_owned(), "src/guide/mod.rs".to_owned()]) {
        for (number, line) in (1..).zip(read(&file).lines()) {
            let found = DIALECT.iter().filter(|words| says(line, words));
            offences.extend(found.map(|words| format!("{file}:{number}: {words}")));
        }
    }
    assert!(offences.is_empty(), "{offences:#?}");
}

#[test]
fn words_are_found_whole_and_whatever_their_case() {
    assert!(says("So many tasks.", "so many") && says("it is told", "told"));
    assert!(!says("the suchlike", "such") && !says("hadoop", "had"));
}

/// Whether `line` contains these words, each as a whole.
fn says(line: &str, words: &str) -> bool {
    let line: String = line
        .to_lowercase()
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || "'_".contains(c) {
                c
            } else {
                ' '
            }
        })
        .collect();
    format!(" {line} ").contains(&format!(" {words} "))
}

/// The part of a document from a heading to the next one of its level.
fn section<'a>(document: &'a str, heading: &str) -> &'a str {
    let (_, rest) = document
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("there is no {heading}"));
    rest.split("\n## ")
        .next()
        .expect("a split has a first part")
}

fn code_blocks(text: &str) -> Vec<&str> {
    let parts = text.split("```").skip(1).step_by(2);
    parts
        .map(|block| block.split_once('\n').map_or("", |(_, code)| code))
        .collect()
}

fn links(text: &str) -> impl Iterator<Item = &str> {
    let parts = text.split("](").skip(1);
    parts.filter_map(|rest| Some(rest.split_once(')')?.0))
}

/// The pages of the guide.
fn pages() -> BTreeSet<String> {
    files("src/guide", "md")
}

/// The names of the files of a kind in a folder, without the extension.
fn files(folder: &str, extension: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(root().join(folder)).expect("the folder exists");
    let paths = entries.map(|entry| entry.expect("an entry can be read").path());
    let names: BTreeSet<String> = paths
        .filter(|path| path.extension().is_some_and(|end| end == extension))
        .map(|path| {
            path.file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert!(!names.is_empty(), "{folder} has files");
    names
}

/// The names of the folders in a folder that contain a program.
fn folders_with_a_program(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(folder)).expect("the folder exists");
    let entries = entries.map(|entry| entry.expect("an entry can be read"));
    let programs = entries.filter(|entry| entry.path().join("main.rs").exists());
    programs
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Adds the text of each source file in a folder and its subfolders.
fn add_sources(folder: &Path, sources: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("the folder exists") {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() {
            add_sources(&path, sources);
        } else if path.extension().is_some_and(|end| end == "rs") {
            sources.push(fs::read_to_string(path).expect("a source file is text"));
        }
    }
}

fn readme() -> String {
    read("README.md")
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
