//! The accesses to an MSI-X table of a Linux guest without interrupt remapping, in its order (Linux 6.12,
//! `drivers/pci/msi/msi.h` and `msi.c`, `kernel/irq/manage.c`, `arch/x86/kernel/apic/msi.c`).
//!
//! They are made on any [`Table`]. The kernel has a device's; the test `intel/linux-accesses` has one that writes them
//! down, and holds that against what a real Linux does: so the same lines are what is measured and what is compared.

/// A word of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Lower half of the message's address.
    Low,
    /// Upper half.
    High,
    /// The message's data.
    Data,
    /// Vector control: the mask bit.
    Control,
}

impl Word {
    /// In the order of their places.
    pub const ALL: [Self; 4] = [Self::Low, Self::High, Self::Data, Self::Control];

    /// Where in its entry it is, in bytes.
    #[must_use]
    pub const fn offset(self) -> u64 {
        match self {
            Self::Low => 0,
            Self::High => 4,
            Self::Data => 8,
            Self::Control => 12,
        }
    }
}

/// An MSI-X table, word by word.
pub trait Table {
    /// Writes a word of an entry.
    fn put_word(&self, entry: u16, word: Word, value: u32);

    /// Reads a word of an entry.
    fn get_word(&self, entry: u16, word: Word) -> u32;
}

/// An entry's address and data.
pub type Message = (u64, u32);

/// `pci_write_msg_msix` of a masked entry: three writes, and a read that flushes them. Whether it reads as written.
fn write_message(table: &impl Table, entry: u16, (address, data): Message) -> bool {
    let half = |bits: u64| u32::try_from(bits & 0xffff_ffff).unwrap_or_default();
    table.put_word(entry, Word::Low, half(address));
    table.put_word(entry, Word::High, half(address >> 32));
    table.put_word(entry, Word::Data, data);
    table.get_word(entry, Word::Data) == data
}

/// `pci_msix_mask`: a write, and a read of the table's first word that flushes it.
pub fn mask(table: &impl Table, entry: u16) {
    table.put_word(entry, Word::Control, 1);
    table.get_word(0, Word::Low);
}

/// `pci_msix_unmask`: a write.
pub fn unmask(table: &impl Table, entry: u16) {
    table.put_word(entry, Word::Control, 0);
}

/// `request_irq`: the message of the interrupt's activation, the one of its affinity, unmasked. 7 writes, 2 reads.
pub fn request(table: &impl Table, entry: u16, message: Message) -> bool {
    let activated = write_message(table, entry, message);
    let placed = write_message(table, entry, message);
    unmask(table, entry);
    activated && placed
}

/// A change of affinity, as the next interrupt carries it out: masked, the new vector on the old processor, then the new
/// processor, unmasked. 8 writes, 3 reads.
pub fn set_affinity(table: &impl Table, entry: u16, old: Message, new: Message) -> bool {
    mask(table, entry);
    let between = write_message(table, entry, (old.0, new.1));
    let moved = write_message(table, entry, new);
    unmask(table, entry);
    between && moved
}

/// The same where the new processor had the old vector's number free: nothing has to be taken apart, so there is one
/// message (`msi_set_affinity`, "Direct update is possible"). 5 writes, 2 reads.
pub fn set_affinity_directly(table: &impl Table, entry: u16, new: Message) -> bool {
    mask(table, entry);
    let moved = write_message(table, entry, new);
    unmask(table, entry);
    moved
}

/// `free_irq`: masked, and a message of zeros. 4 writes, 2 reads.
pub fn free(table: &impl Table, entry: u16) -> bool {
    mask(table, entry);
    write_message(table, entry, (0, 0))
}
