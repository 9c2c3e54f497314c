//! The command line of QEMU.

use std::ffi::OsString;
use std::path::Path;

use lab_wire::PORT_NAME;

use super::devices::Device;
use super::options::{Iommu, Options};
use super::scratch::Scratch;

/// The slot of the lab's own serial adapter, high so that it is in nobody's way.
const SERIAL_SLOT: &str = "1e";

/// The first kernel that does not find the IOAPIC behind AMD's emulated IOMMU by itself: the table of its firmware names
/// none.
const NEEDS_IOAPIC: u32 = 7;
const IOAPIC: &str = "ivrs_ioapic=0@0000:00:1f.0";

/// All arguments, in order: the IOMMU has to exist before the devices behind it. `major` is the first number of the
/// kernel's release.
pub(super) fn arguments(
    options: &Options,
    devices: &[Device],
    (kernel, major): (&Path, u32),
    scratch: &Scratch,
) -> Vec<OsString> {
    let mut arguments = Arguments::default();
    // one thread would boot L1 a little faster, but Linux guests hang in L2 then
    arguments.pair("-accel", "tcg,thread=multi");
    arguments.pair("-machine", "q35");
    arguments.pair("-cpu", "EPYC,+svm,+npt,+x2apic");
    arguments.pair("-smp", options.cpus.to_string());
    arguments.pair("-m", &options.memory);
    arguments.words(["-nodefaults", "-no-user-config", "-no-reboot"]);
    arguments.pair("-display", "none");
    arguments.pair("-chardev", with_path("file,id=pvir-console,path=", &scratch.console()));
    arguments.pair("-serial", "chardev:pvir-console");
    arguments.pair("-chardev", with_path("socket,id=pvir-qmp,path=", &scratch.qmp()));
    arguments.pair("-mon", "chardev=pvir-qmp,mode=control");
    if let Some(device) = iommu_device(options.iommu) {
        arguments.pair("-device", device);
    }
    arguments.pair("-device", format!("virtio-serial-pci,id=pvir-serial,addr={SERIAL_SLOT}"));
    arguments.pair("-chardev", with_path("socket,id=pvir-channel,path=", &scratch.channel()));
    arguments.pair("-device", format!("virtserialport,chardev=pvir-channel,name={PORT_NAME}"));
    // before the devices, which may refer to what these define
    arguments.0.extend(options.qemu.iter().cloned());
    for device in devices {
        arguments.pair("-device", &device.argument);
    }
    arguments.pair("-kernel", kernel);
    arguments.pair("-initrd", scratch.initramfs());
    arguments.pair("-append", kernel_command_line(options, major));
    arguments.0
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn pair(&mut self, option: &str, value: impl Into<OsString>) {
        self.0.extend([option.into(), value.into()]);
    }

    fn words<const N: usize>(&mut self, words: [&str; N]) {
        self.0.extend(words.map(OsString::from));
    }
}

fn iommu_device(iommu: Iommu) -> Option<&'static str> {
    match iommu {
        Iommu::Intel => Some("intel-iommu,intremap=on,eim=on,caching-mode=on"),
        Iommu::IntelNoRemap => Some("intel-iommu,intremap=off,caching-mode=on"),
        Iommu::Amd => Some("amd-iommu,intremap=on,xtsup=on,pt=off"),
        Iommu::Off => None,
    }
}

fn kernel_command_line(options: &Options, major: u32) -> String {
    let mut words = vec![
        "console=ttyS0",
        "loglevel=5",
        "printk.devkmsg=on",
        // a crash ends QEMU, which ends the lab
        "panic=-1",
        "oops=panic",
        // they cost time in an emulator and protect nothing there
        "mitigations=off",
        // the witness reads device registers while drivers own them
        "iomem=relaxed",
        // the test of the timer fails on a busy machine, and always behind AMD's IOMMU, where the emulated IOAPIC is dead
        "no_timer_check",
        "rdinit=/init",
    ];
    if matches!(options.iommu, Iommu::Intel | Iommu::IntelNoRemap) {
        words.push("intel_iommu=on");
    }
    if options.iommu == Iommu::Amd && major >= NEEDS_IOAPIC {
        words.push(IOAPIC);
    }
    words.extend(options.append.split_whitespace());
    words.join(" ")
}

