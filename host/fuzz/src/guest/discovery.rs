//! CPUID leaves of any content.

use crate::input::Input;
use anyhow::{Result, ensure};
use pvir_abi::{
    CPUID_BASE_STEP, CPUID_SIGNATURE, CpuidLeaf, MAX_RECORDS, MIN_CPUID_BASE, Version, is_conduit_msr,
    is_conduit_port,
};
use pvir_guest::conduit::HardwareConduit;
use pvir_guest::discover_with;

/// Leaves that the input has something to say of.
const LEAVES: usize = 8;

/// What is discovered is what can be used: a common version, a number of records, and a conduit whose register is the
/// host's to choose.
pub(crate) fn run(bytes: &[u8]) -> Result<()> {
    let mut input = Input::new(bytes);
    let mut leaves = Vec::new();
    while leaves.len() < LEAVES && !input.is_empty() {
        let what = input.byte();
        let base = MIN_CPUID_BASE + u32::from(what >> 4) * CPUID_BASE_STEP;
        let leaf = match what % 8 {
            0 => input.number(),
            1 => 1,
            2 => 0,
            rest => base + u32::from(rest) - 3,
        };
        let mut answer =
            CpuidLeaf { eax: input.number(), ebx: input.number(), ecx: input.number(), edx: input.number() };
        match what % 8 {
            1 => answer.ecx |= 1 << 31,
            3 => {
                [answer.ebx, answer.ecx, answer.edx] = CPUID_SIGNATURE;
                if answer.eax < 256 {
                    answer.eax = answer.eax % 8 + base;
                }
            }
            _ => {}
        }
        leaves.push((leaf, answer));
    }
    let mut asked = 0_u32;
    let found = discover_with(|leaf| {
        asked += 1;
        leaves.iter().find(|(number, _)| *number == leaf).map(|(_, answer)| *answer).unwrap_or_default()
    });
    ensure!(asked < 4096, "{asked} leaves were asked for");
    let Ok(found) = found else { return Ok(()) };
    let host = &found.host;
    ensure!((Version::OLDEST..=Version::NEWEST).contains(&found.version), "{} is not ours", found.version);
    ensure!((host.oldest..=host.newest).contains(&found.version), "{} is not the host's", found.version);
    ensure!((1..=MAX_RECORDS).contains(&host.max_records), "{} records", host.max_records);
    ensure!(
        !found.usable.is_empty() && host.conduits.contains(found.usable),
        "{:?} of {:?}",
        found.usable,
        host.conduits
    );
    match found.best_conduit()? {
        HardwareConduit::Msr(_) => ensure!(is_conduit_msr(host.msr), "D5: MSR {:#x}", host.msr),
        HardwareConduit::Port(_) => ensure!(is_conduit_port(host.port), "D5: port {:#x}", host.port),
        _ => {}
    }
    Ok(())
}
