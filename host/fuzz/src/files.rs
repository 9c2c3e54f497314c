//! Kernels, sockets and addresses, as `pvir` reads them.

use crate::input::Input;
use crate::machine::Machine;
use anyhow::Result;

pub(crate) fn elf(bytes: &[u8]) -> Result<()> {
    pvir::fuzz::elf(bytes)
}

pub(crate) fn bus(bytes: &[u8]) -> Result<()> {
    pvir::fuzz::bus(bytes)
}

/// What requests begin with.
const WORDS: [&[u8]; 16] = [
    b"routes\n",
    b"summary\n",
    b"devices\n",
    b"save\n",
    b"save reset-devices\n",
    b"plug ",
    b"plug vfio=0000:01:00.0 group\n",
    b"plug emulated,vectors=8\n",
    b"unplug ",
    b"unplug 00:03.0 force\n",
    b"event stale-pairs all\n",
    b"event device-cut-off 00:01.0\n",
    b"event readmit 00:01.0\n",
    b"event device-gone 00:02.0\n",
    b" ",
    b"\n",
];

/// Clients one after the other, each with up to four pieces.
pub(crate) fn control(bytes: &[u8]) -> Result<()> {
    let mut input = Input::new(bytes);
    let machine = Machine::new()?;
    while !input.is_empty() {
        let mut pieces = Vec::new();
        for _ in 0..=input.byte() % 4 {
            let [what, length] = input.bytes();
            let mut piece =
                if what & 0x80 == 0 { WORDS[usize::from(what) % WORDS.len()].to_vec() } else { Vec::new() };
            piece.extend((0..length % 16 * (length >> 4)).map(|_| input.byte()));
            let files = if what & 0x40 == 0 { 0 } else { input.byte() };
            pieces.push((piece, files));
        }
        pvir::fuzz::control(&pieces, &machine.service)?;
        machine.check(|_| true)?;
    }
    machine.end(|_| true)
}
