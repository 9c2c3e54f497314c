//! Whether a page that is mapped into the guest holds registers of another function.
//!
//! Pages are the unit of mapping. PCI allows BARs smaller than a page, and several of them in one page, so a guest
//! that has one of them mapped reaches the others.

use super::Host;
use super::NotIsolated;
use super::group::parse;
use super::switches::unread;
use pvir_abi::{DeviceId, Refusal};
use std::fs;
use std::io::{self, ErrorKind};
use std::ops::RangeInclusive;
use std::path::Path;

const PAGE: u64 = 4096;
/// Flag of a resource in memory (Linux, include/linux/ioport.h, `IORESOURCE_MEM`).
const MEMORY: u64 = 0x200;
/// BARs are the first resources; behind them are the ROM, windows of bridges, and BARs of virtual functions, which have
/// files of their own.
const BARS: usize = 6;

/// The physical addresses of a BAR, first and last.
type AddressRange = RangeInclusive<u64>;

impl Host {
    /// Refuses a device if a page of a BAR that can be mapped holds a BAR of a function outside of `assigned`. A BAR of
    /// less than a page is not mapped: accesses to it exit.
    pub(super) fn validate_pages(&self, device: DeviceId, assigned: &[DeviceId]) -> Result<(), NotIsolated> {
        let unreadable =
            |what: &str, error: io::Error| unread(what, &error, "mount /sys, and let this user read it");
        let ours = memory_bars(&self.device_path(device))
            .map_err(|error| unreadable(&format!("the BARs of {device}"), error))?;
        let pages: Vec<(usize, AddressRange)> = ours
            .into_iter()
            .filter(|(_, bar)| is_mapped(bar))
            .map(|(index, bar)| (index, pages(&bar)))
            .collect();
        if pages.is_empty() {
            return Ok(());
        }
        let folder = self.path("sys/bus/pci/devices");
        let unlisted = |error| unreadable("/sys/bus/pci/devices", error);
        for entry in fs::read_dir(&folder).map_err(unlisted)? {
            let name = entry.map_err(unlisted)?.file_name();
            // A name that is no address of the contract is nobody's that this VM has. Its BARs count all the same:
            // Linux numbers the segments behind Intel's VMD from 0x10000 on.
            let address = name.to_str().and_then(parse);
            if address.is_some_and(|other| other == device || assigned.contains(&other)) {
                continue;
            }
            let path = folder.join(&name);
            let other = name.to_string_lossy();
            let theirs = match memory_bars(&path) {
                Ok(bars) => bars,
                // Unplugged meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound && !path.exists() => continue,
                Err(error) => return Err(unreadable(&format!("the BARs of {other}"), error)),
            };
            for (index, pages) in &pages {
                if let Some((their_index, bar)) = theirs.iter().find(|(_, bar)| overlap(pages, bar)) {
                    return Err(NotIsolated {
                        refusal: Refusal::SHARED_PAGE,
                        what: format!(
                            "BAR {index} of {device} has a page ({:#x} to {:#x}) in which BAR {their_index} of {other} \
                             ({:#x}) is too",
                            pages.start(),
                            pages.end(),
                            bar.start()
                        ),
                        remedy: format!(
                            "give {other} to this VM too, or boot the host with pci=resource_alignment={device}"
                        ),
                    });
                }
            }
        }
        Ok(())
    }
}

/// The BARs in memory, by number, of the function that has this directory in sysfs.
fn memory_bars(function: &Path) -> io::Result<Vec<(usize, AddressRange)>> {
    let text = fs::read_to_string(function.join("resource"))?;
    let mut bars = Vec::new();
    for (index, line) in text.lines().take(BARS).enumerate() {
        let mut numbers =
            line.split_whitespace().map(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16));
        let mut next = || numbers.next().and_then(Result::ok).ok_or(ErrorKind::InvalidData);
        let (start, end, flags) = (next()?, next()?, next()?);
        if flags & MEMORY != 0 && end > start {
            bars.push((index, start..=end));
        }
    }
    Ok(bars)
}

/// Whether the guest can have the BAR mapped: its size is a multiple of a page.
fn is_mapped(bar: &AddressRange) -> bool {
    (bar.end() - bar.start()).saturating_add(1) % PAGE == 0
}

fn pages(bar: &AddressRange) -> AddressRange {
    bar.start() & !(PAGE - 1)..=bar.end() | (PAGE - 1)
}

