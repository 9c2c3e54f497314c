//! A file of `pvir save` of which a byte is changed at random, again and again: each time `pvir run --restore` refuses it.
//!
//! In every other round the checksums of the file are made right again, as by somebody who wants the file to be taken: the
//! change then meets what is behind them. What is restored is what somebody has written there, and what the guest does then
//! is its own business; but `pvir` ends as it always does.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{DEVICE, MACHINE, Machine, SILENCE, save};
use crate::build::Programs;

/// The header of the file (`host/vmm/src/snapshot/file.rs`): where its numbers are, and how long it is.
const STATE_CHECKSUM: u64 = 12;
const STATE_LENGTH: u64 = 16;
const HEADER_CHECKSUM: u64 = 44;
const HEADER: u64 = 48;
type Head = [u8; 48];
const _: () = assert!(size_of::<Head>() as u64 == HEADER);
/// Behind it: changes here are as likely as in all that follows, most of which is zero.
const DENSE: u64 = 1 << 20;
/// For a guest that hangs: a second of its own, and most are refused before it runs.
const SECONDS: &str = "1";
/// How `pvir run` ends, if not with a number of the guest's own: the guest passes, or has switched the machine off; refused;
/// the guest crashed; the time is over.
const PASSED: i32 = 0;
const REFUSED: i32 = 3;
const ENDS: [i32; 4] = [PASSED, REFUSED, 4, 124];

/// What came of all changes.
#[derive(Default)]
struct Outcomes {
    refused: u64,
    passed: u64,
    /// The guest did something else.
    otherwise: u64,
}

/// Changes a byte so often.
pub(super) fn run(programs: &Programs, times: u64) -> Result<String> {
    let pvir = programs.on_path.first().context("no pvir was built")?;
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let (path, socket) = (folder.path().join("saved"), folder.path().join("control"));
    let report = path.with_extension("json");
    // Not one of an earlier run.
    let _ = fs::remove_file(&report);
    let mut command = Command::new(pvir);
    command.arg("run").args(MACHINE).args(DEVICE).args(DEVICE).arg("--control").arg(&socket);
    let mut machine =
        Machine::start(command.args(["--append", "saves rounds=1 by=attach"]).arg(&programs.kernel))?;
    ensure!(machine.reads_until_wanted()?, "the guest has ended: {}", machine.text);
    save(pvir, &path, &socket)?;
    machine.ends()?;

    let file = OpenOptions::new().read(true).write(true).open(&path)?;
    let end = file.metadata()?.len();
    let mut random = numbers(0x9e37_79b9_7f4a_7c15);
    let mut outcomes = Outcomes::default();
    for round in 0..times {
        let repaired = round % 2 == 1;
        let state_end = HEADER + number(&file, STATE_LENGTH)?;
        let at = match (repaired, random(2)) {
            (true, _) => HEADER + random(state_end - HEADER),
            (false, 0) => random(DENSE.min(end)),
            (false, _) => random(end),
        };
        let mut byte = [0];
        file.read_exact_at(&mut byte, at)?;
        let mut head: Head = [0; 48];
        file.read_exact_at(&mut head, 0)?;
        let changed = byte[0] ^ u8::try_from(1 + random(255)).unwrap_or(1);
        file.write_all_at(&[changed], at)?;
        if repaired {
            repair(&file, state_end)?;
        }
        let what = format!("byte {at:#x} is {changed:#x} in place of {:#x}, repaired {repaired}", byte[0]);
        let code = restore(pvir, &path, SECONDS).with_context(|| what.clone())?;
        if !repaired && code != REFUSED {
            bail!("{what}: it was not refused, and ended with {code}");
        }
        match code {
            REFUSED => outcomes.refused += 1,
            PASSED => outcomes.passed += 1,
            _ => outcomes.otherwise += 1,
        }
        // The header last, which is that of before: the byte may be one of it.
        file.write_all_at(&byte, at)?;
        file.write_all_at(&head, 0)?;
    }
    let patience = patience::stretched(SILENCE).as_secs().to_string();
    ensure!(restore(pvir, &path, &patience)? == PASSED, "what was saved is not restored any more");
    let Outcomes { refused, passed, otherwise } = outcomes;
    ensure!(refused >= times / 2, "only {refused} of {times} were refused");
    Ok(format!(
        "{times} bytes changed, half of them with the checksums made right: {refused} refused, {passed} restored and passed, \
         {otherwise} restored to a guest that did otherwise, no crash of pvir"
    ))
}

/// Makes the checksums right.
fn repair(file: &File, state_end: u64) -> Result<()> {
    let mut state = vec![0; usize::try_from(state_end - HEADER)?];
    file.read_exact_at(&mut state, HEADER)?;
    file.write_all_at(&crc32fast::hash(&state).to_le_bytes(), STATE_CHECKSUM)?;
    let mut head = [0; 44];
    file.read_exact_at(&mut head, 0)?;
    Ok(file.write_all_at(&crc32fast::hash(&head).to_le_bytes(), HEADER_CHECKSUM)?)
}

fn number(file: &File, at: u64) -> Result<u64> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, at)?;
    Ok(u64::from_le_bytes(bytes))
}

/// How `pvir run` ends with the file.
fn restore(pvir: &Path, path: &Path, seconds: &str) -> Result<i32> {
    let report = path.with_extension("json");
    // Not one of an earlier run.
    let _ = fs::remove_file(&report);
    let mut command = Command::new(pvir);
    command.arg("run").args(MACHINE).args(DEVICE).args(DEVICE).arg("--restore").arg(path);
    command.args(["--timeout", seconds, "--json"]).arg(&report).stdin(Stdio::null());
    let output = command.output().context("cannot start pvir")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code().with_context(|| format!("pvir ended with {}: {said}", output.status))?;
    // A guest whose registers were changed writes any number to the exit port.
    let written = fs::read(&report).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let is_guests = written.is_some_and(|report: Value| report["outcome"]["kind"] == "guest-exit");
    ensure!(
        (is_guests || ENDS.contains(&code)) && !said.contains("panicked"),
        "pvir ended with {code}: {said}"
    );
    ensure!(code != REFUSED || !said.trim().is_empty(), "it was refused without a word");
    Ok(code)
}

/// A generator of numbers below a bound (xorshift64, G. Marsaglia, "Xorshift RNGs", 2003).
fn numbers(mut state: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 9) % below.max(1)
    }
}
