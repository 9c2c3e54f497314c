//! Each conduit is tried once before the suite uses it: a wrong host that advertises one may let it fault, or never
//! answer, and neither must end the suite.
//!
//! A conduit that may never answer is tried on the second CPU, which is lost then.

use super::second_cpu;
use super::verdict::Told;
use crate::machine::cpu::smp;
use crate::raw::{Raw, instructions};
use core::fmt;
use pvir_guest::Discovered;
use pvir_guest::abi::{Conduits, FeaturesRecord, Header, Operation, Status};
use spin::Mutex;

/// Milliseconds of a running CPU that a call may take.
const PATIENCE_MS: u64 = 5_000;

/// What became of a conduit that the host advertises.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trial {
    /// It answered what the header says.
    Works,
    /// The instruction faulted.
    Faulted(u64),
    /// The call never came back.
    NeverAnswered,
    /// The conduit says one thing and the header another.
    Differs { conduit: u64, header: Status },
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Works => f.write_str("works"),
            Self::Faulted(vector) => write!(f, "faults with exception {vector}"),
            Self::NeverAnswered => f.write_str("never answers"),
            Self::Differs { conduit, header } => {
                write!(f, "answers {conduit:#x} to a good FEATURES, the header says {}", Told(*header))
            }
        }
    }
}

/// The conduits that are tried, with their names on the command line.
pub(super) const ALL: [(&str, Conduits); 4] = [
    ("vmcall", Conduits::VMCALL),
    ("vmmcall", Conduits::VMMCALL),
    ("msr", Conduits::MSR),
    ("port", Conduits::PORT),
];

/// The trial of each conduit of [`ALL`]; `None` for one that is not advertised.
pub(super) type Trials = [Option<Trial>; ALL.len()];

/// What the second CPU tries next.
static NEXT: Mutex<Option<(Raw, Discovered, Conduits)>> = Mutex::new(None);

/// Tries those in `asked`. `raw` lends its block.
pub(super) fn all(raw: &Raw, discovered: &Discovered, asked: Conduits) -> Trials {
    let mut trials = [None; ALL.len()];
    // MSR and port exit on any KVM or fault; the instructions may do neither, so they come last.
    for place in [2, 3, 0, 1] {
        let conduit = ALL[place].1;
        if (discovered.usable & asked).contains(conduit) {
            trials[place] = Some(one(raw, discovered, conduit));
        }
    }
    trials
}

fn one(raw: &Raw, discovered: &Discovered, conduit: Conduits) -> Trial {
    let by_instruction = conduit.intersects(Conduits::VMCALL | Conduits::VMMCALL);
    if !by_instruction || second_cpu::needed().is_err() {
        return here(raw, discovered, conduit);
    }
    *NEXT.lock() = Some((raw.by(raw.conduit()), *discovered, conduit));
    let started = smp::start_on(second_cpu::HELPER, there, 0);
    match started.and_then(|()| smp::wait_for(second_cpu::HELPER, PATIENCE_MS)) {
        Ok(word) => unpack(word),
        // It is in the call still, or was lost by an earlier one.
        Err(_) => Trial::NeverAnswered,
    }
}

/// Job: the trial that waits in [`NEXT`].
fn there(_: u64) -> u64 {
    let Some((raw, discovered, conduit)) = NEXT.lock().take() else { return pack(Trial::NeverAnswered) };
    pack(here(&raw, &discovered, conduit))
}

fn here(raw: &Raw, discovered: &Discovered, conduit: Conduits) -> Trial {
    raw.write(&Raw::header(Operation::FEATURES, 1), &[FeaturesRecord::request()]);
    match instructions::guarded_call(discovered, conduit, raw.address()) {
        Ok(conduit) => {
            let header = raw.read::<Header>(0).status;
            if conduit == u64::from(header.0) { Trial::Works } else { Trial::Differs { conduit, header } }
        }
        Err(fault) => Trial::Faulted(fault.vector.into()),
    }
}

/// A trial in a word: what it is in the top byte, what belongs to it below.
fn pack(trial: Trial) -> u64 {
    match trial {
        Trial::Works => 0,
        Trial::Faulted(vector) => 1 << 56 | vector,
        Trial::NeverAnswered => 2 << 56,
        Trial::Differs { conduit, header } => 3 << 56 | (conduit & 0xff_ffff) << 32 | u64::from(header.0),
    }
}

fn unpack(word: u64) -> Trial {
    let low = word & 0xffff_ffff;
    match word >> 56 {
        0 => Trial::Works,
        1 => Trial::Faulted(low),
        2 => Trial::NeverAnswered,
        _ => Trial::Differs {
            conduit: word >> 32 & 0xff_ffff,
            header: Status(u32::try_from(low).unwrap_or(u32::MAX)),
        },
    }
}
