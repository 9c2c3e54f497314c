//! What `pvir run` can take from its threads.

use super::check::Check;
use crate::sandbox::{Landlock, Sandbox, SandboxMode};

/// Tries it on a thread of its own.
pub(super) fn checks() -> Vec<Check> {
    const NAME: &str = "sandbox";
    // What a violation would do: no thread here makes one.
    let nothing = || {};
    match Sandbox::new(SandboxMode::On, nothing) {
        Ok(sandbox) => {
            let filters = "a filter of system calls for each thread of `pvir run` (seccomp)";
            vec![Check::ok(NAME, filters), files(sandbox.landlock().unwrap_or(Landlock::Missing))]
        }
        Err(error) => vec![Check::warn(
            NAME,
            format!("{error:#}").lines().next().unwrap_or_default(),
            "use a kernel with CONFIG_SECCOMP_FILTER, and outside of a container that forbids it; \
             `pvir run --sandbox off` runs without",
        )],
    }
}

fn files(landlock: Landlock) -> Check {
    const NAME: &str = "sandbox of files";
    match landlock {
        Landlock::Version(version) => Check::ok(NAME, format!("Landlock, version {version}")),
        Landlock::NotStarted => Check::warn(
            NAME,
            "Landlock is built into the kernel and not started: threads can read any file that this user can",
            "boot with landlock in the list `lsm=`",
        ),
        Landlock::Missing => Check::warn(
            NAME,
            "the kernel has no Landlock: threads can read any file that this user can",
            "use a kernel with CONFIG_SECURITY_LANDLOCK (Linux 5.13 or newer)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host_commands::doctor::check::Level;

    #[test]
    fn what_is_missing_has_its_remedy() {
        assert_eq!(files(Landlock::Version(6)).level, Level::Ok);
        assert!(files(Landlock::NotStarted).to_string().contains("lsm="));
        assert!(files(Landlock::Missing).to_string().contains("CONFIG_SECURITY_LANDLOCK"));
    }
}
