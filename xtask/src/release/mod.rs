//! What is published, and what is checked of it before: the packages, their public API, the manual pages.

pub(crate) mod api;
pub(crate) mod dist;
mod features;
mod manifests;
mod packages;
pub(crate) mod ready;
mod tools;

use crate::runner::Step;

/// What looks at the source, in the usual build folder.
pub(crate) fn of_source() -> Vec<Step> {
    vec![
        Step {
            name: "cargo/features",
            about: "each set of features builds, by itself",
            run: features::check,
        },
        Step {
            name: "cargo/package",
            about: "the packages build from what is in them, tests too",
            run: packages::check,
        },
        Step { name: "cargo/api", about: "the public API is the recorded one", run: api::check },
        Step { name: "source/spelling", about: "typos finds none", run: tools::spelling },
        Step {
            name: "source/dependencies",
            about: "cargo deny finds no fault with them",
            run: tools::dependencies,
        },
    ]
}

/// What needs a program that is built.
pub(crate) fn builds() -> Vec<Step> {
    vec![Step { name: "build/dist", about: "pvir has its manual pages and completions", run: dist::check }]
}
