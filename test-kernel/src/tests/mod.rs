//! The system tests of pvir, each under a word on the command line. They test the host and `pvir-guest` together; what any
//! host of the contract owes is asked by [`crate::conformance`].

mod attach;
mod blocked;
mod conduits;
mod counts;
mod crash;
mod decode;
mod direct;
mod dynamic;
mod events;
mod failing;
mod hostile;
mod ims;
mod isolation;
mod limits;
mod multi;
mod plug;
mod quotas;
mod reboot;
mod refusals;
mod resets;
mod retargets;
mod routings;
mod saves;
mod scale;
mod selftest;
mod sequences;
mod sessions;
mod several;
mod shortage;
mod storms;
mod takeover;
mod trapped;

use crate::machine::exit::ExitCode;
pub(crate) use crash::run as crash;
use pvir_test_kernel::cmdline::CommandLine;

/// What a word stands for. The error, which was reported, is why it did not begin.
pub(crate) type Word = fn(CommandLine<'static>) -> Result<ExitCode, ExitCode>;

/// The words, and what they stand for.
pub(crate) const WORDS: [(&str, Word); 31] = [
    ("direct", direct::run),
    ("refusals", refusals::run),
    ("resets", resets::run),
    ("retargets", retargets::run),
    ("decode", decode::run),
    ("failing", failing::run),
    ("hostile", hostile::run),
    ("isolation", isolation::run),
    ("blocked", blocked::run),
    ("counts", counts::run),
    ("ims", ims::run),
    ("multi", multi::run),
    ("routings", routings::run),
    ("dynamic", dynamic::run),
    ("events", events::run),
    ("attach", attach::run),
    ("plug", plug::run),
    ("saves", saves::run),
    ("scale", scale::run),
    ("limits", limits::run),
    ("sequences", sequences::run),
    ("sessions", sessions::run),
    ("conduits", conduits::run),
    ("quotas", quotas::run),
    ("reboot", reboot::run),
    ("several", several::run),
    ("shortage", shortage::run),
    ("storms", storms::run),
    ("selftest", selftest::run),
    ("takeover", takeover::run),
    ("trapped", trapped::run),
];