/// QEMU separates properties by commas, and takes two of them for one in a value.
fn with_path(properties: &str, path: &Path) -> String {
    format!("{properties}{}", path.to_string_lossy().replace(',', ",,"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(options: &Options, devices: &[&str]) -> Vec<String> {
        line_of(options, devices, 6)
    }

    fn line_of(options: &Options, devices: &[&str], major: u32) -> Vec<String> {
        let devices: Vec<Device> = devices.iter().map(|argument| Device::new(argument, 0).unwrap()).collect();
        let scratch = Scratch::at(Path::new("/run/a,b"));
        let arguments = arguments(options, &devices, (Path::new("/vmlinux"), major), &scratch);
        arguments.into_iter().map(|argument| argument.into_string().unwrap()).collect()
    }

    fn values<'a>(line: &'a [String], option: &str) -> Vec<&'a str> {
        line.windows(2).filter(|pair| pair[0] == option).map(|pair| pair[1].as_str()).collect()
    }

    #[test]
    fn the_iommu_comes_before_every_device() {
        let line = line(&Options::default(), &["igb"]);
        let devices = values(&line, "-device");
        assert!(devices[0].starts_with("intel-iommu,intremap=on"));
        assert_eq!(devices.last(), Some(&"igb,id=pvir-device-0"));
        assert!(values(&line, "-append")[0].contains("intel_iommu=on"));
    }

    #[test]
    fn each_iommu_has_its_own_words() {
        let of = |iommu| line(&Options { iommu, ..Options::default() }, &[]);
        assert!(values(&of(Iommu::Amd), "-device")[0].starts_with("amd-iommu,intremap=on,xtsup=on"));
        assert!(!values(&of(Iommu::Amd), "-append")[0].contains("intel_iommu"));
        assert!(values(&of(Iommu::IntelNoRemap), "-device")[0].contains("intremap=off"));
        assert!(!values(&of(Iommu::Off), "-device")[0].contains("iommu"));
        assert!(!values(&of(Iommu::Off), "-append")[0].contains("intel_iommu"));
    }

    #[test]
    fn a_newer_kernel_is_told_where_amds_ioapic_is() {
        let of = |iommu, major| line_of(&Options { iommu, ..Options::default() }, &[], major);
        assert!(values(&of(Iommu::Amd, 7), "-append")[0].contains(IOAPIC));
        assert!(!values(&of(Iommu::Amd, 6), "-append")[0].contains(IOAPIC));
        assert!(!values(&of(Iommu::Intel, 7), "-append")[0].contains(IOAPIC));
    }

    #[test]
    fn size_and_further_words_are_passed_on() {
        let options = Options {
            cpus: 16,
            memory: "3G".into(),
            append: " a=b  c ".into(),
            qemu: vec!["-trace".into(), "vtd_ir*".into()],
            ..Options::default()
        };
        let line = line(&options, &[]);
        assert_eq!((values(&line, "-smp"), values(&line, "-m")), (vec!["16"], vec!["3G"]));
        assert_eq!(values(&line, "-trace"), ["vtd_ir*"]);
        assert!(values(&line, "-append")[0].ends_with(" a=b c"));
    }

    #[test]
    fn a_comma_in_a_path_is_no_separator() {
        let line = line(&Options::default(), &[]);
        assert!(values(&line, "-chardev").iter().all(|value| value.contains("path=/run/a,,b/")));
        assert!(values(&line, "-initrd")[0].starts_with("/run/a,b/"));
    }
}
