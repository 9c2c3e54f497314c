use super::*;
use crate::fake_host::FakeHost;
use crate::host_commands::devices::parse_address;

const NIC: &str = "0000:00:05.0";

fn nic() -> FakeHost {
    let fake = FakeHost::new();
    fake.add(NIC, 0x02_0000, Some("igb"), Some(3));
    fake
}

fn says(fake: &FakeHost) -> Option<String> {
    of(&fake.host, parse_address(NIC).unwrap()).err().map(|used| used.to_string())
}

fn assert_used(fake: &FakeHost, by: &str) {
    let said = says(fake);
    assert!(said.as_ref().is_some_and(|said| said.contains(by) && said.contains(NIC)), "{said:?}");
}

#[test]
fn an_idle_device_may_be_taken() {
    let fake = nic();
    fake.interface(NIC, "eth0", false);
    fake.disk(NIC, "nvme0n1", "259:0");
    fake.write("sys/class/tty/console/active", "ttyS0\n");
    assert_eq!(says(&fake), None);
}

#[test]
fn an_interface_that_is_up_is_named() {
    let fake = nic();
    fake.interface(NIC, "eth0", true);
    assert_used(&fake, "the network interface eth0, which is up");
}

#[test]
fn another_functions_interface_and_disk_are_no_hindrance() {
    let fake = nic();
    fake.add("0000:00:05.1", 0x02_0000, Some("igb"), Some(4));
    fake.interface("0000:00:05.1", "eth1", true);
    fake.disk("0000:00:05.1", "nvme1n1", "259:9");
    fake.write("proc/self/mountinfo", "30 1 259:9 / /data rw - ext4 /dev/nvme1n1 rw\n");
    assert_eq!(says(&fake), None);
}

#[test]
fn a_disk_is_used_by_a_mount_by_number_or_by_name_by_swap_or_by_a_holder() {
    let disk = || {
        let fake = nic();
        fake.disk(NIC, "nvme0n1p1", "259:1");
        fake
    };
    let fake = disk();
    fake.write("proc/self/mountinfo", "30 1 259:1 / /data rw,noatime shared:1 - ext4 /dev/root rw\n");
    assert_used(&fake, "nvme0n1p1, mounted at /data");
    let fake = disk();
    // btrfs has a number of its own.
    fake.write("proc/self/mountinfo", "30 1 0:27 / /data rw - btrfs /dev/nvme0n1p1 rw\n");
    assert_used(&fake, "mounted at /data");
    let fake = disk();
    fake.write("proc/swaps", "Filename Type\n/dev/nvme0n1p1 partition 1 0 -2\n");
    assert_used(&fake, "in use for swapping");
    let fake = disk();
    fake.write(&format!("{}/nvme/nvme0/nvme0n1p1/holders/dm-0", FakeHost::folder(NIC)), "");
    assert_used(&fake, "held by dm-0");
}

#[test]
fn mounts_that_cannot_be_read_protect_the_disk() {
    let fake = nic();
    fake.disk(NIC, "nvme0n1", "259:0");
    fs::remove_file(fake.path("proc/self/mountinfo")).unwrap();
    assert_used(&fake, "mountinfo");
}

#[test]
fn displays_consoles_bridges_and_functions_with_children_are_kept() {
    let fake = nic();
    fake.write(&format!("{}/boot_vga", FakeHost::folder(NIC)), "1\n");
    assert_used(&fake, "the display that the firmware chose");

    let fake = nic();
    let tty = format!("{}/tty/ttyS4", FakeHost::folder(NIC));
    fake.write(&format!("{tty}/dev"), "4:68\n");
    fake.link(fake.path(&tty), "sys/class/tty/ttyS4");
    fake.write("sys/class/tty/console/active", "tty0 ttyS4\n");
    assert_used(&fake, "the host's console ttyS4");

    let fake = nic();
    fake.write(&format!("{}/class", FakeHost::folder(NIC)), "0x060400\n");
    assert_used(&fake, "is a bridge");

    let fake = nic();
    fake.write(&format!("{}/sriov_numvfs", FakeHost::folder(NIC)), "7\n");
    assert_used(&fake, "has 7 virtual functions");
}

#[test]
fn an_open_node_names_the_process() {
    for node in ["vfio/3", "virtio-ports/port0"] {
        let fake = nic();
        fake.write(
            &format!("{}/virtio1/port0/uevent", FakeHost::folder(NIC)),
            "MAJOR=1\nDEVNAME=virtio-ports/port0\n",
        );
        fake.write("proc/77/comm", "qemu\n");
        fake.link("/dev/null", "proc/77/fd/0");
        assert_eq!(says(&fake), None);
        fake.link(format!("/dev/{node}"), "proc/77/fd/9");
        assert_used(&fake, &format!("/dev/{node} is open in process 77 (qemu)"));
    }
}
