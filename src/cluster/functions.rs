//! The functions that a program calls on other machines, or serves to them, each with a name.
//!
//! Only the name is sent, because another program may be a different build, in which the function has a different
//! address.

use std::any::TypeId;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use super::entry::FunctionEntry;
use crate::executor::data::{Arguments, Data};
use crate::executor::error::BuildError;
use crate::executor::task::Task;
use crate::function::assert_stateless;

/// Functions with names. The programs that submit tasks and those that run them share one list, usually in a library
/// that both depend on.
///
/// Created by [`functions!`](crate::functions!), or name by name:
///
/// ```
/// use concurrent_futures::cluster::Functions;
/// use concurrent_futures::functions;
///
/// mod images {
///     pub fn thumbnail(image: Vec<u8>, width: u32) -> Vec<u8> {
///         image.into_iter().take(width as usize).collect()
///     }
/// }
///
/// fn tasks() -> Functions {
///     functions![u64::pow, u64::isqrt] // Named as written.
///         .add("images.thumbnail", images::thumbnail) // A name that survives when the function moves.
/// }
///
/// assert!(tasks().check().is_ok());
/// let names: Vec<String> = tasks().names().map(str::to_owned).collect();
/// assert_eq!(names, ["images.thumbnail", "u64::isqrt", "u64::pow"]);
/// ```
///
/// # Names
///
/// A name has 1 to 200 bytes, and neither white space nor control characters. Two functions cannot share one. A mistake
/// is reported when the list is used, and by [`check`](Self::check), which a test can call.
///
/// A function may have several names. All are served, and a caller uses the one that was added last. To rename a
/// function while programs run, add the new name before the old one, and restart the workers; then swap the two, and
/// restart the callers; then remove the old one.
///
/// # Types
///
/// A caller and a worker compare how the arguments and the result of a function are encoded. If that differs, the task
/// fails before it runs, with an error that shows both. `Debug` also shows it: `u64,text>*` is a function of a `u64`
/// and a `String`; `*` stands for all types that describe themselves, such as structs, to which fields may be added as
/// with serde_json.
///
/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Functions(Arc<FunctionTable>);

#[derive(Clone, Default)]
struct FunctionTable {
    entries: BTreeMap<Arc<str>, FunctionEntry>,
    /// The name that a caller uses for a function.
    names: HashMap<TypeId, Arc<str>>,
    /// The first mistake.
    mistake: Option<Arc<str>>,
}

impl Functions {
    /// Creates an empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a function under a name, as in `add("power", u64::pow)`. A function pointer is a compile error. A closure
    /// is an error of [`check`](Self::check), because no other program could name it. An async function is added as
    /// `Async(fetch)`; see [`Async`](crate::Async).
    ///
    /// ```
    /// use concurrent_futures::cluster::Functions;
    ///
    /// let tasks = Functions::new().add("power", u64::pow);
    /// assert_eq!(format!("{tasks:?}"), r#"{"power": u64,u32>u64}"#);
    /// ```
    #[must_use]
    pub fn add<F, A, M>(mut self, name: impl Into<Cow<'static, str>>, function: F) -> Self
    where
        F: Task<A, M> + Copy + Send + Sync + 'static,
        F::Output: Data,
        A: Arguments<M>,
        M: 'static,
    {
        const { assert_stateless::<F>() };
        let entry = FunctionEntry::new(name.into().into(), function);
        Arc::make_mut(&mut self.0).add(entry);
        self
    }

    /// Adds a function under its path in the source.
    #[doc(hidden)]
    #[must_use]
    pub fn __add_path<F, A, M>(self, path: &str, function: F) -> Self
    where
        F: Task<A, M> + Copy + Send + Sync + 'static,
        F::Output: Data,
        A: Arguments<M>,
        M: 'static,
    {
        let name: String = path.split_whitespace().collect();
        self.add(name, function)
    }

    /// Adds all functions of another list. For a function that both have, a caller uses the name in `other`.
    ///
    /// ```
    /// use concurrent_futures::functions;
    ///
    /// let tasks = functions![u64::pow].merge(functions![f64::sqrt]);
    /// assert_eq!(tasks.names().count(), 2);
    /// ```
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        let table = Arc::make_mut(&mut self.0);
        let other = Arc::unwrap_or_clone(other.0);
        let names = other.names;
        for entry in other.entries.into_values() {
            table.add(entry);
        }
        table.names.extend(names);
        table.mistake = table.mistake.take().or(other.mistake);
        self
    }

