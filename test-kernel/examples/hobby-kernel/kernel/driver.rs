//! A driver that owns its table and its entry. The device raises an interrupt when it is told to.

use super::machine::{self, or_exit};
use super::platform::{Kernel, physical};
use pvir_guest::abi::{DeviceId, Features};
use pvir_guest::conduit::HardwareConduit;
use pvir_guest::x86_64::instructions::interrupts::without_interrupts;
use pvir_guest::{
    BlockLock, BlockMemory, EnableOptions, Entry, Live, MapRequest, MsixEntry, MsixTable, Pvir, Remapping,
    RequestBlock, Target, discover,
};

/// Where the interrupt goes first, and where its handler sends it.
pub(super) const VECTORS: [u8; 2] = [0x40, 0x41];
/// Writing an entry's number to this register of BAR 0 raises it.
const RAISE: u64 = 0x0c;

/// Room for what the kernel asks in one call.
static BLOCK: RequestBlock<8> = RequestBlock::new();

/// One block under a lock that turns interrupts off, so that handlers may call.
struct IrqSafeBlock(spin::Mutex<BlockMemory>);

impl BlockLock for IrqSafeBlock {
    fn with_block<R>(&self, call: impl FnOnce(&mut BlockMemory) -> R) -> R {
        without_interrupts(|| call(&mut self.0.lock()))
    }
}

/// The device, its table and its interrupt, and the session with the host.
pub(super) struct Nic {
    remapping: Remapping<HardwareConduit, IrqSafeBlock>,
    /// Dropped with the entry, in any order.
    _table: MsixTable<Kernel>,
    entry: Entry<MsixEntry<Kernel>, Live>,
    registers: u64,
    interrupts: usize,
}

impl Nic {
    pub(super) fn open(kernel: Kernel, device: DeviceId) -> Self {
        // 1. The host, and a session with it.
        let found = or_exit(discover());
        let conduit = or_exit(found.best_conduit());
        let block = or_exit(physical(&BLOCK).ok_or("the block is not aligned"));
        let lock = IrqSafeBlock(spin::Mutex::new(block));
        let pvir = or_exit(Pvir::negotiate_with(&found, conduit, lock));
        let remapping = or_exit(pvir.enable(EnableOptions::new(Features::MSIX)));

        // 2. The device's table: memory decoding and Bus Master are on, every entry is masked.
        kernel.switch_on(device);
        let table = or_exit(MsixTable::open(kernel, device));

        // 3. Entry 0 goes to this CPU. Its handler is in place.
        let target = Target::fixed(machine::apic_id(), VECTORS[0]);
        let irte = or_exit(remapping.map(MapRequest::new(table.origin(0), target)));
        let entry = or_exit(table.claim(0).ok_or("the entry has an owner"));
        let entry = or_exit(entry.program(irte)).unmask();

        Self { remapping, _table: table, entry, registers: kernel.bar0(device), interrupts: 0 }
    }

    /// Tells the device to raise entry 0.
    pub(super) fn raise(&self) {
        machine::write_register(self.registers + RAISE, 0);
    }

    pub(super) const fn interrupts(&self) -> usize {
        self.interrupts
    }

    /// In the handler: the first interrupt is moved to the other vector, and raised again there.
    pub(super) fn handle(&mut self, vector: u8) {
        if VECTORS.get(self.interrupts) != Some(&vector) {
            machine::exit(2);
        }
        self.interrupts += 1;
        if self.interrupts == 1 {
            let target = Target::fixed(machine::apic_id(), VECTORS[1]);
            or_exit(self.remapping.retarget(&mut self.entry, target));
            self.raise();
        }
    }
}
