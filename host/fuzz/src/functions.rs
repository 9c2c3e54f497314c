//! PCI functions of any layout: their configuration space and their BARs, at any place and in any width, over a VMM that
//! refuses now and then.

mod mapper;

use crate::input::Input;
use crate::machine::{Machine, device};
use anyhow::{Result, ensure};
use mapper::Mapper;
use pvir_host::device::TableWindow;
use pvir_host::emulation::SharedTable;
use pvir_host::fake::FakeDevice;
use pvir_host::function::{EmulatedFunction, FunctionModel, GuestAccess, MappedPart, PciFunction};
use pvir_host::pci::{BarKind, BarSpec, Identity};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use vm_memory::MmapRegion;

const PAGE: u64 = 4096;
/// Bytes of what nobody may change: ids, revision and class.
const CONSTANT: [(u16, usize); 3] = [(0, 4), (8, 4), (0x2c, 4)];
const MEMORY_DECODE: u8 = 2;
const PORT_DECODE: u8 = 1;

/// A device with a page of memory in one of its BARs.
struct Model {
    memory: Arc<MmapRegion>,
    bar: u8,
}

impl FunctionModel for Model {
    fn mapped_parts(&self, bar: u8) -> Vec<MappedPart> {
        let memory = Arc::clone(&self.memory);
        let part = (bar == self.bar).then(|| MappedPart::new(PAGE, PAGE, memory, 0, GuestAccess::ReadWrite));
        part.flatten().into_iter().collect()
    }

