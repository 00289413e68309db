//! Isolates this process, in two halves. The first half needs a process with one thread, because privileges, a user and
//! a network belong to a thread. The second half follows the initializer, which may need what is denied afterwards.

use std::io;
use std::path::Path;

use crate::sys::{self, AccessRules};
use crate::wire::confinement::Confinement;
use crate::wire::surroundings::SystemText;

/// A process after the first half.
pub(super) struct HalfIsolated {
    rules: AccessRules,
    confinement: Confinement,
}

/// The first half. Opens the paths of the rules for files as the user who started this process. The rules apply from
/// the second half on.
pub(super) fn begin(confinement: Confinement) -> Result<HalfIsolated, String> {
    sys::check_no_other_thread().map_err(|error| {
        failed(
            &format!("{error}, and it must begin before there is a thread"),
            "use StartMethod::ForkServer if a library starts threads before main",
        )
    })?;
    if confinement.is_best_effort {
        for missing in sys::missing_for_isolation(confinement.shares_network) {
            warn(missing);
        }
    }
    let rules = rules(&confinement)?;
    let step = |outcome: io::Result<()>| outcome.map_err(|error| failed(&error.to_string(), ""));
    step(sys::forbid_new_privileges())?;
    let is_in_own_network = confinement.shares_network || sys::leave_network(true).is_ok();
    if let Some((user, group)) = confinement.user {
        let changed = sys::change_user(user, group);
        confinement.accept(changed, || {
            format!("the right to become user {user} of group {group}")
        })?;
    }
    if !is_in_own_network {
        let left = sys::leave_network(false);
        confinement.accept(left, || NETWORK.to_owned())?;
    }
    step(sys::drop_capabilities())?;
    Ok(HalfIsolated { rules, confinement })
}

const NETWORK: &str = "the right to a network namespace (CAP_SYS_ADMIN, or user namespaces for ordinary users, which a \
     container or a distribution may forbid; `share_network` does without)";

fn rules(confinement: &Confinement) -> Result<AccessRules, String> {
    let rules = AccessRules::new(!confinement.is_best_effort, confinement.shares_network);
    let mut rules = rules.map_err(|error| {
        failed(
            &format!("Landlock: {error}"),
            "`best_effort` does without what this system lacks",
        )
    })?;
    let mut allow = |paths: &[SystemText], what, allow: AllowPath| {
        paths.iter().try_for_each(|SystemText(path)| {
            let allowed = allow(&mut rules, Path::new(path));
            allowed.map_err(|error| {
                failed(
                    &format!("`{what}`: {error}"),
                    "allow only what exists when the worker starts",
                )
            })
        })
    };
    allow(&confinement.read, "allow_read", AccessRules::allow_read)?;
    allow(&confinement.write, "allow_write", AccessRules::allow_write)?;
    allow(
        &confinement.execute,
        "allow_execute",
        AccessRules::allow_execute,
    )?;
    let connect = confinement.connect.iter();
    let connect = connect.map(|port| (*port, AccessRules::allow_connect as AllowPort));
    let bind = confinement.bind.iter();
    let bind = bind.map(|port| (*port, AccessRules::allow_bind as AllowPort));
    for (port, allow) in connect.chain(bind) {
        let allowed = allow(&mut rules, port);
        allowed.map_err(|error| failed(&format!("port {port}: {error}"), ""))?;
    }
    Ok(rules)
}

type AllowPath = fn(&mut AccessRules, &Path) -> io::Result<()>;
type AllowPort = fn(&mut AccessRules, u16) -> io::Result<()>;

impl HalfIsolated {
    /// The second half, for each existing thread.
    pub(super) fn complete(self) -> Result<(), String> {
        let parent = self.confinement.parent;
        let guarded = (!self.rules.limits_signals()).then_some(parent);
        let may_write = !self.confinement.write.is_empty();
        let applied = self.rules.apply();
        applied.map_err(|error| failed(&format!("Landlock: {error}"), ""))?;
        let denied = sys::deny_calls(may_write, guarded);
        self.confinement
            .accept(denied, || "a seccomp filter for all threads".to_owned())
    }
}

impl Confinement {
    /// Returns a failure, or prints it as a warning if a best effort is enough.
    fn accept(
        &self,
        outcome: io::Result<()>,
        needs: impl FnOnce() -> String,
    ) -> Result<(), String> {
        let Err(error) = outcome else {
            return Ok(());
        };
        let missing = format!("{}: {error}", needs());
        if self.is_best_effort {
            warn(&missing);
            return Ok(());
        }
        Err(failed(
            &format!("it needs {missing}"),
            "`best_effort` does without what this system lacks",
        ))
    }
}

fn failed(why: &str, hint: &str) -> String {
    let hint = if hint.is_empty() {
        String::new()
    } else {
        format!("; {hint}")
    };
    format!("the isolation of the process failed: {why}{hint}")
}

fn warn(missing: &str) {
    eprintln!(
        "concurrent-futures: the isolation of a process is incomplete, because it lacks {missing}"
    );
}
