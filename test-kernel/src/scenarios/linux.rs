//! The accesses to an MSI-X table of a Linux guest without interrupt remapping, in its order (Linux 6.12,
//! `drivers/pci/msi/msi.h` and `msi.c`, `kernel/irq/manage.c`, `arch/x86/kernel/apic/msi.c`). `docs/performance.md` has
//! the sequence beside a trace of the real thing.

use super::compat::MsixTable;

/// An entry's address and data.
pub(super) type Message = (u64, u32);

/// `pci_write_msg_msix` of a masked entry: three writes, and a read that flushes them. Whether it reads as written.
fn write_message(table: &MsixTable, index: u16, message: Message) -> bool {
    let [.., data] = table.put_message(index, message);
    table.get(table.at(index) + 8) == data
}

/// `pci_msix_mask`: a write, and a read of the table's first word that flushes it.
pub(super) fn mask(table: &MsixTable, index: u16) {
    table.set_masked(index, true);
    table.get(table.at(0));
}

/// `pci_msix_unmask`: a write.
pub(super) fn unmask(table: &MsixTable, index: u16) {
    table.set_masked(index, false);
}

/// `request_irq`: the message of the interrupt's activation, the one of its affinity, unmasked. 7 writes, 2 reads.
pub(super) fn request(table: &MsixTable, index: u16, message: Message) -> bool {
    let activated = write_message(table, index, message);
    let placed = write_message(table, index, message);
    unmask(table, index);
    activated && placed
}

/// A change of affinity, as the next interrupt carries it out: masked, the new vector on the old processor, then the new
/// processor, unmasked. 8 writes, 3 reads.
pub(super) fn set_affinity(table: &MsixTable, index: u16, old: Message, new: Message) -> bool {
    mask(table, index);
    let between = write_message(table, index, (old.0, new.1));
    let moved = write_message(table, index, new);
    unmask(table, index);
    between && moved
}

/// `free_irq`: masked, and a message of zeros. 4 writes, 2 reads.
pub(super) fn free(table: &MsixTable, index: u16) -> bool {
    mask(table, index);
    write_message(table, index, (0, 0))
}
