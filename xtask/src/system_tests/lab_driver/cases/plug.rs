//! Devices that come and go while another one is busy, again and again: each works, the busy one loses nothing, and nothing
//! is left of those that have gone.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::lives;
use crate::CaseReport;
use crate::control_socket;
use crate::expect::{number, same};
use crate::footprint::Footprint;
use crate::host;
use crate::vm::Vm;

/// Rounds, four in each way in which a device goes.
const ROUNDS: u64 = 12;
/// The same of a device of the host, and of one beside another.
const ROUNDS_OF_HOST: u64 = 5;
const BESIDE: u64 = 3;
/// By which an administrator has VFIO take devices that are not isolated, in each way.
const UNSAFE_GROUPS: &str = "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts";
const UNSAFE_IOMMUFD: &str = "/sys/module/iommufd/parameters/allow_unsafe_interrupts";
const BUSY: &str = "emulated,vectors=10";

/// With the emulated device, on any KVM.
pub(super) fn emulated() -> Result<CaseReport> {
    let rounds = lives::rounds(ROUNDS)?;
    Ok(rounds_of("emulated,vectors=8", &[], rounds)?.into())
}

/// With a device of the host: by its group into a container that comes with it, and, where the lab has more, into that of
/// another one. And what is not to be plugged.
pub(super) fn passed_through() -> Result<CaseReport> {
    let rounds = lives::rounds(ROUNDS_OF_HOST)?;
    let device = format!("vfio={}", host::device(0)?);
    let mut said = vec![format!("by its group: {}", rounds_of(&device, &["--vfio", "group"], rounds)?)];
    if host::devices() > 2 {
        let other = format!("vfio={}", host::device(2)?);
        let beside = ["--vfio", "group", "--device", other.as_str()];
        said.push(format!("beside another: {}", rounds_of(&device, &beside, BESIDE)?));
        said.push(refusals(&device, &other)?);
    }
    Ok(said.join("; ").into())
}

/// By its own file and an iommufd.
pub(super) fn by_own_file() -> Result<CaseReport> {
    let rounds = lives::rounds(ROUNDS_OF_HOST)?;
    let (device, other) = (format!("vfio={}", host::device(0)?), format!("vfio={}", host::device(2)?));
    let mut said = vec![rounds_of(&device, &["--vfio", "cdev"], rounds)?];
    let beside = ["--vfio", "cdev", "--device", other.as_str()];
    said.push(format!("beside another: {}", rounds_of(&device, &beside, BESIDE)?));
    said.push(refusals_of_files(&device, &other)?);
    Ok(said.join("; ").into())
}

/// Another way than the VM's, and another device's file, are refused, and the VM goes on.
fn refusals_of_files(device: &str, other: &str) -> Result<String> {
    let arguments = ["--device", BUSY, "--device", other, "--vfio", "cdev", "--mode", "direct"];
    let mut vm = Vm::start(&arguments, "plug rounds=1 checkpoints")?;
    vm.plugs(device);
    vm.until("busy")?;
    let before = Footprint::of(&mut vm)?;
    not_isolated(&vm, device, UNSAFE_IOMMUFD)?;
    let said =
        vm.plug(device, &["--vfio", "group"]).err().context("it was plugged by its group")?.to_string();
    ensure!(said.contains("the way to this VM's host devices is cdev"), "another way: {said}");
    let (own, another) = (host::device(0)?, host::device(1)?);
    let node =
        fs::read_dir(host::folder(&another).join("vfio-dev"))?.next().context("no file of its own")??;
    let open = |path: &Path| File::options().read(true).write(true).open(path);
    let node = open(&Path::new("/dev/vfio/devices").join(node.file_name()))?;
    let iommufd = open(Path::new("/dev/iommu"))?;
    let request = format!("plug vfio={own} cdev");
    let said = control_socket::ask_with_files(&vm, &request, [node.as_fd(), iommufd.as_fd()])?;
    ensure!(said.contains("the open VFIO device is another"), "another device's file: {said}");
    let said = control_socket::ask_with_files(&vm, &request, [iommufd.as_fd(), node.as_fd()])?;
    ensure!(said.contains("the open VFIO device is another"), "no device's file: {said}");
    // One that goes away in the middle of its request.
    control_socket::leave_in_the_middle(&vm, "plug vfio=")?;
    Footprint::of(&mut vm)?.is_back(&before, "after what was refused")?;
    vm.resume()?;
    vm.until("quiet")?;
    let checks = vm.run_out()?.passed()?;
    host::nothing_left()?;
    Ok(format!("not isolated, another way and other files refused, and the VM went on, {checks} checks"))
}

