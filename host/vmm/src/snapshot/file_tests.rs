use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;

use super::*;
use vm_memory::GuestAddress;

const RANGES: [(GuestAddress, usize); 2] = [(GuestAddress(0), 24 * PAGE), (GuestAddress(1 << 32), 8 * PAGE)];
const STATE: [u8; 777] = [0x3c; 777];

fn blank() -> GuestMemoryMmap {
    GuestMemoryMmap::from_ranges(&RANGES).unwrap()
}

/// Three pages that are not zero, two of them neighbours, in both ranges.
fn memory() -> GuestMemoryMmap {
    let memory = blank();
    memory.write_slice(&[7; 2 * PAGE], GuestAddress(3 * PAGE as u64)).unwrap();
    memory.write_slice(b"text", GuestAddress((1 << 32) + 5 * PAGE as u64 + 100)).unwrap();
    memory
}

fn bytes_of(memory: &GuestMemoryMmap) -> Vec<u8> {
    let mut all = Vec::new();
    for (start, size) in RANGES {
        let mut bytes = vec![0; size];
        memory.read_slice(&mut bytes, start).unwrap();
        all.extend(bytes);
    }
    all
}

fn written() -> File {
    let mut file = tempfile::tempfile().unwrap();
    let length = write(&mut file, &STATE, &memory()).unwrap();
    assert_eq!(length, file.metadata().unwrap().len());
    file
}

/// Reads a snapshot from `bytes`: the state and RAM, or what is wrong.
fn read(bytes: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    let (state, opened) = open(file)?;
    let memory = blank();
    opened.read_memory(&memory)?;
    Ok((state, bytes_of(&memory)))
}

fn content(mut file: File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

fn refusal(bytes: &[u8]) -> String {
    format!("{:#}", read(bytes).unwrap_err())
}

#[test]
fn state_and_ram_come_back_and_zeros_take_no_room() {
    let file = written();
    let blocks = file.metadata().unwrap().blocks() * 512;
    assert!(blocks < 8 * PAGE as u64, "{blocks} bytes on the disk");
    let (state, ram) = read(&content(file)).unwrap();
    assert!(state == STATE && ram == bytes_of(&memory()));
}

/// One byte is changed at random, 10,000 times: it is always noticed.
#[test]
fn a_changed_byte_is_refused_wherever_it_is() {
    let mut bytes = content(written());
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..10_000 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let at = usize::try_from(random >> 9).unwrap() % bytes.len();
        let before = bytes[at];
        bytes[at] ^= random.to_le_bytes()[0].max(1);
        assert!(read(&bytes).is_err(), "byte {at}");
        bytes[at] = before;
    }
    assert!(read(&bytes).is_ok());
}

#[test]
fn what_is_wrong_is_named() {
    let good = content(written());
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] ^= byte;
        bytes
    };
    assert!(refusal(b"").contains("not a snapshot"));
    assert!(refusal(&with(0, 1)).contains("not a snapshot"));
    assert_eq!(refusal(&with(8, 1)), "it is of version 5, and this program knows version 4");
    assert!(refusal(&with(20, 1)).contains("the checksum of its header"));
    assert!(refusal(&with(100, 1)).contains("the checksum of its state"));
    assert!(refusal(&with(good.len() - 1, 1)).contains("the checksum of its RAM"));
    assert!(refusal(&good[..good.len() - 1]).contains("it was cut off, or something was added"));
    assert!(refusal(&[good.as_slice(), &[0]].concat()).contains("it was cut off, or something was added"));
    let unfinished = [&[0; 48], &good[48..]].concat();
    assert!(refusal(&unfinished).contains("not finished"));
}

#[test]
fn another_amount_of_ram_is_named_and_only_empty_files_are_written() {
    let mut file = written();
    file.seek(SeekFrom::Start(0)).unwrap();
    let (_, opened) = open(file).unwrap();
    let other = GuestMemoryMmap::from_ranges(&RANGES[..1]).unwrap();
    let refused = opened.read_memory(&other).unwrap_err().to_string();
    assert_eq!(refused, "it has 131072 bytes of RAM, and this machine has 98304");
    let again = write(&mut written(), &STATE, &memory()).unwrap_err().to_string();
    assert_eq!(again, "the file is not an empty regular file");
    let mut device = std::fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
    assert!(write(&mut device, &STATE, &memory()).is_err());
}
