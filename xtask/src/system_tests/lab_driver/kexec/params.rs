//! The page of boot parameters (`struct boot_params`, arch/x86/include/uapi/asm/bootparam.h of Linux).

use std::fs;

use anyhow::{Context, Result, ensure};

const SIZE: usize = 4096;
/// `e820_entries`, and `e820_table`: address, size, kind of each.
const ENTRIES: usize = 0x1e8;
const TABLE: usize = 0x2d0;
const ENTRY_SIZE: usize = 20;
const MAX_ENTRIES: usize = 128;
const RAM: u32 = 1;
/// Of the setup header: where an initramfs is and its size, and where the command line is.
const INITRD: usize = 0x218;
const INITRD_SIZE: usize = 0x21c;
const COMMAND_LINE: usize = 0x228;

pub(super) struct BootParams(Vec<u8>);

impl BootParams {
    /// Those of the kernel that runs.
    pub(super) fn read(path: &str) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {path}"))?;
        ensure!(bytes.len() == SIZE, "{path} has {} bytes", bytes.len());
        Ok(Self(bytes))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Has the next kernel find RAM in these ranges only; what is reserved stays so.
    pub(super) fn keep_ram(&mut self, ranges: &[(u64, u64)]) -> Result<()> {
        let count = usize::from(self.0[ENTRIES]).min(MAX_ENTRIES);
        let table = &self.0[TABLE..TABLE + count * ENTRY_SIZE];
        let mut entries: Vec<Vec<u8>> = table
            .chunks(ENTRY_SIZE)
            .filter(|entry| entry[16..] != RAM.to_le_bytes())
            .map(<[u8]>::to_vec)
            .collect();
        for (start, end) in ranges {
            entries
                .push([&start.to_le_bytes()[..], &(end - start).to_le_bytes(), &RAM.to_le_bytes()].concat());
        }
        ensure!(entries.len() <= MAX_ENTRIES, "{} ranges of memory", entries.len());
        self.0[ENTRIES] = u8::try_from(entries.len())?;
        self.0[TABLE..TABLE + MAX_ENTRIES * ENTRY_SIZE].fill(0);
        for (index, entry) in entries.iter().enumerate() {
            let at = TABLE + index * ENTRY_SIZE;
            self.0[at..at + ENTRY_SIZE].copy_from_slice(entry);
        }
        Ok(())
    }

    pub(super) fn set_command_line(&mut self, address: u64) -> Result<()> {
        self.set(COMMAND_LINE, address)
    }

    pub(super) fn set_initrd(&mut self, address: u64, size: usize) -> Result<()> {
        self.set(INITRD, address)?;
        self.set(INITRD_SIZE, u64::try_from(size)?)
    }

    /// Fields of 32 bits; their high halves stay zero.
    fn set(&mut self, at: usize, value: u64) -> Result<()> {
        let value = u32::try_from(value).context("an address above 4 GiB")?;
        self.0[at..at + 4].copy_from_slice(&value.to_le_bytes());
        Ok(())
    }
}
