//! Functions in a snapshot.

use super::fixture::{Fixture, ID};
use super::*;
use crate::pci::{Identity, MsiRegisters};
use std::io;
use std::sync::Mutex;
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
    assert_eq!(what, "byte 0x2 of its configuration space is another one");
    assert!(model.seen.lock().unwrap().is_empty());
}

#[test]
fn a_host_device_and_a_model_that_does_not_say_how_are_not_saved() {
    let fixture = Fixture::new();
    let refused = fixture.function.save().unwrap_err();
    let FunctionError::State { source, .. } = refused else { panic!("{refused}") };
    assert_eq!(source.kind(), io::ErrorKind::Unsupported);
    struct Silent;
    impl FunctionModel for Silent {}
    let silent = EmulatedFunction::new(ID, "silent", Identity::new(1, 2), Arc::new(Silent));
    let silent = silent.finish(Arc::new(FakeMapper::default())).unwrap();
    assert_eq!(silent.save().unwrap_err().to_string(), "0000:00:01.0 (silent): it cannot be saved");
}