fn overlap(a: &AddressRange, b: &AddressRange) -> bool {
    a.start() <= b.end() && b.start() <= a.end()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, id};
    use super::*;

    const NIC: (u16, u16) = (0x8086, 0x10c9);
    const MEM: u64 = 0x4_0200;
    const PORTS: u64 = 0x4_0101;

    /// Device 5 with these resources, and device 6 with those.
    fn host(ours: &[(u64, u64, u64)], theirs: &[(u64, u64, u64)]) -> Fixture {
        let fixture = Fixture::new();
        for (device, lines) in [(id(5), ours), (id(6), theirs)] {
            fixture.add(device, NIC, 0x02_0000);
            fixture.resources(device, lines);
        }
        fixture
    }

    fn refusal(fixture: &Fixture, assigned: &[DeviceId]) -> Option<Refusal> {
        fixture.host.validate_pages(id(5), assigned).err().map(|reason| reason.refusal)
    }

    #[test]
    fn bars_in_pages_of_their_own_are_let_pass() {
        let fixture = host(
            &[(0xfe00_0000, 0xfe00_3fff, MEM), (0, 0, 0), (0xc000, 0xcfff, PORTS)],
            &[(0xfe00_4000, 0xfe00_40ff, MEM), (0xc000, 0xc0ff, PORTS)],
        );
        assert_eq!(refusal(&fixture, &[id(5)]), None);
    }

    #[test]
    fn another_functions_bar_in_the_page_is_refused_by_name_unless_it_is_the_vms_too() {
        // No whole pages at the front: something else ends there.
        let fixture = host(&[(0xfe00_0800, 0xfe00_17ff, MEM)], &[(0xfe00_0400, 0xfe00_04ff, MEM)]);
        let reason = fixture.host.validate_pages(id(5), &[id(5)]).unwrap_err();
        assert_eq!(reason.refusal, Refusal::SHARED_PAGE);
        assert!(reason.what.contains("BAR 0 of 0000:00:06.0"), "{reason}");
        assert_eq!(refusal(&fixture, &[id(5), id(6)]), None);
    }

    #[test]
    fn what_is_never_mapped_may_share_its_page() {
        let fixture = host(&[(0xfe00_0000, 0xfe00_00ff, MEM)], &[(0xfe00_0100, 0xfe00_01ff, MEM)]);
        assert_eq!(refusal(&fixture, &[id(5)]), None);
    }

    #[test]
    fn windows_of_bridges_are_no_bars() {
        let mut lines = [(0, 0, 0); 9];
        lines[8] = (0xfe00_0000, 0xfe0f_ffff, 0x200);
        assert_eq!(refusal(&host(&[(0xfe00_0000, 0xfe00_0fff, MEM)], &lines), &[id(5)]), None);
    }

    #[test]
    fn a_function_of_a_segment_beyond_the_contracts_counts_and_what_cannot_be_read_is_refused() {
        let fixture = host(&[(0xfe00_0800, 0xfe00_17ff, MEM)], &[]);
        let folder = "sys/bus/pci/devices/10000:e0:06.0";
        let theirs = |start: u64| format!("{start:#x} {:#x} {MEM:#x}\n", start + 0xff);
        fixture.write(&format!("{folder}/resource"), theirs(0xfe00_2000));
        assert_eq!(refusal(&fixture, &[id(5)]), None, "in a page of its own");
        fixture.write(&format!("{folder}/resource"), theirs(0xfe00_0400));
        let reason = fixture.host.validate_pages(id(5), &[id(5)]).unwrap_err();
        assert_eq!(reason.refusal, Refusal::SHARED_PAGE);
        assert!(reason.what.contains("BAR 0 of 10000:e0:06.0"), "{reason}");
        fixture.write("sys/bus/pci/devices/10000:e0:06.0/resource", "");
        assert_eq!(refusal(&fixture, &[id(5)]), None);
        fixture.write("sys/bus/pci/devices/what/is/this", "");
        assert_eq!(refusal(&fixture, &[id(5)]), Some(Refusal::POLICY), "it is there, and shows no BARs");
    }

    #[test]
    fn resources_that_make_no_sense_are_refused() {
        let fixture = host(&[(0xfe00_0000, 0xfe00_0fff, MEM)], &[]);
        fixture.write(&format!("sys/bus/pci/devices/{}/resource", id(6)), "what\n");
        assert_eq!(refusal(&fixture, &[id(5)]), Some(Refusal::POLICY));
    }
}