    /// Returns the names, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries().map(|entry| &**entry.name())
    }

    /// Checks that each name is valid and belongs to one function. Executors and workers that use the list do this too.
    ///
    /// # Errors
    /// [`is_invalid_setting`](BuildError::is_invalid_setting) with the first mistake.
    ///
    /// ```
    /// use concurrent_futures::functions;
    ///
    /// let error = functions![u64::pow].add("u64::pow", u32::pow).check().unwrap_err();
    /// assert!(error.to_string().contains("the name `u64::pow` belongs to two functions"));
    /// ```
    pub fn check(&self) -> Result<(), BuildError> {
        match &self.0.mistake {
            Some(mistake) => Err(BuildError::invalid(mistake.to_string())),
            None => Ok(()),
        }
    }

    /// The name that a caller uses for a function.
    pub(crate) fn name_of(&self, function: TypeId) -> Option<&str> {
        self.0.names.get(&function).map(|name| &**name)
    }

    pub(crate) fn entry(&self, name: &str) -> Option<&FunctionEntry> {
        self.0.entries.get(name)
    }

    /// All functions, in the order of their names.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &FunctionEntry> {
        self.0.entries.values()
    }
}

impl FunctionTable {
    fn add(&mut self, entry: FunctionEntry) {
        let mistake = entry.mistake().or_else(|| self.put(entry));
        if let (None, Some(mistake)) = (&self.mistake, mistake) {
            self.mistake = Some(mistake.into());
        }
    }

    /// Adds an entry whose name is valid. Returns the mistake if another function has the name.
    fn put(&mut self, entry: FunctionEntry) -> Option<String> {
        let (name, function) = (entry.name().clone(), entry.function());
        let kept = self.entries.entry(name.clone()).or_insert(entry.clone());
        if kept.function() == function {
            self.names.insert(function, name);
            return None;
        }
        Some(format!(
            "the name `{name}` belongs to two functions, `{}` and `{}`; give one of them another name with \
             `Functions::add`",
            kept.path(),
            entry.path()
        ))
    }
}

/// Shows the names with the shapes.
impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for entry in self.entries() {
            map.entry(&entry.name(), &format_args!("{}", entry.shape()));
        }
        map.finish()
    }
}

/// Lists functions for programs on other machines: `functions![is_prime, u64::pow]` creates
/// [`Functions`](crate::cluster::Functions). The name of each is its path as written, without white space. For `<T as
/// Trait>::method`, which is not a plain path, use [`Functions::add`](crate::cluster::Functions::add).
///
/// ```
/// use concurrent_futures::functions;
///
/// fn is_prime(n: u64) -> bool {
///     n > 1 && (2..=n.isqrt()).all(|divisor| n % divisor != 0)
/// }
///
/// fn parse<T: std::str::FromStr>(text: String) -> Option<T> {
///     text.parse().ok()
/// }
///
/// let tasks = functions![is_prime, u64::pow, parse::<f64>];
/// let names: Vec<&str> = tasks.names().collect();
/// assert_eq!(names, ["is_prime", "parse::<f64>", "u64::pow"]);
/// ```
#[macro_export]
macro_rules! functions {
    ($($function:path),* $(,)?) => {
        $crate::cluster::Functions::new()$(.__add_path(stringify!($function), $function))*
    };
}
