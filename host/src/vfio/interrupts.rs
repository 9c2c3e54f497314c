//! What the host's kernel counts for a device's interrupts: `/proc/interrupts`.

use crate::device::HostInterrupt;
use pvir_abi::{DeviceId, Store};
use std::io;

/// The running interrupts of `device`.
///
/// # Errors
/// If `/proc/interrupts` cannot be read.
pub(crate) fn of_device(device: DeviceId) -> io::Result<Vec<HostInterrupt>> {
    Ok(parse(&std::fs::read_to_string("/proc/interrupts")?, device))
}

/// VFIO names its interrupts `vfio-msix[3](0000:01:00.0)`.
fn parse(text: &str, device: DeviceId) -> Vec<HostInterrupt> {
    let tail = format!("({device})");
    text.lines().filter_map(|line| line_of(line, &tail)).collect()
}

fn line_of(line: &str, tail: &str) -> Option<HostInterrupt> {
    let (irq, rest) = line.trim().split_once(':')?;
    let name = rest.split_whitespace().last()?.strip_suffix(tail)?;
    let (store, index) = match (name.strip_prefix("vfio-msix["), name.strip_prefix("vfio-msi[")) {
        (Some(index), _) => (Store::MSIX, index),
        (_, Some(index)) => (Store::MSI, index),
        _ => return None,
    };
    let counts = rest.split_whitespace().map_while(|word| word.parse::<u64>().ok());
    Some(HostInterrupt {
        irq: Some(irq.parse().ok()?),
        count: counts.sum(),
        store,
        index: index.strip_suffix(']')?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvir_abi::Bdf;

    #[test]
    fn only_the_lines_of_the_device_are_taken() {
        let text = "            CPU0       CPU1\n  1:  7  0  IO-APIC 1-edge i8042\n \
             25:  1000  24  IR-PCI-MSIX-0000:00:05.0  0-edge  vfio-msix[0](0000:00:05.0)\n \
             26:  0  3  IR-PCI-MSIX-0000:00:05.0  7-edge  vfio-msix[7](0000:00:05.0)\n \
             27:  9  9  IR-PCI-MSI-0000:00:06.0  0-edge  vfio-msi[0](0000:00:06.0)\n \
             28:  1  2  IR-PCI-MSI-0000:00:06.0  1-edge  vfio-msi[1](0000:00:06.0)\nNMI: 0 0 Non-maskable\n";
        let found = |device| parse(text, DeviceId::new(0, Bdf::new(0, device, 0).unwrap()));
        let msix = |irq, count, index| HostInterrupt { irq: Some(irq), count, store: Store::MSIX, index };
        assert_eq!(found(5), [msix(25, 1024, 0), msix(26, 3, 7)]);
        let msi = |irq, count, index| HostInterrupt { store: Store::MSI, ..msix(irq, count, index) };
        assert_eq!(found(6), [msi(27, 18, 0), msi(28, 3, 1)]);
        assert_eq!(found(7), []);
    }
}
