use std::collections::BTreeMap;

use super::*;
use crate::fake_host::FakeHost;
use crate::host_commands::devices::parse_address;

const NIC: &str = "0000:00:05.0";

/// Does what Linux does with these files: `driver_override` is kept, `unbind` takes the link away and needs one,
/// `drivers_probe` binds by override or by the table of ids, or silently does not.
struct FakeDriverFiles<'a> {
    fake: &'a FakeHost,
    /// The driver that knows the device by its ids.
    by_id: Option<&'static str>,
    /// Drivers whose probe fails.
    unwilling: &'static [&'static str],
    /// Files whose write fails, by their last part.
    broken: BTreeMap<&'static str, i32>,
    writes: Vec<String>,
}

impl<'a> FakeDriverFiles<'a> {
    fn new(fake: &'a FakeHost) -> Self {
        Self { fake, by_id: Some("igb"), unwilling: &[], broken: BTreeMap::new(), writes: Vec::new() }
    }

    fn probe(&self) {
        let folder = FakeHost::folder(NIC);
        let wanted = self.fake.read(&format!("{folder}/driver_override")).trim().replace("(null)", "");
        let driver = if wanted.is_empty() { self.by_id.map(str::to_owned) } else { Some(wanted) };
        let free = !self.fake.path(&format!("{folder}/driver")).exists();
        if let Some(driver) = driver.filter(|driver| free && !self.unwilling.contains(&driver.as_str())) {
            self.fake
                .link(self.fake.path(&format!("sys/bus/pci/drivers/{driver}")), &format!("{folder}/driver"));
        }
    }
}

impl DriverFiles for FakeDriverFiles<'_> {
    fn write(&mut self, path: &Path, text: &str) -> io::Result<()> {
        let name = path.file_name().unwrap().to_str().unwrap();
        self.writes.push(format!("{name}={}", text.trim_end()));
        if let Some(errno) = self.broken.get(name) {
            return Err(io::Error::from_raw_os_error(*errno));
        }
        match name {
            "driver_override" => fs::write(path, if text == "\n" { "(null)\n" } else { text }),
            "unbind" => {
                assert_eq!(text, NIC);
                assert!(path.exists(), "nobody has it");
                fs::remove_file(self.fake.path(&format!("{}/driver", FakeHost::folder(NIC))))
            }
            "drivers_probe" => {
                self.probe();
                Ok(())
            }
            other => panic!("{other} is not to be written"),
        }
    }
}

fn nic(driver: Option<&str>) -> FakeHost {
    let fake = FakeHost::new();
    fake.add(NIC, 0x02_0000, driver, Some(3));
    fake
}

fn id() -> DeviceId {
    parse_address(NIC).unwrap()
}

fn driver(fake: &FakeHost) -> Option<String> {
    fake.host.function(id()).unwrap().driver
}

#[test]
fn bind_and_unbind_come_back_to_the_driver_that_was_there() {
    let fake = nic(Some("igb"));
    let mut kernel = FakeDriverFiles::new(&fake);
    let plan = BindingPlan::bind(&fake.host, id()).unwrap();
    assert_eq!(driver(&fake).as_deref(), Some("igb"), "a plan touches nothing");
    plan.carry_out(&fake.host, &mut kernel).unwrap();
    assert_eq!(driver(&fake).as_deref(), Some("vfio-pci"));
    assert_eq!(
        kernel.writes,
        ["driver_override=vfio-pci", "unbind=0000:00:05.0", "drivers_probe=0000:00:05.0"]
    );

    BindingPlan::unbind(&fake.host, id()).unwrap().carry_out(&fake.host, &mut kernel).unwrap();
    assert_eq!(driver(&fake).as_deref(), Some("igb"));
    assert_eq!(fake.read(&format!("{}/driver_override", FakeHost::folder(NIC))), "(null)\n");
    assert!(!fake.path(REMEMBERED).join(NIC).exists());
}

