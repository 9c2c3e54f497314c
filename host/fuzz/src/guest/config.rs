//! Configuration space of any content: where a device says that its table is.

use super::DEVICES;
use super::space::Space;
use crate::input::Input;
use anyhow::{Result, ensure};
use pvir_guest::{MsiCapability, MsixTable};

/// What is mapped is device memory, of the length of what is used, and everything that was mapped is unmapped.
pub(crate) fn run(bytes: &[u8]) -> Result<()> {
    let mut input = Input::new(bytes);
    let space = Space::new(&mut input);
    let device = DEVICES[0];
    if let Ok(table) = MsixTable::open(&space, device) {
        ensure!((1..=2048).contains(&table.len()), "{} entries", table.len());
        let index = input.number();
        let entry = table.claim(index);
        ensure!(entry.is_none() || index < table.len(), "entry {index} of {}", table.len());
        ensure!(entry.is_none() || table.claim(index).is_none(), "entry {index} has two owners");
    }
    if let Ok(msi) = MsiCapability::open(&space, device) {
        let (messages, count) = (msi.messages(), input.number());
        ensure!(messages.is_power_of_two() && messages <= 32, "{messages} messages");
        let claimed = msi.claim(count);
        ensure!(claimed.is_err() || count <= messages, "{count} of {messages} messages");
    }
    space.check()
}
