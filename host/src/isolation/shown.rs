//! The entries of Intel's remapping tables, as some kernels show them to root.
//!
//! With `CONFIG_INTEL_IOMMU_DEBUGFS` a file has two lists for each unit: the entries whose interrupts are remapped, and
//! those whose are posted (Linux 6.12, drivers/iommu/intel/debugfs.c, `ir_translation_struct_show`). AMD's driver has no
//! such file.

use super::Host;
use super::function::link_name;
use super::group::parse;
use pvir_abi::DeviceId;
use std::collections::BTreeMap;
use std::fs;

const FILE: &str = "sys/kernel/debug/iommu/intel/ir_translation_struct";
/// Of the lower half of an entry: P, and IM, which is set for posted ones (Intel VT-d Specification, Rev. 5.10, "Interrupt
/// Remapping Table Entry").
const PRESENT: u64 = 1;
const POSTED: u64 = 1 << 15;

/// The mode of each remapping table entry that the kernel shows for some devices: posted or remapped. `None` for an
/// entry whose mode is not known, because its lines do not agree: it changed between the two lists, or two units have
/// an entry of this index.
#[derive(Clone, Debug, Default)]
pub struct ShownIrtes(BTreeMap<(DeviceId, u32), Option<bool>>);

/// A device, and the name of its unit where it is known.
type Subject = (DeviceId, Option<String>);

impl Host {
    /// Reads the remapping table entries of `devices` from debugfs, once for all of them. The answer is empty where
    /// the kernel shows none, or not to this user.
    ///
    /// The kernel writes some 80 bytes for each entry that it has, and locks its table for that, so this is not for
    /// the path of a guest's call.
    #[must_use]
    pub fn shown_irtes(&self, devices: &[DeviceId]) -> ShownIrtes {
        if devices.is_empty() {
            return ShownIrtes::default();
        }
        let Ok(text) = fs::read(self.path(FILE)) else { return ShownIrtes::default() };
        let subject = |device: &DeviceId| (*device, link_name(&self.device_path(*device).join("iommu")));
        let subjects: Vec<Subject> = devices.iter().map(subject).collect();
        let mut shown = ShownIrtes::of(&String::from_utf8_lossy(&text), &subjects);
        if self.remapping_option("posted_msi") {
            // Every message is in the posted format then, those for the host's own kernel too.
            shown.0.retain(|_, posted| *posted == Some(false));
        }
        shown
    }
}

impl ShownIrtes {
    /// Whether the entry of this index, which the device's messages name, is posted; `None` if this is not known.
    #[must_use]
    pub fn is_posted(&self, device: DeviceId, index: u32) -> Option<bool> {
        self.0.get(&(device, index)).copied().flatten()
    }

    fn of(text: &str, subjects: &[Subject]) -> Self {
        let mut shown = Self::default();
        let mut list = None;
        for line in text.lines() {
            list = head(line).or(list).filter(|_| !line.starts_with("****"));
            let Some((posted, unit)) = list else { continue };
            let Some((index, source)) = entry(line, posted) else { continue };
            let is_meant =
                |(device, of): &&Subject| device.bdf == source.bdf && of.as_ref().is_none_or(|of| of == unit);
            for (device, _) in subjects.iter().filter(is_meant) {
                let known = shown.0.entry((*device, index)).or_insert(Some(posted));
                *known = known.filter(|known| *known == posted);
            }
        }
        shown
    }
}

/// The line before a list: whether it is that of posted entries, and the name of the unit.
fn head(line: &str) -> Option<(bool, &str)> {
    let (what, unit) = line.split_once(" Interrupt supported on IOMMU: ")?;
    let posted = match what {
        "Remapped" => false,
        "Posted" => true,
        _ => return None,
    };
    Some((posted, unit.trim_end()))
}

/// An entry's index and source, if its line is whole and in the mode of its list. The kernel leaves the source's segment
/// out.
fn entry(line: &str, posted: bool) -> Option<(u32, DeviceId)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [index, source, .., high, low] = fields[..] else { return None };
    let is_complete = fields.len() == if posted { 7 } else { 6 } && high.len() == 16 && low.len() == 16;
    let low = u64::from_str_radix(low, 16).ok()?;
    let agrees = low & PRESENT != 0 && (low & POSTED != 0) == posted;
    let source = parse(&format!("0000:{source}"))?;
    Some((index.parse().ok()?, source)).filter(|_| is_complete && agrees)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, id};
    use super::*;
    use pvir_abi::Bdf;
    use std::os::unix::fs::symlink;

    /// Two units; 00:01.0 is behind the first, and another segment has a 00:01.0 behind the second.
    const TEXT: &str = "\
Remapped Interrupt supported on IOMMU: dmar0
 IR table address:1046a0000
 Entry SrcID   DstID    Vct IRTE_high\t\tIRTE_low
 0     ff:1f.7 00000001 ef  00000000000400ff\t0000000100ef000d
 20    00:01.0 00000002 29  0000000000040008\t000000020029000d
 22    00:02.0 00000002 2a  0000000000040010\t00000002002a000d

Remapped Interrupt supported on IOMMU: dmar1
 IR table address:1046b0000
 Entry SrcID   DstID    Vct IRTE_high\t\tIRTE_low
 21    00:01.0 00000001 31  0000000000040008\t000000010031000d

