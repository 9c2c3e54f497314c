//! A kernel that was started by another one, as by kexec or to write down a crash: it finds the other's session, its
//! interrupt and its device as they were left. It takes the VM over, with memory of its own, and nothing of the other
//! is alive afterwards (X1, X2).

use crate::harness::checks::Checks;
use crate::harness::setup;
use crate::machine::cpu::time::{PATIENCE_MS, delay_us, wait_until};
use crate::machine::cpu::{self, interrupts};
use crate::machine::devices::{Device, Trigger};
use crate::machine::exit::ExitCode;
use crate::machine::pci::msix_table::RawMsixTable;
use crate::machine::pci::{self, device_id};
use crate::remapping::{self, Session};
use pvir_guest::abi::{DeviceId, Pair};
use pvir_guest::{Error, Irte, MapRequest, Origin, Target};
use pvir_test_kernel::cmdline::CommandLine;

/// The vector of the kernel that was there before, and of the one that takes over.
const VECTORS: [u8; 2] = [0x50, 0x51];
/// The entry that both use, and the number by which the device raises it.
const ENTRY: u16 = 0;
/// Microseconds in which an interrupt would have come.
const SILENCE_US: u64 = 20_000;

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let mut checks = Checks::new();
    let functions = pci::enumerate();
    let field = setup::with_msix(&functions).next().and_then(|function| {
        let table = RawMsixTable::open_masked(function)?;
        Some(Field { id: device_id(function.address)?, driver: setup::driver(function, &mut checks)?, table })
    });
    let Some(mut field) = field else {
        checks.expect(
            "device",
            false,
            format_args!("no device with MSI-X that this kernel has a driver for"),
        );
        return Ok(checks.finish("takeover"));
    };
    let before = setup::open(line)?;
    let old = field.map(&before, VECTORS[0]).map_err(|error| setup::refuse(&error))?;
    checks.expect(
        "before",
        field.comes(VECTORS[0]),
        format_args!("the interrupt of the kernel that was there"),
    );
    let session = remapping::take_over(line).map_err(|error| setup::refuse(&error))?;
    let (was, is) = (before.epoch(), session.epoch());
    checks.expect("epoch", is > was, format_args!("{is} after {was}"));
    let answer = session.verify(&old);
    let stale = matches!(answer, Err(Error::Entry { .. }));
    checks.expect("handle", stale, format_args!("the old handle: {answer:?}"));
    field.program(old.pair());
    checks.expect("pair", !field.comes_at_once(VECTORS[0]), format_args!("the old pair reaches nobody"));
    match field.map(&session, VECTORS[1]) {
        Ok(irte) => {
            checks.expect("after", field.comes(VECTORS[1]), format_args!("the interrupt of the new kernel"));
            field.table.mask_all();
            let unmapped = session.unmap(irte);
            checks.expect("unmap", unmapped.is_ok(), format_args!("and it is given back"));
        }
        Err(error) => checks.expect("after", false, format_args!("{error}")),
    }
    setup::close(session, &mut checks);
    Ok(checks.finish("takeover"))
}

struct Field {
    id: DeviceId,
    driver: Device,
    table: RawMsixTable,
}

impl Field {
    fn map(&self, session: &Session, vector: u8) -> Result<Irte, Error> {
        let cpu = cpu::by_index(0).map_or(0, |cpu| cpu.apic_id);
        let request = MapRequest::new(Origin::msix(self.id, ENTRY.into()), Target::fixed(cpu, vector));
        let irte = session.map(request)?;
        self.program(irte.pair());
        Ok(irte)
    }

    fn program(&self, pair: Pair) {
        self.table.set_masked(ENTRY.into(), true);
        self.table.set_pair(ENTRY.into(), pair);
        self.table.set_masked(ENTRY.into(), false);
    }

    /// Whether the interrupt that the device raises gets through to the vector.
    fn comes(&mut self, vector: u8) -> bool {
        self.raise_and(vector, |came| wait_until(PATIENCE_MS, came))
    }

    /// Whether the interrupt that the device raises gets through to the vector in a moment.
    fn comes_at_once(&mut self, vector: u8) -> bool {
        self.raise_and(vector, |came| {
            delay_us(SILENCE_US);
            came()
        })
    }

    fn raise_and(&mut self, vector: u8, waited: impl FnOnce(&dyn Fn() -> bool) -> bool) -> bool {
        let before = interrupts::total(vector);
        self.driver.raise(ENTRY);
        let comes = waited(&|| interrupts::total(vector) > before);
        self.driver.acknowledge(ENTRY);
        comes
    }
}
