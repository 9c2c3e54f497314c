//! Functions of emulated devices.

use super::fixture::{ID, WindowDevice, service};
use super::*;
use crate::device::{StoreShape, TableWindow};
use crate::emulation::SharedTable;
use crate::pci::{Identity, MsiRegisters, MsiShape};
use pvir_abi::Bdf;
use std::sync::Mutex;
use vm_memory::MmapRegion;

/// Records what it is told.
#[derive(Default)]
struct Model {
    bus_master: Mutex<Vec<bool>>,
    msi: Mutex<MsiRegisters>,
    memory: Option<Arc<MmapRegion>>,
}

impl FunctionModel for Model {
    fn set_bus_master(&self, on: bool) {
        self.bus_master.lock().unwrap().push(on);
    }

    fn set_msi(&self, registers: MsiRegisters) {
        *self.msi.lock().unwrap() = registers;
    }

    fn msi_pending(&self) -> u32 {
        0x8000_0001
    }

    fn mapped_parts(&self, bar: u8) -> Vec<MappedPart> {
        let memory = self.memory.clone().filter(|_| bar == 4);
        let part = memory.and_then(|memory| MappedPart::new(0x1000, 0x1000, memory, 0, RW));
        part.into_iter().collect()
    }
}

const IDENTITY: Identity = Identity::new(0x5056, 1);

fn description(model: &Arc<Model>) -> EmulatedFunction {
    EmulatedFunction::new(ID, "test", IDENTITY, Arc::clone(model) as Arc<dyn FunctionModel>)
}

/// Lends the window of a device to the test.
struct LentWindow(Arc<Mutex<Box<dyn TableWindow>>>);

impl TableWindow for LentWindow {
    fn open(&mut self) -> std::io::Result<()> {
        self.0.lock().unwrap().open()
    }

    fn close(&mut self) -> std::io::Result<()> {
        self.0.lock().unwrap().close()
    }
}

#[test]
fn table_and_pending_bits_are_mapped_while_open_only() {
    let (service, _) = service();
    let (mapper, table) = (FakeMapper::default(), SharedTable::new(300).unwrap());
    let mut lent = None;
    let new = description(&Arc::default()).with_msix(2, &table).finish_with_device(
        Arc::new(mapper.clone()),
        |window| {
            let window = Arc::new(Mutex::new(window));
            lent = Some(Arc::clone(&window));
            Box::new(WindowDevice { shape: StoreShape::Msix(300), window: Box::new(LentWindow(window)) })
        },
    );
    let function = new.unwrap().attach(&service).unwrap();
    assert_eq!(function.bars(), [(2, BarSpec::memory32(0x4000))]);
    function.set_bar_address(2, 0xc000_0000).unwrap();
    function.config_write(4, &[2]);
    assert_eq!(mapper.mapped(), []);
    let window = lent.unwrap();
    window.lock().unwrap().open().unwrap();
    let read_only = (0xc000_2000, 0x1000, GuestAccess::ReadOnly);
    assert_eq!(mapper.mapped(), [(0xc000_0000, 0x2000, RW), read_only]);
    window.lock().unwrap().close().unwrap();
    assert_eq!(mapper.mapped(), []);
    let mut word = [0; 4];
    function.bar_read(2, 299 * 16 + 12, &mut word);
    assert_eq!(word, [1, 0, 0, 0], "the service's table is masked");
    function.bar_read(2, 0x3ffc, &mut word);
    assert_eq!(word, [0; 4]);
}

#[test]
fn msi_reaches_the_device_and_shows_its_pending_bits() {
    let (service, _) = service();
    let (mapper, model) = (Arc::new(FakeMapper::default()), Arc::<Model>::default());
    let shape = MsiShape { wide: true, maskable: true, messages_log2: 2 };
    let new = description(&model).with_msi(shape).finish_with_device(mapper, |window| {
        Box::new(WindowDevice { shape: StoreShape::Msi(shape), window })
    });
    let function = new.unwrap().attach(&service).unwrap();
    function.config_write(4, &[6, 0]);
    function.config_write(4, &[6, 0]);
    function.config_write(0x44, &0xfee0_0000_u32.to_le_bytes());
    function.config_write(0x42, &[0x21, 0]);
    assert_eq!(*model.bus_master.lock().unwrap(), [true], "told of changes only");
    let msi = *model.msi.lock().unwrap();
    assert_eq!((msi.enabled, msi.messages_log2, msi.message.address), (true, 2, 0xfee0_0000));
}

#[test]
fn a_devices_own_memory_moves_with_its_bar() {
    let mapper = FakeMapper::default();
    let memory = Some(Arc::new(MmapRegion::new(0x1000).unwrap()));
    let model = Arc::new(Model { memory, ..Model::default() });
    let function = description(&model)
        .with_bar(4, BarSpec::memory64(0x2000).with_prefetchable(true))
        .with_bar(0, BarSpec::io(16))
        .finish(Arc::new(mapper.clone()))
        .unwrap();
    function.set_bar_address(4, 0x12_0000_0000).unwrap();
    function.set_bar_address(0, 0xc000).unwrap();
    function.config_write(4, &[3]);
    assert_eq!(mapper.mapped(), [(0x12_0000_1000, 0x1000, RW)]);
    assert_eq!(function.find_port(0xc004, 4), Some((0, 4)));
    assert_eq!((function.find_memory(0xc004, 4), function.find_port(0xc00e, 4)), (None, None));
    // Both halves in one write.
    function.config_write(0x20, &0x23_0000_0000_u64.to_le_bytes());
    assert_eq!(mapper.mapped(), [(0x23_0000_1000, 0x1000, RW)]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let (service, _) = service();
    let mapper = || Arc::new(FakeMapper::default());
    let table = SharedTable::new(4).unwrap();
    let model = Arc::<Model>::default();
    let device =
        |shape| move |window| Box::new(WindowDevice { shape, window }) as Box<dyn crate::device::Device>;
    let mismatch = description(&model)
        .with_msix(2, &table)
        .finish_with_device(mapper(), device(StoreShape::Msix(5)))
        .err();
    assert!(matches!(mismatch, Some(FunctionError::Mismatch { .. })));
    assert!(matches!(
        description(&model).with_msix(2, &table).finish(mapper()).err(),
        Some(FunctionError::Mismatch { .. })
    ));
    assert!(matches!(
        description(&model).with_bar(2, BarSpec::memory32(3)).finish(mapper()).err(),
        Some(FunctionError::Bars { .. })
    ));
    let new = || {
        let function = description(&model).with_msix(2, &table).with_msix(4, &table);
        function.finish_with_device(mapper(), device(StoreShape::Msix(4))).unwrap()
    };
    let first = new().attach(&service).unwrap();
    assert_eq!((first.bars().len(), first.msix_table_bar()), (1, Some(4)), "the last one counts");
    let again = new().attach(&service).err().unwrap();
    assert_eq!(again.to_string(), format!("device {} is there already", DeviceId::new(0, Bdf(8))));
}

#[test]
fn a_function_that_offers_no_reset_is_reset_with_its_machine() {
    let model = Arc::new(Model::default());
    let function = description(&model).finish(Arc::new(FakeMapper::default())).unwrap();
    let first = |function: &PciFunction| {
        let mut data = [0; 64];
        function.config_read(0, &mut data);
        data
    };
    let before = first(&function);
    function.config_write(4, &[6, 0]);
    assert!(function.can_reset());
    function.reset().unwrap();
    assert_eq!((first(&function), function.decoded()), (before, vec![]));
    assert_eq!(*model.bus_master.lock().unwrap(), [true, false]);
}
