//! All tests of the tree, in the order in which they run.

use std::process::ExitCode;

use crate::runner::{self, Options, Test};
use crate::{bench, build, campaign, lab, linux_module, release, system_tests};

/// Run only if they are named: each takes minutes, and shows on a second vendor what the first has shown by counts that do
/// not depend on it.
const LONG: [&str; 1] = ["amd/floor"];

/// `xtask test`.
pub(crate) fn run(options: &Options) -> ExitCode {
    runner::run(options, &tests(), &LONG, lab::all_lost)
}

/// Everything: what the source is first asked, then what has to be built, then what takes longest, so that no lane is left
/// alone with it at the end.
fn tests() -> Vec<Test> {
    let source = Test::InTurn(build::steps::of_source().into_iter().chain(release::of_source()).collect());
    let module = Test::InTurn(linux_module::of_source());
    let builds = Test::InTurn(build::steps::builds().into_iter().chain(release::builds()).collect());
    let gates = Test::InTurn(campaign::gates());
    let first = [source, builds, module, Test::One(bench::work::CASE), gates];
    first.into_iter().chain(system_tests::all()).collect()
}

/// The names of all tests.
#[cfg(test)]
pub(crate) fn names() -> Vec<&'static str> {
    tests().iter().flat_map(Test::titles).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names = names();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn a_test_that_is_left_out_exists() {
        assert!(names().contains(&LONG[0]));
    }
}
