//! Words for Linux that ask for hardware which this machine does not have.

/// The words, and what becomes of a guest that has one. The machine has no 8259 interrupt controllers, so without the I/O
/// APIC no pin interrupts at all.
const WORDS: [(&str, &str); 1] = [(
    "noapic",
    "the I/O APIC is not used, and there is no 8259 in its place: what userland writes to COM1 is not seen",
)];

/// What to tell whoever starts a guest with this command line. Linux takes no words behind `--`.
pub(super) fn warnings(line: &str) -> impl Iterator<Item = String> {
    let words = line.split_ascii_whitespace().take_while(|word| *word != "--");
    words.filter_map(|word| {
        let (_, why) = WORDS.iter().find(|(known, _)| *known == word)?;
        Some(format!("--append {word}: {why}; help: leave it out"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_hardware_that_is_not_there_are_told() {
        let said = |line: &str| warnings(line).count();
        assert_eq!(said("console=ttyS0 noapic quiet"), 1);
        assert!(warnings("noapic").all(|text| text.contains("no 8259")));
        assert_eq!((said("a\tnoapic"), said("noapictimer xnoapic"), said("a -- noapic")), (1, 0, 0));
    }
}
