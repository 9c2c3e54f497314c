//! Wrong hosts: this one, made to break one statement of the contract, to see that the conformance suite notices.
//!
//! Only with the feature `wrong-host`, which cannot be built for release; without it [`is`] is `false` at compile time
//! and nothing of this is left. `docs/conformance.md` lists them with the statement that each breaks.

#[cfg(feature = "wrong-host")]
mod answer;
#[cfg(not(feature = "wrong-host"))]
mod honest;
mod list;

#[cfg(feature = "wrong-host")]
pub(crate) use answer::{answer, header_again, lose, routing};
#[cfg(not(feature = "wrong-host"))]
pub(crate) use honest::{answer, header_again, lose, routing};
pub use list::Wrong;

#[cfg(all(feature = "wrong-host", not(debug_assertions)))]
compile_error!(
    "the feature wrong-host makes hosts that break the contract: it is for tests, not for release"
);

#[cfg(feature = "wrong-host")]
static CHOSEN: std::sync::OnceLock<Wrong> = std::sync::OnceLock::new();

/// Breaks this from now on; the first choice counts.
#[cfg(feature = "wrong-host")]
pub fn choose(wrong: Wrong) {
    // A second choice is one of the same command line.
    let _ = CHOSEN.set(wrong);
}

/// Whether this host is to be wrong in this way.
#[cfg(feature = "wrong-host")]
#[must_use]
pub fn is(wrong: Wrong) -> bool {
    CHOSEN.get() == Some(&wrong)
}

/// Never: this is an honest host.
#[cfg(not(feature = "wrong-host"))]
#[must_use]
pub const fn is(_: Wrong) -> bool {
    false
}
