//! Takes the uncompressed kernel out of a `vmlinuz`: PVH boots that, without the minutes of unpacking in an emulator.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::lab::setup::Tools;

const ELF: &[u8] = b"\x7fELF";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
const XZ: &[u8] = b"\xfd7zXZ\0";

/// Writes the kernel in `vmlinuz` to `vmlinux`.
pub(crate) fn extract(vmlinuz: &Path, vmlinux: &Path, tools: &Tools) -> Result<()> {
    let image = fs::read(vmlinuz).with_context(|| format!("cannot read {}", vmlinuz.display()))?;
    for (magic, unpacker) in [(ZSTD, tools.zstd()), (XZ, tools.xz())] {
        let mut unpacker = unpacker;
        unpacker.args(["--decompress", "--stdout", "--quiet"]);
        for start in positions(&image, magic) {
            let kernel = pipe(&mut unpacker, &image[start..])?;
            if kernel.starts_with(ELF) {
                return fs::write(vmlinux, kernel)
                    .with_context(|| format!("cannot write {}", vmlinux.display()));
            }
        }
    }
    bail!("{} holds no kernel that zstd or xz can unpack", vmlinuz.display())
}

/// Where `pattern` begins; the same bytes may well stand in code before the real place.
fn positions<'a>(bytes: &'a [u8], pattern: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    bytes
        .windows(pattern.len())
        .enumerate()
        .filter(move |(_, window)| *window == pattern)
        .map(|(start, _)| start)
}

/// What a program prints for this input. Its status says nothing here: bytes follow the compressed stream, and are
/// complained about after all of it came out.
fn pipe(command: &mut Command, input: &[u8]) -> Result<Vec<u8>> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
    let stdin = child.stdin.take();
    let output = thread::scope(|scope| {
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input)));
        child.wait_with_output()
    })?;
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_of_the_magic_is_tried() {
        let bytes = [b"..".as_slice(), ZSTD, b".", ZSTD].concat();
        assert_eq!(positions(&bytes, ZSTD).collect::<Vec<_>>(), [2, 7]);
    }
}
