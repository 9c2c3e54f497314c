//! A machine with a device of the host is saved under traffic, and goes on in another process: with the same device, with
//! another one of the same kind, and not with one of another kind.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::lives::former_of;
use crate::CaseReport;
use crate::expect::{number, same};
use crate::host;
use crate::vm::Vm;

/// Rounds unless `PVIR_SAVES` says otherwise.
const ROUNDS: u64 = 3;
/// What the guest prints when it wants to be saved.
const WANTED: &str = "@pvir-save-wanted";
const MEMORY: [&str; 2] = ["--memory", "32M"];

/// The lab's devices 0 and 2 are of one kind, device 1 is of another.
pub(super) fn run() -> Result<CaseReport> {
    let rounds = match std::env::var("PVIR_SAVES") {
        Ok(rounds) => rounds.parse().with_context(|| format!("PVIR_SAVES={rounds}"))?,
        Err(_) => ROUNDS,
    };
    let devices = [0, 2, 1].map(|index| host::device(index).map(|bdf| format!("vfio={bdf}")));
    let [first, second, other] = devices;
    let (first, second, other) = (first?, second?, other?);
    let with = |device: &'_ str| -> Vec<String> {
        MEMORY.into_iter().chain(["--device"]).map(str::to_owned).chain([device.to_owned()]).collect()
    };
    let run = |device: &str, file: Option<&str>| -> Result<Vm> {
        let arguments = with(device);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        match file {
            None => Vm::start(&arguments, &format!("saves rounds={rounds}")),
            Some(file) => Vm::restore(file, &arguments),
        }
    };
    let file = |round: u64| format!("/tmp/saved-{round}");
    let mut vm = run(&first, None)?;
    for round in 0..rounds {
        ensure!(vm.until_line(WANTED)?, "the guest has ended in round {round}");
        vm.save(&file(round), &[])?;
        let ended = vm.finish()?;
        same("exit status", &ended.status, &Some(0))?;
        host::nothing_left()?;
        if round == 0 {
            let refused = run(&other, Some(&file(round)))?.finish()?;
            ensure!(
                refused.status != Some(0)
                    && refused.stderr.contains("the saved machine has vfio 8086:10c9 at 00:01.0"),
                "{:?}, and said:\n{}",
                refused.status,
                refused.stderr
            );
        }
        // The device of each process is another one of the same kind.
        vm = run(if round % 2 == 0 { &second } else { &first }, Some(&file(round)))?;
        if round > 0 {
            fs::remove_file(file(round - 1))?;
        }
    }
    let ended = vm.finish()?;
    ended.passed()?;
    fs::remove_file(file(rounds - 1))?;
    let figures = ended.of_kind("saves").pop().context("no figures")?;
    let of = |name: &str| number(&figures, &format!("/{name}"));
    same("found reset", &of("found_reset"), &rounds)?;
    Ok(format!(
        "{rounds} times saved and restored: {} raised, {} came and {} more in software, {} held and delivered once, {} twice",
        of("raised"),
        of("handled"),
        of("in_software"),
        of("held"),
        of("twice")
    )
    .into())
}

/// A guest that was restored resets its machine, and is started again in the same process (`--on-reboot restart`).
pub(super) fn started_again() -> Result<CaseReport> {
    const FILE: &str = "saved-to-be-started";
    let folder = std::env::temp_dir().join(format!("pvir-saves-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let file = folder.join(FILE);
    let file = file.to_str().context("no text")?;
    let words = "reboot by=port checkpoints";
    let arguments = ["--device", "emulated,vectors=10", "--on-reboot", "restart", "--memory", "32M"];
    let mut vm = Vm::start(&arguments, words)?;
    vm.until("former")?;
    vm.answer("")?;
    vm.until("traffic")?;
    let boots = vm.events("boot");
    let former = former_of(boots.last().context("no event `boot`")?);
    let epoch = epoch_of(&vm)?;
    vm.save(file, &[])?;
    same("exit status", &vm.finish()?.status, &Some(0))?;
    let mut vm = Vm::restore(file, &[&arguments[..], &["--append", words]].concat())?;
    // It stands at its checkpoint.
    vm.resume()?;
    vm.until("former")?;
    vm.answer(&former)?;
    vm.until("traffic")?;
    fs::remove_dir_all(&folder)?;
    let failed = vm.events("check").into_iter().find(|check| check["outcome"] == "FAILED");
    ensure!(failed.is_none(), "after the restart: {failed:?}");
    let again = epoch_of(&vm)?;
    ensure!(again > epoch, "epoch {epoch} is followed by {again}");
    let counts = vm.counts()?;
    same("restarts", &number(&counts, "/restarts"), &1)?;
    vm.signal(rustix::process::Signal::TERM)?;
    same("exit status", &vm.finish()?.status, &Some(130))?;
    host::nothing_left()?;
    Ok(format!("epoch {epoch} before the save, {again} after the restart").into())
}

fn epoch_of(vm: &Vm) -> Result<u64> {
    vm.events("boot").last().map(|boot| number(boot, "/epoch")).context("no event `boot`")
}
