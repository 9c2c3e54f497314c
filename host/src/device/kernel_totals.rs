//! What the host's kernel has counted for each of its IRQs, read so cheaply that it can be looked at many times a second.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{Read, Seek};

/// Longer than the file is on a host with 100,000 IRQs and 1,000 CPUs.
const LONGEST: u64 = 4 << 20;

/// The line `intr` of `/proc/stat`, read at most once in a look for all devices.
///
/// It has one number for each IRQ, in the order of the IRQs, after their sum (Documentation/filesystems/proc.rst,
/// "Miscellaneous kernel statistics in /proc/stat"; `show_stat` in fs/proc/stat.c, Linux 6.12). `/proc/interrupts` has a
/// number for each IRQ *and CPU*, and takes the kernel longer by as much.
#[derive(Debug, Default)]
pub struct KernelTotals {
    /// Opened once; `None` if it cannot be.
    file: OnceCell<Option<File>>,
    /// Of this look.
    totals: OnceCell<Vec<u32>>,
}

impl KernelTotals {
    /// Nothing is opened or read before it is asked for.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the next look: what was read before is forgotten.
    pub fn begin_look(&mut self) {
        self.totals.take();
    }

    /// What the kernel has counted for an IRQ so far, modulo 2^32. `None` if it does not say.
    #[must_use]
    pub fn total(&self, irq: u32) -> Option<u32> {
        self.totals.get_or_init(|| self.read()).get(irq as usize).copied()
    }

    fn read(&self) -> Vec<u32> {
        let file = self.file.get_or_init(|| File::open("/proc/stat").ok());
        let Some(mut file) = file.as_ref() else { return Vec::new() };
        let mut text = Vec::new();
        let read = file.rewind().and_then(|()| file.take(LONGEST).read_to_end(&mut text));
        if read.is_ok() { parse(&String::from_utf8_lossy(&text)) } else { Vec::new() }
    }

    /// Of a kernel whose `/proc/stat` is `text`.
    #[cfg(test)]
    pub(crate) fn of(text: &str) -> Self {
        Self { file: OnceCell::from(None), totals: OnceCell::from(parse(text)) }
    }
}

/// The numbers after the sum. The kernel counts in 32 bits.
fn parse(text: &str) -> Vec<u32> {
    let line = text.lines().find_map(|line| line.strip_prefix("intr ")).unwrap_or_default();
    let numbers = line.split_ascii_whitespace().skip(1);
    numbers
        .map_while(|number| number.parse::<u64>().ok())
        .map(|number| (number & 0xffff_ffff) as u32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn irqs_are_counted_in_their_order_after_the_sum() {
        let kernel = KernelTotals::of("cpu  1 2 3\ncpu0 1 2 3\nintr 1060 40 0 0 1020\nctxt 5\n");
        assert_eq!([0, 1, 3, 4].map(|irq| kernel.total(irq)), [Some(40), Some(0), Some(1020), None]);
        let silent = KernelTotals::of("cpu  1 2 3\nctxt 5\n");
        assert_eq!(silent.total(0), None);
        assert_eq!(KernelTotals::of("intr 7 x 1").total(0), None);
        assert_eq!(KernelTotals::of("intr 7 4294967297").total(0), Some(1));
    }

    #[test]
    fn the_file_is_read_anew_in_each_look() {
        let mut kernel = KernelTotals::new();
        let sum =
            |kernel: &KernelTotals| (0..512).filter_map(|irq| kernel.total(irq)).map(u64::from).sum::<u64>();
        // Where there is none, there is none in either look.
        let (first, again) = (sum(&kernel), sum(&kernel));
        assert_eq!(first, again, "one look is of one moment");
        kernel.begin_look();
        assert!(sum(&kernel) >= first);
    }

    /// The numbers of `/proc/interrupts`, which are of a moment between two looks, lie between theirs.
    #[test]
    fn this_kernel_counts_the_same_in_both_files() {
        let mut kernel = KernelTotals::new();
        let look = |kernel: &KernelTotals| (0..4096).map(|irq| kernel.total(irq)).collect::<Vec<_>>();
        let before = look(&kernel);
        let text = std::fs::read_to_string("/proc/interrupts").unwrap_or_default();
        kernel.begin_look();
        let after = look(&kernel);
        for line in text.lines() {
            let Some((irq, counts)) = line.trim().split_once(':') else { continue };
            let Ok(irq) = irq.parse::<usize>() else { continue };
            let counts = counts.split_whitespace().map_while(|count| count.parse::<u64>().ok());
            let Ok(sum) = u32::try_from(counts.sum::<u64>()) else { continue };
            // An IRQ may be given back and given out again meanwhile.
            let (Some(Some(before)), Some(Some(after))) = (before.get(irq), after.get(irq)) else { continue };
            assert!(
                before > after || (before..=after).contains(&&sum),
                "IRQ {irq}: {before}, {sum}, {after}"
            );
        }
    }
}
