//! The addresses of a bus: windows from which BARs get theirs, and what decodes them.

use anyhow::{Result, ensure};
use pvir_abi::{Bdf, DeviceId};
use pvir_host::function::BarRange;
use pvir_host::pci::{BarKind, BarSpec};

use super::decoder::Decoder;
use super::windows::Windows;
use crate::vm::address_bits::AddressBits;
use crate::vm::layout;
use crate::vm::memory::GuestRange;

/// BARs at once.
const MOST: usize = 24;

/// Steps of 4 bytes each: BARs are given addresses, which never overlap and lie where the guest is told; they go; and an
/// address is looked up, which one of them has or none.
///
/// # Errors
/// Two BARs at one address, or one that is found where it is not.
pub fn bus(steps: &[u8]) -> Result<()> {
    let (bits, steps) = steps.split_first().unwrap_or((&36, &[]));
    let bits = AddressBits::new(32 + bits % 32);
    let mut ram = vec![GuestRange::new(0, 256 << 20)];
    if bits.limit() > layout::FOUR_GIB {
        ram.push(GuestRange::new(layout::FOUR_GIB, 1 << 28));
    }
    let mut windows = Windows::new(&ram, bits)?;
    let (mut memory, mut ports) = (Decoder::default(), Decoder::default());
    let mut bars: Vec<(BarSpec, BarRange)> = Vec::new();
    for (number, step) in steps.chunks_exact(4).enumerate() {
        let [what, size, at, distance] = [step[0], step[1], step[2], step[3]];
        match what % 4 {
            0 | 1 if bars.len() < MOST => {
                let spec = spec(what, size);
                let Ok(address) = windows.allocate(spec) else { continue };
                let id = DeviceId::new(0, Bdf(u16::try_from(number % 256)?));
                let range = BarRange::new(id, at % 6, spec.kind(), address, spec.size());
                check_place(&range, spec, &ram, bits)?;
                let decoder = if spec.kind() == BarKind::Io { &mut ports } else { &mut memory };
                let inserted = decoder.insert(&range);
                ensure!(inserted.is_ok(), "{range:x?} was given the place of {inserted:x?}");
                bars.push((spec, range));
            }
            2 if !bars.is_empty() => {
                let (spec, range) = bars.swap_remove(usize::from(at) % bars.len());
                let decoder = if spec.kind() == BarKind::Io { &mut ports } else { &mut memory };
                decoder.remove(&range);
                windows.free(spec, range.address);
                ensure!(decoder.find(range.address, 1).is_none(), "{range:x?} has gone, and is found");
            }
            _ => {
                let Some((_, near)) = bars.get(usize::from(at) % bars.len().max(1)) else { continue };
                let places = [near.address, near.end(), near.address + near.size / 2];
                let address =
                    places[usize::from(size) % 3].wrapping_add_signed(i64::from(distance.cast_signed()));
                let len = 1_usize << (size >> 6);
                let decoder = if near.kind == BarKind::Io { &ports } else { &memory };
                let found = decoder.find(address, len).map(|(range, offset)| (*range, offset));
                let expected = bars
                    .iter()
                    .map(|(_, range)| range)
                    .filter(|range| (range.kind == BarKind::Io) == (near.kind == BarKind::Io));
                let expected =
                    expected.filter_map(|range| Some((*range, range.offset_of(address, len)?))).next();
                ensure!(found == expected, "{address:#x}+{len}: {found:x?}, not {expected:x?}");
            }
        }
    }
    Ok(())
}

/// A BAR that there can be.
fn spec(what: u8, size: u8) -> BarSpec {
    match what >> 2 & 3 {
        0 => BarSpec::io(4 << (size % 7)),
        1 => BarSpec::memory32(16 << (size % 27)),
        _ => BarSpec::memory64(16 << (size % 40)),
    }
}

/// Aligned, where no RAM is and no APIC, and where the CPU has addresses.
fn check_place(range: &BarRange, spec: BarSpec, ram: &[GuestRange], bits: AddressBits) -> Result<()> {
    let here = GuestRange::new(range.address, range.size);
    ensure!(range.address % spec.alignment() == 0, "{range:x?} is not aligned");
    if range.kind == BarKind::Io {
        ensure!(
            layout::PORTS.start <= here.start && here.end() <= layout::PORTS.end,
            "{range:x?} is no window"
        );
        return Ok(());
    }
    let apics =
        [layout::IO_APIC, layout::LAPIC].map(|range| GuestRange::new(range.start, range.end - range.start));
    ensure!(
        !ram.iter().chain(&apics).any(|taken| taken.overlaps(&here)),
        "{range:x?} is over RAM or an APIC"
    );
    let limit = if range.kind == BarKind::Memory32 { layout::FOUR_GIB } else { bits.limit() };
    ensure!(here.end() <= limit, "{range:x?} ends behind {limit:#x}");
    Ok(())
}
