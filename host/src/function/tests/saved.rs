//! Functions in a snapshot.

use super::fixture::{Fixture, ID};
use super::*;
use crate::pci::{Identity, MsiRegisters};
use crate::vfio::{DeviceState, GoesOn};
use pvir_abi::EventReason;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use vm_memory::MmapRegion;

/// Memory in BAR 4, and what is told in between.
struct Model {
    memory: Arc<MmapRegion>,
    seen: Mutex<Vec<String>>,
}

impl FunctionModel for Model {
    fn set_bus_master(&self, on: bool) {
        self.seen.lock().unwrap().push(format!("bus master {on}"));
    }

    fn set_msi(&self, _: MsiRegisters) {}

    fn pause(&self) {
        self.seen.lock().unwrap().push("pause".into());
    }

    fn resume(&self) {
        self.seen.lock().unwrap().push("resume".into());
    }

    fn save(&self) -> io::Result<Vec<u8>> {
        Ok(vec![7])
    }

    fn restore(&self, inside: &[u8]) -> io::Result<()> {
        self.seen.lock().unwrap().push(format!("restore {inside:?}"));
        if inside == [7] { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    fn mapped_parts(&self, bar: u8) -> Vec<MappedPart> {
        let part = (bar == 4).then(|| MappedPart::new(0, 0x1000, Arc::clone(&self.memory) as _, 0, RW));
        part.flatten().into_iter().collect()
    }
}

fn function(device: u16) -> (Arc<PciFunction>, Arc<Model>, FakeMapper) {
    let memory = Arc::new(MmapRegion::new(0x1000).unwrap());
    let (model, mapper) = (Arc::new(Model { memory, seen: Mutex::default() }), FakeMapper::default());
    let identity = Identity::new(0x5056, device);
    let function = EmulatedFunction::new(ID, "test", identity, Arc::clone(&model) as Arc<dyn FunctionModel>)
        .with_bar(4, BarSpec::memory64(0x2000))
        .finish(Arc::new(mapper.clone()))
        .unwrap();
    (function, model, mapper)
}

#[test]
fn registers_and_places_come_back_and_the_device_learns_of_them_first() {
    let (before, ..) = function(1);
    before.set_bar_address(4, 0x12_0000_0000).unwrap();
    before.config_write(4, &[6, 0]);
    before.pause();
    let saved = before.save().unwrap();

    let (after, model, mapper) = function(1);
    after.pause();
    after.restore(&saved).unwrap();
    after.resume();
    assert_eq!(*model.seen.lock().unwrap(), ["pause", "bus master true", "restore [7]", "resume"]);
    assert_eq!(mapper.mapped(), [(0x12_0000_0000, 0x1000, RW)]);
    let read = |function: &PciFunction| {
        let mut bytes = [0; 64];
        function.config_read(0, &mut bytes);
        bytes
    };
    assert_eq!(read(&after), read(&before));
}

#[test]
fn another_function_is_refused_by_name() {
    let (before, ..) = function(1);
    let saved = before.save().unwrap();
    let (other, model, _) = function(2);
    let refused = other.restore(&saved).unwrap_err();
    let what = std::error::Error::source(&refused).unwrap().to_string();
    assert_eq!(refused.to_string(), "0000:00:01.0 (test): it is not the saved one");
    assert_eq!(
        what,
        "saved was 5056:0001 revision 0 class ff0000 subsystem 5056:0001, BAR4 Memory64 0x2000; here is 5056:0002 revision \
         0 class ff0000 subsystem 5056:0002, BAR4 Memory64 0x2000"
    );
    assert!(model.seen.lock().unwrap().is_empty());
}

#[test]
fn a_host_device_is_found_reset_with_the_registers_that_its_guest_has_written() {
    let before = Fixture::decoding();
    before.function.config_write(4, &[6, 4]);
    before.function.check_save().unwrap();
    let saved = before.function.save().unwrap();
    assert!(saved.is_found_reset());

    let after = Fixture::new();
    assert_eq!(after.function.kind(), "vfio 8086:10c9");
    after.function.restore(&saved).unwrap();
    // It was reset with Bus Master off, and has it as the guest has it afterwards.
    assert_eq!(*after.pci.resets.lock().unwrap(), [Some(true)]);
    assert_eq!(after.pci.bus_master.lock().unwrap().last(), Some(&true));
    assert_eq!(after.config::<2>(4), [6, 4]);
    assert_eq!(after.function.decoded(), before.function.decoded());
}

#[test]
fn a_host_device_that_does_not_reset_is_neither_saved_nor_restored() {
    let before = Fixture::decoding();
    let saved = before.function.save().unwrap();
    before.pci.can_reset.store(false, Relaxed);
    let refused = before.function.check_save().unwrap_err();
    let FunctionError::State { source, .. } = refused else { panic!("{refused}") };
    assert_eq!(
        source.to_string(),
        "what it holds inside cannot be saved, and the host's kernel cannot reset it"
    );
    let after = Fixture::new();
    after.pci.reset_fails.store(true, Relaxed);
    let refused = after.function.restore(&saved).unwrap_err();
    assert_eq!(refused.to_string(), "0000:00:01.0 (vfio 0000:06:00.0): what the saved one held is not taken");
}

#[test]
fn another_host_device_is_named_with_its_bars() {
    let saved = Fixture::decoding().function.save().unwrap();
    let other = Fixture::with_msi();
    let refused = other.function.restore(&saved).unwrap_err();
    // The same ids and BARs, and other capabilities.
    let what = std::error::Error::source(&refused).unwrap().to_string();
    assert_eq!(what, "byte 0x34 of its configuration space is another one");
    assert!(other.pci.resets.lock().unwrap().is_empty(), "it is left alone");
    let (emulated, ..) = function(1);
    let refused = emulated.restore(&saved).unwrap_err();
    let what = std::error::Error::source(&refused).unwrap().to_string();
    assert!(
        what.starts_with("saved was 8086:10c9 revision 0 class 000000 subsystem 0000:0000, BAR0 Memory32"),
        "{what}"
    );
}

#[test]
fn a_model_that_does_not_say_how_is_not_saved() {
    struct Silent;
    impl FunctionModel for Silent {}
    let silent = EmulatedFunction::new(ID, "silent", Identity::new(1, 2), Arc::new(Silent));
    let silent = silent.finish(Arc::new(FakeMapper::default())).unwrap();
    assert_eq!(silent.save().unwrap_err().to_string(), "0000:00:01.0 (silent): it cannot be saved");
}

/// What is asked of a driver that knows what its device holds.
#[derive(Clone, Default)]
struct Driver {
    seen: Arc<Mutex<Vec<String>>>,
    /// Whether it has failed when it is to go on.
    failed: bool,
}

impl Driver {
    fn note(&self, what: impl Into<String>) {
        self.seen.lock().unwrap().push(what.into());
    }
}

impl DeviceState for Driver {
    fn stop(&self) -> io::Result<()> {
        self.note("stop");
        Ok(())
    }

    fn go_on(&self) -> io::Result<GoesOn> {
        self.note("go on");
        Ok(if self.failed { GoesOn::Reset } else { GoesOn::AsItWas })
    }

    fn save(&self) -> io::Result<Vec<u8>> {
        self.note("save");
        Ok(vec![1, 2, 3])
    }

    fn load(&self, inside: &[u8]) -> io::Result<()> {
        self.note(format!("load {inside:?}"));
        if inside == [1, 2, 3] { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EINVAL)) }
    }
}