Remapped Interrupt supported on IOMMU: dmar2
Interrupt Remapping is not enabled

****

Posted Interrupt supported on IOMMU: dmar0
 IR table address:1046a0000
 Entry SrcID   PDA_high PDA_low  Vct IRTE_high\t\tIRTE_low
 21    00:01.0 00000001 00c3a140 51  0000000100040008\t00c3a14000518001
 65535 00:01.0 00000001 00c3a180 52  0000000100040008\t00c3a18000528001

Posted Interrupt supported on IOMMU: dmar1
 IR table address:1046b0000
 Entry SrcID   PDA_high PDA_low  Vct IRTE_high\t\tIRTE_low
 20    00:01.0 00000001 00c3a1c0 53  0000000100040008\t00c3a1c000538001

";

    fn on(device: DeviceId, unit: Option<&str>) -> Subject {
        (device, unit.map(str::to_owned))
    }

    fn shown_as(text: &str, subject: &Subject) -> [Option<bool>; 5] {
        let shown = ShownIrtes::of(text, std::slice::from_ref(subject));
        [0, 20, 21, 22, 65535].map(|index| shown.is_posted(subject.0, index))
    }

    #[test]
    fn an_entry_is_the_one_of_the_devices_unit_and_source() {
        let no = Some(false);
        let yes = Some(true);
        assert_eq!(shown_as(TEXT, &on(id(1), Some("dmar0"))), [None, no, yes, None, yes]);
        assert_eq!(shown_as(TEXT, &on(id(1), Some("dmar1"))), [None, yes, no, None, None]);
        assert_eq!(shown_as(TEXT, &on(id(2), Some("dmar0"))), [None, None, None, no, None]);
        assert_eq!(shown_as(TEXT, &on(id(3), Some("dmar0"))), [None; 5]);
    }

    #[test]
    fn where_the_unit_is_not_known_an_index_of_two_units_is_not_reported() {
        assert_eq!(shown_as(TEXT, &on(id(1), None)), [None, None, None, None, Some(true)]);
        let elsewhere = DeviceId::new(1, Bdf::new(0, 2, 0).unwrap());
        assert_eq!(shown_as(TEXT, &on(elsewhere, None))[3], Some(false));
    }

    #[test]
    fn lines_that_are_cut_off_or_odd_are_passed_over() {
        let of = |text: &str| shown_as(text, &on(id(1), Some("dmar0")));
        let complete = of(TEXT);
        for end in (0..TEXT.len()).filter(|end| TEXT.is_char_boundary(*end)) {
            let cut = of(&TEXT[..end]);
            assert!(
                cut.iter().zip(complete).all(|(cut, complete)| cut.is_none() || *cut == complete),
                "{end}: {cut:?}"
            );
        }
        let line = |line: &str| of(&format!("Remapped Interrupt supported on IOMMU: dmar0\n{line}\n"))[1];
        assert_eq!(line(" 20    00:01.0 00000002 29  0000000000040008\t000000020029000d"), Some(false));
        for odd in [
            "",
            "\u{0}\u{fffd} 20",
            " 20    00:01.0 00000002 29  0000000000040008\t000000020029000",
            " 20    00:01.0 00000002 29  0000000000040008\t000000020029000c",
            " 20    00:01.0 00000002 29  0000000000040008\t000000020029800d",
            " 20    00:01.0 00000002 29  0000000000040008\tx00000020029000d",
            " 20    00:41.0 00000002 29  0000000000040008\t000000020029000d",
            " 20    0:1.0 00000002 29  0000000000040008\t000000020029000d",
            " -20   00:01.0 00000002 29  0000000000040008\t000000020029000d",
            " 99999999999 00:01.0 00000002 29  0000000000040008\t000000020029000d",
            " 20    00:01.0 00000002 29  more 0000000000040008\t000000020029000d",
        ] {
            assert_eq!(line(odd), None, "{odd:?}");
        }
        let entry = " 20    00:01.0 00000002 29  0000000000040008\t000000020029000d\n";
        assert_eq!(of(entry), [None; 5], "of no list");
        assert_eq!(
            of(&format!(
                "Other Interrupt supported on IOMMU: dmar0
{entry}"
            )),
            [None; 5]
        );
    }

    #[test]
    fn the_file_is_read_where_there_is_one() {
        let fixture = Fixture::new();
        fixture.add(id(1), (0x8086, 0x10c9), 0x02_0000);
        symlink("/sys/devices/virtual/iommu/dmar0", fixture.host.device_path(id(1)).join("iommu")).unwrap();
        let posted = || fixture.host.shown_irtes(&[id(1), id(2)]).is_posted(id(1), 21);
        assert_eq!(posted(), None);
        fixture.write(FILE, [TEXT.as_bytes(), b"\xff\xfe"].concat());
        assert_eq!(posted(), Some(true));
        fixture.write("proc/cmdline", "quiet intremap=on,posted_msi\n");
        assert_eq!(posted(), None, "posted, but for whom?");
        assert_eq!(fixture.host.shown_irtes(&[id(1)]).is_posted(id(1), 20), Some(false));
    }
}
