//! A driver that owns its tables and entries, in a struct that it can move.
#![expect(unsafe_code, reason = "a store of the tests keeps its messages in memory that it owns")]

use super::*;
use crate::fake::FakeMachine;
use crate::{
    EitherStore, Entry, ImsLayout, ImsMemory, ImsSlot, Live, MsiCapability, MsiStore, MsixEntry, MsixTable,
    PciError, Platform,
};
use core::ptr::NonNull;
use std::boxed::Box;
use std::sync::Arc;
use std::thread;
use std::vec::Vec;

/// A platform as a kernel has one: it costs nothing to clone, and nothing borrows it.
type Kernel = &'static FakeMachine;

fn kernel() -> Kernel {
    Box::leak(Box::new(FakeMachine::new(DEVICE, 10)))
}

/// What the issue asks for: no lifetime, no reference to itself, no unsafe code, no static.
struct Nic<K: Platform> {
    table: MsixTable<K>,
    receive: Entry<MsixEntry<K>, Live>,
    queues: Vec<Entry<MsixEntry<K>, Live>>,
}

impl<K: Platform + Clone> Nic<K> {
    fn open(kernel: K, remapping: &Remapping<FakeHost>) -> Result<Self, Box<dyn core::error::Error>> {
        let table = MsixTable::open(kernel, DEVICE)?;
        let live = |index| {
            let entry = table.claim(index).ok_or("the entry has an owner")?;
            let programmed = entry.program(remapping.map(msix(index))?).map_err(|failed| failed.error)?;
            Ok::<_, Box<dyn core::error::Error>>(programmed.unmask())
        };
        let (receive, queues) = (live(0)?, (1..4).map(live).collect::<Result<_, _>>()?);
        Ok(Self { table, receive, queues })
    }
}

#[test]
fn a_driver_owns_its_table_and_its_entries_and_can_be_moved() {
    let (machine, (_host, remapping)) = (kernel(), enabled());
    let nic = Nic::open(machine, &remapping).unwrap();
    // Moved to another thread, into a list, and out again.
    let mut nics = thread::spawn(move || std::vec![nic]).join().unwrap();
    let mut nic = nics.remove(0);
    remapping.retarget(&mut nic.receive, Target::fixed(3, 0x90)).unwrap();
    assert_eq!(machine.msix_message(0), Some(nic.receive.irte().pair()));
    assert!(nic.table.claim(0).is_none() && nic.table.claim(4).is_some());
    drop(nic);
    assert!((0..4).all(|index| machine.is_masked(index)));
    assert_eq!((machine.msix_enabled(), machine.mappings()), (false, 0));
}

#[test]
fn the_entries_of_a_table_that_is_dropped_first_go_on_until_the_last_is_dropped() {
    let (machine, (_host, remapping)) = (kernel(), enabled());
    let Nic { table, receive, mut queues } = Nic::open(machine, &remapping).unwrap();
    drop(table);
    drop(receive);
    assert_eq!((machine.msix_enabled(), machine.mappings()), (true, 2));
    assert_eq!(MsixTable::open(machine, DEVICE).unwrap_err(), PciError::InUse { device: DEVICE });
    let last = queues.pop().unwrap();
    drop(queues);
    assert_eq!(machine.msix_message(3), Some(last.irte().pair()), "still live");
    let (masked, irte) = last.mask().unwrap().retire();
    let live = masked.program(irte).unwrap().unmask();
    assert!(machine.msix_message(3).is_some());
    drop(live);
    assert_eq!((machine.msix_enabled(), machine.mappings()), (false, 0));
    assert!(
        MsixTable::open(machine, DEVICE).unwrap().claim(3).is_some(),
        "opened again, all entries are free"
    );
}

#[test]
fn a_platform_can_be_a_counted_reference_of_the_kernels_own() {
    #[derive(Clone)]
    struct Counted(Arc<FakeMachine>);

    // SAFETY: every method is that of the machine, which lives as long as this does.
    unsafe impl Platform for Counted {
        type Config = <FakeMachine as Platform>::Config;

        fn config(&self) -> &Self::Config {
            self.0.config()
        }

        fn is_ram(&self, address: x86_64::PhysAddr, len: usize) -> bool {
            self.0.is_ram(address, len)
        }

        fn map_mmio(&self, address: x86_64::PhysAddr, len: usize) -> Option<NonNull<u32>> {
            self.0.map_mmio(address, len)
        }

        unsafe fn unmap_mmio(&self, pointer: NonNull<u32>, len: usize) {
            // SAFETY: the caller's promise is the one that is asked for.
            unsafe { self.0.unmap_mmio(pointer, len) }
        }
    }

    let machine = Arc::new(FakeMachine::new(DEVICE, 10));
    let table = MsixTable::open(Counted(Arc::clone(&machine)), DEVICE).unwrap();
    let entry = table.claim(0).unwrap();
    drop(table);
    assert_eq!(Arc::strong_count(&machine), 2, "the entry has the platform");
    drop(entry);
    assert_eq!(Arc::strong_count(&machine), 1);
}

