//! A guest that does not know of pvir: MSI-X and MSI programmed with messages of its own making, which the VMM traps.
//! Every interrupt is asserted by count: sent, held while masked and sent once on unmask, moved while live, off and on.
//! Where the host offers pvir it is then enabled over live interrupts, used, and disabled, and all is trapped again.
//!
//! With the word `unoffered` the host must not offer it; with `refused` it must refuse ENABLE, and all goes on trapped.

mod aware;
mod msi;
mod msix;
mod witness;

use crate::harness::checks::Checks;
use crate::harness::setup;
use crate::machine::devices;
use crate::machine::exit::ExitCode;
use crate::machine::pci::{self, Function};
use crate::println;
use arrayvec::ArrayVec;
use msi::Msi;
use msix::Msix;
use pvir_test_kernel::cmdline::CommandLine;

/// Most devices that take part.
const MAX_DEVICES: usize = 4;
/// The first vector, and the vectors of each device: two for an entry, before and after it moves.
const FIRST_VECTOR: u8 = 0x40;
const VECTORS_EACH: u8 = 40;
/// Interrupts of each entry in each round, unless `rounds=` says otherwise.
const ROUNDS: u64 = 3;

/// A device, driven by the store that it has.
enum Driven {
    Msix(Msix),
    Msi(Msi),
}

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let rounds = setup::number(line, "rounds", ROUNDS)?;
    let mut checks = Checks::new();
    let offered = pvir_guest::discover().is_ok();
    if line.flag("unoffered") {
        checks.expect("unoffered", !offered, format_args!("no signature block is seen: {}", !offered));
    }
    let mut driven: ArrayVec<Driven, MAX_DEVICES> = ArrayVec::new();
    for function in pci::enumerate().iter() {
        let number = u8::try_from(driven.len()).unwrap_or(u8::MAX);
        let Some(vector) = number.checked_mul(VECTORS_EACH).and_then(|skip| skip.checked_add(FIRST_VECTOR))
        else {
            break;
        };
        if driven.is_full() {
            break;
        }
        driven.extend(open(function, vector, &mut checks));
    }
    checks.expect("devices", !driven.is_empty(), format_args!("{} devices with a driver", driven.len()));
    for device in &mut driven {
        device.unaware(rounds, &mut checks);
    }
    if line.flag("refused") {
        aware::refused(line, &mut driven, rounds, &mut checks);
    } else if offered {
        aware::run(line, &mut driven, rounds, &mut checks);
    } else {
        println!("the host offers no pvir: trapped all along");
    }
    Ok(checks.finish("trapped"))
}

fn open(function: &Function, vector: u8, checks: &mut Checks) -> Option<Driven> {
    let name = devices::name(function)?;
    let device = setup::driver(function, checks)?;
    match Msix::open(name, function, device, vector) {
        Ok(msix) => Some(Driven::Msix(msix)),
        Err(device) => Some(Driven::Msi(Msi::new(name, function, device, vector))),
    }
}

impl Driven {
    fn unaware(&mut self, rounds: u64, checks: &mut Checks) {
        match self {
            Self::Msix(msix) => msix.all_stages(rounds, checks),
            Self::Msi(msi) => msi.all_stages(rounds, checks),
        }
    }
}
