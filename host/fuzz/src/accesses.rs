//! Accesses to trapped stores.

use crate::input::Input;
use crate::machine::{Machine, device};
use anyhow::{Result, ensure};
use pvir_host::fake::Delivery;
use pvir_host::trapped::StoreArea;

/// What a local APIC takes of a guest's own message. It may name a vCPU that does not exist, which KVM passes over.
fn is_delivered(sent: Delivery) -> bool {
    sent.vector >= 16
}

pub(crate) fn run(bytes: &[u8]) -> Result<()> {
    let mut input = Input::new(bytes);
    let machine = Machine::new()?;
    machine.platform.lock().expect(None);
    while !input.is_empty() {
        let what = input.byte();
        let id = device(what >> 4 & 3);
        let area = input.one_of(&[
            StoreArea::Table,
            StoreArea::Table,
            StoreArea::Capability,
            StoreArea::PendingBits,
        ]);
        let [low, high] = input.bytes();
        // At the registers, seldom anywhere.
        let offset = match high {
            0xff => u64::from(low) << 56 | 0xff,
            0xe0.. => u64::from(low),
            _ if area == StoreArea::Table => u64::from(low & 0x3c),
            _ => u64::from(low & 0xf),
        };
        let len = input.one_of(&[4, 4, 4, 8, 2, 1, 3, 0]);
        match what % 4 {
            0 => machine.touch(input.byte(), input.byte(), input.byte()),
            1 => read(&machine, id, area, offset, len)?,
            _ => {
                let mut data: [u8; 8] = input.bytes();
                // What has an effect, often: an address, a fixed vector, MSI-X Enable.
                match (area, offset % 16) {
                    _ if data[7] & 1 != 0 => {}
                    (StoreArea::Table, 0) => data[..4].copy_from_slice(&0xfee0_0000_u32.to_le_bytes()),
                    (StoreArea::Table, 8) => data[1..4].fill(0),
                    (StoreArea::Capability, 2) => data[1] = 0x80,
                    _ => {}
                }
                let direct = |_: &[u8]| ();
                let served = machine.service.trapped_write(id, area, offset, &data[..len], direct);
                ensure!(
                    served.is_ok() || id == device(3) || is_foreign(id, area),
                    "{id} {area:?}: {served:?}"
                );
            }
        }
        machine.check(is_delivered)?;
    }
    machine.end(is_delivered)
}

/// Two reads of the same place are the same: neither changes anything.
fn read(machine: &Machine, id: pvir_abi::DeviceId, area: StoreArea, offset: u64, len: usize) -> Result<()> {
    let before = machine.platform.lock().footprint();
    let once = || {
        let mut data = [0x5a; 8];
        let served = machine.service.trapped_read(id, area, offset, &mut data[..len], |_: &mut [u8]| ());
        (data, served.is_ok())
    };
    let (first, second) = (once(), once());
    ensure!(first == second, "{id} {area:?} {offset:#x}: {first:?}, then {second:?}");
    ensure!(first.0[len..].iter().all(|byte| *byte == 0x5a), "{id} {area:?} {offset:#x}: read beyond {len}");
    ensure!(
        machine.platform.lock().footprint() == before,
        "{id} {area:?} {offset:#x}: a read has changed something"
    );
    Ok(())
}

/// The third device has MSI, and no table.
fn is_foreign(id: pvir_abi::DeviceId, area: StoreArea) -> bool {
    id == device(2) && area != StoreArea::Capability
}