/// Each is refused by name, and the VM goes on.
fn refusals(device: &str, other: &str) -> Result<String> {
    // In direct mode all that a device may not be is refused.
    let arguments = ["--device", BUSY, "--device", other, "--vfio", "group", "--mode", "direct"];
    let mut vm = Vm::start(&arguments, "plug rounds=1 checkpoints")?;
    vm.plugs(device);
    vm.until("busy")?;
    let before = Footprint::of(&mut vm)?;
    let refused = |device: &str, more: &[&str], word: &str| -> Result<()> {
        let Err(error) = vm.plug(device, more) else { bail!("{device} {more:?} was plugged") };
        ensure!(error.to_string().contains(word), "{device} {more:?}, not {word:?}: {error}");
        Ok(())
    };
    refused("vfio=0000:44:00.0", &[], "no such PCI device")?;
    refused(other, &[], "is a device of this VM already")?;
    let bdf = device.strip_prefix("vfio=").unwrap_or(device);
    host::bind(bdf, None)?;
    let unbound = refused(device, &[], "bound to no driver");
    host::bind(bdf, Some("igb"))?;
    let bound = refused(device, &[], "bound to igb");
    host::bind(bdf, Some("vfio-pci"))?;
    unbound.and(bound)?;
    let group = fs::read_link(host::folder(bdf).join("iommu_group"))?;
    let group = Path::new("/dev/vfio").join(group.file_name().context("a group without a number")?);
    let holder = File::options().read(true).write(true).open(group)?;
    refused(device, &[], "another program has it")?;
    drop(holder);
    not_isolated(&vm, device, UNSAFE_GROUPS)?;
    // A function that shares its group with one that is not the VM's.
    refused(&format!("vfio={}", host::device(3)?), &[], "shares IOMMU group")?;
    Footprint::of(&mut vm)?.is_back(&before, "after what was refused")?;
    vm.resume()?;
    vm.until("quiet")?;
    let checks = vm.run_out()?.passed()?;
    host::nothing_left()?;
    Ok(format!("seven refused, two of them not isolated, and the VM went on, {checks} checks"))
}

/// While VFIO takes devices whose interrupts nobody checks (`switch`), a VM in direct mode takes none.
fn not_isolated(vm: &Vm, device: &str, switch: &str) -> Result<()> {
    fs::write(switch, "Y").context(switch.to_owned())?;
    let said = vm.plug(device, &[]);
    fs::write(switch, "N").context(switch.to_owned())?;
    let said = said.err().context("a device that is not isolated was plugged")?.to_string();
    let words = ["direct programming is refused", switch, "help: "];
    ensure!(words.iter().all(|word| said.contains(word)), "not isolated: {said}");
    Ok(())
}

fn rounds_of(device: &str, more: &[&str], rounds: u64) -> Result<String> {
    let of_host = device.starts_with("vfio=");
    // Irqfds that are armed ahead come and go beside the guest, and handing over costs what a guest may not take so often.
    // A busy device that was held up makes up for it, and is a storm then.
    let arguments = [
        &["--device", BUSY, "--armed-ahead", "0", "--no-history"][..],
        &["--rate-limit", "off", "--storm-limit", "off"],
        more,
    ]
    .concat();
    let warm = if of_host { " warm" } else { "" };
    let mut vm = Vm::start(&arguments, &format!("plug rounds={rounds} checkpoints{warm}"))?;
    vm.plugs(device);
    vm.until("busy")?;
    if of_host {
        // A container comes with the first device, and stays.
        vm.resume()?;
        vm.until("warm")?;
    }
    let before = Footprint::of(&mut vm)?;
    vm.resume()?;
    vm.until("quiet")?;
    let failed: Vec<Value> =
        vm.events("check").into_iter().filter(|check| check["outcome"] == "FAILED").collect();
    ensure!(failed.is_empty(), "{failed:?}");
    let after = Footprint::of(&mut vm)?;
    let counts = vm.counts()?;
    same("unplugged", &number(&counts, "/unplugged"), &rounds)?;
    let names = counts["devices"].as_array().context("no devices")?;
    let gone = names.iter().filter(|device| device["unplugged"] == true).count();
    ensure!(gone == 1, "one place has had devices that have gone: {names:?}");
    after.is_back(&before, "after all rounds")?;
    let ended = vm.run_out()?;
    let checks = ended.passed()?;
    host::nothing_left()?;
    Ok(format!("{rounds} devices came and went, {checks} checks"))
}