    fn save(&self) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn restore(&self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

/// What a function is made of: taken from the input once, so that two of them can be the same.
struct Shape {
    bars: Vec<(u8, BarSpec)>,
    /// Of the MSI-X table, if it has one.
    vectors: Option<u32>,
    resets: bool,
    memory: Arc<MmapRegion>,
}

type Window = Arc<Mutex<Option<Box<dyn TableWindow>>>>;

impl Shape {
    fn new(input: &mut Input<'_>) -> Result<Self> {
        let mut bars = Vec::new();
        for bar in 0..6 {
            let what = input.byte();
            let size = 1_u64.checked_shl(u32::from(input.byte() % 40) + 2).unwrap_or(0);
            // Seldom one that no BAR can have.
            let size = if what & 0xf8 == 0xf8 { size | 8 } else { size };
            let spec = match what % 8 {
                0 => BarSpec::io(size.min(256)),
                1 | 2 => BarSpec::memory32(size),
                3 | 4 => BarSpec::memory64(size).with_prefetchable(what & 0x10 != 0),
                _ => continue,
            };
            bars.push((bar, spec));
        }
        let what = input.byte();
        let vectors = (what & 1 != 0).then(|| u32::from(what >> 1) * 16 + 1);
        Ok(Self { bars, vectors, resets: input.byte() % 2 == 1, memory: Arc::new(MmapRegion::new(0x1000)?) })
    }

    /// The function at a place of a machine; `None` of a shape that there cannot be.
    fn make(
        &self,
        machine: &Machine,
        number: u8,
        mapper: &Mapper,
    ) -> Result<Option<(Arc<PciFunction>, Window)>> {
        let large = self.bars.iter().find(|(_, spec)| spec.kind() != BarKind::Io && spec.size() >= 2 * PAGE);
        let model = Model { memory: Arc::clone(&self.memory), bar: large.map_or(9, |(bar, _)| *bar) };
        let name = EmulatedFunction::new(device(number), "fuzzed", Identity::new(0x5056, 1), Arc::new(model));
        let mut made = self.bars.iter().fold(name, |made, (bar, spec)| made.with_bar(*bar, *spec));
        if self.resets {
            made = made.with_reset();
        }
        let window = Window::default();
        let Some(vectors) = self.vectors else {
            return Ok(made.finish(Arc::new(mapper.clone())).ok().map(|function| (function, window)));
        };
        let table = SharedTable::new(vectors)?;
        let fake = FakeDevice::new(machine.platform.clone(), number.into(), vectors);
        let kept = Arc::clone(&window);
        let new = made.with_msix(2, &table).finish_with_device(Arc::new(mapper.clone()), move |window| {
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(window);
            Box::new(fake)
        });
        let Ok(new) = new else { return Ok(None) };
        Ok(Some((new.attach(&machine.service)?, window)))
    }
}

pub(crate) fn run(bytes: &[u8]) -> Result<()> {
    let mut input = Input::new(bytes);
    let machine = Machine::bare()?;
    machine.platform.lock().expect(None);
    let mapper = Mapper::default();
    let shape = Shape::new(&mut input)?;
    let Some((function, window)) = shape.make(&machine, 0, &mapper)? else { return Ok(()) };
    let constant = constant(&function);
    let (mut refused, mut placed) = (false, false);
    while !input.is_empty() {
        let what = input.byte();
        match what % 16 {
            0..5 => write(&function, &mut input),
            5 | 6 => read(&function, &mut input)?,
            7 => {
                let [bar, at, len] = input.bytes();
                let offset = u64::from(input.number()) << (at % 32);
                let mut data = [0x5a; 16];
                function.bar_read(bar % 8, offset, &mut data[..usize::from(len % 17)]);
                function.bar_write(bar % 8, offset, &data[..usize::from(len % 17)]);
            }
            8 | 9 => {
                let address = u64::from(input.number()) << (input.byte() % 33);
                let bar = input.byte() % 7;
                // It may be no place for it.
                let _ = match what >> 4 {
                    0 => function.place_bar(bar, None).inspect(|()| placed = true),
                    1 => function.place_bar(bar, Some(address)).inspect(|()| placed = true),
                    _ => function.set_bar_address(bar, address),
                };
            }
            10 | 11 => {
                let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
                // The VMM may refuse.
                let _ = window
                    .as_mut()
                    .map(|window| if what & 0x10 == 0 { window.open() } else { window.close() });
            }
            12 => {
                refused = true;
                mapper.refuse(input.byte());
            }
            // BARs that could not be unmapped are there after it.
            13 => _ = function.reset(),
            _ => decode(&function, what),
        }
        ensure!(constant == self::constant(&function), "somebody has changed the function's ids");
        check(&function, &mapper, refused, placed)?;
    }
    restore(&function, &shape, &machine)?;
    mapper.refuse(0);
    machine.service.shut_down();
    drop((function, window, machine));
    let left = mapper.left();
    ensure!(left.is_empty(), "left: {left:?}");
    Ok(())
}

fn constant(function: &PciFunction) -> [[u8; 4]; 3] {
    CONSTANT.map(|(offset, len)| {
        let mut bytes = [0; 4];
        function.config_read(offset, &mut bytes[..len]);
        bytes
    })
}

/// Mostly COMMAND, the BARs and the capabilities.
fn write(function: &PciFunction, input: &mut Input<'_>) {
    let [what, place, len] = input.bytes();
    let data: [u8; 12] = input.bytes();
    let offset = match what % 4 {
        0 => 0x10 + u16::from(place % 24),
        1 => 0x10 + u16::from(place % 6) * 4,
        2 => u16::from(place),
        _ => u16::from_le_bytes([place, what]),
    };
    let len = if what & 0x40 == 0 { 4 } else { usize::from(len % 13) };
    function.config_write(offset, &data[..len]);
}

/// What decodes, by COMMAND.
fn decode(function: &PciFunction, what: u8) {
    function.config_write(4, &[what >> 4, 0]);
}

/// Two reads are the same, and as those of single bytes.
fn read(function: &PciFunction, input: &mut Input<'_>) -> Result<()> {
    let [low, high, len] = input.bytes();
    let offset = u16::from_le_bytes([low, if high < 0xf0 { 0 } else { high }]);
    let len = usize::from(len % 13);
    let once = || {
        let mut data = [0x5a; 16];
        function.config_read(offset, &mut data[..len]);
        data
    };
    let (first, second) = (once(), once());
    ensure!(first == second, "{offset:#x}+{len}: {first:x?}, then {second:x?}");
    ensure!(first[len..].iter().all(|byte| *byte == 0x5a), "{offset:#x}: read beyond {len}");
    for (at, byte) in first[..len].iter().enumerate() {
        let mut alone = [0];
        let Some(place) = offset.checked_add(u16::try_from(at)?) else { break };
        function.config_read(place, &mut alone);
        ensure!(alone[0] == *byte, "{place:#x} is {byte:#x} in a word, and {:#x} alone", alone[0]);
    }
    Ok(())
}

/// What decodes is what the function says, where BARs can be.
fn check(function: &PciFunction, mapper: &Mapper, refused: bool, placed: bool) -> Result<()> {
    mapper.check()?;
    let mut decoded = function.decoded();
    decoded.sort_by_key(|range| range.bar);
    // A BAR of which a part could not be unmapped keeps its addresses, and answers there no more.
    let there = mapper.decoded();
    let same = if refused { decoded.iter().all(|range| there.contains(range)) } else { decoded == there };
    ensure!(same, "{decoded:x?} decode, and the VMM has {there:x?}");
    let mut command = [0];
    function.config_read(4, &mut command);
    for range in &decoded {
        let spec = function.bars().into_iter().find(|(bar, _)| *bar == range.bar).map(|(_, spec)| spec);
        let fits = spec.is_some_and(|spec| spec.kind() == range.kind && spec.size() == range.size);
        ensure!(fits, "{range:x?} decodes, and the BAR is {spec:x?}");
        let last = range.address.checked_add(range.size - 1);
        let limit = match range.kind {
            BarKind::Io => 0xffff,
            BarKind::Memory32 => u32::MAX.into(),
            _ => u64::MAX,
        };
        ensure!(
            range.address % range.size == 0 && last.is_some_and(|last| last <= limit),
            "{range:x?} is no place"
        );
        let bit = if range.kind == BarKind::Io { PORT_DECODE } else { MEMORY_DECODE };
        // A VMM's own bus has its own bits.
        if !refused && !placed {
            ensure!(command[0] & bit != 0, "{range:x?} decodes without {bit:#x} in {command:x?}");
            ensure!(
                function.bar_address(range.bar) == Some(range.address),
                "{range:x?} is not what its registers say"
            );
        }
        let find = if range.kind == BarKind::Io {
            function.find_port(u16::try_from(range.address)?, 1)
        } else {
            function.find_memory(range.address, 1)
        };
        ensure!(find.is_some(), "{range:x?} is not found");
    }
    Ok(())
}

/// Another function of the same shape takes what this one was, and is then the same.
fn restore(function: &PciFunction, shape: &Shape, machine: &Machine) -> Result<()> {
    let (saved, mapper) = (function.save()?, Mapper::default());
    let Some((other, _window)) = shape.make(machine, 1, &mapper)? else { return Ok(()) };
    let restored = other.restore(&saved);
    ensure!(restored.is_ok(), "what was saved is not restored: {restored:?}");
    ensure!(other.save()? == saved, "what was restored is another one: {:x?}", other.save()?);
    mapper.check()
}