#[test]
fn what_a_host_device_holds_is_saved_where_its_driver_knows_it() {
    let (first, second) = (Driver::default(), Driver::default());
    let before = Fixture::with_state(Box::new(first.clone()));
    before.pci.can_reset.store(false, Relaxed);
    before.function.check_save().unwrap();
    before.function.pause();
    let saved = before.function.save().unwrap();
    assert!(!saved.is_found_reset());
    let after = Fixture::with_state(Box::new(second.clone()));
    after.function.pause();
    after.function.restore(&saved).unwrap();
    after.function.resume();
    assert_eq!(*first.seen.lock().unwrap(), ["stop", "save"]);
    assert_eq!(*second.seen.lock().unwrap(), ["stop", "load [1, 2, 3]", "go on"]);
    assert!(after.pci.resets.lock().unwrap().is_empty());

    let without = Fixture::new();
    let refused = without.function.restore(&saved).unwrap_err();
    let what = std::error::Error::source(&refused).unwrap().to_string();
    assert_eq!(what, "it was saved by the kernel's driver of the device, and this driver cannot take it");
}

#[test]
fn a_guest_is_told_of_a_device_that_did_not_go_on_after_a_save() {
    let vm = Fixture::with_state(Box::new(Driver { failed: true, ..Driver::default() }));
    assert_eq!(vm.enable(), pvir_abi::Status::OK);
    let epoch = vm.area().epoch;
    vm.function.pause();
    vm.function.resume();
    let area = vm.area();
    assert_eq!((area.epoch, area.reason, area.device), (epoch + 1, EventReason::STALE_PAIRS, ID));
}
