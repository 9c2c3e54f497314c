//! Asks `lab-witness`, a program of its own.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::expect::text;

/// The lines of JSON that `lab-witness` prints.
pub(crate) fn ask(words: &[&str]) -> Result<Vec<Value>> {
    let output = Command::new("lab-witness").args(words).output().context("cannot start lab-witness")?;
    if !output.status.success() {
        bail!("lab-witness {words:?}: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    let text = String::from_utf8(output.stdout).context("lab-witness printed no UTF-8")?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))).collect()
}

/// Whether this machine has an Intel IOMMU, whose remapping table can be read.
pub(crate) fn has_intel() -> bool {
    ask(&["irt"]).is_ok()
}

/// The present entry `index` of the remapping table.
pub(crate) fn irte(table: &[Value], index: u64) -> Option<&Value> {
    table.iter().find(|entry| entry["index"] == index && entry["present"] == true)
}

/// The entry of the remapping table that a message of remappable format names: bits 19:5 of the address hold bits 14:0
/// of the handle, bit 2 its bit 15, and if bit 3 is set the low half of the data is added.
pub(crate) fn index_of((address, data): (u64, u64)) -> Result<u64> {
    ensure!(address >> 20 == 0xfee && address >> 4 & 1 == 1, "{address:#x} is not in remappable format");
    let subhandle = if address >> 3 & 1 == 1 { data & 0xffff } else { 0 };
    Ok((address >> 5 & 0x7fff | (address >> 2 & 1) << 15) + subhandle)
}

/// A number that a JSON text holds in hexadecimal.
pub(crate) fn hex(value: &Value, key: &str) -> Result<u64> {
    let text = text(value, key);
    let digits =
        text.strip_prefix("0x").with_context(|| format!("{key} is no number in hexadecimal: {value}"))?;
    Ok(u64::from_str_radix(digits, 16)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_its_entry() {
        assert_eq!(index_of((0xfee0_0278, 0)).unwrap(), 19);
        assert_eq!(index_of((0xfee0_0278, 2)).unwrap(), 21);
        assert_eq!(index_of((0xfee0_0274, 2)).unwrap(), 0x8013);
        assert!(index_of((0xfee0_1000, 0x31)).is_err());
    }
}