/// A driver whose queues have messages in three kinds of store.
#[test]
fn entries_of_any_stores_are_one_type() {
    type Any = EitherStore<MsixEntry<Kernel>, EitherStore<ImsSlot, MsiStore<Kernel>>>;

    let (machine, (_host, remapping)) = (kernel(), enabled());
    let words = NonNull::from(Box::leak(Box::new([0u32; 16]))).cast();
    // SAFETY: never freed, and reached by volatile accesses alone.
    let slots = unsafe { ImsMemory::new(DEVICE, words, 4, ImsLayout::LIKE_MSIX) }.unwrap();
    let table = MsixTable::open(machine, DEVICE).unwrap();
    let in_table = Any::First(table.claim(0).unwrap().release());
    let in_memory = Any::Second(EitherStore::First(slots.claim(1, 1).unwrap().release()));
    drop((table, slots));
    let mut live =
        [(in_table, msix(0).origin), (in_memory, Origin::ims(DEVICE, 1))].map(|(store, origin)| {
            let irte = remapping.map(MapRequest::new(origin, Target::Parked)).unwrap();
            Entry::claim(store).unwrap().program(irte).unwrap().unmask()
        });
    let targets = [Target::fixed(1, 0x60), Target::fixed(2, 0x61)];
    let mut results = [Err(crate::EntryError::NotAsked); 2];
    let moved = remapping.retarget_batch(&mut live, &targets, &mut results, crate::BatchMode::AllOrNothing);
    assert_eq!(moved, Ok(2));
    for entry in live {
        let (_masked, irte) = entry.mask().unwrap().retire();
        remapping.unmap(irte).unwrap();
    }
    let msi = MsiCapability::open(machine, DEVICE).unwrap().claim(1).unwrap().release();
    assert_eq!(Entry::claim(Any::Second(EitherStore::Second(msi))).unwrap().origin(), Origin::msi(DEVICE, 1));
}

#[test]
fn an_irq_chip_masks_a_live_entry_in_place_and_nothing_else_changes() {
    let (machine, (_host, remapping)) = (kernel(), enabled());
    let nic = Nic::open(machine, &remapping).unwrap();
    // Shared, as an irq_chip has it, and from any CPU.
    let chip = &nic;
    thread::scope(|scope| scope.spawn(|| chip.receive.mask_in_place().unwrap()).join().unwrap());
    assert_eq!((machine.msix_message(0), nic.receive.is_masked()), (None, Some(true)));
    machine.set_pending(0);
    assert_eq!(nic.receive.is_pending(), Some(true));
    chip.receive.unmask_in_place();
    assert_eq!(machine.msix_message(0), Some(nic.receive.irte().pair()));
    assert_eq!(nic.receive.is_masked(), Some(false));
    assert!((1..4).all(|index| !machine.is_masked(index)), "the others are as they were");
    // What is masked in place can still be taken down.
    nic.receive.mask_in_place().unwrap();
    let (_masked, irte) = nic.receive.mask().unwrap().retire();
    remapping.unmap(irte).unwrap();
}

fn refused(offset: u16, value: u32) -> PciError {
    let machine = kernel();
    machine.set_config(offset, value);
    let error = MsixTable::open(machine, DEVICE).unwrap_err();
    assert_eq!((machine.mappings(), machine.msix_enabled()), (0, false));
    error
}

#[test]
fn a_device_that_may_not_send_is_named_at_once() {
    let device = DEVICE;
    assert_eq!(refused(0x04, 0x0010_0002), PciError::BusMasterOff { device });
    let machine = kernel();
    machine.set_config(0x04, 0x0010_0002);
    assert_eq!(MsiCapability::open(machine, device).unwrap_err(), PciError::BusMasterOff { device });
}

#[test]
fn a_bar_that_a_host_puts_over_ram_is_not_mapped() {
    // The fake machine's RAM ends at 1 GiB; the table is at 0x2000 of the BAR, and has 10 entries.
    let machine = kernel();
    machine.set_config(0x14, 0);
    machine.set_config(0x10, 0x10_0004);
    let expected = PciError::BarInRam { device: DEVICE, bar: 0, address: 0x10_2000, len: 160 };
    assert_eq!(MsixTable::open(machine, DEVICE).unwrap_err(), expected);
    assert_eq!(machine.mappings(), 0);
}