#[test]
fn a_device_without_driver_is_without_one_again_and_keeps_its_override() {
    let fake = nic(None);
    fake.write(&format!("{}/driver_override", FakeHost::folder(NIC)), "nobody\n");
    let mut kernel = FakeDriverFiles::new(&fake);
    BindingPlan::bind(&fake.host, id()).unwrap().carry_out(&fake.host, &mut kernel).unwrap();
    assert_eq!(driver(&fake).as_deref(), Some("vfio-pci"));
    BindingPlan::unbind(&fake.host, id()).unwrap().carry_out(&fake.host, &mut kernel).unwrap();
    assert_eq!(driver(&fake), None);
    assert_eq!(fake.read(&format!("{}/driver_override", FakeHost::folder(NIC))), "nobody\n");
}

#[test]
fn what_another_tool_bound_goes_to_the_kernels_choice() {
    let fake = nic(Some("vfio-pci"));
    let mut kernel = FakeDriverFiles::new(&fake);
    BindingPlan::unbind(&fake.host, id()).unwrap().carry_out(&fake.host, &mut kernel).unwrap();
    assert_eq!(driver(&fake).as_deref(), Some("igb"));
}

#[test]
fn a_driver_that_will_not_have_it_is_an_error_and_is_undone() {
    let fake = nic(Some("igb"));
    let mut kernel = FakeDriverFiles { unwilling: &["vfio-pci"], ..FakeDriverFiles::new(&fake) };
    let error = BindingPlan::bind(&fake.host, id()).unwrap().carry_out(&fake.host, &mut kernel).unwrap_err();
    assert!(format!("{error:#}").contains("is with none afterwards, not with vfio-pci"), "{error:#}");
    assert_eq!(driver(&fake).as_deref(), Some("igb"));
}

#[test]
fn a_failed_write_names_path_and_errno_and_is_undone() {
    let fake = nic(Some("igb"));
    let mut kernel = FakeDriverFiles::new(&fake);
    kernel.broken.insert("unbind", libc::EBUSY);
    let error = BindingPlan::bind(&fake.host, id()).unwrap().carry_out(&fake.host, &mut kernel).unwrap_err();
    let said = format!("{error:#}");
    assert!(said.contains("driver/unbind") && said.contains("os error 16"), "{said}");
    assert_eq!(driver(&fake).as_deref(), Some("igb"));
    assert_eq!(fake.read(&format!("{}/driver_override", FakeHost::folder(NIC))), "(null)\n");
}

#[test]
fn what_must_not_be_touched_has_no_plan() {
    let says = |fake: &FakeHost| format!("{:#}", BindingPlan::bind(&fake.host, id()).unwrap_err());
    let fake = nic(Some("igb"));
    fake.interface(NIC, "eth0", true);
    assert!(says(&fake).contains("eth0"));
    let fake = nic(Some("igb"));
    fs::remove_dir_all(fake.path("sys/bus/pci/drivers/vfio-pci")).unwrap();
    assert!(says(&fake).contains("modprobe vfio-pci"));
    assert!(says(&FakeHost::new()).contains("no such PCI device"));
    let fake = FakeHost::new();
    fake.add(NIC, 0x02_0000, Some("igb"), None);
    assert!(says(&fake).contains("has no IOMMU group"));
    let fake = nic(Some("igb"));
    let error = BindingPlan::unbind(&fake.host, id()).unwrap_err();
    assert!(format!("{error:#}").contains("is bound to igb, not to vfio-pci: it is left alone"));
    assert!(BindingPlan::bind(&nic(Some("vfio-pci")).host, id()).unwrap().is_empty());
}

#[test]
fn a_plan_is_shown_as_the_writes_that_it_makes() {
    let fake = nic(Some("igb"));
    let shown = BindingPlan::bind(&fake.host, id()).unwrap().to_string();
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[0], "0000:00:05.0: to vfio-pci");
    assert!(lines[1].contains("write \"igb\" to /run/pvir/former-drivers/0000:00:05.0"), "{shown}");
    assert!(lines[2].contains("write \"vfio-pci\"") && lines[2].ends_with("driver_override"), "{shown}");
    assert!(lines[4].ends_with("drivers_probe"), "{shown}");
}
