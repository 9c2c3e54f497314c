//! The latency of a VM beside one that does what costs the host most.

use anyhow::{Context, Result};

use crate::build::Programs;
use crate::system_tests::own_kvm::{Storm, latency};

/// A hostile VM: its name, what `pvir run` gets, and what its kernel does.
pub(crate) struct Load {
    pub(crate) name: &'static str,
    arguments: &'static [&'static str],
    words: &'static str,
    /// What its kernel prints when it has begun.
    sign: &'static str,
}

const DEVICE: [&str; 2] = ["--device", "emulated,vectors=64"];
const RUNNING: &str = "enabled in epoch";

/// All of them, with the default limits unless it says otherwise.
pub(crate) const LOADS: [Load; 5] = [
    Load {
        name: "storms that are ended",
        arguments: &["--storm-limit", "20000", "--rate-limit", "off"],
        words: "storms rounds=100000",
        sign: "\"event\":\"storm\"",
    },
    Load {
        name: "a storm that is not ended",
        arguments: &["--storm-limit", "off", "--rate-limit", "off"],
        words: "storms rounds=100000",
        sign: "storms by itself",
    },
    Load { name: "calls at random", arguments: &[], words: "hostile calls=100000000", sign: "kernel" },
    Load {
        name: "retargets without a limit",
        arguments: &["--storm-limit", "off", "--rate-limit", "off"],
        words: "retargets rounds=100000000",
        sign: RUNNING,
    },
    Load { name: "MAP and UNMAP, limited", arguments: &[], words: "failing rounds=100000000", sign: RUNNING },
];

/// Median and 99th percentile of how long an interrupt takes to another vCPU, in cycles, of a VM beside this one; of one alone
/// where there is none.
pub(crate) fn beside(programs: &Programs, load: Option<&Load>) -> Result<(u64, u64)> {
    let Some(load) = load else { return latency(programs) };
    let pvir = programs.on_path.first().context("no pvir was built")?;
    let arguments = [load.arguments, &DEVICE].concat();
    let _hostile = Storm::start(pvir, &programs.kernel, &arguments, load.words, load.sign)?;
    latency(programs)
}
